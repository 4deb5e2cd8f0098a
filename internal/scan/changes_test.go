package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// mutate changes a tree at random, in ways that show in sizes or inodes.
func mutate(r *rand.Rand, dir string, n int) {
	var all []string
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, _ error) error {
		if p != dir {
			all = append(all, p)
		}
		return nil
	})
	pick := func() string {
		if len(all) == 0 || r.IntN(4) == 0 {
			parts := []string{dir}
			for range 1 + r.IntN(4) {
				parts = append(parts, string("ab-!c"[r.IntN(5)])+strings.Repeat("x", r.IntN(2)))
			}
			return filepath.Join(parts...)
		}
		return all[r.IntN(len(all))]
	}
	data := func() []byte { return bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(200_000)>>r.IntN(18)) }
	for range n {
		p := pick()
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		switch r.IntN(10) {
		case 0:
			_ = os.RemoveAll(p)
		case 1:
			_ = os.Rename(p, pick())
		case 2:
			_ = os.Chmod(p, []os.FileMode{0o755, 0o700, 0o750}[r.IntN(3)])
		case 3:
			_ = os.Chtimes(p, time.Time{}, time.Unix(r.Int64N(1<<31), r.Int64N(1e9)))
		case 4:
			_ = os.RemoveAll(p)
			_ = os.Symlink([]string{"a", "b", "../c"}[r.IntN(3)], p)
		case 5:
			_ = os.RemoveAll(p)
			_ = os.Mkdir(p, 0o755)
		case 6:
			_ = appendTo(p, "more")
		case 7:
			_ = os.Link(p, pick())
		default:
			_ = os.RemoveAll(p)
			_ = os.WriteFile(p, data(), 0o644)
		}
	}
}

// plain returns what a walk with the mask can tell of recs.
func plain(recs []manifest.Record, mask manifest.Mask) []manifest.Entry {
	var out []manifest.Entry
	for _, r := range recs {
		e := r.Entry
		if mask&manifest.Perm == 0 || e.Type == manifest.Symlink {
			e.Mode = min(e.Mode&0o111, 1)
			if e.Type != manifest.File {
				e.Mode = 0
			}
		}
		if mask&manifest.Times == 0 {
			e.Sec, e.Nsec = 0, 0
		}
		out = append(out, e)
	}
	return out
}

func drain(t testing.TB, src manifest.Source) []manifest.Record {
	t.Helper()
	var out []manifest.Record
	for {
		var r manifest.Record
		err := src.Next(&r)
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		out = append(out, r)
	}
}

func TestIndexAndChangesGiveTheTree(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		mask := []manifest.Mask{allAttrs, manifest.Links, manifest.Perm | manifest.Links}[seed%3]
		honest := seed%2 == 0 // the index is as an honest writer leaves it: nothing so new is trusted
		dir := t.TempDir()
		mutate(r, dir, 150)
		var index []manifest.Record
		for round := range 5 {
			o := options(t, dir)
			o.Mask = mask
			fresh := hashed(t, o)

			var puts, refreshed []manifest.Record
			var order manifest.Ordered
			o.Index = manifest.Slice(index)
			o.Refresh = func(r *manifest.Record) error {
				must(t, order.Check(r.Path))
				refreshed = append(refreshed, *r)
				return nil
			}
			st, err := Changes(t.Context(), o, HashOptions{Workers: 1 + r.IntN(4)}, func(r *manifest.Record) error {
				must(t, order.Check(r.Path))
				puts = append(puts, *r)
				return nil
			})
			must(t, err)
			if st.Puts+st.Dels != int64(len(puts)) || st.Refreshed != int64(len(refreshed)) {
				t.Errorf("%+v with %d puts and %d refreshed", st, len(puts), len(refreshed))
			}
			got := drain(t, manifest.Apply(manifest.Slice(index), manifest.Slice(puts)))
			if a, b := plain(got, mask), plain(fresh, mask); !slices.Equal(a, b) {
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Errorf("%+v\n%+v", a[i], b[i])
						break
					}
				}
				t.Fatalf("seed %d, round %d: %d entries, want %d", seed, round, len(a), len(b))
			}
			// Refreshed records say the same of content, and tomorrow's index has
			// them.
			index = drain(t, manifest.Apply(manifest.Slice(got), manifest.Slice(refreshed)))
			if a, b := plain(index, mask), plain(fresh, mask); !slices.Equal(a, b) {
				t.Fatalf("seed %d, round %d: refreshing changed the tree", seed, round)
			}
			if !honest {
				for i := range index {
					index[i].Stat = fresh[i].Stat
				}
				o.Index, o.Refresh = manifest.Slice(index), nil
				if st, err := Changes(t.Context(), o, HashOptions{}, func(r *manifest.Record) error { return fmt.Errorf("change: %+v", r) }); err != nil || st.Hashed != 0 {
					t.Fatalf("seed %d, round %d: unchanged tree: %+v, %v", seed, round, st, err)
				}
			}
			mutate(r, dir, r.IntN(40))
		}
	}
}

