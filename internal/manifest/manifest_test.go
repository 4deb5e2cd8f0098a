package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

// randomTree returns a valid tree's records in canonical order.
func randomTree(r *rand.Rand, n int) []Record {
	names := []string{"a", "b", "a.b", "a b", "ab", "\xff\xfe", "new\nline", "-x", "ä", strings.Repeat("n", 255), "a-", "A"}
	dirs := []string{""}
	seen := map[string]bool{"": true}
	recs := []Record{{Entry: Entry{Type: Dir, Mode: 0o755, Sec: -5, Nsec: 7}}}
	for len(recs) < n {
		p := path.Join(dirs[r.IntN(len(dirs))], names[r.IntN(len(names))]+[]string{"", "0", "1", "2"}[r.IntN(4)])
		if len(p) > MaxPath || len(p) > 0 && CheckPath(p) != nil || seen[p] {
			dirs = append(dirs, "")
			if len(dirs) > 10*n {
				break
			}
			continue
		}
		seen[p] = true
		e := Entry{Path: p, Mode: r.Uint32() & 0o7777, Sec: r.Int64N(1<<40) - 1<<39, Nsec: r.Uint32N(1e9), UID: r.Uint32N(3), GID: r.Uint32(), User: []string{"", "root", "u"}[r.IntN(3)], Group: "g"}
		switch r.IntN(4) {
		case 0:
			e.Type = Dir
			dirs = append(dirs, p)
		case 1:
			e.Type, e.Target = Symlink, "../x"
		default:
			e.Type, e.Size, e.Digest = File, r.Int64N(1<<50), digest.Sum([]byte(p))
		}
		rec := Record{Entry: e}
		if r.IntN(2) == 0 {
			rec.Stat = Stat{Size: e.Size, Sec: -1, Nsec: 5, CSec: 1 << 40, CNsec: 9, Ino: 1<<63 + 1, Dev: 3}
		}
		recs = append(recs, rec)
	}
	sort.Slice(recs, func(i, j int) bool { return Compare(recs[i].Path, recs[j].Path) < 0 })
	return recs
}

func all(t testing.TB, s Source) []Record {
	t.Helper()
	var out []Record
	for {
		var r Record
		err := s.Next(&r)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Ext = slices.Clone(r.Ext)
		out = append(out, r)
	}
}

