package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

const (
	testLimit = 100_000
	testAge   = 24 * time.Hour
)

// spools are the implementations that the tests below hold for.
var spools = map[string]func(t *testing.T) Spool{
	"memory": func(*testing.T) Spool { return NewMemory(testLimit, testAge) },
	"disk": func(t *testing.T) Spool {
		return openStore(t, t.TempDir(), Options{SpoolBytes: testLimit, SpoolAge: testAge}).Objects()
	},
}

func each(t *testing.T, f func(t *testing.T, s Spool)) {
	for name, make := range spools {
		t.Run(name, func(t *testing.T) { f(t, make(t)) })
	}
}

func openStore(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(openDir(t, path), o)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openDir(t testing.TB, path string) *fsys.Dir {
	t.Helper()
	d, err := fsys.OpenDir(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func data(i, size int) (digest.Digest, []byte) {
	b := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2)
	return digest.Sum(b), b
}

func put(t testing.TB, s Spool, module, job string, i, size int) digest.Digest {
	t.Helper()
	id, b := data(i, size)
	batch := s.Begin(module, job)
	must(t, batch.Put(id, b))
	must(t, batch.Sync())
	return id
}

func has(t testing.TB, s Spool, module string, id digest.Digest) bool {
	t.Helper()
	o, err := s.Open(module, id)
	if errors.Is(err, ErrGone) {
		return false
	}
	must(t, err)
	must(t, o.Close())
	return true
}

func TestSpoolGivesBackWhatWasPut(t *testing.T) {
	each(t, func(t *testing.T, s Spool) {
		for _, n := range []int{0, 1, few, few + 1, 50} {
			batch := s.Begin("mod", "job")
			for i := range n {
				id, b := data(n*100+i, 2*i)
				must(t, batch.Put(id, b))
				must(t, batch.Put(id, b)) // twice is once
				if i > 0 && has(t, s, "mod", id) {
					t.Error("available before Sync")
				}
				clear(b) // the spool keeps no caller's memory
			}
			must(t, batch.Sync())
			for i := range n {
				id, want := data(n*100+i, 2*i)
				o, err := s.Open("mod", id)
				must(t, err)
				got, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Errorf("object %d of %d differs", i, n)
				}
				must(t, o.Close())
				if i > 0 && has(t, s, "other", id) {
					t.Error("another module has it")
				}
			}
		}
		batch := s.Begin("mod", "job")
		if err := batch.Put(digest.Digest{}, make([]byte, digest.MaxObject+1)); err == nil {
			t.Error("too large an object is taken")
		}
	})
}

func TestSpoolCancel(t *testing.T) {
	each(t, func(t *testing.T, s Spool) {
		for range 20 { // what is cancelled frees its room
			batch := s.Begin("mod", "job")
			id, b := data(1, testLimit/2)
			must(t, batch.Put(id, b))
			batch.Cancel()
			must(t, batch.Sync())
			if has(t, s, "mod", id) {
				t.Fatal("cancelled and there")
			}
		}
		put(t, s, "mod", "", 1, testLimit)
	})
}

func TestSpoolExpires(t *testing.T) {
	each(t, func(t *testing.T, s Spool) {
		free := put(t, s, "mod", "", 1, 100)
		a := put(t, s, "mod", "a", 2, 100)
		both := put(t, s, "mod", "a", 3, 100)
		if again := put(t, s, "mod", "b", 3, 100); again != both { // putting what is there leases it
			t.Fatal("ids differ")
		}
		missing, _ := data(9, 9)
		if gone := s.Lease("mod", "b", both, missing, both); len(gone) != 1 || gone[0] != missing {
			t.Errorf("gone: %v", gone)
		}
		if gone := s.Lease("other", "b", both); len(gone) != 1 {
			t.Error("leased from another module")
		}
		sweep := func(after time.Duration, want ...bool) {
			t.Helper()
			_, err := s.Sweep(t.Context(), time.Now().Add(after))
			must(t, err)
			for i, id := range []digest.Digest{free, a, both} {
				if got := has(t, s, "mod", id); got != want[i] {
					t.Errorf("object %d: %v", i, got)
				}
			}
		}
		sweep(testAge-time.Minute, true, true, true)
		sweep(testAge+time.Minute, false, true, true)
		s.Release("a")
		s.Release("a")
		sweep(testAge-time.Minute, false, true, true)
		sweep(testAge+time.Minute, false, false, true)
		s.Release("b")
		sweep(testAge+time.Minute, false, false, false)
	})
}

func TestSpoolBound(t *testing.T) {
	each(t, func(t *testing.T, s Spool) {
		leased := put(t, s, "mod", "job", 0, 10_000)
		var ids []digest.Digest
		for i := range 30 {
			ids = append(ids, put(t, s, "mod", "", 1+i, 10_000))
		}
		if !has(t, s, "mod", leased) || !has(t, s, "mod", ids[29]) || has(t, s, "mod", ids[0]) {
			t.Error("not the oldest was evicted")
		}
		st, err := s.Sweep(t.Context(), time.Now())
		must(t, err)
		if st.Bytes > testLimit || st.Bytes < testLimit/2 {
			t.Errorf("%+v", st)
		}
		for i := range 9 {
			put(t, s, "mod", "job", 100+i, 10_000)
		}
		id, b := data(200, 10_000)
		batch := s.Begin("mod", "job")
		if err := batch.Put(id, b); fault.ClassOf(err) != fault.Limit {
			t.Errorf("beyond the bound: %v", err)
		}
		batch.Cancel()
		s.Release("job")
		put(t, s, "mod", "job", 200, 10_000)
	})
}

func TestSpoolConcurrently(t *testing.T) {
	each(t, func(t *testing.T, s Spool) {
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				job := fmt.Sprint("job", w)
				for round := range 12 {
					batch := s.Begin("mod", job)
					for i := range 4 {
						id, b := data(round*4+i, 1000)
						if err := batch.Put(id, b); err != nil {
							t.Error(err)
						}
					}
					if err := batch.Sync(); err != nil {
						t.Error(err)
					}
					_, _ = s.Sweep(t.Context(), time.Now().Add(testAge*2))
					for i := range 4 {
						id, _ := data(round*4+i, 1000)
						o, err := s.Open("mod", id)
						if err != nil {
							t.Errorf("leased and %v", err)
							continue
						}
						_ = o.Close()
					}
					s.Release(job)
				}
			})
		}
		wg.Wait()
		st, err := s.Sweep(t.Context(), time.Now().Add(testAge*2))
		must(t, err)
		if st.Files != 0 || st.Bytes != 0 {
			t.Errorf("%+v left", st)
		}
		put(t, s, "mod", "", 1, testLimit) // nothing is counted that is not there
	})
}
