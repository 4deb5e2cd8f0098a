//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// addr is HOST:PORT of the server.
func (s *server) addr() string {
	_, rest, _ := strings.Cut(s.url, "@")
	addr, _, _ := strings.Cut(rest, "/")
	return addr
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// mute listens at addr, accepts, and never says anything.
func mute(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		l.Close()
	}
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	write(t, src+"/f", "f")
	s := serve(t, src, "--listen=[::1]:0", "--writable")
	if !strings.Contains(s.url, "@[::1]:") {
		t.Errorf("URL %s", s.url)
	}
	run(t, "sync", "-a", s.url, dst).ok()
	write(t, dst+"/g", "g")
	run(t, "sync", "-a", dst+"/", s.url).ok()
	same(t, src, dst)
	run(t, "ls", s.url).ok()
}

// TestSeveralAddresses has a name of two addresses, one of them dead.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	addrs, err := net.DefaultResolver.LookupHost(context.Background(), "localhost")
	if err != nil || !strings.Contains(strings.Join(addrs, " "), "::1") || !strings.Contains(strings.Join(addrs, " "), "127.0.0.1") {
		t.Skipf("localhost is %v", addrs)
	}
	for _, listen := range []string{"127.0.0.1", "[::1]"} {
		for _, dead := range []string{"refuses", "is mute"} {
			t.Run(listen+", the other "+dead, func(t *testing.T) {
				t.Parallel()
				src, dst := dir(t), filepath.Join(dir(t), "dst")
				write(t, src+"/f", "f")
				s := serve(t, src, "--listen="+listen+":0", "--advertise=localhost")
				if dead == "is mute" {
					_, port, err := net.SplitHostPort(s.addr())
					must(t, err)
					mute(t, map[string]string{"127.0.0.1": "[::1]:", "[::1]": "127.0.0.1:"}[listen]+port)
				}
				run(t, "sync", "-a", s.url, dst).ok()
				same(t, src, dst)
			})
		}
	}
}

// TestProxy has servers that only a proxy can reach.
func TestProxy(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	write(t, src+"/f", strings.Repeat("f", 1<<20))
	s := serve(t, src, "--writable")
	_, port, err := net.SplitHostPort(s.addr())
	must(t, err)
	var connects atomic.Int64
	var wg sync.WaitGroup
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		switch {
		case r.Method != http.MethodConnect || r.Host != "far.example:"+port:
			w.WriteHeader(http.StatusForbidden)
			return
		case user != "me" || pass != "secret":
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		connects.Add(1)
		far, err := net.Dial("tcp", s.addr())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		near, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = buf.Flush()
		wg.Go(func() { _, _ = io.Copy(far, bufio.NewReader(buf)); far.Close() })
		wg.Go(func() { _, _ = io.Copy(near, far); near.Close() })
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	wg.Go(func() { _ = proxy.Serve(l) })
	t.Cleanup(func() {
		s.kill()
		_ = proxy.Close()
		wg.Wait()
	})
	url := other(t, s.url, s.addr(), "far.example:"+port)
	with := func(auth string) call {
		return call{t: t, env: []string{"HTTPS_PROXY=http://" + auth + l.Addr().String()}}
	}
	with("me:secret@").run("sync", "-a", url, dst).ok()
	write(t, dst+"/g", "g")
	with("me:secret@").run("sync", "-a", dst+"/", url).ok()
	same(t, src, dst)
	if connects.Load() == 0 {
		t.Error("the proxy was not used")
	}
	r := with("me:wrong@").run("sync", "-a", url, dst).refuses(fault.Denied, "HTTPS_PROXY")
	if strings.Contains(r.err, "wrong") {
		t.Errorf("shows the password: %v", r)
	}
	with("me:secret@").run("sync", "-a", other(t, url, "far.example", "elsewhere.example"), dst).refuses(fault.Denied, "elsewhere.example")
	with("").run("ls", url).refuses(fault.Denied, "HTTPS_PROXY")
}

// TestBareEnvironment has no variable at all, as under env -i.
func TestBareEnvironment(t *testing.T) {
	t.Parallel()
	src, dst, there := dir(t), filepath.Join(dir(t), "dst"), filepath.Join(dir(t), "there")
	write(t, src+"/f", "f")
	c := call{t: t, bare: true}
	c.run("serve", src, "--listen=127.0.0.1:0").refuses(fault.Usage, "HOME", "--state-dir", "--ephemeral")
	s := c.serve(src, "--writable")
	c.run("sync", "-a", s.url, dst).ok()
	same(t, src, dst)
	write(t, dst+"/g", "g")
	c.run("sync", "-a", dst+"/", s.url).ok()
	c.run("sync", "-a", src+"/", there).ok()
	same(t, src, there)
	c.run("ls", s.url).ok()
	c.run("version").ok()
	s.signal(syscall.SIGTERM)
	s.wait()
}