func TestOrderIsDepthFirst(t *testing.T) {
	paths := []string{"", "a", "a/b", "a/b/c", "a/z", "a\x01", "a b", "a-", "a.b", "ab", "b"}
	for i := range paths {
		for j := range paths {
			got, want := Compare(paths[i], paths[j]), i-j
			if got < 0 != (want < 0) || got > 0 != (want > 0) {
				t.Errorf("Compare(%q, %q) = %d", paths[i], paths[j], got)
			}
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, p := range []string{"", "a", "a/b", "..a", "a..", "...", strings.Repeat("a", 255), "\xff"} {
		if err := CheckPath(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\x00b", strings.Repeat("a", 256), strings.Repeat("a/", 2000) + "aaaaaaaaaaaaaaaaaa" + strings.Repeat("a/", 2000)} {
		if CheckPath(p) == nil {
			t.Errorf("%q accepted", p)
		}
	}
}

func TestStoredListRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 500, 9000} {
		recs := randomTree(r, n)
		var buf bytes.Buffer
		w := NewWriter(&buf, 'i')
		for i := range recs {
			if err := w.Put(&recs[i]); err != nil {
				t.Fatal(err)
			}
		}
		tree := digest.Sum([]byte("t"))
		if err := w.Close(tree, 42); err != nil {
			t.Fatal(err)
		}
		rd, err := NewReader(bytes.NewReader(buf.Bytes()), 'i')
		if err != nil {
			t.Fatal(err)
		}
		if got := all(t, rd); !reflect.DeepEqual(got, recs) {
			t.Fatalf("%d records differ after a round trip", n)
		}
		tr, ok := rd.Trailer()
		tr2, err := ReadTrailer(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		if !ok || err != nil || tr != tr2 || tr.Tree != tree || tr.Meta != 42 || tr.Count != int64(len(recs)) {
			t.Fatalf("trailer %+v, %+v, %v", tr, tr2, err)
		}
		for _, cut := range []int{1, 4, 20, buf.Len() / 2} {
			if cut >= buf.Len() {
				continue
			}
			rd, err := NewReader(bytes.NewReader(buf.Bytes()[:buf.Len()-cut]), 'i')
			for err == nil {
				var rec Record
				err = rd.Next(&rec)
			}
			if errors.Is(err, io.EOF) {
				t.Fatalf("list cut by %d bytes reads to the end", cut)
			}
		}
	}
}

func TestDisorderIsRefused(t *testing.T) {
	w := NewWriter(io.Discard, 'i')
	if err := errors.Join(w.Put(&Record{Entry: Entry{Path: "b", Type: Dir}}), w.Put(&Record{Entry: Entry{Path: "a", Type: Dir}})); err == nil {
		t.Error("falling paths were accepted")
	}
}

func treeOf(t testing.TB, s Source, mask Mask) digest.Digest {
	h := NewHasher(mask)
	for _, r := range all(t, s) {
		if err := h.Add(&r.Entry); err != nil {
			t.Fatal(err)
		}
	}
	return h.Tree()
}

func TestTreeDigest(t *testing.T) {
	recs := randomTree(rand.New(rand.NewPCG(3, 4)), 200)
	full := Perm | Times | Owner | Group | Links
	base := treeOf(t, Slice(recs), full)
	if base != treeOf(t, Slice(recs), full) {
		t.Fatal("not deterministic")
	}
	if base == treeOf(t, Slice(recs), Perm) {
		t.Fatal("the mask is not covered")
	}
	for name, change := range map[string]func(*Entry){
		"mtime": func(e *Entry) { e.Nsec ^= 1 }, "mode": func(e *Entry) {
			if e.Type != Symlink {
				e.Mode ^= 1
			} else {
				e.Target += "x"
			}
		},
		"owner": func(e *Entry) { e.UID++ }, "group": func(e *Entry) { e.Group += "x" },
		"content": func(e *Entry) {
			e.Digest[0] ^= 1
			if e.Type != File {
				e.Sec++
			}
		},
	} {
		for i := range recs {
			c := slices.Clone(recs)
			change(&c[i].Entry)
			if treeOf(t, Slice(c), full) == base {
				t.Fatalf("a change of %s of %q is not covered", name, c[i].Path)
			}
		}
	}
	h := NewHasher(full)
	if err := errors.Join(h.Add(&Entry{Type: Dir}), h.Add(&Entry{Path: "a/b", Type: Dir})); err == nil {
		t.Error("an orphan was accepted")
	}
}

// TestTreeDigestVector pins the digest: a change of it is a change of the
// protocol. docs/protocol.md shows the same tree.
func TestTreeDigestVector(t *testing.T) {
	recs := []Record{
		{Entry: Entry{Type: Dir, Mode: 0o755, Sec: 1700000000}},
		{Entry: Entry{Path: "bin", Type: Dir, Mode: 0o755, Sec: 1700000000, Nsec: 1}},
		{Entry: Entry{Path: "bin/run", Type: File, Mode: 0o755, Sec: 1700000001, Size: 6, Digest: digest.Sum([]byte("hello\n"))}},
		{Entry: Entry{Path: "link", Type: Symlink, Target: "bin/run", Sec: 1700000002}},
	}
	const want = "40f2fcf82c5707a6e127939d98d03c516e8e6fc7737e8d2257dc83fbda8363aa"
	got := treeOf(t, Slice(recs), Perm|Times|Links).String()
	if got != want {
		t.Errorf("tree digest %s, want %s", got, want)
	}
}

func TestApplyAgreesWithMaps(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		base := randomTree(r, 1+r.IntN(60))
		target := randomTree(r, 1+r.IntN(60))
		diff := Diff(base, target)
		got := all(t, Apply(Slice(base), Slice(diff)))
		if len(got) != len(target) {
			t.Fatalf("seed %d: %d entries, want %d", seed, len(got), len(target))
		}
		for i := range got {
			if got[i].Entry != target[i].Entry {
				t.Fatalf("seed %d: entry %d is %+v, want %+v", seed, i, got[i].Entry, target[i].Entry)
			}
		}
	}
}

// Diff is the plain way to compute what Apply undoes.
func Diff(base, target []Record) []Record {
	old, now := map[string]Entry{}, map[string]Entry{}
	for _, r := range base {
		old[r.Path] = r.Entry
	}
	for _, r := range target {
		now[r.Path] = r.Entry
	}
	var out []Record
	for p := range old {
		if _, ok := now[p]; !ok {
			out = append(out, Record{Op: Del, Entry: Entry{Path: p}})
		}
	}
	for p, e := range now {
		if o, ok := old[p]; !ok || o != e {
			out = append(out, Record{Entry: e})
		}
	}
	sort.Slice(out, func(i, j int) bool { return Compare(out[i].Path, out[j].Path) < 0 })
	// What lies below a deleted or replaced directory goes with it; what stays
	// below a path that is put again as a directory is kept.
	var kept []Record
	cut, cutting := "", false
	for _, r := range out {
		if r.Op == Del && cutting && Within(r.Path, cut) {
			continue
		}
		if r.Op == Del || r.Type != Dir {
			cut, cutting = r.Path, true
		}
		kept = append(kept, r)
	}
	return kept
}

func FuzzDecoder(f *testing.F) {
	var e Encoder
	for _, r := range randomTree(rand.New(rand.NewPCG(5, 6)), 20) {
		r.Ext = []byte("x")
		e.Append(&r)
	}
	f.Add(e.Take())
	f.Add([]byte{3, 0x10, 1, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		d := NewDecoder(body)
		var recs []Record
		for {
			var r Record
			err := d.Next(&r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			recs = append(recs, r)
		}
		var e Encoder
		for i := range recs {
			e.Append(&recs[i])
		}
		d = NewDecoder(e.Take())
		for i := range recs {
			var r Record
			if err := d.Next(&r); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(r) != fmt.Sprint(recs[i]) {
				t.Fatalf("record %d: %+v became %+v", i, recs[i], r)
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	var buf bytes.Buffer
	w := NewWriter(&buf, 'i')
	for _, r := range randomTree(rand.New(rand.NewPCG(5, 6)), 20) {
		_ = w.Put(&r)
	}
	_ = w.Close(digest.Digest{}, 0)
	f.Add(buf.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		rd, err := NewReader(bytes.NewReader(b), 'i')
		for n := 0; err == nil && n < 1e6; n++ {
			var r Record
			err = rd.Next(&r)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	recs := randomTree(rand.New(rand.NewPCG(5, 6)), 20000)
	b.ReportAllocs()
	for b.Loop() {
		var n counter
		w := NewWriter(&n, 'i')
		for i := range recs {
			_ = w.Put(&recs[i])
		}
		_ = w.Close(digest.Digest{}, 0)
		b.ReportMetric(float64(n)/float64(len(recs)), "B/entry")
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
