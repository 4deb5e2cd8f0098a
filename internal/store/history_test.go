package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
)

func openHistoryStore(t *testing.T, path string, limit int64) (*Store, *History) {
	t.Helper()
	dir, err := fsys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	s, err := Open(dir, Options{HistoryBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.History()
}

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func keepAll(t *testing.T, h *History, all ...[]byte) {
	t.Helper()
	k := h.Begin("m")
	for _, b := range all {
		if err := k.Keep(digest.Sum(b), int64(len(b)), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(true); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, h *History, module string, b []byte) bool {
	t.Helper()
	d, n := digest.Sum(b), int64(len(b))
	o, err := h.Open(module, d, n)
	if found := h.Has(module, d, n); found != (err == nil) {
		t.Errorf("Has says %v, Open %v", found, err)
	}
	if err != nil {
		if !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		return false
	}
	defer func() { _ = o.Close() }()
	got, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("got %d bytes of %d, %v", len(got), len(b), err)
	}
	return true
}

func TestHistoryKeepsContents(t *testing.T) {
	path := t.TempDir()
	s, h := openHistoryStore(t, path, 0)
	var all [][]byte
	for i, n := range []int{1, 100, PackedMax, PackedMax + 1, 3 << 20} {
		all = append(all, noise(uint64(i), n))
	}
	for i := range 300 {
		all = append(all, noise(uint64(100+i), 200<<10)) // more than one pack
	}
	keepAll(t, h, all...)
	keepAll(t, h, all...) // nothing is kept twice
	for round := range 2 {
		for i, b := range all {
			if !holds(t, h, "m", b) {
				t.Fatalf("round %d: content %d is gone", round, i)
			}
			if holds(t, h, "other", b) {
				t.Fatal("another module sees it")
			}
		}
		if holds(t, h, "m", noise(7777, 50)) {
			t.Error("has what was never kept")
		}
		if round == 0 { // a restart loses nothing
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, h = openHistoryStore(t, path, 0)
		}
	}
	_ = s.Close()
}

func TestHistoryRefusesOtherContent(t *testing.T) {
	s, h := openHistoryStore(t, t.TempDir(), 0)
	defer func() { _ = s.Close() }()
	for _, n := range []int{1000, PackedMax + 1000} {
		b := noise(1, n)
		k := h.Begin("m")
		for _, bad := range [][]byte{noise(2, n), b[:n-1], append(bytes.Clone(b), 1)} {
			err := k.Keep(digest.Sum(b), int64(n), bytes.NewReader(bad))
			if n <= PackedMax && len(bad) > n {
				continue // only so much is read
			}
			if !errors.Is(err, ErrContent) {
				t.Errorf("%d bytes for %d: %v", len(bad), n, err)
			}
		}
		if err := k.Close(false); err != nil {
			t.Fatal(err)
		}
		if holds(t, h, "m", b) {
			t.Error("kept what was dropped")
		}
	}
	if names := kept(t, h); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func kept(t *testing.T, h *History) (names []string) {
	t.Helper()
	if err := h.dir.Names(func(b []byte) error { names = append(names, string(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestHistoryForgetsTheOldest(t *testing.T) {
	s, h := openHistoryStore(t, t.TempDir(), 3<<20)
	defer func() { _ = s.Close() }()
	var all [][]byte
	for i := range 6 {
		b := noise(uint64(i), 1<<20)
		all = append(all, b)
		keepAll(t, h, b, noise(uint64(50+i), 1000))
		name := nameOf("m", digest.Sum(b))
		at := time.Now().Add(time.Duration(i-20) * time.Hour)
		if err := h.dir.SetAttr(name, fsys.Attr{Times: &fsys.Times{Sec: at.Unix()}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sweep(context.Background(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for i, b := range all {
		if got, want := holds(t, h, "m", b), i >= 4; got != want {
			t.Errorf("content %d: kept %v", i, got)
		}
	}
}

func TestHistoryDropsDamagedPacks(t *testing.T) {
	path := t.TempDir()
	s, h := openHistoryStore(t, path, 0)
	b := noise(1, 1000)
	keepAll(t, h, b)
	name := kept(t, h)[0]
	f, err := h.dir.OpenFileRW(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3}, 1004); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_ = s.Close()
	s, h = openHistoryStore(t, path, 0)
	defer func() { _ = s.Close() }()
	if holds(t, h, "m", b) || len(kept(t, h)) != 0 {
		t.Error("a damaged pack is believed")
	}
}

func FuzzHistoryPack(f *testing.F) {
	f.Add([]byte("x"))
	f.Add(make([]byte, packFooter+packEntry))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, h := openHistoryStore(t, t.TempDir(), 0)
		defer func() { _ = s.Close() }()
		name := fmt.Sprintf("%s-p%s", key("m"), digest.Sum(b))
		w, err := h.dir.CreateFile(name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(b)
		_ = w.Close()
		h2, err := loadHistory(h.folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range h2.packs {
			for _, v := range p.heads {
				var d digest.Digest
				for i := range 8 {
					d[i] = byte(v >> (56 - 8*i))
				}
				if o, err := h2.Open("m", d, 1); err == nil {
					_ = o.Close()
				}
			}
		}
	})
}
