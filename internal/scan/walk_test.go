package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

const allAttrs = manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links

func openDir(t testing.TB, dir string) *fsys.Dir {
	t.Helper()
	root, err := fsys.OpenDir(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func options(t testing.TB, dir string) Options {
	return Options{
		Root: openDir(t, dir), Mask: allAttrs, Recursive: true,
		Warn: func(path string, err error) { t.Errorf("warning: %q: %v", path, err) },
	}
}

// collect walks and returns what was visited, without digests.
func collect(t testing.TB, o Options) ([]manifest.Record, Stats) {
	t.Helper()
	var recs []manifest.Record
	st, err := Walk(t.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		recs = append(recs, f.Record)
		return nil
	})
	must(t, err)
	if st.Entries() != int64(len(recs)) {
		t.Errorf("stats count %d entries, visited %d", st.Entries(), len(recs))
	}
	return recs, st
}

// hashed is collect with digests, trusted or not.
func hashed(t testing.TB, o Options) []manifest.Record {
	t.Helper()
	var recs []manifest.Record
	var h Hasher
	_, err := Walk(t.Context(), o, func(f *Found, open func() (*os.File, error)) error {
		r := f.Record
		if f.Type == manifest.File {
			file, err := open()
			if err != nil {
				return err
			}
			defer file.Close()
			if r.Digest, err = h.File(t.Context(), file, f.Stat); err != nil {
				return err
			}
		}
		recs = append(recs, r)
		return nil
	})
	must(t, err)
	return recs
}

func paths(recs []manifest.Record) []string {
	out := make([]string, len(recs))
	for i := range recs {
		out[i] = recs[i].Path
	}
	return out
}

func TestTortureInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "t")
	fstest.Tree(t, dir, fstest.Torture(1, os.Geteuid() == 0))
	must(t, os.Mkdir(filepath.Join(dir, ".ropeway"), 0o700))
	var want []string
	special := int64(0)
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		switch {
		case err != nil:
			return err
		case rel == ".ropeway":
			return nil
		case e.Type()&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
			special++
		default:
			want = append(want, strings.TrimPrefix(filepath.ToSlash("/"+rel), "/"))
		}
		return nil
	}))
	want[0] = ""
	slices.SortFunc(want, manifest.Compare)
	for _, limit := range []int{0, 300} {
		o := options(t, dir)
		o.maxNames = limit
		recs, st := collect(t, o)
		if got := paths(recs); !slices.Equal(got, want) {
			t.Errorf("limit %d: visited %q, want %q", limit, got, want)
		}
		if st.Skipped[manifest.Fifo] != special {
			t.Errorf("skipped %v, want %d fifos", st.Skipped, special)
		}
		h := manifest.NewHasher(allAttrs)
		for i := range recs {
			must(t, recs[i].Check())
			must(t, h.Add(&recs[i].Entry))
		}
	}
}

func TestLinksAreEntriesOnRequest(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{"a": fstest.File("a"), "l": fstest.Link("a"), "d/l": fstest.Link("..")})
	o := options(t, dir)
	recs, _ := collect(t, o)
	if i := slices.Index(paths(recs), "d/l"); i < 0 || recs[i].Target != ".." {
		t.Errorf("%v", paths(recs))
	}
	o.Mask &^= manifest.Links
	o.Index = manifest.Slice(recs)
	var kept []string
	o.Keep = func(r *manifest.Record) error { kept = append(kept, r.Path); return nil }
	o.Gone = func(r *manifest.Record) error { t.Errorf("%q gone", r.Path); return nil }
	recs, st := collect(t, o)
	if got := paths(recs); !slices.Equal(got, []string{"", "a", "d"}) || st.Skipped[manifest.Symlink] != 2 {
		t.Errorf("%v, skipped %v", got, st.Skipped)
	}
	if !slices.Equal(kept, []string{"d/l", "l"}) {
		t.Errorf("kept %v", kept)
	}
}

func TestIndexHits(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{
		"same": fstest.File("1"), "touched": fstest.File("2"), "rewritten": fstest.File("3"), "replaced": fstest.File("4"),
		"untrusted": fstest.File("5"), "sub/same": fstest.File("6"), "odd": fstest.File("7"), "l": fstest.Link("same"),
	})
	index := hashed(t, options(t, dir))
	p := func(name string) string { return filepath.Join(dir, name) }
	old, err := os.Stat(p("rewritten"))
	must(t, err)
	must(t, os.Chtimes(p("touched"), time.Time{}, time.Unix(5, 5)))
	// Same size, same modification time: the inode or the change time tells.
	must(t, os.WriteFile(p("rewritten"), []byte("x"), 0o644))
	must(t, os.Chtimes(p("rewritten"), time.Time{}, old.ModTime()))
	must(t, os.WriteFile(p("new"), []byte("x"), 0o644))
	must(t, os.Chtimes(p("new"), time.Time{}, old.ModTime()))
	must(t, os.Rename(p("new"), p("replaced")))
	for i := range index {
		switch index[i].Path {
		case "untrusted":
			index[i].Stat = manifest.Stat{}
		case "odd": // an index from another format or writer
			index[i].Digest = digest.Digest{}
		case "same":
			index[i].Stat.Dev++ // the system was started anew
		}
	}
	o := options(t, dir)
	o.Index = manifest.Slice(index)
	st, err := Walk(t.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		if f.Old == nil || f.Old.Path != f.Path {
			t.Errorf("%q: old record %v", f.Path, f.Old)
		}
		want := f.Path == "same" || f.Path == "sub/same" || f.Path == "l" || f.Path == "sub"
		if f.Path != "" && f.Known != want {
			t.Errorf("%q: known %v", f.Path, f.Known)
		}
		if f.Type == manifest.File && f.Known == f.Digest.IsZero() {
			t.Errorf("%q: known %v with digest %v", f.Path, f.Known, f.Digest)
		}
		return nil
	})
	must(t, err)
	if st.Known != 2 {
		t.Errorf("%d known", st.Known)
	}
}

