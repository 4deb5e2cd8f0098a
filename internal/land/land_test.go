package land

import (
	"context"
	"errors"
	"io"
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
		maps.DeleteFunc(spec, func(p string, _ fstest.Node) bool { return strings.HasSuffix(p, "/fifo") })
		src, dst := dirs(t, before, spec)
		j := newJob(t, src, dst)
		j.o.Atomic = atomic
		j.must()
		same(t, src, dst)
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

func TestStagingSurvives(t *testing.T) {
	src, dst := dirs(t, before, fstest.Spec{"big": fstest.Random(300_000, 1).Mode(0o400)})
	data, err := os.ReadFile(filepath.Join(src, "big"))
	if err != nil {
		t.Fatal(err)
	}
	e := record(t, src, "big").Entry
	o := Options{Dest: dst, Mask: all}
	open := func() *Area {
		a, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	s, err := a.Stage("big", e.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ranges(func(int64, int64) error { t.Error("a new file has ranges"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt(data[131072:196608], 131072); err != nil {
		t.Fatal(err)
	}
	a.release() // as a kill would
	a = open()
	if a.StagedComplete(context.Background(), &e) {
		t.Error("complete")
	}
	if s, err = a.Stage("big", e.Size); err != nil {
		t.Fatal(err)
	}
	covered := int64(0)
	err = s.Ranges(func(start, end int64) error {
		if start <= 131072 && end >= 196608 {
			covered += end - start
		}
		return nil
	})
	if err != nil || covered == 0 {
		t.Error("ranges", covered, err)
	}
	got := make([]byte, 65536)
	if _, err := s.ReadAt(got, 131072); err != nil || !slices.Equal(got, data[131072:196608]) {
		t.Error("content is not kept", err)
	}
	if _, err := s.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(&e); err != nil {
		t.Fatal(err)
	}
	a.release()
	a = open()
	if !a.StagedComplete(context.Background(), &e) {
		t.Error("not complete")
	}
	// A smaller file takes the place, then the staged one is dropped.
	if s, err = a.Stage("big", 10); err != nil {
		t.Fatal(err)
	}
	if a.StagedComplete(context.Background(), &e) {
		t.Error("complete though cut")
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	id := digest.Sum([]byte("pack"))
	if s, err = a.Object(id, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("pack"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a.release()
	a = open()
	defer a.Close()
	if s, err = a.Object(id, 4); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, err := io.ReadAll(io.NewSectionReader(s, 0, 4)); string(b) != "pack" {
		t.Error("object is not kept", err)
	}
}

func TestStageCopy(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"a/old": fstest.Random(200_000, 3), "link": fstest.Link("a/old")},
		fstest.Spec{"b/new": fstest.Random(200_000, 3).At(5, 6)})
	ctx := context.Background()
	j := newJob(t, src, dst)
	a, err := Open(ctx, j.o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	e := record(t, src, "b/new").Entry
	n, err := a.StageCopy(ctx, &e, "a/old")
	if err != nil || n != e.Size {
		t.Fatal(n, err)
	}
	if !a.StagedComplete(ctx, &e) {
		t.Error("not staged")
	}
	bad := e
	bad.Digest[0] ^= 1
	for _, c := range []struct {
		e    manifest.Entry
		from string
	}{{bad, "a/old"}, {e, "missing"}, {e, "link"}, {e, "a"}, {e, ""}, {e, "../src/b/new"}, {e, StateDir + "/lock"}} {
		if _, err := a.StageCopy(ctx, &c.e, c.from); !errors.Is(err, ErrMismatch) {
			t.Errorf("copy from %q: %v", c.from, err)
		}
	}
	if a.StagedComplete(ctx, &e) {
		t.Error("a failed copy left something")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.StageCopy(cancelled, &e, "a/old"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDryRun(t *testing.T) {
	for name, old := range map[string]fstest.Spec{"changed": before, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			src, dst := dirs(t, old, after)
			top := filepath.Dir(dst)
			was, _ := fstest.Describe(top)
			j := newJob(t, src, dst)
			j.o.DryRun = true
			a, err := Open(context.Background(), j.o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Root().Stat(); err != nil {
				t.Error(err)
			}
			if r, _, err := a.OpenIndex(); r != nil || err != nil {
				t.Error(r, err)
			}
			if err := a.Preflight(1, 1); err != nil {
				t.Error(err)
			}
			res, err := j.land(a)
			if err != nil || res.Landed == 0 {
				t.Error(res, err)
			}
			if _, err := a.Stage("x", 1); err == nil {
				t.Error("staged")
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if len(j.events) == 0 {
				t.Error("nothing reported")
			}
			is, _ := fstest.Describe(top)
			fstest.Equal(t, was, is)
		})
	}
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

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	top := t.TempDir()
	join := func(p string) string { return filepath.Join(top, p) }
	fstest.Tree(t, top, fstest.Spec{
		"file": fstest.File("x"), "dangling": fstest.Link("nothing"), "dir": fstest.Dir(), "link": fstest.Link("dir"),
		"state-file/.ropeway": fstest.File("x"), "state-link/.ropeway": fstest.Link("../dir"),
		"other/.ropeway/ready":   fstest.File(`{"Version":99}`),
		"damaged/.ropeway/ready": fstest.File(`{"Version`),
		"lists/.ropeway/ready":   fstest.File(`{"Version":0,"Mask":3}`),
	})
	for _, c := range []struct {
		o    Options
		want fault.Class
	}{
		{Options{Dest: ""}, fault.Usage},
		{Options{Dest: join("file")}, fault.Usage},
		{Options{Dest: join("file/x")}, fault.NotFound},
		{Options{Dest: join("no/dir")}, fault.NotFound},
		{Options{Dest: join("dangling")}, fault.NotFound},
		{Options{Dest: join("state-file")}, fault.Denied},
		{Options{Dest: join("state-link")}, fault.Denied},
		{Options{Dest: join("other")}, fault.Incompatible},
		{Options{Dest: join("damaged")}, fault.Integrity},
		{Options{Dest: join("lists")}, fault.Integrity},
		{Options{Dest: join("dir"), Atomic: true, Early: true}, fault.Usage},
		{Options{Dest: join("dir"), TempDir: join("dir")}, fault.Usage},
		{Options{Dest: join("dir"), TempDir: join("no")}, fault.NotFound},
		{Options{Dest: "/", Atomic: true, DryRun: true}, fault.Usage},
	} {
		a, err := Open(ctx, c.o)
		if fault.ClassOf(err) != c.want {
			t.Errorf("%+v: %v, %v", c.o, fault.ClassOf(err), err)
		}
		if err == nil {
			a.Close()
		}
	}
	a, err := Open(ctx, Options{Dest: join("link"), Holder: "sync, pid 7\n\x1b[31m"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if real, _ := filepath.EvalSymlinks(join("dir")); a.Resolved() != real {
		t.Error("resolved to", a.Resolved())
	}
	for _, dry := range []bool{false, true} {
		_, err = Open(ctx, Options{Dest: join("dir"), DryRun: dry})
		if fault.ClassOf(err) != fault.Busy || !strings.Contains(err.Error(), "(sync, pid 7") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Error(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = Open(ctx, Options{Dest: join("dir")}); err != nil {
		t.Fatal(err)
	}
	if a.Resolved() != "" {
		t.Error("resolved to", a.Resolved())
	}
	a.Close()
}

func TestAddRefuses(t *testing.T) {
	a, err := Open(context.Background(), Options{Dest: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	file := func(p string) manifest.Entry { return manifest.Entry{Path: p, Type: manifest.File} }
	if err := a.Add(&Op{Kind: OpFile, Entry: file("m")}); err != nil {
		t.Fatal(err)
	}
	for _, op := range []Op{
		{Kind: OpFile, Entry: file(StateDir)}, {Kind: OpFile, Entry: file(".Ropeway/x")}, {Kind: OpDelete, Entry: file(StateDir + "/index")},
		{Kind: OpFile, Entry: file("../x")}, {Kind: OpFile, Entry: file("/x")}, {Kind: OpFile, Entry: file("x//y")},
		{Kind: OpDelete}, {Kind: OpMkdir, Entry: file("x")}, {Kind: 9, Entry: file("x")}, {Kind: OpFile, Entry: file("a")},
		{Kind: OpAttr, Entry: manifest.Entry{Path: "x", Type: manifest.Fifo}},
	} {
		if err := a.Add(&op); fault.ClassOf(err) != fault.Integrity {
			t.Errorf("%+v: %v", op, err)
		}
	}
}

func TestPreflight(t *testing.T) {
	a, err := Open(context.Background(), Options{Dest: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Preflight(1000, 10); err != nil {
		t.Error(err)
	}
	if err := a.Preflight(1<<60, 10); fault.ClassOf(err) != fault.Limit || !strings.Contains(err.Error(), "1.2 EB are needed") {
		t.Error(err)
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

func TestDamagedIndexIsFirstContact(t *testing.T) {
	src, dst := dirs(t, nil, after)
	newJob(t, src, dst).must()
	path := filepath.Join(dst, StateDir, nameIndex)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	version := slices.Clone(good)
	version[5]++
	for name, b := range map[string][]byte{"cut": good[:len(good)-1], "empty": {}, "version": version, "kind": append([]byte("ropeo"), good[5:]...)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(context.Background(), Options{Dest: dst})
		if err != nil {
			t.Fatal(err)
		}
		if r, _, err := a.OpenIndex(); r != nil || err != nil {
			t.Error(name, r, err)
		}
		a.Close()
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

func TestTempDir(t *testing.T) {
	src, dst := dirs(t, before, after)
	tmp := t.TempDir()
	j := newJob(t, src, dst)
	j.o.TempDir = tmp
	a, err := Open(context.Background(), j.o)
	if err != nil {
		t.Fatal(err)
	}
	e := record(t, src, "content").Entry
	if err := a.StageBytes(&e, []byte("newer")); err != nil {
		t.Fatal(err)
	}
	a.release()
	if got, _ := filepath.Glob(filepath.Join(tmp, "ropeway-*", "f-*")); len(got) != 1 {
		t.Error("staged elsewhere", got)
	}
	j.how = "staged"
	j.must()
	same(t, src, dst)
}
