package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/manifest"
)

func record(i int) *manifest.Record {
	return &manifest.Record{Entry: manifest.Entry{Path: fmt.Sprintf("%06d", i), Type: manifest.File}}
}

func tree(i int) digest.Digest { return digest.Sum([]byte(fmt.Sprint(i))) }

func putManifest(t testing.TB, s *Store, module string, i, n int) {
	t.Helper()
	w, err := s.Manifests().Create(module)
	must(t, err)
	fill(t, w, n)
	must(t, w.Commit(tree(i), uint64(i)))
}

func fill(t testing.TB, w *Writer, n int) {
	t.Helper()
	for i := range n {
		must(t, w.Put(record(i)))
	}
}

func count(t testing.TB, r *Reader) (n int) {
	t.Helper()
	defer r.Close()
	var rec manifest.Record
	for {
		err := r.Next(&rec)
		if errors.Is(err, io.EOF) {
			return n
		}
		must(t, err)
		n++
	}
}

func TestManifests(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	putManifest(t, s, "mod", 1, 1000)
	putManifest(t, s, "mod", 2, 0)
	putManifest(t, s, "mod", 1, 1000) // again
	r, err := s.Manifests().Open("mod", tree(1))
	must(t, err)
	if r.Trailer() != (manifest.Trailer{Count: 1000, Tree: tree(1), Meta: 1}) || count(t, r) != 1000 {
		t.Errorf("%+v", r.Trailer())
	}
	for _, c := range []struct {
		module string
		tree   int
		want   bool
	}{{"mod", 1, true}, {"mod", 2, true}, {"mod", 3, false}, {"other", 1, false}} {
		r, err := s.Manifests().Open(c.module, tree(c.tree))
		if err == nil {
			_ = r.Close()
		}
		if s.Manifests().Has(c.module, tree(c.tree)) != c.want || (err == nil) != c.want || err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// An unfinished list leaves nothing.
	w, err := s.Manifests().Create("mod")
	must(t, err)
	fill(t, w, 10)
	if err := w.Put(record(0)); err == nil {
		t.Error("records in the wrong order are taken")
	}
	if err := w.Commit(tree(5), 0); err == nil || s.Manifests().Has("mod", tree(5)) {
		t.Error("a broken list is committed")
	}
	w.Cancel()
	if err := w.Commit(tree(5), 0); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if got := len(files(t, filepath.Join(dir, "manifests"))); got != 2 {
		t.Errorf("%d files", got)
	}
}

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names
}

func TestDamagedListsAreGone(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	putManifest(t, s, "mod", 1, 100)
	path := files(t, filepath.Join(dir, "manifests"))[0]
	whole, err := os.ReadFile(path)
	must(t, err)
	for name, b := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)-1], "trailer only": whole[len(whole)-60:], "another tree": bytes.Replace(whole, treeBytes(1), treeBytes(2), 1),
		"another kind": append([]byte("ropex"), whole[5:]...),
	} {
		must(t, os.WriteFile(path, b, 0o600))
		if r, err := s.Manifests().Open("mod", tree(1)); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
			_ = r.Close()
		}
		if s.Manifests().Has("mod", tree(1)) {
			t.Errorf("%s: kept", name)
		}
	}
	must(t, os.Mkdir(path, 0o700)) // somebody else's doing
	if _, err := s.Manifests().Open("mod", tree(1)); err == nil {
		t.Error("opened a directory")
	}
}

func treeBytes(i int) []byte { d := tree(i); return d[:] }

