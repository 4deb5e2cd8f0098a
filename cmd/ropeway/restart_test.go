//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/netsim"
)

// link puts a simulated link before a server and returns it and the URL that
// leads through it.
func link(t *testing.T, s *server, p netsim.Params) (*netsim.Link, string) {
	t.Helper()
	l := netsim.New(p, p, 1)
	ctx, cancel := context.WithCancel(context.Background())
	proxy, err := netsim.Proxy(ctx, "127.0.0.1:0", s.addr(), l)
	must(t, err)
	t.Cleanup(func() {
		cancel()
		proxy.Wait()
	})
	return l, strings.Replace(s.url, s.addr(), proxy.Addr().String(), 1)
}

// wan is a link of 10 ms and 2 MB/s.
func wan() netsim.Params { return netsim.Params{Delay: 5 * time.Millisecond, Rate: 16_000_000} }

// release is a tree of some large and many small files, 6 MB.
func release(seed uint64) fstest.Spec {
	s := fstest.Spec{"lib/big.jar": fstest.Random(3<<20+17, seed), "lib/mid.bin": fstest.Random(1<<20, seed+1), "empty/dir": fstest.Dir()}
	for i := range 40 {
		s[fmt.Sprintf("app/%02d/class", i)] = fstest.Random(int64(1000+i*2000), seed+10+uint64(i))
	}
	s["current"] = fstest.Link("app/00")
	return s
}

// TestInterrupted has Ctrl-C and SIGTERM in the middle of a transfer: what was
// verified is kept, and not sent again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"pull", "push"} {
		for sig, class := range map[syscall.Signal]fault.Class{syscall.SIGINT: fault.Interrupted, syscall.SIGTERM: fault.Terminated} {
			t.Run(way+" "+class.String(), func(t *testing.T) {
				t.Parallel()
				src, dst := dir(t), filepath.Join(dir(t), "dst")
				fstest.Tree(t, src, release(1))
				root, args := src, []string(nil)
				if way == "push" {
					must(t, os.Mkdir(dst, 0o755))
					root, args = dst, []string{"--writable"}
				}
				s := serve(t, root, args...)
				l, url := link(t, s, wan())
				from, to, down := url, dst, func(st netsim.Stats) int64 { return st.Down.Delivered }
				if way == "push" {
					from, to, down = src+"/", url, func(st netsim.Stats) int64 { return st.Up.Delivered }
				}
				const part = 3_000_000
				p := call{t: t}.start("sync", "-a", "--json", from, to)
				eventually(t, "half has come", func() bool { return down(l.Stats()) > part })
				p.signal(sig)
				r := p.wait()
				r.wants(class)
				if r.took > 20*time.Second {
					t.Errorf("took %v", r.took)
				}
				if len(r.complaint()) == 0 || !strings.Contains(r.err, "kept") {
					t.Errorf("does not say that it can go on: %v", r)
				}
				if m := snapshot(t, dst); len(m) > 1 {
					t.Errorf("landed %d objects before the end", len(m)-1)
				}
				before := down(l.Stats())
				run(t, "sync", "-a", from, to).ok()
				same(t, src, dst)
				again := down(l.Stats()) - before
				all := int64(6_000_000)
				if again > all-part+1_000_000 {
					t.Errorf("sent %d bytes again after %d", again, before)
				}
				t.Logf("%d bytes, then %d", before, again)
			})
		}
	}
}

// TestServerDrains has SIGTERM to a server during a transfer: it ends well, and
// the transfer goes on when another server is there.
func TestServerDrains(t *testing.T) {
	t.Parallel()
	src, dst, state := dir(t), filepath.Join(dir(t), "dst"), dir(t)
	fstest.Tree(t, src, fstest.Spec{"f": fstest.Random(4<<20, 1)})
	ready := filepath.Join(dir(t), "ready")
	s := &server{process: call{t: t}.start("serve", "--state-dir="+state, "--name=m", "--listen=127.0.0.1:0", "--ready-file="+ready, src)}
	eventually(t, "the ready file is there", func() bool {
		b, err := os.ReadFile(ready)
		s.url = strings.TrimSpace(string(b))
		return err == nil
	})
	if info, err := os.Stat(ready); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ready file: %v, %v", info.Mode(), err)
	}
	_, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", url, dst)
	eventually(t, "something is staged", func() bool { return staged(dst) > 500_000 })
	s.signal(syscall.SIGTERM)
	if r := s.wait(); r.code != 0 || len(r.complaint()) > 0 {
		t.Errorf("server: %v", r)
	}
	if _, err := os.Stat(ready); err == nil {
		t.Error("the ready file is still there")
	}
	if !p.running() {
		t.Fatalf("ended with the server: %v", p.wait())
	}
	next := serve(t, src, "--state-dir="+state, "--listen="+s.addr())
	if next.url != s.url {
		t.Errorf("the URL was %s and is %s", s.url, next.url)
	}
	p.wait().ok()
	same(t, src, dst)
}

// TestServerForgets has a server that loses everything it keeps: between runs,
// and in the middle of one.
func TestServerForgets(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"between runs", "in the middle"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			src, dst, state := dir(t), filepath.Join(dir(t), "dst"), dir(t)
			fstest.Tree(t, src, release(1))
			s := serve(t, src, "--state-dir="+state)
			addr := s.addr()
			_, url := link(t, s, wan())
			restart := func() {
				s.kill()
				for _, name := range entries(t, state) {
					if name != "server.key" && name != "server.crt" && !strings.Contains(name, "token") {
						must(t, os.RemoveAll(filepath.Join(state, name)))
					}
				}
				s = serve(t, src, "--state-dir="+state, "--listen="+addr)
			}
			if when == "between runs" {
				run(t, "sync", "-a", s.url, dst).ok()
				write(t, dst+"/app/00/class", "changed here")
				write(t, dst+"/extra", "extra")
				must(t, os.RemoveAll(dst+"/app/01"))
				write(t, src+"/app/02/class", "changed there")
				restart()
				run(t, "sync", "-a", "--delete", s.url, dst).ok()
				same(t, src, dst)
				return
			}
			p := call{t: t}.start("sync", "-a", url, dst)
			eventually(t, "a part is staged", func() bool { return staged(dst) > 1_000_000 })
			restart()
			r := p.wait()
			if r.code != 0 {
				t.Fatalf("%v", r)
			}
			same(t, src, dst)
		})
	}
}

// entries lists a directory.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// staged counts the bytes that are staged in a destination.
func staged(dst string) (n int64) {
	files, _ := filepath.Glob(dst + "/" + stateDir + "/stage/*")
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
	}
	return n
}
