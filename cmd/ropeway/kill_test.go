//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/netsim"
)

// TestKillNine kills either end at random points. KILL_ROUNDS sets the number
// of kills, KILL_SEED what is random.
func TestKillNine(t *testing.T) {
	t.Parallel()
	const workers = 2
	rounds, seed := 20, uint64(time.Now().UnixNano())
	if testing.Short() {
		rounds = 6
	}
	if n, err := strconv.Atoi(os.Getenv("KILL_ROUNDS")); err == nil {
		rounds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("KILL_SEED"), 10, 64); err == nil {
		seed = n
	}
	for w := range workers {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, rand.New(rand.NewPCG(seed, uint64(w))))
			for n := range rounds / workers {
				c.mutate()
				c.round(n)
				if t.Failed() {
					t.Fatalf("KILL_SEED=%d, worker %d, round %d", seed, w, n)
				}
			}
			t.Logf("%d kills: %v", rounds/workers, c.counts)
		})
	}
}

// crash is a source that changes and a destination that follows it over
// crashes.
type crash struct {
	t                   *testing.T
	r                   *rand.Rand
	top, src, dst, home string
	next                uint64    // content
	pending             []version // what may still be landing
	counts              map[string]int
}

func newCrash(t *testing.T, r *rand.Rand) *crash {
	top := dir(t)
	c := &crash{t: t, r: r, top: top, src: top + "/src", dst: top + "/to/dst", home: top + "/home", counts: map[string]int{}}
	must(t, os.MkdirAll(c.dst, 0o755))
	must(t, os.Mkdir(c.home, 0o755))
	spec := fstest.Spec{"big": fstest.Random(900_000, 1)}
	for i := range 30 {
		spec[fmt.Sprintf("d%d/f%02d", i%4, i)] = fstest.Random(int64(i*i*40), uint64(i))
	}
	fstest.Tree(t, c.src, spec)
	return c
}

// mutate changes the source as a new release does.
func (c *crash) mutate() {
	r := c.r
	put := func(path string) {
		c.next++
		must(c.t, os.RemoveAll(path))
		must(c.t, fstest.Build(filepath.Dir(path), fstest.Spec{filepath.Base(path): fstest.Random(int64(r.IntN(60_000)), c.next)}))
	}
	for range 8 {
		path := fmt.Sprintf("%s/d%d/f%02d", c.src, r.IntN(4), r.IntN(30))
		switch r.IntN(8) {
		case 0:
			must(c.t, os.RemoveAll(path))
		case 1:
			_ = os.Chmod(path, os.FileMode(0o600+r.IntN(0o200)))
		case 2:
			_ = os.Chtimes(path, time.Time{}, time.Unix(r.Int64N(1<<31), r.Int64N(1e9)))
		case 3:
			must(c.t, os.RemoveAll(path))
			must(c.t, os.Symlink(fmt.Sprint("to", r.IntN(100)), path))
		case 4:
			must(c.t, os.RemoveAll(path))
			put(path + "/inside")
		case 5:
			_ = os.Rename(path, fmt.Sprintf("%s/d%d/moved%d", c.src, r.IntN(4), r.IntN(3)))
		default:
			put(path)
		}
	}
	switch big := c.src + "/big"; r.IntN(3) {
	case 0: // a new version of what was there
		f, err := os.OpenFile(big, os.O_RDWR, 0)
		must(c.t, err)
		_, err = f.WriteAt([]byte("another release"), r.Int64N(500_000))
		must(c.t, err)
		must(c.t, f.Close())
	case 1:
		must(c.t, fstest.Build(c.src, fstest.Spec{"big": fstest.Random(int64(600_000+r.IntN(600_000)), c.next<<32)}))
	}
}

// round starts a sync, kills an end of it, looks, and has it completed.
func (c *crash) round(n int) {
	t, r := c.t, c.r
	t.Helper()
	way := ways[r.IntN(len(ways))]
	land := [][]string{nil, {"--land=early"}, {"--atomic"}}[r.IntN(3)]
	ends := []string{"client", "server", "both"}
	if way == "local" {
		ends = ends[:1]
	}
	end := ends[r.IntN(len(ends))]
	was, want := c.look(c.dst), c.look(c.src)

	self := call{t: t, env: []string{"HOME=" + c.home, "TMPDIR=" + c.home}}
	args := append([]string{"sync", "-a", "--delete", "--timeout=20", "--contimeout=20"}, land...)
	var (
		s   *server
		l   *netsim.Link
		url string
	)
	root, state, more := c.src, c.top+"/pull-state", []string(nil)
	if way == "push" {
		root, state, more = c.dst, c.top+"/push-state", []string{"--writable"}
	}
	serve := func(listen string) *server {
		return self.serve(root, append(more, "--state-dir="+state, "--listen="+listen)...)
	}
	from, to := c.src+"/", c.dst
	if way != "local" {
		s = serve("127.0.0.1:0")
		l, url = link(t, s, netsim.Params{Delay: time.Millisecond, Rate: int64(20+r.IntN(200)) * 1_000_000})
		if way == "pull" {
			from = url
		} else {
			to = url
		}
	}
	if r.IntN(2) == 0 {
		args = append(args, "--no-W")
	}
	args = append(args, from, to)
	p := self.start(args...)
	when := c.wait(p, l)
	if end != "client" {
		s.kill()
	}
	if end != "server" {
		p.kill()
	}
	alive := p.running()
	c.counts[way+" "+end+" "+when]++
	what := fmt.Sprintf("%d: %v by %s %s, %s killed at %s", n, land, way, s.addrOr(), end, when)

	// A client that lives on changes the destination meanwhile, and so does a
	// server that lives on.
	if !alive && (way != "push" || end != "client") {
		versions := append([]version{was, want}, c.pending...)
		c.inspect(what, slices.Contains(land, "--atomic"), versions...)
	}
	if end != "client" {
		s = serve(s.addr())
	}
	if alive { // it must come through by itself, or say that it cannot know
		res := p.wait()
		if res.code != 0 && !(way == "push" && res.code == int(fault.Busy)) {
			t.Errorf("%s: the other end: %v", what, res)
		}
	}
	c.pending = append(c.pending, want)
	if alive || r.IntN(3) > 0 {
		c.complete(what, args, self)
		c.pending = nil
	}
	if s != nil {
		s.kill()
	}
}

