//go:build unix

package main

import (
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/netsim"
	"github.com/ropeway/ropeway/internal/wire"
)

// part is what has come before something happens, of a release of 6 MB.
const part = 3_000_000

// again fails the test if more than what was missing has crossed the link, and
// something for what was on its way.
func again(t *testing.T, before, after int64) {
	t.Helper()
	const all = 6_000_000
	if n := after - before; n > all-part+1_000_000 {
		t.Errorf("%d bytes came before, and %d after", before, n)
	}
}

// TestChangedAddress goes on from a server that is elsewhere by now, and from
// another server with the same content: what was verified is not sent again.
func TestChangedAddress(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"same server", "another server"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			src, dst, state := dir(t), filepath.Join(dir(t), "dst"), dir(t)
			fstest.Tree(t, src, release(1))
			s := serve(t, src, "--state-dir="+state)
			l, url := link(t, s, wan())
			p := call{t: t}.start("sync", "-a", url, dst)
			eventually(t, "half has come", func() bool { return l.Stats().Down.Delivered > part })
			p.kill()
			s.kill()
			if which == "another server" {
				state = dir(t)
			}
			moved := serve(t, src, "--state-dir="+state)
			if moved.addr() == s.addr() {
				t.Skip("the port is the same")
			}
			l2, url2 := link(t, moved, wan())
			run(t, "sync", "-a", url2, dst).ok()
			same(t, src, dst)
			again(t, 0, l2.Stats().Down.Delivered)
		})
	}
}

// TestUpgraded has the program exchanged in the middle of a job, at both ends.
func TestUpgraded(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the program again")
	}
	next := filepath.Join(dir(t), "ropeway")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w -buildid=next", "-o", next, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	src, dst, state := dir(t), filepath.Join(dir(t), "dst"), dir(t)
	fstest.Tree(t, src, release(1))
	s := serve(t, src, "--state-dir="+state)
	l, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", url, dst)
	eventually(t, "half has come", func() bool { return l.Stats().Down.Delivered > part })
	p.kill()
	s.kill()
	before := l.Stats().Down.Delivered
	upgraded := call{t: t, program: next}
	upgraded.serve(src, "--state-dir="+state, "--listen="+s.addr())
	upgraded.run("sync", "-a", url, dst).ok()
	same(t, src, dst)
	again(t, before, l.Stats().Down.Delivered)
}

// TestReplacedServer has another server at the address, with another key, in the
// middle of a transfer: it is refused at once and loudly, whatever --timeout.
func TestReplacedServer(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"pull", "push"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			src, dst := dir(t), dir(t)
			fstest.Tree(t, src, release(1))
			root := src
			if way == "push" {
				root = dst
			}
			s := serve(t, root, "--writable")
			l, url := link(t, s, wan())
			args := []string{"sync", "-a", url, dst}
			if way == "push" {
				args = []string{"sync", "-a", src + "/", url}
			}
			p := call{t: t}.start(append(args, "--timeout=0")...)
			eventually(t, "a part has come", func() bool { st := l.Stats(); return st.Down.Delivered+st.Up.Delivered > part/3 })
			s.kill()
			serve(t, root, "--writable", "--listen="+s.addr())
			r := p.wait().refuses(fault.Integrity, "WRONG SERVER KEY")
			if r.took > 30*time.Second {
				t.Errorf("took %v", r.took)
			}
		})
	}
}

// TestHalfOpen has connections that one side takes for open and the other has
// lost.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"pull", "push"} {
		for side, told := range map[string]netsim.Side{"client lost it": netsim.Dialer, "server lost it": netsim.Listener} {
			t.Run(way+", "+side, func(t *testing.T) {
				t.Parallel()
				src, dst := dir(t), dir(t)
				fstest.Tree(t, src, release(1))
				root := src
				if way == "push" {
					root = dst
				}
				s := serve(t, root, "--writable")
				l, url := link(t, s, wan())
				l.Schedule(netsim.Event{AfterBytes: part, Dir: netsim.Both, Do: netsim.Reset, Side: told})
				args := []string{"sync", "-a", url, dst}
				if way == "push" {
					args = []string{"sync", "-a", src + "/", url}
				}
				run(t, args...).ok()
				same(t, src, dst)
				st := l.Stats()
				if st.Resets == 0 {
					t.Error("nothing was reset")
				}
				if n := st.Up.Delivered + st.Down.Delivered; n > 8_000_000 {
					t.Errorf("%d bytes crossed the link", n)
				}
			})
		}
	}
}

