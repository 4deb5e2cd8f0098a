//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
)

// TestTwoSyncs has two into one destination: the second ends at once and says
// who holds it.
func TestTwoSyncs(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, release(1))
	s := serve(t, src)
	_, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", url, dst)
	eventually(t, "the first is at work", func() bool { return staged(dst) > 100_000 })
	pid := strconv.Itoa(p.cmd.Process.Pid)
	for _, args := range [][]string{{s.url}, {"-n", s.url}, {src + "/"}, {"--atomic", s.url}} {
		r := run(t, append(append([]string{"sync", "-a"}, args...), dst)...).refuses(fault.Busy, "in use", "ropeway sync, process "+pid)
		if r.took > soon {
			t.Errorf("waited: %v", r)
		}
	}
	p.wait().ok()
	same(t, src, dst)
	run(t, "sync", "-a", url, dst).ok()
}

// TestPushersRace has two who push: the second is told who is there, and one
// whose server forgot it does not publish over what came meanwhile.
func TestPushersRace(t *testing.T) {
	t.Parallel()
	one, two, served, state := dir(t), dir(t), dir(t), dir(t)
	fstest.Tree(t, one, release(1))
	fstest.Tree(t, two, fstest.Spec{"two": fstest.File("two")})
	s := serve(t, served, "--writable", "--state-dir="+state)
	addr := s.addr()
	l, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", one+"/", url)
	eventually(t, "the first is at work", func() bool { return staged(served) > 100_000 })
	run(t, "sync", "-a", two+"/", s.url).refuses(fault.Busy, "being pushed to by 127.0.0.1")
	run(t, "sync", "-a", two+"/", s.at("sub")).refuses(fault.Busy, "being pushed to by 127.0.0.1")
	run(t, "sync", "-a", two+"/", served).refuses(fault.Busy, "a push from 127.0.0.1")

	// The server forgets it while it is cut off, and another one lands.
	l.DropDials(true)
	l.ForgetFlows()
	s.kill()
	s = serve(t, served, "--writable", "--state-dir="+state, "--listen="+addr)
	run(t, "sync", "-a", "--delete", two+"/", s.url).ok()
	same(t, two, served)
	l.DropDials(false)
	p.wait().refuses(fault.Busy, "another run has landed there")
	same(t, two, served)
}

// TestPusherGone has a pusher that is killed: the next takes its place at once,
// or when it has been silent for a while, and uses what it has brought.
func TestPusherGone(t *testing.T) {
	t.Parallel()
	src, served := dir(t), dir(t)
	fstest.Tree(t, src, release(1))
	s := serve(t, served, "--writable")
	l, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", src+"/", url)
	eventually(t, "half has come", func() bool { return l.Stats().Up.Delivered > 3_000_000 })
	p.kill()
	before := l.Stats().Up.Delivered
	eventually(t, "the next can push", func() bool {
		r := run(t, "sync", "-a", src+"/", url)
		if r.code != int(fault.Busy) {
			r.ok()
		}
		return r.code == 0
	})
	same(t, src, served)
	if again := l.Stats().Up.Delivered - before; again > 4_000_000 {
		t.Errorf("%d bytes were sent again", again)
	}
}

// TestSecondSignal ends what will not stop.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, release(1))
	_, url := link(t, serve(t, src), wan())
	p := call{t: t}.start("sync", "-a", url, dst)
	eventually(t, "it is at work", func() bool { return staged(dst) > 100_000 })
	p.signal(syscall.SIGINT)
	p.signal(syscall.SIGINT)
	if r := p.wait(); r.code != int(fault.Interrupted) || r.took > soon {
		t.Errorf("%v", r)
	}
	run(t, "sync", "-a", url, dst).ok()
	same(t, src, dst)
}

// TestStateInTheWay has a destination whose own directory is not as we left it.
func TestStateInTheWay(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "f")
	for name, spoil := range map[string]func(dst string){
		"a file":     func(dst string) { write(t, dst+"/"+stateDir, "x") },
		"a symlink":  func(dst string) { must(t, os.MkdirAll(dst, 0o755)); must(t, os.Symlink("/tmp", dst+"/"+stateDir)) },
		"a mark":     func(dst string) { write(t, dst+"/"+stateDir+"/ready", "garbage") },
		"an index":   func(dst string) { write(t, dst+"/"+stateDir+"/index", strings.Repeat("garbage", 1000)) },
		"ops":        func(dst string) { write(t, dst+"/"+stateDir+"/ops", "garbage") },
		"stage":      func(dst string) { write(t, dst+"/"+stateDir+"/stage", "garbage") },
		"in a stage": func(dst string) { must(t, os.MkdirAll(dst+"/"+stateDir+"/stage/f-0123/x", 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(dir(t), "dst")
			spoil(dst)
			r := run(t, "sync", "-a", src+"/", dst)
			t.Logf("%v", r)
			if r.code == 0 {
				if read(t, dst+"/f") != "f" {
					t.Error("nothing came")
				}
				return
			}
			if r.code == int(fault.Other) || len(r.complaint()) != 2 {
				t.Errorf("want a class, and the next step: %v", r)
			}
		})
	}
}

// TestDestinationsInside has destinations inside of what is served and synced:
// what is theirs is nobody's tree, cannot be planted, and goes with them.
func TestDestinationsInside(t *testing.T) {
	t.Parallel()
	src, served, dst := dir(t), dir(t), filepath.Join(dir(t), "dst")
	write(t, src+"/f", "f")
	write(t, served+"/a/x", "x")
	s := serve(t, served, "--writable")
	run(t, "sync", "-a", src+"/", s.at("sub/")).ok()
	if _, err := os.Stat(served + "/sub/" + stateDir); err != nil {
		t.Fatal(err)
	}
	run(t, "sync", "-a", s.url, dst).ok()
	wantPaths(t, dst, "a", "a/x", "sub", "sub/f")
	for _, args := range [][]string{{"sync", "-a", s.at("sub/" + stateDir + "/"), dst}, {"sync", "-a", s.at("sub/" + stateDir + "/index"), dst}, {"ls", s.at("sub/" + stateDir + "/")}} {
		run(t, args...).refuses(fault.NotFound)
	}
	if r := run(t, "ls", "-r", s.url).ok(); strings.Contains(r.out, stateDir) {
		t.Errorf("lists what is ours: %v", r)
	}
	// A peer cannot plant it.
	write(t, src+"/sub/"+stateDir+"/ready", "evil")
	write(t, src+"/deep/er/"+strings.ToUpper(stateDir)+"/ready", "evil")
	run(t, "sync", "-a", src+"/", s.url).ok()
	for _, p := range []string{"/sub/" + stateDir + "/ready", "/deep/er/" + strings.ToUpper(stateDir)} {
		if _, err := os.Lstat(served + p); err == nil {
			t.Errorf("%s was planted", p)
		}
	}
	// It is deleted with the directory that it is in, and alone never.
	must(t, os.RemoveAll(src+"/sub"))
	run(t, "sync", "-a", "--delete", src+"/", s.url).ok()
	if _, err := os.Lstat(served + "/sub"); err == nil {
		t.Error("sub was not deleted")
	}
}
