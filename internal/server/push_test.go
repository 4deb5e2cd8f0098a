package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
)

// fakePusher asks a reverse lane one thing.
type fakePusher struct {
	got    chan string
	closed bool
}

func (p *fakePusher) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(append([]byte("pushed "), b...))
	})
}

func (p *fakePusher) Reverse(r *http.Request) (func(*lane.Conn), error) {
	if r.Header.Get("Refuse") != "" {
		return nil, fault.New(fault.Busy, "wait", "another push runs")
	}
	return func(c *lane.Conn) {
		req, _ := http.NewRequest(http.MethodGet, "/hello", nil)
		resp, err := c.RoundTrip(req)
		if err != nil {
			p.got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		p.got <- string(b)
	}, nil
}

func (p *fakePusher) Close() { p.closed = true }

func TestPush(t *testing.T) {
	p := &fakePusher{got: make(chan string, 10)}
	cfg := tree(t)
	cfg.StateDir = t.TempDir()
	cfg.Modules[0].Writable = true
	cfg.NewPusher = func(m PushModule) (Pusher, error) {
		if m.Name != "mod" || m.Root == nil || m.Store == nil || m.Temp == nil || m.Log == nil || m.Path == "" {
			t.Errorf("%+v", m)
		}
		return p, nil
	}
	tokens, err := auth.OpenTokens(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	reader, _, err := tokens.Add("reader", auth.Read, []string{"mod"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, cfg)
	c := s.client(true)
	if a := s.do(c, "POST", "/v1/m/mod/push/x", "Authorization: Bearer "+reader); a.status != 403 {
		t.Errorf("a reader: %d", a.status)
	}
	if a := s.do(c, "POST", "/v1/m/mod/push/x", s.bearer()); a.status != 200 || a.body != "pushed " {
		t.Errorf("%d %q", a.status, a.body)
	}

	// The reverse way: the server asks, the client answers.
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from the client") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := &lane.Dialer{Endpoint: s.url}
	if err := d.Serve(ctx, "/v1/m/mod/lane", nil, hello); fault.ClassOf(err) != fault.OK && fault.ClassOf(err) != fault.Network {
		t.Error(err)
	}
	if got := <-p.got; got != "from the client" {
		t.Errorf("%q", got)
	}
	a := s.last(func(a Access) bool { return a.Status == 101 })
	if a.Route != routeReverse || a.Module != "mod" || a.User != tokenName || a.In == 0 || a.Outcome != OutcomeOK {
		t.Errorf("%+v", a)
	}

	for name, x := range map[string]struct {
		target, token string
		header        http.Header
		class         fault.Class
		text          string
	}{
		"reader":   {"/v1/m/mod/lane", reader, nil, fault.Denied, "access denied"},
		"no token": {"/v1/m/mod/lane", "", nil, fault.Denied, "access denied"},
		"absent":   {"/v1/m/absent/lane", s.url.Token, nil, fault.Denied, "access denied"},
		"nowhere":  {"/v1/m/mod/plan", s.url.Token, nil, fault.NotFound, "nothing"},
		"pusher":   {"/v1/m/mod/lane", s.url.Token, http.Header{"Refuse": {"1"}}, fault.Busy, "another push"},
	} {
		u := s.url
		u.Token = x.token
		err := (&lane.Dialer{Endpoint: u}).Serve(ctx, x.target, x.header, hello)
		if fault.ClassOf(err) != x.class || !strings.Contains(err.Error(), x.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.close()
	if !p.closed {
		t.Error("the pusher was not closed")
	}
}
