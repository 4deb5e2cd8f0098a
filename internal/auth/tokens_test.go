package auth

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func request(auth func(*http.Request)) *http.Request {
	r := &http.Request{Header: http.Header{}, RemoteAddr: "192.0.2.1:1234"}
	auth(r)
	return r
}

func bearer(token string) *http.Request {
	return request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	ts, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	tok, g, err := ts.Add("ci", Read, []string{"rel"}, time.Time{})
	if err != nil || len(tok) != 3+32 || !strings.HasPrefix(tok, "rw_") || len(g.ID) != idLen {
		t.Fatal(tok, g, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, tokensFile))
	if err != nil || strings.Contains(string(data), tok) {
		t.Fatalf("%s, %v", data, err)
	}
	if fi, _ := os.Stat(filepath.Join(dir, tokensFile)); checksModes && fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode())
	}
	for name, r := range map[string]*http.Request{
		"bearer": bearer(tok),
		"basic":  request(func(r *http.Request) { r.SetBasicAuth("x", tok) }),
		"user":   request(func(r *http.Request) { r.SetBasicAuth(tok, "") }),
	} {
		if err := ts.Check(r, "rel", Read); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range []error{ts.Check(r, "rel", Write), ts.Check(r, "other", Read), ts.Check(r, "rel", Read|Write), ts.Check(r, "rel", 0)} {
			if !errors.Is(err, ErrForbidden) || fault.ClassOf(err) != fault.Denied {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for want, r := range map[error]*http.Request{
		ErrNoToken:  request(func(*http.Request) {}),
		ErrBadToken: bearer(tok + "x"),
	} {
		if err := ts.Check(r, "rel", Read); !errors.Is(err, want) || fault.ClassOf(err) != fault.Denied || strings.Contains(err.Error(), tok) {
			t.Error(err)
		}
	}
	if err := ts.Remove("nope"); fault.ClassOf(err) != fault.NotFound {
		t.Error(err)
	}
	if err := ts.Remove(g.ID); err != nil {
		t.Error(err)
	}
	if err := ts.Check(bearer(tok), "rel", Read); !errors.Is(err, ErrBadToken) {
		t.Error(err)
	}
	if _, _, err := ts.Add("", Read, nil, time.Time{}); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
	if _, _, err := ts.Add("", Read, []string{"a/b"}, time.Time{}); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}

func TestTokensOfOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ts, err := OpenTokens(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for range 3 {
				if _, _, err := ts.Add("", Read|Write, []string{AllModules}, time.Time{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ts, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	if gs, err := ts.List(); err != nil || len(gs) != 12 {
		t.Fatal(len(gs), err)
	}
}

func TestTokensReload(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		server, _ := OpenTokens(dir)
		admin, _ := OpenTokens(dir)
		tok, g, err := admin.Add("", Write, []string{AllModules}, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(tokensCheck)
		if err := server.Check(bearer(tok), "m", Write); err != nil {
			t.Error("not seen:", err)
		}
		time.Sleep(2 * time.Hour)
		if err := server.Check(bearer(tok), "m", Write); !errors.Is(err, ErrBadToken) {
			t.Error("expired:", err)
		}
		if err := admin.Remove(g.ID); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, tokensFile)
		for _, junk := range []string{"{", `{"version":2}`, `{"version":1,"tokens":[],"x":1}`, `{"version":1} {}`,
			`{"version":1,"tokens":[{"sha256":"00"}]}`} {
			if err := os.WriteFile(path, []byte(junk), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tokensCheck)
			if err := server.Check(bearer(tok), "m", Write); fault.ClassOf(err) != fault.Other {
				t.Errorf("%s: %v", junk, err)
			}
		}
		os.Remove(path)
		time.Sleep(tokensCheck)
		if err := server.Check(bearer(tok), "m", Write); !errors.Is(err, ErrBadToken) {
			t.Error("removed:", err)
		}
	})
}

func TestThrottle(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ts, _ := OpenTokens(dir)
		tok, _, err := ts.Add("", Read, []string{"m"}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for range failBurst {
			if err := ts.Check(bearer("x"), "m", Read); !errors.Is(err, ErrBadToken) {
				t.Fatal(err)
			}
		}
		if err := ts.Check(bearer("x"), "m", Read); !errors.Is(err, ErrThrottled) || fault.ClassOf(err) != fault.Denied {
			t.Fatal(err)
		}
		if err := ts.Check(bearer(tok), "m", Read); err != nil {
			t.Error("a good token from there:", err)
		}
		r := bearer("x")
		r.RemoteAddr = "192.0.2.2:1"
		if err := ts.Check(r, "m", Read); !errors.Is(err, ErrBadToken) {
			t.Error("another address:", err)
		}
		time.Sleep(failRefill)
		if err := ts.Check(bearer("x"), "m", Read); !errors.Is(err, ErrBadToken) {
			t.Error("later:", err)
		}
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter()
	now := time.Now()
	for i := range 3 * failTable {
		l.fail(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), now)
	}
	if len(l.until) > failTable {
		t.Fatal(len(l.until))
	}
	if prefixOf("[2001:db8::1]:1") != prefixOf("[2001:db8::ffff]:2") || prefixOf("[2001:db8::1]:1") == prefixOf("[2001:db8:0:1::1]:1") {
		t.Error("IPv6 is not counted per /64")
	}
}

func TestParseVerbs(t *testing.T) {
	for _, v := range []Verb{Read, Write, Read | Write} {
		if got, err := ParseVerbs(v.String()); err != nil || got != v {
			t.Error(v, got, err)
		}
	}
	if _, err := ParseVerbs("read,delete"); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte(`{"version":1,"tokens":[{"name":"n","sha256":"` + hash("x") + `","verbs":["read"],"modules":["*"],"created":"2026-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		gs, err := parseTokens(data)
		if err != nil {
			return
		}
		for i := range gs {
			if gs[i].Allows("m", 0, time.Now()) {
				t.Fatal("no verb allows")
			}
		}
		find(gs, "x")
	})
}
