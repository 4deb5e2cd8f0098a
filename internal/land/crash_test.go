package land

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ropeway/ropeway/internal/fstest"
)

// quickDir returns a directory in memory where the system has one: these tests
// land often, and every landing waits for the disk.
func quickDir(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "land-test-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		fstest.Tree(t, dir, nil) // opens up closed directories before
		return dir
	}
	return t.TempDir()
}

// variant is a way to land.
type variant struct {
	name string
	set  func(j *job, top string)
}

var variants = []variant{
	{"burst", func(*job, string) {}},
	{"staged", func(j *job, _ string) { j.how = "staged"; j.o.Fsync = true }},
	{"atomic", func(j *job, _ string) { j.o.Atomic = true }},
	{"atomic protected", func(j *job, _ string) { j.o.Atomic, j.protect = true, "gone-dir" }},
	{"early", func(j *job, _ string) { j.o.Early = true }},
	{"without perm", func(j *job, _ string) { j.o.Mask &^= all & 1 }},
	{"one by one", func(j *job, _ string) { j.o.noSyncFS = true }},
	{"one by one atomic", func(j *job, _ string) { j.o.noSyncFS, j.o.Atomic = true, true }},
	{"temp dir", func(j *job, top string) { j.o.TempDir = top }},
}

// setUp builds both trees and a job.
func setUp(t *testing.T, v variant) *job {
	top := quickDir(t)
	src, dst := filepath.Join(top, "src"), filepath.Join(top, "dst")
	fstest.Tree(t, src, after)
	fstest.Tree(t, dst, before)
	j := newJob(t, src, dst)
	j.o.noPause = true
	v.set(j, top)
	return j
}

// stopAt runs the job until the n-th change of the disk and reports whether it
// came to an end before.
func (j *job) stopAt(n int) (ended bool) {
	o := j.o
	defer func() { j.o = o }()
	j.o.hook, _ = crashing(n)
	return !until(func() {
		a, err := Open(context.Background(), j.o)
		if err != nil {
			j.t.Error(err)
			return
		}
		defer a.release()
		if _, err := j.land(a); err != nil {
			j.t.Error(err)
		}
	})
}

// marked reports whether a landing is to be finished.
func (j *job) marked() bool {
	dir, base := filepath.Split(j.o.Dest)
	for _, d := range []string{j.o.Dest, filepath.Join(dir, siblingName(base))} {
		if _, err := os.Stat(filepath.Join(d, StateDir, nameReady)); err == nil {
			return true
		}
	}
	return false
}

// look describes the destination without the time of its root, in which we
// make our state directory.
func (j *job) look() map[string]string {
	without := []fstest.Part{}
	if j.o.Mask&1 == 0 {
		without = append(without, fstest.Modes)
	}
	m := snapshot(j.t, j.o.Dest, without...)
	delete(m, ".")
	return m
}

// wanted describes what the job must lead to.
func (j *job) wanted(old map[string]string) map[string]string {
	d := j.o.Dest
	j.o.Dest = j.src
	want := j.look()
	j.o.Dest = d
	for p, s := range old {
		if j.protected(p) {
			want[p] = s
		}
	}
	return want
}

func (j *job) recover() *Result {
	j.t.Helper()
	a, err := Open(context.Background(), Options{Dest: j.o.Dest, noPause: true})
	if err != nil {
		j.t.Fatal(err)
	}
	defer a.Close()
	return a.Recovered()
}

// TestCrashAnywhere stops the program before every single change of the disk.
// The next run must find the old tree, or finish the new one.
func TestCrashAnywhere(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				ended := false
				t.Run(fmt.Sprint(n), func(t *testing.T) { ended = crashAt(t, v, n) })
				if ended || t.Failed() {
					t.Logf("%d steps", n)
					return
				}
			}
		})
	}
}

func crashAt(t *testing.T, v variant, n int) (ended bool) {
	j := setUp(t, v)
	old := j.look()
	want := j.wanted(old)
	ended = j.stopAt(n)
	marked := j.marked()
	is := j.look()
	isOld := len(fstest.Diff(old, is)) == 0
	isNew := len(fstest.Diff(want, is)) == 0
	if !marked && !isOld && !isNew && !j.o.Early {
		t.Errorf("neither old nor new, and nothing to finish: to old %q\nto new %q", fstest.Diff(old, is), fstest.Diff(want, is))
	}
	if j.o.Atomic && !isOld && !isNew {
		// Between exchange and move, what is protected is beside the tree.
		maps.DeleteFunc(want, func(p, _ string) bool { return j.protected(p) })
		maps.DeleteFunc(is, func(p, _ string) bool { return j.protected(p) })
		fstest.Equal(t, want, is)
		want = j.wanted(old)
	}
	res := j.recover()
	if (res != nil) != marked {
		t.Errorf("marked %v, recovered %v", marked, res)
	}
	is = j.look()
	if marked {
		if res.Failed > 0 {
			t.Error(res.Failures)
		}
		fstest.Equal(t, want, is)
	} else if isOld && !j.o.Early {
		fstest.Equal(t, old, is)
	}
	if !marked && !isNew {
		j.must()
		fstest.Equal(t, want, j.look())
	}
	for _, glob := range []string{filepath.Dir(j.o.Dest) + "/.*"} {
		if left, _ := filepath.Glob(glob); len(left) > 0 {
			t.Error("left:", left)
		}
	}
	checkIndex(t, j.o.Dest, scan(t, j.src), true)
	if !ended {
		// What was staged when the program was stopped is not kept for ever.
		if got := stateNames(t, j.o.Dest); !slices.Equal(got, []string{"index", "lock", "stage"}) {
			t.Error("state holds", got)
		}
	}
	return ended
}

// TestCrashInRecovery stops the run that finishes a landing, too.
func TestCrashInRecovery(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			first := 0
			for n := 1; first == 0; n++ {
				j := setUp(t, v)
				if j.stopAt(n); j.marked() {
					first = n
				}
			}
			for m := 1; ; m++ {
				j := setUp(t, v)
				want := j.wanted(j.look())
				j.stopAt(first + m%7)
				hook, _ := crashing(m)
				stopped := until(func() {
					a, err := Open(context.Background(), Options{Dest: j.o.Dest, hook: hook, noPause: true})
					if err != nil {
						t.Error(err)
						return
					}
					a.release()
				})
				j.recover()
				fstest.Equal(t, want, j.look())
				checkIndex(t, j.o.Dest, scan(t, j.src), true)
				if !stopped || t.Failed() {
					t.Logf("%d steps", m)
					return
				}
			}
		})
	}
}

// TestOrder checks what must be durable before what.
func TestOrder(t *testing.T) {
	j := setUp(t, variants[0])
	var steps []string
	j.o.hook = func(op string) { steps = append(steps, op) }
	j.must()
	sync := slices.Index(steps, "syncfs")
	mark := sync + slices.Index(steps[sync:], "rename")
	if sync < 0 || slices.Contains(steps[:sync], "rename") || steps[mark-1] != "fsync" || steps[mark+1] != "syncdir" {
		t.Error("before the mark:", steps[:mark+2])
	}
	second := mark + slices.Index(steps[mark:], "syncfs")
	index := second + slices.Index(steps[second:], "rename")
	if second < mark || steps[index-1] != "fsync" || steps[index+1] != "syncdir" || steps[index+2] != "remove" {
		t.Error("after the mark:", steps[mark:])
	}
}
