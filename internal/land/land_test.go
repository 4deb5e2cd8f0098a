package land

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// before and after have every change of type, content and attributes.
var before = fstest.Spec{
	"same":            fstest.File("same").At(1000, 5),
	"same-dir":        fstest.Dir().At(1001, 0),
	"same-dir/x":      fstest.File("x").At(1002, 0),
	"content":         fstest.File("old").At(1003, 0),
	"attr":            fstest.File("attr").At(1004, 0),
	"gone":            fstest.File("gone"),
	"gone-dir":        fstest.Dir(),
	"gone-dir/a":      fstest.File("a"),
	"gone-dir/b/c":    fstest.File("c"),
	"file-to-dir":     fstest.File("f"),
	"file-to-link":    fstest.File("f"),
	"dir-to-file":     fstest.Dir(),
	"dir-to-file/a":   fstest.File("a"),
	"dir-to-file/b/c": fstest.File("c"),
	"dir-to-link":     fstest.Dir(),
	"dir-to-link/a":   fstest.File("a"),
	"link-to-file":    fstest.Link("same"),
	"link-to-dir":     fstest.Link("same-dir"),
	"link":            fstest.Link("one"),
	"closed":          fstest.Dir().Mode(0o555),
	"closed/old":      fstest.File("old"),
	"closed/kept":     fstest.File("kept"),
}

var after = fstest.Spec{
	"same":                   fstest.File("same").At(1000, 5),
	"same-dir":               fstest.Dir().At(1001, 0),
	"same-dir/x":             fstest.File("x").At(1002, 0),
	"content":                fstest.File("newer").At(2003, 77),
	"attr":                   fstest.File("attr").At(2004, 0).Mode(0o600),
	"file-to-dir":            fstest.Dir().At(2005, 0),
	"file-to-dir/d/e":        fstest.File("e").At(2006, 0),
	"file-to-link":           fstest.Link("content"),
	"dir-to-file":            fstest.File("file").At(2007, 0),
	"dir-to-link":            fstest.Link("nowhere"),
	"link-to-file":           fstest.File("file").Mode(0o755),
	"link-to-dir":            fstest.Dir(),
	"link-to-dir/a":          fstest.File("a"),
	"link":                   fstest.Link("two"),
	"closed":                 fstest.Dir().Mode(0o555),
	"closed/kept":            fstest.File("kept"),
	"closed/new":             fstest.File("new").Mode(0o444),
	"new-closed":             fstest.Dir().Mode(0o500).At(3000, 0),
	"new-closed/x":           fstest.File("x").Mode(0o400),
	"empty":                  fstest.File(""),
	strings.Repeat("n", 255): fstest.File("long name"),
}

func dirs(t testing.TB, old, neu fstest.Spec) (src, dst string) {
	t.Helper()
	top := t.TempDir()
	fstest.Tree(t, top, nil) // opens up closed directories in the end
	src, dst = filepath.Join(top, "src"), filepath.Join(top, "dst")
	for d, spec := range map[string]fstest.Spec{src: neu, dst: old} {
		if spec == nil {
			continue
		}
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		fstest.Tree(t, d, spec)
	}
	return src, dst
}

func modes(t *testing.T, f func(t *testing.T, atomic bool)) {
	t.Run("burst", func(t *testing.T) { f(t, false) })
	t.Run("atomic", func(t *testing.T) { f(t, true) })
}

func TestLand(t *testing.T) {
	for _, how := range []string{"bytes", "staged"} {
		for name, old := range map[string]fstest.Spec{"changed": before, "empty": {}, "missing": nil, "unchanged": after} {
			t.Run(how+"/"+name, func(t *testing.T) {
				modes(t, func(t *testing.T, atomic bool) {
					src, dst := dirs(t, old, after)
					j := newJob(t, src, dst)
					j.how, j.o.Atomic = how, atomic
					res := j.must()
					same(t, src, dst)
					checkIndex(t, dst, scan(t, src), false)
					if got := stateNames(t, dst); !slices.Equal(got, []string{"index", "lock", "stage"}) {
						t.Error("state holds", got)
					}
					if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dst), ".*")); len(left) > 0 {
						t.Error("left beside it:", left)
					}
					items := 0
					for _, e := range j.events {
						if _, ok := e.(event.Item); ok {
							items++
						}
					}
					if int64(items) != res.Landed+res.Deleted {
						t.Errorf("%d items, result %+v", items, res)
					}
				})
			})
		}
	}
}