// TestBufferingProxy has something on the way that hands on what comes in
// gulps, a second late.
func TestBufferingProxy(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"pull", "push"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			src, dst := dir(t), dir(t)
			fstest.Tree(t, src, release(1))
			root := src
			if way == "push" {
				root = dst
			}
			s := serve(t, root, "--writable")
			url := other(t, s.url, s.addr(), gulps(t, s.addr(), time.Second))
			args := []string{"sync", "-a", url, dst}
			if way == "push" {
				args = []string{"sync", "-a", src + "/", url}
			}
			run(t, args...).ok()
			same(t, src, dst)
		})
	}
}

// gulps relays connections to an address, and holds back what comes for up to
// every.
func gulps(t *testing.T, to string, every time.Duration) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	pass := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		buf, tick := make([]byte, 4<<20), time.NewTicker(every)
		defer tick.Stop()
		for {
			n := 0
			_ = src.SetReadDeadline(time.Now().Add(every))
			for n < len(buf) {
				k, err := src.Read(buf[n:])
				if n += k; err == nil {
					continue
				}
				if e, ok := err.(net.Error); ok && e.Timeout() {
					break
				}
				_, _ = dst.Write(buf[:n])
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil || ctx.Err() != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			wg.Go(func() { pass(far, near) })
			wg.Go(func() { pass(near, far) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// TestFewFiles has either end run out of file descriptors: it goes on with
// what it can have, or says what is missing.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	src := dir(t)
	fstest.Tree(t, src, release(1))
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		dst := filepath.Join(dir(t), "dst")
		s := call{t: t, files: 48}.serve(src)
		run(t, "sync", "-a", s.url, dst).ok()
		same(t, src, dst)
	})
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		dst := filepath.Join(dir(t), "dst")
		s := serve(t, src)
		for _, n := range []int{14, 20, 30, 48, 64} {
			r := call{t: t, files: n}.run("sync", "-a", "--timeout=5", "--contimeout=5", s.url, dst)
			if r.code == 0 {
				same(t, src, dst)
				t.Logf("%d files are enough", n)
				return
			}
			if len(r.complaint()) == 0 || !strings.Contains(r.err, "open files") {
				t.Errorf("with %d files: %v", n, r)
			}
		}
		t.Error("64 files are not enough")
	})
}

// TestScanAndDeadLink has a server that scans for long: while it says so it is
// believed, and when the link dies meanwhile that is told, and ends the job.
func TestScanAndDeadLink(t *testing.T) {
	t.Parallel()
	liar := (&liar{plan: func(s *speech) {
		s.base()
		ticks(s, func(n int) { s.frame(wire.KindWork, (&wire.Work{Stage: "scan", Files: int64(n)}).Marshal()) })
	}}).start(t)
	l, url := link(t, &server{url: liar.url}, wan())
	p := call{t: t}.start("sync", "-a", "--json", "--timeout=6", url, filepath.Join(dir(t), "dst"))
	shown := func(kind string) bool { return strings.Contains(p.out.String(), `"type":"`+kind+`"`) }
	eventually(t, "the scan is shown", func() bool { return strings.Contains(p.out.String(), `"stage":"scan"`) })
	if shown("link") {
		t.Error("says that the link is down")
	}
	began := time.Now()
	l.Blackout(netsim.Both, true)
	r := p.wait().wants(fault.Network)
	if took := time.Since(began); took > soon {
		t.Errorf("took %v", took)
	}
	if !shown("link") || !strings.Contains(r.err, "6s") {
		t.Errorf("does not say what happened: %v", r)
	}
}

// TestDeadline ends a job at its time, whatever it does, with what to do.
func TestDeadline(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, release(1))
	s := serve(t, src)
	_, url := link(t, s, netsim.Params{Delay: 5 * time.Millisecond, Rate: 4_000_000})
	r := run(t, "sync", "-a", "--deadline=3", url, dst).refuses(fault.Limit, "deadline of 3s", "continue")
	if r.took > soon {
		t.Errorf("took %v", r.took)
	}
	if staged(dst) == 0 {
		t.Error("nothing is kept")
	}
	run(t, "sync", "-a", s.url, dst).ok()
	same(t, src, dst)
}

