package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/event"
)

// opened is a server that does not accept connections.
func opened(t *testing.T, cfg Config) *server {
	t.Helper()
	cfg.StateDir, cfg.Listen = t.TempDir(), []string{"127.0.0.1:0"}
	s, err := open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, http.NoBody)
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	return r
}

// answerTo serves a request in memory; an answer that was cut has code -1.
func answerTo(h http.Handler, r *http.Request) (w *httptest.ResponseRecorder) {
	w = httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			w.Code = -1
		}
	}()
	h.ServeHTTP(w, r)
	return w
}

func TestStoppingServer(t *testing.T) {
	s := opened(t, tree(t)) // one that is not ready is like one that stops
	do := func(method, path string) *httptest.ResponseRecorder {
		r := request(method, path)
		r.Header.Set("Authorization", "Bearer "+s.state.token)
		return answerTo(s, r)
	}
	if w := do("POST", "/v1/m/mod/plan"); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"network"`) {
		t.Error(w)
	}
	if w := do("GET", "/readyz"); w.Code != 503 {
		t.Error(w)
	}
	if w := do("GET", "/healthz"); w.Code != 200 {
		t.Error(w)
	}
	if w := do("GET", "/m/mod/hello.txt"); w.Code != 200 {
		t.Error(w)
	}
	if _, err := s.reverse(request("POST", "/v1/m/mod/lane")); !errors.Is(err, errStopping.err) {
		t.Error(err)
	}
	s.ready.Store(true)
	old := request("POST", "/v1/m/mod/plan")
	old.TLS.Version = tls.VersionTLS12
	if w := answerTo(s, old); w.Code != 403 || !strings.Contains(w.Body.String(), "TLS 1.3") {
		t.Error(w)
	}
	s.gate.most = 0
	if w := do("GET", "/m/mod/hello.txt"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Error(w)
	}
	if w := do("GET", "/readyz"); w.Code != 200 {
		t.Error(w)
	}
}

func TestPanics(t *testing.T) {
	cfg := tree(t)
	var access []Access
	var warns []string
	cfg.Access = func(a Access) { access = append(access, a) }
	cfg.Warn = func(w event.Warn) { warns = append(warns, w.Text) }
	s := opened(t, cfg)
	s.ready.Store(true)
	do := func(h http.HandlerFunc) *httptest.ResponseRecorder {
		access, warns = nil, nil
		s.modules["mod"].native = h
		r := request("GET", "/v1/m/mod/o/rw_abcdefghijkl?p=x")
		r.Header.Set("Authorization", "Bearer "+s.state.token)
		return answerTo(s, r)
	}
	w := do(func(http.ResponseWriter, *http.Request) { panic("bug\nhere") })
	if w.Code != 500 || len(access) != 1 || access[0].Outcome != OutcomeFailed || access[0].Cause != causePanic || len(warns) != 1 ||
		!strings.Contains(warns[0], "bug here (server.TestPanics") || strings.Contains(warns[0], "abcdefghijkl") {
		t.Errorf("%d %+v %q", w.Code, access, warns)
	}
	if access[0].Path != "/v1/m/mod/o/rw_..." {
		t.Error(access[0].Path)
	}
	w = do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(errors.New("bug")) })
	if w.Code != -1 || access[0].Outcome != OutcomeCut || access[0].Cause != causePanic || len(warns) != 1 {
		t.Errorf("%d %+v %q", w.Code, access, warns)
	}
	w = do(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) })
	if w.Code != -1 || access[0].Outcome != OutcomeCut || access[0].Cause != causeChanged || len(warns) != 0 {
		t.Errorf("%d %+v %q", w.Code, access, warns)
	}
	w = do(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if w.Code != -1 || access[0].Outcome != OutcomeCut || access[0].Status != 0 {
		t.Errorf("%d %+v", w.Code, access)
	}
	if !s.gate.close(time.Minute) {
		t.Error("a request is still counted")
	}
}

func TestEnding(t *testing.T) {
	live, left := t.Context(), func() context.Context { c, f := context.WithCancel(t.Context()); f(); return c }()
	stopped, cut := context.WithCancelCause(t.Context())
	cut(errStopped)
	for _, x := range []struct {
		r              *recorder
		ctx            context.Context
		aborted        bool
		outcome, cause string
	}{
		{&recorder{status: 200}, live, false, OutcomeOK, ""},
		{&recorder{status: 404}, live, false, OutcomeRefused, "Not Found"},
		{&recorder{status: 404}, left, false, OutcomeRefused, "Not Found"},
		{&recorder{status: 503}, live, false, OutcomeRefused, "Service Unavailable"},
		{&recorder{status: 500}, live, false, OutcomeFailed, "Internal Server Error"},
		{&recorder{status: 200}, left, false, OutcomeCut, causeLeft},
		{&recorder{status: 200, err: net.ErrClosed}, live, true, OutcomeCut, causeLeft},
		{&recorder{status: 200, err: os.ErrDeadlineExceeded}, live, true, OutcomeCut, causeSlow},
		{&recorder{status: 200, err: net.ErrClosed, deadline: time.Now()}, left, true, OutcomeCut, causeSlow},
		{&recorder{status: 200, err: net.ErrClosed, deadline: time.Now().Add(time.Hour)}, left, true, OutcomeCut, causeLeft},
		{&recorder{status: 200, err: net.ErrClosed}, stopped, true, OutcomeCut, causeStopped},
		{&recorder{status: 200}, live, true, OutcomeCut, causeChanged},
	} {
		x.r.ResponseWriter = httptest.NewRecorder()
		if o, c := x.r.ending(x.ctx, "GET", x.aborted); o != x.outcome || c != x.cause {
			t.Errorf("%+v: %s, %q", x.r, o, c)
		}
	}
}

func TestRoute(t *testing.T) {
	for path, want := range map[string]route{
		"/":                    {name: routePage},
		"/healthz":             {name: routeHealth},
		"/healthz/":            {name: routeOther},
		"/m/mod/a/b":           {name: routeFile, module: "mod"},
		"/m/m%6Fd":             {name: routeFile, module: "mod"},
		"/m/..%2fx/":           {name: routeOther},
		"/m/../etc":            {name: routeOther},
		"/v1/m/mod/plan":       {name: routePlan, module: "mod", native: true},
		"/v1/m/mod/up/x":       {name: routeUpload, module: "mod", native: true},
		"/v1/m/mod/o/x":        {name: routeObject, module: "mod", native: true},
		"/v1/m/mod/push":       {name: routePush, module: "mod", native: true},
		"/v1/m/mod/push/x/y":   {name: routePush, module: "mod", native: true},
		"/v1/m/mod/push%2fx":   {name: routeOther, module: "mod", native: true},
		"/v1/m/mod%2fplan":     {name: routeOther, native: true},
		"/v1/m/mod":            {name: routeOther, module: "mod", native: true},
		"/v1/m/../mod/plan":    {name: routeOther, native: true},
		"/v1/x":                {name: routeOther, native: true},
		"/v1/m/mod/o/../push/": {name: routeObject, module: "mod", native: true},
	} {
		u, err := url.Parse("https://h" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := routeOf(u); got != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/m/mod/a%2fb")
	f.Add("/v1/m/mod/push/../plan")
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := routeOf(u)
		if r.name == "" || r.module != "" && !config.ValidName(r.module) {
			t.Errorf("%q: %+v", path, r)
		}
		if len(redact(u.EscapedPath())) > 1100 {
			t.Error("a long line in the log")
		}
	})
}

func TestAddresses(t *testing.T) {
	listen := func(addr string) net.Listener {
		return fakeListener{net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}
	}
	for _, x := range []struct {
		cfg   config.Server
		bound []string
		want  []address
	}{
		{config.Server{Listen: []string{"127.0.0.1:0"}}, []string{"127.0.0.1:99"}, []address{{"127.0.0.1", 99}}},
		{config.Server{Listen: []string{"[::1]:0", "[::1]:0"}}, []string{"[::1]:1", "[::1]:2"}, []address{{"::1", 1}, {"::1", 2}}},
		{config.Server{Listen: []string{"files.example:1"}}, []string{"192.0.2.1:1"}, []address{{"files.example", 1}}},
		{config.Server{Listen: []string{":1", "127.0.0.1:1"}, Advertise: []string{"a", "b"}}, []string{"[::]:1", "127.0.0.1:1"}, []address{{"a", 1}, {"b", 1}}},
	} {
		var ls []net.Listener
		for _, b := range x.bound {
			ls = append(ls, listen(b))
		}
		if got := addresses(Config{Server: x.cfg}, ls); !slices.Equal(got, x.want) {
			t.Errorf("%+v: %v", x, got)
		}
	}
	mask := func(ips ...string) (all []net.Addr) {
		for _, ip := range ips {
			all = append(all, &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(8, 8*len(net.ParseIP(ip)))})
		}
		return all
	}
	for _, x := range []struct {
		in   []net.Addr
		v4   bool
		want string
	}{
		{mask("127.0.0.1", "::1", "fe80::1", "169.254.1.1"), false, "127.0.0.1"},
		{mask("::1", "2001:db8::1", "10.0.0.1", "10.0.0.2"), false, "10.0.0.1"},
		{mask("127.0.0.1", "2001:db8::1"), false, "2001:db8::1"},
		{mask("127.0.0.1", "2001:db8::1"), true, "127.0.0.1"},
	} {
		if got := reachable(x.in, x.v4); got != x.want {
			t.Errorf("%v: %s", x, got)
		}
	}
}

type fakeListener struct{ addr net.Addr }

func (l fakeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l fakeListener) Close() error              { return nil }
func (l fakeListener) Addr() net.Addr            { return l.addr }

func TestPrefixOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64", "pipe": "invalid Prefix",
	} {
		if got := prefixOf(in).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
