package demo

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/store"
)

// module is the name under which the tree is served.
const module = "release"

// site is a server of a directory on a loopback address. It can be killed and
// started again, on the same address.
type site struct {
	root, state string
	url         auth.URL // with pin and token
	cut         cutCount
	stop        func() error
}

// cutCount counts answers with content that ended short.
type cutCount struct{ answers, bytes atomic.Int64 }

func (s *site) start(ctx context.Context) (err error) {
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		return noSpace(err)
	}
	root, err := fsys.OpenDir(s.root)
	if err != nil {
		return err
	}
	undo = append(undo, func() { _ = root.Close() })
	state, err := fsys.OpenDir(s.state)
	if err != nil {
		return err
	}
	undo = append(undo, func() { _ = state.Close() })
	st, err := store.Open(state, store.Options{})
	if err != nil {
		return err
	}
	undo = append(undo, func() { _ = st.Close() })
	id, err := auth.LoadOrCreate(s.state)
	if err != nil {
		return err
	}
	tokens, err := auth.OpenTokens(s.state)
	if err != nil {
		return err
	}
	if s.url.Token == "" {
		if s.url.Token, _, err = tokens.Add("demo", auth.Read, []string{module}, time.Time{}); err != nil {
			return err
		}
	}
	addr := "127.0.0.1:0"
	if s.url.Port != 0 {
		addr = s.url.Addr()
	}
	ln, err := lane.Listen(ctx, addr)
	if err != nil {
		return err
	}
	o := origin.New(origin.Config{Module: module, Root: root, Store: st, Temp: state, Log: func(string, ...any) {}})
	h := o.Handler()
	srv := lane.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := tokens.Check(r, module, auth.Read); err != nil {
			origin.Refuse(w, err)
			return
		}
		h.ServeHTTP(w, r)
	}), id, lane.ServerOptions{})
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	_ = filepath.Separator
	_ = fault.OK
	s.url.Host, s.url.Module, s.url.Pin = "127.0.0.1", module, id.Pin
	s.stop = func() error {
		_ = srv.Close()
		<-done
		o.Close()
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
		return nil
	}
	return nil
}
