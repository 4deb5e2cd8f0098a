package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a server that runs.
type site struct {
	t     *testing.T
	ready Ready
	url   auth.URL // of the first module
	stop  context.CancelFunc
	ended chan error // what Run returned
	once  sync.Once

	clients []func() // close their idle connections

	mu      sync.Mutex
	access  []Access
	warns   []string
	conns   []Conn
	changed chan struct{} // holds an element after something was noted
}

// serve runs a server on a free port of 127.0.0.1 until the test ends.
func serve(t *testing.T, cfg Config) *site {
	t.Helper()
	s := &site{t: t, ended: make(chan error, 1), changed: make(chan struct{}, 1)}
	if cfg.Listen == nil {
		cfg.Listen = []string{"127.0.0.1:0"}
	}
	if cfg.StateDir == "" && !cfg.Ephemeral {
		cfg.StateDir = t.TempDir()
	}
	ready := make(chan Ready, 1)
	cfg.Hooks = Hooks{
		Ready: func(r Ready) { ready <- r },
		Access: func(a Access) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.access = append(s.access, a)
			s.note()
		},
		Conn: func(c Conn) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conns = append(s.conns, c)
			s.note()
		},
		Warn: func(w event.Warn) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.warns = append(s.warns, w.Text)
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- Run(ctx, cfg) }()
	t.Cleanup(s.close)
	select {
	case s.ready = <-ready:
	case err := <-s.ended:
		s.ended <- err
		t.Fatal(err)
	}
	u, err := auth.ParseURL(s.ready.Modules[0].URLs[0])
	if err != nil {
		t.Fatal(err)
	}
	s.url = u
	return s
}

func (s *site) note() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// close ends the server, once.
func (s *site) close() {
	s.once.Do(func() {
		for _, idle := range s.clients {
			idle() // or the server would wait a second for each to hear of the end
		}
		s.stop()
		select {
		case err := <-s.ended:
			if err != nil {
				s.t.Error(err)
			}
		case <-time.After(time.Minute):
			s.t.Error("the server does not end")
		}
	})
}

// last waits for a request to be logged that f wants.
func (s *site) last(f func(Access) bool) Access {
	s.t.Helper()
	for {
		s.mu.Lock()
		for _, a := range s.access {
			if f(a) {
				s.mu.Unlock()
				return a
			}
		}
		s.mu.Unlock()
		select {
		case <-s.changed:
		case <-time.After(time.Minute):
			s.t.Fatalf("not logged: %+v", s.access)
		}
	}
}

// client trusts the server by its pin alone.
func (s *site) client(h2 bool) *http.Client {
	tr := &http.Transport{
		ForceAttemptHTTP2: h2,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, VerifyConnection: auth.VerifyPinned(s.url.Pin)},
	}
	if !h2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	s.clients = append(s.clients, tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request; headers are "Name: value".
func (s *site) do(c *http.Client, method, path string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, "https://"+s.url.Addr()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// bearer is the header of the token that was printed.
func (s *site) bearer() string { return "Authorization: Bearer " + s.url.Token }

// tree returns a directory with a file, and the configuration that serves it
// as module mod.
func tree(t *testing.T) Config {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "hello.txt"), "hello")
	write(t, filepath.Join(root, "sub", "deep.txt"), "deep")
	write(t, filepath.Join(root, ".ropeway", "index"), "secret")
	return Config{Server: config.Server{Modules: []config.Module{{Name: "mod", Path: root}}}}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readResponse reads an answer, but not all of its body.
func readResponse(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// closedConn waits until a connection has been closed.
func (s *site) closedConn(id uint64) {
	s.t.Helper()
	for {
		s.mu.Lock()
		closed := slices.ContainsFunc(s.conns, func(c Conn) bool { return c.ID == id && c.Event == "close" })
		s.mu.Unlock()
		if closed {
			return
		}
		select {
		case <-s.changed:
		case <-time.After(time.Minute):
			s.t.Fatalf("connection %d is not closed", id)
		}
	}
}
