package land

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

const all = manifest.Perm | manifest.Times | manifest.Links

// record describes what is at path below root.
func record(t testing.TB, root, path string) *manifest.Record {
	t.Helper()
	d, err := fsys.OpenDir(filepath.Dir(filepath.Join(root, path)))
	if err != nil {
		return nil
	}
	defer d.Close()
	info, err := d.Lstat(filepath.Base(filepath.Join(root, path)))
	if err != nil {
		return nil
	}
	e := manifest.Entry{Path: path, Type: info.Type, Mode: info.Mode, Sec: info.Sec, Nsec: info.Nsec, UID: info.UID, GID: info.GID}
	switch info.Type {
	case manifest.File:
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		e.Size, e.Digest = int64(len(b)), digest.Sum(b)
	case manifest.Symlink:
		if e.Target, err = os.Readlink(filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
		e.Mode = 0
	}
	return &manifest.Record{Entry: e, Stat: manifest.Stat{
		Size: info.Size, Sec: info.Sec, Nsec: info.Nsec, CSec: info.CSec, CNsec: info.CNsec, Ino: info.Ino, Dev: info.Dev,
	}}
}

// scan lists the tree below root in canonical order.
func scan(t testing.TB, root string) []manifest.Record {
	t.Helper()
	var recs []manifest.Record
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && p == root {
				return filepath.SkipAll
			}
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if rel == "." {
			rel = ""
		}
		if rel == StateDir {
			return filepath.SkipDir
		}
		recs = append(recs, *record(t, root, filepath.ToSlash(rel)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(recs, func(a, b manifest.Record) int { return manifest.Compare(a.Path, b.Path) })
	return recs
}

// job is one sync of the tree at src to a destination.
type job struct {
	t       testing.TB
	src     string
	o       Options
	protect string // top of a protected tree
	how     string // "bytes", "staged", "copy": how files are staged
	before  func(a *Area)
	mu      sync.Mutex
	events  []event.Event // guarded by mu while a job runs
}

func newJob(t testing.TB, src, dst string) *job {
	j := &job{t: t, src: src, how: "bytes"}
	j.o = Options{Dest: dst, Mask: all, Events: func(e event.Event) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.events = append(j.events, e)
	}}
	return j
}

// run does the whole sync.
func (j *job) run() (*Result, error) {
	a, err := Open(context.Background(), j.o)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return j.land(a)
}

// must is run without failures.
func (j *job) must() *Result {
	j.t.Helper()
	res, err := j.run()
	if err != nil {
		j.t.Fatal(err)
	}
	for _, f := range res.Failures {
		j.t.Errorf("%s: %v", f.Path, f.Err)
	}
	return res
}

func (j *job) protected(path string) bool { return j.protect != "" && manifest.Within(path, j.protect) }

// land plans as the sender would, stages and lands.
func (j *job) land(a *Area) (*Result, error) {
	final, ops := j.plan(a)
	for i := range ops {
		op := &ops[i]
		if op.Kind == OpFile && !j.o.DryRun {
			if err := j.stage(a, &op.Entry); err != nil {
				return nil, err
			}
		}
		if err := a.Add(op); err != nil {
			return nil, err
		}
	}
	if j.before != nil {
		j.before(a)
	}
	return a.Land(context.Background(), manifest.Slice(final), digest.Sum([]byte(j.src)), 7)
}

func (j *job) plan(a *Area) (final []manifest.Record, ops []Op) {
	j.t.Helper()
	have := map[string]*manifest.Record{}
	haveList := scan(j.t, j.o.Dest)
	for i := range haveList {
		have[haveList[i].Path] = &haveList[i]
	}
	want := map[string]bool{}
	final = scan(j.t, j.src)
	for i := range final {
		w := &final[i]
		want[w.Path] = true
		w.Stat = manifest.Stat{}
		h := have[w.Path]
		switch {
		case h == nil || !manifest.SameContent(&w.Entry, &h.Entry):
			kind := map[manifest.Type]OpKind{manifest.Dir: OpMkdir, manifest.File: OpFile, manifest.Symlink: OpSymlink}[w.Type]
			if kind == 0 {
				continue // listed, but not transferred
			}
			ops = append(ops, Op{Kind: kind, Entry: w.Entry, Change: ">f+++++++++"})
		case !manifest.SameAttrs(&w.Entry, &h.Entry, j.o.Mask):
			ops = append(ops, Op{Kind: OpAttr, Entry: w.Entry, Change: ".f...p....."})
		default:
			w.Stat = h.Stat
		}
	}
	typeOf := map[string]manifest.Type{}
	for i := range final {
		typeOf[final[i].Path] = final[i].Type
	}
	for i := range haveList {
		h := &haveList[i]
		if t, ok := typeOf[h.Path]; (!ok || t != h.Type) && !j.protected(h.Path) {
			ops = append(ops, Op{Kind: OpDelete, Entry: manifest.Entry{Path: h.Path, Type: h.Type}, Change: "*deleting  "})
		}
	}
	return final, ops
}

func (j *job) stage(a *Area, e *manifest.Entry) error {
	b, err := os.ReadFile(filepath.Join(j.src, e.Path))
	if err != nil {
		j.t.Fatal(err)
	}
	if j.how == "bytes" {
		return a.StageBytes(e, b)
	}
	if a.StagedComplete(context.Background(), e) {
		return nil
	}
	s, err := a.Stage(e.Path, e.Size)
	if err != nil {
		return err
	}
	half := len(b) / 2
	for _, part := range [][2]int{{half, len(b)}, {0, half}} {
		if _, err := s.WriteAt(b[part[0]:part[1]], int64(part[0])); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return s.Finish(e)
}

// snapshot describes the tree without the state.
func snapshot(t testing.TB, root string, without ...fstest.Part) map[string]string {
	t.Helper()
	m, err := fstest.Describe(root, without...)
	if err != nil {
		t.Fatal(err)
	}
	for p := range m {
		if p == StateDir || strings.HasPrefix(p, StateDir+"/") {
			delete(m, p)
		}
	}
	return m
}

func same(t testing.TB, src, dst string, without ...fstest.Part) {
	t.Helper()
	fstest.Equal(t, snapshot(t, src, without...), snapshot(t, dst, without...))
}

// checkIndex compares the index with what is there. loose allows states that
// are not known.
func checkIndex(t testing.TB, dst string, want []manifest.Record, loose bool) {
	t.Helper()
	a, err := Open(context.Background(), Options{Dest: dst, Mask: all})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.Recovered() != nil {
		t.Error("something was left to recover")
	}
	r, tr, err := a.OpenIndex()
	if err != nil || r == nil {
		t.Fatal("no index", err)
	}
	if tr.Meta != 7 || tr.Tree.IsZero() {
		t.Error("trailer", tr)
	}
	n := 0
	for ; ; n++ {
		var rec manifest.Record
		if r.Next(&rec) != nil {
			break
		}
		if n >= len(want) || rec.Path != want[n].Path {
			t.Fatalf("index has %q", rec.Path)
		}
		now := record(t, dst, rec.Path)
		if rec.Stat.IsZero() && loose {
			continue
		}
		if rec.Path == "" { // Open writes below it
			continue
		}
		if now == nil || rec.Stat != now.Stat {
			t.Errorf("index of %q: %+v, is %+v", rec.Path, rec.Stat, now)
		}
	}
	if n != len(want) {
		t.Errorf("index has %d entries, want %d", n, len(want))
	}
}

// stateNames lists what is in the state directory.
func stateNames(t testing.TB, dst string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dst, StateDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// crash is what a hook panics with.
type crash struct{ n int }

// crashing returns a hook that stops the program before the n-th change of the
// disk, and all later ones.
func crashing(n int) (hook func(string), count *int) {
	count = new(int)
	return func(string) {
		*count++
		if *count >= n {
			panic(crash{n})
		}
	}, count
}

// until runs f and reports whether it was stopped.
func until(f func()) (stopped bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case crash:
			stopped = true
		default:
			panic(fmt.Sprint(r))
		}
	}()
	f()
	return false
}
