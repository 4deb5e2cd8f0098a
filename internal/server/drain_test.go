package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
)

// big is more than sockets and HTTP/2 windows buffer.
const big = 64 << 20

// half begins to download a big file and returns the rest of it.
func half(t *testing.T, s *site, h2 bool) (rest io.ReadCloser, read []byte) {
	t.Helper()
	req, err := http.NewRequest("GET", "https://"+s.url.Addr()+"/m/mod/big", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.url.Token)
	resp, err := s.client(h2).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	read = make([]byte, 1<<20)
	if _, err := io.ReadFull(resp.Body, read); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	return resp.Body, read
}

func bigTree(t *testing.T) (Config, []byte) {
	cfg := tree(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), big/16)
	write(t, filepath.Join(cfg.Modules[0].Path, "big"), string(content))
	return cfg, content
}

func TestDrainLetsDownloadsFinish(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			cfg, content := bigTree(t)
			s := serve(t, cfg)
			rest, got := half(t, s, h2)
			s.stop()
			// The listener closes first, and then nobody gets in.
			for {
				c, err := net.DialTimeout("tcp", s.url.Addr(), time.Minute)
				if err != nil {
					break
				}
				c.Close()
			}
			select {
			case err := <-s.ended:
				t.Fatal("ended before the download:", err)
			default:
			}
			b, err := io.ReadAll(rest)
			if err != nil || !bytes.Equal(append(got, b...), content) {
				t.Error("the download did not finish:", len(b), err)
			}
			s.close()
			if a := s.last(func(a Access) bool { return a.Route == routeFile }); a.Outcome != OutcomeOK || a.Bytes != big {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := bigTree(t)
			cfg.Grace = time.Millisecond
			s := serve(t, cfg)
			rest, _ := half(t, s, h2)
			s.close()
			if a := s.last(func(a Access) bool { return a.Route == routeFile }); a.Outcome != OutcomeCut || a.Cause != causeStopped {
				t.Errorf("%+v", a)
			}
			if n, err := io.Copy(io.Discard, rest); err == nil {
				t.Error("the answer looks whole after", n)
			}
		})
	}
}

func TestCutDownloadsAreExplained(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := bigTree(t)
			s := serve(t, cfg)
			rest, _ := half(t, s, h2)
			rest.Close()
			if a := s.last(func(a Access) bool { return a.Route == routeFile }); a.Outcome != OutcomeCut || a.Cause != causeLeft {
				t.Errorf("left: %+v", a)
			}
			s.mu.Lock()
			s.access = nil
			s.mu.Unlock()

			rest, _ = half(t, s, h2)
			f, err := os.OpenFile(filepath.Join(cfg.Modules[0].Path, "big"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("changed"), big-10); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if n, err := io.Copy(io.Discard, rest); err == nil {
				t.Error("the answer looks whole after", n)
			}
			if a := s.last(func(a Access) bool { return a.Route == routeFile }); a.Outcome != OutcomeCut || a.Cause != causeChanged {
				t.Errorf("changed: %+v", a)
			}
		})
	}
}

func TestConnectionLimits(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"one address": func(c *Config) { c.MaxConnsPerAddr = 2 },
		"all":         func(c *Config) { c.MaxConns = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := tree(t)
			edit(&cfg)
			s := serve(t, cfg)
			dial := func() (*tls.Conn, error) {
				return tls.Dial("tcp", s.url.Addr(), &tls.Config{
					InsecureSkipVerify: true, VerifyConnection: auth.VerifyPinned(s.url.Pin), NextProtos: []string{"http/1.1"},
				})
			}
			var open []*tls.Conn
			for range beyond(2) {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				open = append(open, c)
			}
			if _, err := dial(); err == nil {
				t.Error("no bound on what is told to go away")
			}
			for i, c := range open {
				if _, err := io.WriteString(c, "GET /m/mod/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+s.url.Token+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				resp := readResponse(t, c)
				if i < 2 && resp.StatusCode != 200 {
					t.Errorf("connection %d: %s", i, resp.Status)
				}
				if i >= 2 && (resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !resp.Close) {
					t.Errorf("connection %d: %s %v", i, resp.Status, resp.Header)
				}
			}
			for _, c := range open {
				c.Close()
			}
			for id := range uint64(beyond(2)) {
				s.closedConn(id + 1)
			}
			if a := s.do(s.client(true), "GET", "/m/mod/hello.txt", s.bearer()); a.status != 200 {
				t.Error(a)
			}
		})
	}
}