// TestLimits has the rate that is asked for, by either way, and what limits is
// told.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"pull", "push"} {
		for _, limit := range []string{"--bwlimit=256K", "--bwlimit=00:00,256K"} {
			t.Run(way+" "+limit, func(t *testing.T) {
				t.Parallel()
				src, dst := dir(t), dir(t)
				fstest.Tree(t, src, fstest.Spec{"f": fstest.Random(1<<20, 1)})
				root := src
				if way == "push" {
					root = dst
				}
				s := serve(t, root, "--writable")
				args := []string{"sync", "-a", s.url, dst}
				if way == "push" {
					args = []string{"sync", "-a", src + "/", s.url}
				}
				r := run(t, append(args, "--json", limit)...).ok()
				same(t, src, dst)
				if r.took < 2500*time.Millisecond || r.took > soon {
					t.Errorf("1 MiB at 256 KiB/s took %v", r.took)
				}
				said := 0
				for line := range strings.Lines(r.out) {
					var e struct{ Type, Limit string }
					must(t, json.Unmarshal([]byte(line), &e))
					if e.Type == "status" && e.Limit == "bwlimit" {
						said++
					}
				}
				if said == 0 {
					t.Errorf("does not say what limits it: %v", r)
				}
			})
		}
	}
}

// TestMirrors has further ways to a server, and further servers.
func TestMirrors(t *testing.T) {
	t.Parallel()
	src := dir(t)
	fstest.Tree(t, src, release(1))
	t.Run("another way", func(t *testing.T) {
		t.Parallel()
		dst := filepath.Join(dir(t), "dst")
		s := serve(t, src, "--writable")
		gone := other(t, s.url, s.addr(), closedPort(t))
		run(t, "sync", "-a", gone, dst, "--contimeout=20", "--mirror="+s.url).ok()
		same(t, src, dst)
		write(t, dst+"/new", "new")
		back := dir(t)
		s2 := serve(t, back, "--writable")
		run(t, "sync", "-a", dst+"/", other(t, s2.url, s2.addr(), mute(t, "127.0.0.1:0")), "--mirror="+s2.url).ok()
		same(t, dst, back)
	})
	t.Run("another server", func(t *testing.T) {
		t.Parallel()
		top, dst := dir(t), filepath.Join(dir(t), "dst")
		copied := filepath.Join(top, "elsewhere", "copy")
		fstest.Tree(t, copied, release(1))
		a, b := serve(t, src), serve(t, top)
		_, url := link(t, a, netsim.Params{Delay: 5 * time.Millisecond, Rate: 2_000_000})
		l, url2 := link(t, b, wan())
		run(t, "sync", "-a", url, dst, "--mirror="+other(t, url2, "/m/m/", "/m/m/elsewhere/copy/")).ok()
		same(t, src, dst)
		if n := l.Stats().Down.Delivered; n < 500_000 {
			t.Errorf("only %d bytes came from the mirror", n)
		}
	})
	t.Run("the first one dies", func(t *testing.T) {
		t.Parallel()
		dst := filepath.Join(dir(t), "dst")
		a, b := serve(t, src), serve(t, src)
		l, url := link(t, a, wan())
		p := call{t: t}.start("sync", "-a", url, dst, "--mirror="+b.url, "--timeout=40")
		eventually(t, "something has come", func() bool { return l.Stats().Down.Delivered > 10_000 })
		a.kill()
		p.wait().ok()
		same(t, src, dst)
	})
	t.Run("a liar", func(t *testing.T) {
		t.Parallel()
		other := dir(t)
		fstest.Tree(t, other, release(2)) // the same names, other content
		dst := filepath.Join(dir(t), "dst")
		a, b := serve(t, src), serve(t, other)
		_, url := link(t, a, wan())
		run(t, "sync", "-a", url, dst, "--mirror="+b.url).ok()
		same(t, src, dst)
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		a, b := serve(t, src), serve(t, src)
		dst := filepath.Join(dir(t), "dst")
		run(t, "sync", "-a", src+"/", dst, "--mirror="+a.url).refuses(fault.Usage, "--mirror")
		run(t, "sync", "-a", a.url, dst, "--mirror=/tmp").refuses(fault.Usage, "--mirror")
		run(t, "sync", "-a", a.at("app/"), dst, "--mirror="+b.at("app")).refuses(fault.Usage, "trailing slash")
		run(t, "sync", "-a", src+"/", a.url, "--mirror="+b.url).refuses(fault.Usage, "one server")
	})
}

// TestNice gives way, and gets there.
func TestNice(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, fstest.Spec{"f": fstest.Random(300_000, 1)})
	s := serve(t, src)
	_, url := link(t, s, wan())
	run(t, "sync", "-a", "--nice", url, dst).ok()
	same(t, src, dst)
}