// complete runs the sync to its end; a server whose client was killed may be
// at work on it still.
func (c *crash) complete(what string, args []string, self call) {
	t := c.t
	t.Helper()
	var res *result
	eventually(t, "the destination is free", func() bool {
		res = self.run(args...)
		return res.code != int(fault.Busy)
	})
	if res.code != 0 {
		t.Errorf("%s: the next run: %v", what, res)
		return
	}
	same(t, c.src, c.dst)
	if left := entries(t, filepath.Dir(c.dst)); len(left) != 1 {
		t.Errorf("%s: left beside the destination: %q", what, left)
	}
	if left, _ := filepath.Glob(c.dst + "/" + stateDir + "/stage/*"); len(left) > 0 {
		t.Errorf("%s: left staged: %q", what, left)
	}
	if t.Failed() {
		t.Logf("%s: %v", what, res)
	}
}

// wait waits for the moment to kill, and names it.
func (c *crash) wait(p *process, l *netsim.Link) string {
	r := c.r
	over := func() bool { return !p.running() }
	state := func(name string) func() bool {
		return func() bool {
			_, err := os.Stat(c.dst + "/" + stateDir + "/" + name)
			return err == nil || over()
		}
	}
	spin := func() { // a moment that no poll would hit
		for end := time.Now().Add(time.Duration(r.IntN(4000)) * time.Microsecond); time.Now().Before(end) && p.running(); {
			continue
		}
	}
	deadline := time.Now().Add(patience)
	switch k := r.IntN(4); {
	case k == 0 && l != nil:
		bytes := r.Int64N(900_000)
		until(deadline, func() bool { st := l.Stats(); return st.Up.Delivered+st.Down.Delivered > bytes || over() })
		return "bytes"
	case k == 1:
		until(deadline, state("ops"))
		spin()
		return "ops"
	case k == 2:
		until(deadline, state("ready"))
		spin()
		return "ready"
	}
	until(time.Now().Add(time.Duration(r.IntN(400))*time.Millisecond), over)
	return "time"
}

// version is a tree as it is described with and without attributes.
type version struct{ all, content map[string]string }

func (c *crash) look(root string) version {
	return version{snapshot(c.t, root), snapshot(c.t, root, fstest.Modes, fstest.Times)}
}

// inspect looks at a destination after a crash: every file is wholly of one of
// the versions that it can be of, and with atomic the whole tree is.
func (c *crash) inspect(what string, atomic bool, versions ...version) {
	t := c.t
	t.Helper()
	now := c.look(c.dst)
	if atomic {
		var diffs [][]string
		for _, v := range append(versions, now) {
			delete(v.all, ".") // its time changes when our state moves into it, and is set again after that
		}
		for _, v := range versions {
			diff := fstest.Diff(v.all, now.all)
			if len(diff) == 0 {
				return
			}
			diffs = append(diffs, diff)
		}
		t.Errorf("%s: none of the trees: %q", what, diffs)
		return
	}
	paths := map[string]bool{}
	for _, v := range append(versions, now) {
		for p := range v.content {
			paths[p] = true
		}
	}
	for p := range paths {
		is, known, kinds := now.content[p], false, map[bool]bool{}
		for _, v := range versions {
			known = known || v.content[p] == is
			kinds[strings.HasPrefix(v.content[p], "dir")] = true
		}
		// What is to become a directory, or was one, is gone for a moment.
		if !known && (is != "" || len(kinds) == 1) {
			t.Errorf("%s: %s is %q", what, p, is)
			for i, v := range versions {
				t.Logf("in version %d it is %q", i, v.content[p])
			}
		}
	}
}

func (s *server) addrOr() string {
	if s == nil {
		return ""
	}
	return s.addr()
}