func TestTrust(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		m, c float64 // seconds before hashing
		fine bool
		want bool
	}{
		{10, 10, false, true}, {2.1, 2.1, false, true}, {1.9, 10, false, false}, {10, 1.9, false, false}, {2, 2, false, false},
		{.051, .051, true, true}, {.049, 1, true, false}, {1, .049, true, false}, {-5, 10, true, false}, {10, -5, true, false}, {0, 0, true, false},
	} {
		at := func(s float64) time.Time { return now.Add(-time.Duration(s * float64(time.Second))) }
		m, ct := at(c.m), at(c.c)
		s := manifest.Stat{Size: 1, Ino: 2, Sec: m.Unix(), Nsec: uint32(m.Nanosecond()), CSec: ct.Unix(), CNsec: uint32(ct.Nanosecond())}
		if got := Trust(s, now, c.fine); got.IsZero() == c.want || c.want && got != s {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if s := (manifest.Stat{Size: 1, Sec: 1}); !Trust(s, now, true).IsZero() {
		t.Error("trusted without change time")
	}
	if Unchanged(manifest.Stat{}, manifest.Stat{}) {
		t.Error("the zero Stat matches")
	}
}

func TestFilterKeepsTheIndex(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{
		"a.o": fstest.File(""), "a.c": fstest.File(""), "out/x": fstest.File(""), "out/deep/y": fstest.File(""), "src/b.o": fstest.File(""), "src/b.c": fstest.File(""),
	})
	index := hashed(t, options(t, dir))
	must(t, os.RemoveAll(filepath.Join(dir, "out", "deep")))
	must(t, os.Remove(filepath.Join(dir, "src", "b.c")))
	var b filter.Builder
	must(t, b.Exclude("*.o"))
	must(t, b.Exclude("out/"))
	set, err := b.Build()
	must(t, err)
	o := options(t, dir)
	o.Filter, o.Index = set, manifest.Slice(index)
	var log []string
	o.Keep = func(r *manifest.Record) error { log = append(log, "keep "+r.Path); return nil }
	o.Gone = func(r *manifest.Record) error { log = append(log, "gone "+r.Path); return nil }
	st, err := Walk(t.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		log = append(log, "visit "+f.Path)
		return nil
	})
	must(t, err)
	want := []string{
		"visit ", "visit a.c", "keep a.o", "keep out", "keep out/deep", "keep out/deep/y", "keep out/x", "visit src", "gone src/b.c", "keep src/b.o",
	}
	if !slices.Equal(log, want) || st.Hidden != 3 {
		t.Errorf("%q, %d hidden", log, st.Hidden)
	}
}

func TestPartialWalksKeepTheRest(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{"a": fstest.File(""), "d/x": fstest.File(""), "d/e/y": fstest.File(""), "z": fstest.File("")})
	index := hashed(t, options(t, dir))
	for _, c := range []struct {
		name           string
		o              func(*Options)
		visited, keeps string
	}{
		{"flat", func(o *Options) { o.Recursive = false }, " a d z", "d/e d/e/y d/x"},
		{"one file", func(o *Options) { o.OneFile = "a" }, " a", "d d/e d/e/y d/x z"},
		{"one directory", func(o *Options) { o.OneFile = "d" }, " d d/e d/e/y d/x", "a z"},
		{"one directory, flat", func(o *Options) { o.OneFile, o.Recursive = "d", false }, " d", "a d/e d/e/y d/x z"},
	} {
		o := options(t, dir)
		c.o(&o)
		o.Index = manifest.Slice(index)
		var kept []string
		o.Keep = func(r *manifest.Record) error { kept = append(kept, r.Path); return nil }
		o.Gone = func(r *manifest.Record) error { t.Errorf("%s: %q gone", c.name, r.Path); return nil }
		recs, _ := collect(t, o)
		if v, k := strings.Join(paths(recs), " "), strings.Join(kept, " "); v != c.visited || k != c.keeps {
			t.Errorf("%s: visited %q, kept %q", c.name, v, k)
		}
	}
	for _, name := range []string{"missing", "d/x", "..", strings.Repeat("n", 300)} {
		o := options(t, dir)
		o.OneFile = name
		warned := 0
		o.Warn = func(string, error) { warned++ }
		if recs, _ := collect(t, o); len(recs) != 1 || warned != 1 {
			t.Errorf("%.20q: %v, %d warnings", name, paths(recs), warned)
		}
	}
}