func TestTorture(t *testing.T) {
	modes(t, func(t *testing.T, atomic bool) {
		spec := fstest.Torture(1, os.Geteuid() == 0)
		src, dst := dirs(t, before, spec)
		j := newJob(t, src, dst)
		j.o.Atomic = atomic
		j.must()
		want := snapshot(t, src)
		maps.DeleteFunc(want, func(p, _ string) bool { return strings.HasSuffix(p, "/fifo") }) // never transferred
		fstest.Equal(t, want, snapshot(t, dst))
		checkIndex(t, dst, scan(t, src), true)
	})
}

func TestEarly(t *testing.T) {
	src, dst := dirs(t, before, after)
	j := newJob(t, src, dst)
	j.o.Early = true
	j.before = func(*Area) {
		if b, err := os.ReadFile(filepath.Join(dst, "file-to-dir/d/e")); err != nil || string(b) != "e" {
			t.Error("not in place early:", err)
		}
	}
	j.must()
	same(t, src, dst)
	checkIndex(t, dst, scan(t, src), false)
}

func TestEarlyGivenUpClosesDirectories(t *testing.T) {
	src, dst := dirs(t, before, after)
	j := newJob(t, src, dst)
	j.o.Early = true
	a, err := Open(context.Background(), j.o)
	if err != nil {
		t.Fatal(err)
	}
	_, ops := j.plan(a)
	for i := range ops {
		if ops[i].Kind == OpFile {
			if err := j.stage(a, &ops[i].Entry); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Add(&ops[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dst, "closed")); err != nil || info.Mode().Perm() != 0o555 {
		t.Error("closed:", info.Mode(), err)
	}
	j.o.Early = false
	j.must()
	same(t, src, dst)
}

func TestWithoutPerm(t *testing.T) {
	modes(t, func(t *testing.T, atomic bool) {
		src, dst := dirs(t, fstest.Spec{
			"changed": fstest.File("1").Mode(0o640),
			"script":  fstest.File("1").Mode(0o644),
			"dir":     fstest.Dir().Mode(0o711),
		}, fstest.Spec{
			"changed": fstest.File("2").Mode(0o600),
			"script":  fstest.File("2").Mode(0o755),
			"dir":     fstest.Dir().Mode(0o755),
			"dir/new": fstest.File("3").Mode(0o666),
			"ro":      fstest.Dir().Mode(0o555),
			"ro/x":    fstest.File("x").Mode(0o444),
		})
		j := newJob(t, src, dst)
		j.o.Atomic = atomic
		j.o.Mask = manifest.Links
		j.must()
		for p, want := range map[string]os.FileMode{"changed": 0o640, "script": 0o755, "dir": 0o711, "dir/new": 0o644, "ro": 0o555, "ro/x": 0o444} {
			info, err := os.Stat(filepath.Join(dst, p))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v, want %v", p, info.Mode(), err, want)
			}
		}
		same(t, src, dst, fstest.Modes, fstest.Times)
		checkIndex(t, dst, scan(t, src), true)
	})
}

func TestProtected(t *testing.T) {
	old := fstest.Spec{"keep/log": fstest.File("log"), "keep/deep/x": fstest.File("x"), "gone/a": fstest.File("a"), "f": fstest.File("1")}
	neu := fstest.Spec{"f": fstest.File("2")}
	modes(t, func(t *testing.T, atomic bool) {
		src, dst := dirs(t, old, neu)
		j := newJob(t, src, dst)
		j.o.Atomic, j.protect = atomic, "keep"
		j.must()
		for p, want := range map[string]string{"keep/log": "log", "keep/deep/x": "x", "f": "2"} {
			if b, err := os.ReadFile(filepath.Join(dst, p)); string(b) != want {
				t.Errorf("%s: %q %v", p, b, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(dst, "gone")); err == nil {
			t.Error("gone is there")
		}
	})
	t.Run("deep", func(t *testing.T) {
		src, dst := dirs(t, old, neu)
		j := newJob(t, src, dst)
		j.protect = "keep/log"
		j.must()
		if _, err := os.Lstat(filepath.Join(dst, "keep/deep")); err == nil {
			t.Error("keep/deep is there")
		}
		if !slices.ContainsFunc(j.events, func(e event.Event) bool {
			w, ok := e.(event.Warn)
			return ok && w.Text == "cannot delete non-empty directory" && w.Path == "keep" && !w.Partial
		}) {
			t.Error("no warning")
		}
	})
	t.Run("deep atomic", func(t *testing.T) {
		src, dst := dirs(t, old, neu)
		was := snapshot(t, dst, fstest.DirTimes)
		j := newJob(t, src, dst)
		j.o.Atomic, j.protect = true, "keep/log"
		_, err := j.run()
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "keep/log") || fault.HintOf(err) == "" {
			t.Error(err)
		}
		fstest.Equal(t, was, snapshot(t, dst, fstest.DirTimes))
	})
}

func TestFailuresDoNotStopTheRest(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"in-the-way/protected": fstest.File("p"), "ok": fstest.File("1")},
		fstest.Spec{"in-the-way": fstest.File("f"), "ok": fstest.File("2"), "z": fstest.File("z")})
	j := newJob(t, src, dst)
	j.protect = "in-the-way"
	res, err := j.run()
	if err != nil || res.Failed != 1 || len(res.Failures) != 1 || res.Failures[0].Path != "in-the-way" {
		t.Fatal(res, err)
	}
	for p, want := range map[string]string{"ok": "2", "z": "z", "in-the-way/protected": "p"} {
		if b, err := os.ReadFile(filepath.Join(dst, p)); string(b) != want {
			t.Errorf("%s: %q %v", p, b, err)
		}
	}
	a, err := Open(context.Background(), j.o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	r, _, _ := a.OpenIndex()
	for {
		var rec manifest.Record
		if err := r.Next(&rec); err != nil {
			break
		}
		if rec.Path == "in-the-way" && !rec.Stat.IsZero() {
			t.Error("a failed file has a state")
		}
	}
	if e := record(t, src, "in-the-way").Entry; !a.StagedComplete(context.Background(), &e) {
		t.Error("the content of a failed file was dropped")
	}
}

func TestIndexNoticesLaterChanges(t *testing.T) {
	src, dst := dirs(t, nil, fstest.Spec{"f": fstest.File("one").At(1000, 0)})
	j := newJob(t, src, dst)
	j.must()
	was := record(t, dst, "f")
	if err := os.WriteFile(filepath.Join(dst, "f"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	fstest.Tree(t, dst, fstest.Spec{"f": fstest.File("two").At(1000, 0)})
	if is := record(t, dst, "f"); is.Stat == was.Stat {
		t.Error("a change of the same size and time does not show")
	}
}

func TestOmitRootAttrs(t *testing.T) {
	modes(t, func(t *testing.T, atomic bool) {
		src, dst := dirs(t, before, after)
		if err := os.Chmod(dst, 0o511); err != nil {
			t.Fatal(err)
		}
		j := newJob(t, src, dst)
		j.o.Atomic, j.o.OmitRootAttrs = atomic, true
		j.must()
		if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o511 {
			t.Error(info.Mode(), err)
		}
	})
}

// TestCancelledLanding ends the context in the middle of the burst: the next
// run finishes it.
func TestCancelledLanding(t *testing.T) {
	modes(t, func(t *testing.T, atomic bool) {
		src, dst := dirs(t, before, after)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		marked := false
		j := newJob(t, src, dst)
		j.o.Atomic = atomic
		j.o.hook = func(op string) {
			if _, err := os.Stat(filepath.Join(dst, StateDir, nameReady)); err == nil && !marked {
				marked = true
				cancel()
			}
		}
		a, err := Open(ctx, j.o)
		if err != nil {
			t.Fatal(err)
		}
		final, ops := j.plan(a)
		for i := range ops {
			if ops[i].Kind == OpFile {
				if err := j.stage(a, &ops[i].Entry); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Add(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		_, err = a.Land(ctx, manifest.Slice(final), digest.Sum(nil), 7)
		if fault.ClassOf(err) != fault.Interrupted || fault.HintOf(err) == "" {
			t.Error(err)
		}
		a.Close()
		j.o.hook = nil
		if res := j.recover(); res == nil || res.Failed > 0 {
			t.Error("recovered", res)
		}
		same(t, src, dst)
	})
}
