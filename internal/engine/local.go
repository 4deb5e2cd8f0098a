package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/store"
)

// localModule names the tree that a process offers to itself or to a server
// that it pushes to.
const localModule = "local"

// local syncs between two directories of this machine: the same sender and
// receiver, joined in memory.
func (e *Engine) local(ctx context.Context, jo job.Options, src, dst place) (*event.Summary, error) {
	o, err := e.offer(src, localModule)
	if err != nil {
		return nil, err
	}
	defer o.close()
	jo.Module, jo.Path, jo.One = localModule, o.path, !src.within
	if jo.One {
		jo.OmitRoot = true
		if err := e.target(&jo, o.path, dst, func() (bool, error) { return !o.dir, nil }); err != nil {
			return nil, err
		}
	}
	if src.within && contains(src.path, jo.Dest) && src.path != jo.Dest {
		return nil, fault.New(fault.Usage, "choose a destination outside of it", "the destination %s lies inside the source", jo.Dest)
	}
	lanes := lane.Pipe(o.origin.Handler())
	defer func() { _ = lanes.Close() }()
	jo.Dial, jo.Local = lanes.Dial, true
	return job.Run(ctx, jo)
}

func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !filepath.IsAbs(rel) && (len(rel) < 3 || rel[:3] != ".."+string(filepath.Separator))
}

// offer is a local tree that is ready to be sent.
type offer struct {
	origin *origin.Origin
	path   string // within the origin; "" for all of it
	dir    bool   // the thing is a directory
	close  func()
}

// offer opens a local place for sending.
func (e *Engine) offer(p place, module string) (*offer, error) {
	info, err := os.Stat(p.path)
	if !p.within {
		info, err = os.Lstat(p.path)
	}
	if err != nil {
		class := fault.NotFound
		if errors.Is(err, fs.ErrPermission) {
			class = fault.Denied
		}
		return nil, fault.New(class, "", "source %s: %s", p.text, fsys.Plain(err))
	}
	root := p.path
	o := &offer{dir: info.IsDir()}
	if p.within {
		if !o.dir {
			return nil, fault.New(fault.NotFound, "leave out the trailing slash", "source %s: not a directory", p.text)
		}
	} else {
		root, o.path = filepath.Dir(p.path), filepath.Base(p.path)
	}
	dir, err := fsys.OpenDir(root)
	if err != nil {
		return nil, fault.Wrap(fsys.Class(err), err, "", "source %s", p.text)
	}
	st, state, drop, err := e.localStore(root)
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	o.origin = origin.New(origin.Config{Module: module, Root: dir, Store: st, Temp: state, Log: func(string, ...any) {}})
	o.close = func() {
		o.origin.Close()
		_ = st.Close()
		_ = state.Close()
		_ = dir.Close()
		drop()
	}
	return o, nil
}

// localStore opens the store that remembers the digests of a local source. If
// another sync of the same source holds it, a private one serves.
func (e *Engine) localStore(root string) (*store.Store, *fsys.Dir, func(), error) {
	if base, err := e.stateDir(""); err == nil {
		name := digest.Sum([]byte(root))
		dir := filepath.Join(base, "sources", hex.EncodeToString(name[:8]))
		if st, state, err := openStore(dir); err == nil {
			return st, state, func() {}, nil
		}
	}
	dir, err := os.MkdirTemp("", "ropeway-")
	if err != nil {
		return nil, nil, nil, fault.Wrap(fault.Other, err, "set TMPDIR to a directory that can be written", "no place for temporary files")
	}
	drop := func() { _ = os.RemoveAll(dir) }
	st, state, err := openStore(dir)
	if err != nil {
		drop()
	}
	return st, state, drop, err
}

func openStore(dir string) (*store.Store, *fsys.Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	state, err := fsys.OpenDir(dir)
	if err != nil {
		return nil, nil, err
	}
	st, err := store.Open(state, store.Options{HistoryBytes: -1})
	if err != nil {
		_ = state.Close()
		return nil, nil, err
	}
	return st, state, nil
}

// plainPath is the path of a place for plain HTTP.
func plainPath(u auth.URL) string {
	parsed, err := url.Parse(u.Redacted())
	if err != nil {
		return "/"
	}
	return parsed.EscapedPath()
}
