package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
)

// scanOf returns a scan of a tree with so many files, with room in memory for
// so many batches.
func scanOf(t *testing.T, files int, room int64) (*Scan, func() (Tree, error), *int) {
	t.Helper()
	top := t.TempDir()
	for i := range files {
		p := filepath.Join(top, fmt.Sprintf("d%03d", i/1000), fmt.Sprintf("f%06d", i))
		if i%1000 == 0 {
			if err := os.Mkdir(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spills := 0
	m := &Memory{}
	m.left.Store(room)
	s := NewScan(m, func() (*os.File, error) {
		spills++
		return os.CreateTemp(t.TempDir(), "spill")
	})
	t.Cleanup(func() {
		if m.left.Load() != room {
			t.Errorf("%d batches are still in memory", room-m.left.Load())
		}
	})
	return s, func() (Tree, error) {
		dir, err := fsys.OpenDir(top)
		if err != nil {
			return Tree{}, err
		}
		return Tree{
			Options: scan.Options{Root: dir, Mask: manifest.Perm, Recursive: true},
			Close:   func() { _ = dir.Close() },
		}, nil
	}, &spills
}

func read(r *scanReader) (paths []string, err error) {
	for {
		b, err := r.next(context.Background())
		if errors.Is(err, io.EOF) {
			return paths, nil
		}
		if err != nil {
			return paths, err
		}
		for i := range b.found {
			paths = append(paths, b.found[i].Path)
		}
	}
}

func TestReadersOfAScanSeeAllOfIt(t *testing.T) {
	for _, room := range []int64{0, 3, 1000} {
		s, open, spills := scanOf(t, 5000, room)
		const readers = 5
		for range readers + 1 {
			if !s.Join() {
				t.Fatal("a scan that has not begun takes nobody")
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(context.Background(), open) })
		var got [readers][]string
		for i := range readers - 1 {
			r := s.read()
			wg.Go(func() {
				defer r.close()
				var err error
				if got[i], err = read(r); err != nil {
					t.Error(err)
				}
			})
		}
		s.Leave() // one never came
		wg.Wait()
		late := s.read() // after the others are done
		got[readers-1], _ = read(late)
		late.close()
		for i := range got {
			if len(got[i]) != 5006 || !reflect.DeepEqual(got[i], got[0]) {
				t.Errorf("room %d: reader %d got %d entries", room, i, len(got[i]))
			}
		}
		if (*spills > 0) != (room < 20) {
			t.Errorf("room %d: %d files", room, *spills)
		}
		if s.Join() {
			t.Error("a scan that is over takes somebody")
		}
	}
}

func TestSingleReaderNeedsNoDisk(t *testing.T) {
	s, open, spills := scanOf(t, 5000, 2)
	s.Join()
	r := s.read()
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(context.Background(), open) })
	paths, err := read(r)
	r.close()
	wg.Wait()
	if err != nil || len(paths) != 5006 || *spills != 0 {
		t.Errorf("%d %v, %d files", len(paths), err, *spills)
	}
}

func TestAbandonedScanEnds(t *testing.T) {
	s, open, _ := scanOf(t, 3000, 1)
	s.Join()
	r := s.read()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(context.Background(), open)
	}()
	if _, err := r.next(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.close()
	<-done // or the test hangs
}

func TestScanThatCannotBegin(t *testing.T) {
	s, _, _ := scanOf(t, 0, 10)
	s.Join()
	want := errors.New("no such module")
	s.Run(context.Background(), func() (Tree, error) { return Tree{}, want })
	if _, err := s.Quiet(context.Background()); !errors.Is(err, want) {
		t.Error(err)
	}
	r := s.read()
	if _, err := r.next(context.Background()); !errors.Is(err, want) {
		t.Error(err)
	}
	r.close()
}

func TestDigestsForgetTheOldest(t *testing.T) {
	d := NewDigests()
	stat := func(i int) manifest.Stat { return manifest.Stat{Size: 1000, Ino: uint64(i), CSec: 1} }
	for i := range maxDigests + 10 {
		d.note(stat(i), [32]byte{byte(i), 1})
	}
	if _, ok := d.lookUp(stat(9)); ok || len(d.known) != maxDigests {
		t.Errorf("%d remembered", len(d.known))
	}
	if sum, ok := d.lookUp(stat(maxDigests)); !ok || sum != [32]byte{byte(maxDigests & 0xff), 1} {
		t.Error("the latest are not remembered")
	}
	(*Digests)(nil).note(stat(1), [32]byte{1})
}

func FuzzParseBatch(f *testing.F) {
	b := batch{
		calm:  true,
		warns: []warning{{"a", "no", true}},
		found: []found{{Record: manifest.Record{Entry: manifest.Entry{Path: "x", Type: manifest.Dir}}, Known: true, hidden: true, trust: true}},
	}
	f.Add(appendBatch(nil, &b))
	f.Add([]byte{0, 0xff, 0xff, 0x03})
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parseBatch(data)
		if err != nil {
			return
		}
		y, err := parseBatch(appendBatch(nil, x))
		if err != nil || !reflect.DeepEqual(x, y) {
			t.Errorf("%+v, then %+v, %v", x, y, err)
		}
	})
}