func TestDeepTreeHasFewHandles(t *testing.T) {
	const depth = manifest.MaxDepth + 10
	dir := t.TempDir()
	cur := openDir(t, dir)
	for range depth {
		must(t, cur.Mkdir("d", 0o755))
		f, err := cur.CreateFile("z", 0o644) // sorts after d: each level is come back to
		must(t, err)
		must(t, f.Close())
		next, err := cur.Child("d")
		must(t, err)
		_ = cur.Close()
		cur = next
	}
	_ = cur.Close()
	o := options(t, dir)
	warned := 0
	o.Warn = func(path string, err error) {
		if warned++; !errors.Is(err, ErrTooLong) {
			t.Error(err)
		}
	}
	o.maxNames = 100 // far fewer than the names on the way down
	before, most := handles(), 0
	st, err := Walk(t.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		if f.Type == manifest.File {
			most = max(most, handles())
		}
		return manifest.CheckPath(f.Path)
	})
	must(t, err)
	// At the deepest level one directory and one file are left out.
	if st.Dirs != manifest.MaxDepth+1 || st.Files != manifest.MaxDepth || warned != 2 {
		t.Errorf("%d directories, %d files, %d warnings", st.Dirs, st.Files, warned)
	}
	if most > before+80 {
		t.Errorf("%d handles open, %d before", most, before)
	}
	if now := handles(); now > before {
		t.Errorf("%d handles left open, %d before", now, before)
	}
}

// handles returns the number of open files, 0 where the system does not tell.
func handles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func TestProgressRises(t *testing.T) {
	dir := t.TempDir()
	spec := fstest.Spec{}
	for i := range 2000 {
		spec[fmt.Sprintf("d%d/f%d", i/500, i)] = fstest.File("x")
	}
	fstest.Tree(t, dir, spec)
	o := options(t, dir)
	check := func(calls *int, files *int64) func(int64, int64) {
		var bytes int64
		return func(f, b int64) {
			if *calls++; f < *files || b < bytes || f == *files && b == bytes || f-*files > 2*meterEntries {
				t.Errorf("%d files, %d bytes after %d, %d", f, b, *files, bytes)
			}
			*files, bytes = f, b
		}
	}
	var calls [3]int
	var files [3]int64
	o.Progress = check(&calls[0], &files[0])
	collect(t, o)
	o.Progress = check(&calls[1], &files[1])
	_, err := Changes(t.Context(), o, HashOptions{Workers: 3, Progress: check(&calls[2], &files[2])}, func(*manifest.Record) error { return nil })
	must(t, err)
	for i, want := range []int64{2004, 2004, 2000} {
		if files[i] != want || int64(calls[i]) < want/meterEntries {
			t.Errorf("%d: %d files in %d calls, want %d", i, files[i], calls[i], want)
		}
	}
}

func TestErrorsEndTheWalk(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{"a/b": fstest.File(""), "c": fstest.File("")})
	boom := errors.New("boom")
	index := []manifest.Record{{Entry: manifest.Entry{Path: "a/a", Type: manifest.File}}, {Entry: manifest.Entry{Path: "c", Type: manifest.File}}}
	for name, change := range map[string]func(*Options){
		"gone": func(o *Options) {
			o.Index, o.Gone = manifest.Slice(index), func(*manifest.Record) error { return boom }
		},
		"index": func(o *Options) { o.Index = broken{boom} },
	} {
		o := options(t, dir)
		change(&o)
		if _, err := Walk(t.Context(), o, func(*Found, func() (*os.File, error)) error { return nil }); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		change(&o)
		if _, err := Changes(t.Context(), o, HashOptions{}, func(*manifest.Record) error { return nil }); !errors.Is(err, boom) {
			t.Errorf("%s: changes: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Walk(ctx, options(t, dir), func(*Found, func() (*os.File, error)) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type broken struct{ err error }

func (b broken) Next(*manifest.Record) error { return b.err }

func TestNames(t *testing.T) {
	n := NewNames()
	if runtime.GOOS == "linux" && n.User(0) != "root" {
		t.Errorf("user 0 is %q", n.User(0))
	}
	if got := n.User(4_000_000_000) + n.Group(4_000_000_000); got != "" {
		t.Errorf("unknown ids are %q", got)
	}
	for i := range uint32(maxOwners + 10) {
		n.get(n.users, 1<<31+i, func(string) (string, error) { return strings.Repeat("n", int(i%400)), nil })
	}
	if len(n.users) > maxOwners {
		t.Errorf("%d names remembered", len(n.users))
	}
	for _, name := range n.users {
		if len(name) > manifest.MaxUser {
			t.Errorf("name of %d bytes", len(name))
		}
	}
}