func TestChangesWithoutContent(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{"f": fstest.File("same").At(5, 5)})
	index := hashed(t, options(t, dir))
	for i := range index {
		index[i].User, index[i].Group = "as", "sent" // not what the local system says
	}
	o := options(t, dir)
	o.Index = manifest.Slice(index)
	st, err := Changes(t.Context(), o, HashOptions{}, func(r *manifest.Record) error { return fmt.Errorf("change: %+v", r) })
	if err != nil || st.Known != 1 {
		t.Errorf("an entry with its Stat unchanged is reported: %+v, %v", st, err)
	}
	must(t, os.Chmod(filepath.Join(dir, "f"), 0o600))
	o.Index = manifest.Slice(index)
	var puts []manifest.Record
	_, err = Changes(t.Context(), o, HashOptions{}, func(r *manifest.Record) error { puts = append(puts, *r); return nil })
	must(t, err)
	if len(puts) != 1 || puts[0].Path != "f" || puts[0].Mode != 0o600 || puts[0].Digest != digest.Sum([]byte("same")) {
		t.Errorf("%+v", puts)
	}
	if !puts[0].Stat.IsZero() {
		t.Error("a file changed just now is trusted")
	}
}

func TestChangesEnds(t *testing.T) {
	dir := t.TempDir()
	spec := fstest.Spec{}
	for i := range 3000 {
		spec[fmt.Sprintf("f%04d", i)] = fstest.File(fmt.Sprint(i))
	}
	fstest.Tree(t, dir, spec)
	before := handles()
	boom := errors.New("boom")
	for _, at := range []int{0, 1, 1500, 3000} {
		n := 0
		_, err := Changes(t.Context(), options(t, dir), HashOptions{Workers: 3}, func(*manifest.Record) error {
			if n++; n > at {
				return boom
			}
			return nil
		})
		if !errors.Is(err, boom) {
			t.Errorf("after %d: %v", at, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n = 0
		_, err = Changes(ctx, options(t, dir), HashOptions{Workers: 3}, func(*manifest.Record) error {
			if n++; n > at {
				cancel()
			}
			return nil
		})
		cancel()
		if at < 3000 && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d: %v", at, err)
		}
	}
	if now := handles(); now > before+8 {
		t.Errorf("%d handles open, %d before", now, before)
	}
}

func TestGrowingLogIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{"log": fstest.Random(300<<10, 1), "other": fstest.File("x")})
	o := options(t, dir)
	index := hashed(t, o)
	index[1].Stat = manifest.Stat{}
	o.Index = manifest.Slice(index)
	var warned []string
	o.Warn = func(p string, err error) {
		if !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
		warned = append(warned, p)
	}
	size := int64(300 << 10)
	hash := HashOptions{Workers: 1, Progress: func(int64, int64) {}}
	c := newChanger(t.Context(), o, hash)
	c.hasher.Progress = func(int64) {
		size++
		must(t, os.Truncate(filepath.Join(dir, "log"), size))
	}
	var diff []string
	_, err := c.run(func(r *manifest.Record) error { diff = append(diff, fmt.Sprint(r.Op, r.Path)); return nil })
	must(t, err)
	if !slices.Equal(diff, []string{"1log"}) || !slices.Equal(warned, []string{"log"}) {
		t.Errorf("%q, warned of %q", diff, warned)
	}
}
