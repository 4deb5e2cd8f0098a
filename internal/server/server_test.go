package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/fault"
)

func TestPublicRoutes(t *testing.T) {
	s := serve(t, tree(t))
	for _, h2 := range []bool{false, true} {
		c := s.client(h2)
		for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/": page} {
			if a := s.do(c, "GET", path); a.status != 200 || a.body != want {
				t.Errorf("%s: %d %q", path, a.status, a.body)
			}
			if a := s.do(c, "HEAD", path); a.status != 200 || a.body != "" {
				t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
			}
			if a := s.do(c, "POST", path); a.status != 405 || a.header.Get("Allow") == "" {
				t.Errorf("POST %s: %d", path, a.status)
			}
		}
		for _, path := range []string{"/x", "/m", "/m/", "/v1/", "/v1/m/", "/favicon.ico"} {
			if a := s.do(c, "GET", path); a.status != 404 || strings.Contains(a.body, "mod") {
				t.Errorf("%s: %d %q", path, a.status, a.body)
			}
		}
	}
}

func TestAuth(t *testing.T) {
	cfg := tree(t)
	cfg.StateDir = t.TempDir()
	cfg.Modules = append(cfg.Modules, config.Module{Name: "other", Path: t.TempDir()})
	tokens, err := auth.OpenTokens(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	add := func(verbs auth.Verb, module string) string {
		token, _, err := tokens.Add("somebody", verbs, []string{module}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	other, all, writer := add(auth.Read, "other"), add(auth.Read, auth.AllModules), add(auth.Write, "mod")
	const file, object, push = "/m/mod/hello.txt", "/v1/m/mod/o/x", "/v1/m/mod/push"
	s := serve(t, cfg)
	c, both := s.client(true), s.url.Token
	for _, x := range []struct {
		what, method, path, token string
		status                    int
	}{
		{"no token", "GET", file, "", 401},
		{"no token", "GET", object, "", 401},
		{"no token", "GET", "/m/absent/", "", 401},
		{"wrong token", "GET", file, "rw_wrong", 401},
		{"wrong token", "GET", object, "rw_wrong", 401},
		{"right", "GET", file, both, 200},
		{"right", "GET", object, both, 400},
		{"right", "GET", "/m/mod", both, 301},
		{"right", "GET", "/m/mod/absent", both, 404},
		{"hidden", "GET", "/m/mod/.ropeway/index", both, 404},
		{"unknown verb", "GET", "/v1/m/mod/x", both, 404},
		{"other module's token", "GET", file, other, 403},
		{"absent module", "GET", "/m/absent/", other, 403},
		{"absent module", "GET", "/m/absent/", all, 404},
		{"absent module", "POST", "/v1/m/absent/plan", all, 404},
		{"reader pushes", "POST", push, both, 403},
		{"writer reads", "GET", file, writer, 403},
		{"read only", "POST", push, writer, 403},
		{"method", "DELETE", file, both, 405},
	} {
		headers := []string{"Accept: */*"}
		if x.token != "" {
			headers = append(headers, "Authorization: Bearer "+x.token)
		}
		a := s.do(c, x.method, x.path, headers...)
		if a.status != x.status || a.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %s %s: %d, want %d: %q %v", x.what, x.method, x.path, a.status, x.status, a.body, a.header)
		}
		if x.status == 401 && strings.HasPrefix(x.path, "/v1/") != strings.Contains(a.body, `"class":"denied"`) {
			t.Errorf("%s: %s: %q", x.what, x.path, a.body)
		}
	}
	if a := s.do(c, "POST", "/v1/m/mod/plan", s.bearer(), "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"); a.status != 403 {
		t.Errorf("a page of another site: %d", a.status)
	}
	req, _ := http.NewRequest("GET", "https://"+s.url.Addr()+file, nil)
	req.SetBasicAuth("x", s.url.Token)
	if resp, err := c.Do(req); err != nil || resp.StatusCode != 200 {
		t.Errorf("Basic: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}

	guess := 0
	for ; guess < 100; guess++ {
		a := s.do(c, "GET", file, "Authorization: Bearer rw_guess")
		if a.status == 429 && a.header.Get("Retry-After") != "" {
			break
		}
	}
	if guess == 100 {
		t.Error("guessing is not slowed down")
	}
	if a := s.do(c, "GET", file, s.bearer()); a.status != 200 {
		t.Errorf("a valid token among guesses: %d", a.status)
	}
	a := s.last(func(a Access) bool { return a.Status == 200 && a.Path == file })
	if a.User != tokenName || a.Module != "mod" || a.Path != file || a.Bytes != 5 || a.Proto != "HTTP/2.0" ||
		a.Outcome != OutcomeOK || a.Cause != "" || a.Conn == 0 || !a.Reused || a.Time.IsZero() {
		t.Errorf("%+v", a)
	}
	a = s.last(func(a Access) bool { return a.Status == 401 })
	if a.Outcome != OutcomeRefused || !strings.Contains(a.Cause, "token") || a.Module != "" {
		t.Errorf("%+v", a)
	}
}

func TestProtocol(t *testing.T) {
	s := serve(t, tree(t))
	for _, h2 := range []bool{false, true} {
		c := s.client(h2)
		for _, path := range []string{"/v1/m/mod/plan", "/m/mod/hello.txt"} {
			a := s.do(c, "GET", path, s.bearer(), "Ropeway-Protocol: 7")
			if a.status != 426 || !strings.Contains(a.body, `"class":"incompatible"`) || !strings.Contains(a.body, `\"7\"`) || !strings.Contains(a.body, `\"0\"`) {
				t.Errorf("%s: %d %q", path, a.status, a.body)
			}
		}
		if a := s.do(c, "GET", "/m/mod/hello.txt", s.bearer(), "Ropeway-Protocol: 0"); a.status != 200 {
			t.Errorf("the same version: %d", a.status)
		}
		if a := s.do(c, "GET", "/healthz", "Ropeway-Protocol: 7"); a.status != 200 {
			t.Errorf("health: %d", a.status)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, tree(t))
	c := s.client(true)
	s.do(c, "GET", "/m/mod/hello.txt", s.bearer())
	s.do(c, "GET", "/m/mod/hello.txt")
	s.last(func(a Access) bool { return a.Status == 401 })
	a := s.do(c, "GET", "/metrics")
	for _, want := range []string{
		`ropeway_requests_total{module="mod",route="file",status="200"} 1`,
		`ropeway_requests_total{module="",route="file",status="401"} 1`,
		`ropeway_response_bytes_total{module="mod",route="file"} 5`,
		`ropeway_denied_total{status="401"} 1`,
		"ropeway_connections 1", "ropeway_ready 1", "go_goroutines", "process_",
	} {
		if a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%d: no %q in:\n%s", a.status, want, a.body)
		}
	}

	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	full := opened(t, tree(t))
	m := full.metrics
	m.ended(&Access{Outcome: OutcomeCut})
	m.ended(&Access{Outcome: OutcomeOK, Route: routeObject})
	m.denied.WithLabelValues("401")
	m.running.WithLabelValues("", "")
	fams, err := m.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, f := range fams {
		if strings.HasPrefix(f.GetName(), "ropeway_") {
			own[f.GetName()] = true
			if !strings.Contains(string(text), "| `"+f.GetName()+"` |") {
				t.Errorf("%s is not documented", f.GetName())
			}
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(ropeway_[a-z_]+)` ").FindAllStringSubmatch(string(text), -1) {
		if !own[row[1]] {
			t.Errorf("%s is documented but does not exist", row[1])
		}
	}
}

func TestMetricsNeedATokenFromElsewhere(t *testing.T) {
	s := opened(t, tree(t))
	for _, x := range []struct {
		remote, token string
		status        int
	}{
		{"127.0.0.1:1", "", 200}, {"[::1]:1", "", 200}, {"[::ffff:127.0.0.1]:1", "", 200},
		{"192.0.2.1:1", "", 401}, {"192.0.2.1:1", "rw_x", 401}, {"192.0.2.1:1", s.state.token, 200}, {"", "", 401},
	} {
		r := request("GET", "/metrics")
		r.RemoteAddr = x.remote
		if x.token != "" {
			r.Header.Set("Authorization", "Bearer "+x.token)
		}
		if w := answerTo(s, r); w.Code != x.status {
			t.Errorf("%+v: %d", x, w.Code)
		}
	}
}

func TestURLSurvivesRestart(t *testing.T) {
	cfg := tree(t)
	cfg.StateDir = filepath.Join(t.TempDir(), "deep", "state")
	cfg.NewPusher = func(PushModule) (Pusher, error) { return &fakePusher{}, nil }
	run := func(writable bool, name string) auth.URL {
		cfg := cfg
		cfg.Modules = []config.Module{{Name: name, Path: cfg.Modules[0].Path, Writable: writable}}
		s := serve(t, cfg)
		if a := s.do(s.client(true), "GET", "/m/"+name+"/hello.txt", s.bearer()); a.body != "hello" {
			t.Errorf("%d %q", a.status, a.body)
		}
		s.close()
		return s.url
	}
	first := run(false, "mod")
	writer := run(true, "mod")
	renamed := run(false, "name")
	for _, u := range []auth.URL{writer, renamed} {
		if u.Token == first.Token || u.Pin != first.Pin {
			t.Error("what was given out permits more, or the key changed")
		}
	}
	if again := run(false, "mod"); again.Token != first.Token || again.Pin != first.Pin {
		t.Error("the URL changed")
	}
	if again := run(true, "mod"); again.Token != writer.Token {
		t.Error("the writer's URL changed")
	}

	// A revoked token stays revoked.
	tokens, err := auth.OpenTokens(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	gs, err := tokens.List()
	if err != nil || len(gs) != 3 {
		t.Fatal(gs, err)
	}
	if err := tokens.Remove(gs[0].ID); err != nil {
		t.Fatal(err)
	}
	second := run(false, "mod")
	if second.Token == first.Token {
		t.Error("a revoked token is back")
	}

	// Tokens that others could read are no secrets any more.
	if !checksModes {
		return
	}
	file := filepath.Join(cfg.StateDir, tokenFile)
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if third := run(false, "mod"); third.Token == second.Token {
		t.Error("a leaked token is used on")
	}
	if gs, err := tokens.List(); err != nil || len(gs) != 1 {
		t.Error("leaked tokens stay valid:", gs, err)
	}
}

func TestEphemeralLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	cfg := tree(t)
	cfg.Ephemeral = true
	cfg.Getenv = func(k string) string { return map[string]string{"TMPDIR": tmp}[k] }
	s := serve(t, cfg)
	if a := s.do(s.client(true), "GET", "/m/mod/hello.txt", s.bearer()); a.body != "hello" {
		t.Errorf("%d %q", a.status, a.body)
	}
	if in, err := os.ReadDir(tmp); err != nil || len(in) != 1 {
		t.Error(in, err)
	}
	s.close()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Error("left behind:", left, err)
	}
	second := serve(t, cfg)
	if second.url.Pin == s.url.Pin || second.url.Token == s.url.Token {
		t.Error("the second one is the first one")
	}
}

func TestRefusals(t *testing.T) {
	ctx := t.Context()
	state := t.TempDir()
	held := tree(t)
	held.StateDir = state
	serve(t, held)
	for name, x := range map[string]struct {
		class fault.Class
		edit  func(*Config)
	}{
		"no module":     {fault.Usage, func(c *Config) { c.Modules = nil }},
		"no directory":  {fault.NotFound, func(c *Config) { c.Modules[0].Path += "/absent" }},
		"a file":        {fault.NotFound, func(c *Config) { c.Modules[0].Path += "/hello.txt" }},
		"state inside":  {fault.Usage, func(c *Config) { c.StateDir = c.Modules[0].Path + "/a/state" }},
		"state is root": {fault.Usage, func(c *Config) { c.StateDir = c.Modules[0].Path }},
		"temp inside": {fault.Usage, func(c *Config) {
			c.Ephemeral = true
			root := c.Modules[0].Path
			c.Getenv = func(string) string { return root }
		}},
		"state relative": {fault.Usage, func(c *Config) { c.StateDir = "state" }},
		"state in use":   {fault.Busy, func(c *Config) { c.StateDir = state }},
		"writable":       {fault.Usage, func(c *Config) { c.Modules[0].Writable = true }},
		"address":        {fault.Usage, func(c *Config) { c.Listen = []string{"a:b:c"} }},
	} {
		cfg := tree(t)
		cfg.Listen, cfg.StateDir = []string{"127.0.0.1:0"}, t.TempDir()
		x.edit(&cfg)
		cfg.Ready = func(Ready) { t.Errorf("%s: runs", name) }
		if err := Run(ctx, cfg); fault.ClassOf(err) != x.class {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeveralAddresses(t *testing.T) {
	cfg := tree(t)
	cfg.Listen = []string{":0", "127.0.0.1:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		cfg.Listen = append(cfg.Listen, "[::1]:0")
	}
	s := serve(t, cfg)
	if urls := s.ready.Modules[0].URLs; len(urls) != len(cfg.Listen) || len(s.ready.Addrs) != len(cfg.Listen) {
		t.Fatal(s.ready)
	}
	for _, text := range s.ready.Modules[0].URLs {
		u, err := auth.ParseURL(text)
		if err != nil {
			t.Fatal(err)
		}
		s.url = u
		if a := s.do(s.client(true), "GET", "/m/mod/hello.txt", s.bearer()); a.body != "hello" {
			t.Errorf("%s: %d %q", u, a.status, a.body)
		}
	}
}

func TestPlainClientsMayUseOlderTLS(t *testing.T) {
	for _, least := range []uint16{0, tls.VersionTLS12} {
		cfg := tree(t)
		cfg.MinTLS = least
		s := serve(t, cfg)
		c := s.client(false)
		c.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
		if least == 0 {
			if resp, err := c.Get("https://" + s.url.Addr() + "/healthz"); err == nil {
				t.Error(resp.Status)
				resp.Body.Close()
			}
			continue
		}
		if a := s.do(c, "GET", "/m/mod/hello.txt", s.bearer()); a.body != "hello" {
			t.Error(a)
		}
		if a := s.do(c, "POST", "/v1/m/mod/plan", s.bearer()); a.status != 403 {
			t.Error(a)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:8873")
	if err == nil { // or somebody else has it, which is as good
		defer l.Close()
	}
	cfg := tree(t)
	cfg.Listen = []string{}
	s := serve(t, cfg)
	if s.url.Port == config.DefaultPort || s.url.Host != "127.0.0.1" || len(s.warns) == 0 || !strings.Contains(s.warns[0], "in use") {
		t.Error(s.ready, s.warns)
	}
	cfg = tree(t)
	cfg.StateDir, cfg.Listen = t.TempDir(), []string{s.ready.Addrs[0]}
	if err := Run(t.Context(), cfg); fault.ClassOf(err) != fault.Busy {
		t.Error(err)
	}
}