func TestIndexIsReplacedWhole(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	if _, err := s.Indexes().Open("mod"); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	var open []*Reader
	for i := range 5 {
		w, err := s.Indexes().Create("mod")
		must(t, err)
		fill(t, w, i*100)
		if i > 0 {
			r, err := s.Indexes().Open("mod")
			must(t, err)
			open = append(open, r)
		}
		must(t, w.Commit(digest.Digest{}, uint64(i)))
	}
	for i, r := range open {
		if r.Trailer().Meta != uint64(i) || count(t, r) != i*100 {
			t.Errorf("index %d has %+v", i, r.Trailer())
		}
	}
	if _, err := s.Indexes().Open("other"); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestManifestBounds(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{ManifestBytes: 2000, ManifestAge: time.Hour})
	for i := range 40 {
		putManifest(t, s, "mod", i, 5)
		old := time.Now().Add(time.Duration(i-40) * time.Second)
		must(t, os.Chtimes(filepath.Join(dir, "manifests", nameOf("mod", tree(i))), old, old))
	}
	st, err := s.Sweep(t.Context(), time.Now())
	must(t, err)
	if st.Bytes > 2000 || st.Bytes < 1000 || st.Files+st.Removed != 40 {
		t.Errorf("%+v", st)
	}
	if !s.Manifests().Has("mod", tree(39)) || s.Manifests().Has("mod", tree(0)) {
		t.Error("not the oldest were removed")
	}
	old := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, "manifests", nameOf("mod", tree(38))), old, old))
	must(t, os.Chtimes(filepath.Join(dir, "manifests", nameOf("mod", tree(39))), old, old))
	r, err := s.Manifests().Open("mod", tree(38)) // is use
	must(t, err)
	must(t, r.Close())
	_, err = s.Sweep(t.Context(), time.Now())
	must(t, err)
	if !s.Manifests().Has("mod", tree(38)) || s.Manifests().Has("mod", tree(39)) {
		t.Error("age counts from the last use")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sweep(ctx, time.Now()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(openDir(t, dir), Options{SpoolBytes: testLimit})
	must(t, err)
	kept := put(t, s.Objects(), "mod", "job", 1, testLimit/2)
	old := put(t, s.Objects(), "mod", "job", 2, 100)
	then := time.Now().Add(-25 * time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, "objects", nameOf("mod", old)), then, then))
	segment := put(t, s.Segments(), "mod", "", 3, 100)
	putManifest(t, s, "mod", 1, 5)
	// What a killed process leaves.
	batch := s.Objects().Begin("mod", "job")
	must(t, batch.Put(data(4, 100)))
	w, err := s.Manifests().Create("mod")
	must(t, err)
	fill(t, w, 5)

	_, err = Open(openDir(t, dir), Options{})
	if fault.ClassOf(err) != fault.Busy || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second owner: %v", err)
	}
	must(t, s.Close())
	s = openStore(t, dir, Options{SpoolBytes: testLimit})
	for _, sub := range []string{"objects", "manifests"} {
		for _, f := range files(t, filepath.Join(dir, sub)) {
			if strings.HasPrefix(filepath.Base(f), tempPrefix) {
				t.Errorf("%s is left", f)
			}
		}
	}
	if !s.Manifests().Has("mod", tree(1)) || !has(t, s.Segments(), "mod", segment) {
		t.Error("lost")
	}
	_, err = s.Sweep(t.Context(), time.Now())
	must(t, err)
	if !has(t, s.Objects(), "mod", kept) || has(t, s.Objects(), "mod", old) {
		t.Error("age does not survive a restart")
	}
	put(t, s.Objects(), "mod", "", 5, testLimit/2+2) // what is there counts
	if has(t, s.Objects(), "mod", kept) {
		t.Error("the bound does not survive a restart")
	}
	_ = w.file.Close()
}

func TestReadersOutliveEviction(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	id := put(t, s.Objects(), "mod", "", 1, 1000)
	o, err := s.Objects().Open("mod", id)
	must(t, err)
	defer o.Close()
	_, err = s.Sweep(t.Context(), time.Now().Add(48*time.Hour))
	must(t, err)
	if has(t, s.Objects(), "mod", id) {
		t.Error("not swept")
	}
	_, want := data(1, 1000)
	got := make([]byte, 1000)
	if _, err := o.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v", err)
	}
}

func TestSyncsEachWhereThereIsNoSyncFS(t *testing.T) {
	dir := openDir(t, t.TempDir())
	var files []pending
	for i := range few {
		name := fmt.Sprint(i)
		f, err := dir.CreateFile(name, 0o600)
		must(t, err)
		must(t, f.Close())
		files = append(files, pending{temp: name})
	}
	must(t, syncFiles(dir, files))
	must(t, dir.Remove("3"))
	if syncFiles(dir, files) == nil {
		t.Error("a missing file is synced")
	}
}

// BenchmarkBatch stores 1,000 packs of 64 KiB, synced once.
func BenchmarkBatch(b *testing.B) {
	s := openStore(b, b.TempDir(), Options{}).Objects()
	n := 0
	for b.Loop() {
		batch := s.Begin("mod", "job")
		for range 1000 {
			n++
			id, data := data(n, 64<<10)
			id[0], id[1] = byte(n>>16), byte(n>>24)
			must(b, batch.Put(id, data))
		}
		must(b, batch.Sync())
	}
}
