package patch

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// memory is a tree in memory.
type memory map[string][]byte

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

func (m memory) open(path string) (Source, error) {
	b, ok := m[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memFile{bytes.NewReader(b)}, nil
}

func (m memory) tree() Tree {
	t := Tree{Open: m.open}
	for path, b := range m {
		t.Files = append(t.Files, File{path, int64(len(b)), digest.Sum(b)})
	}
	slices.SortFunc(t.Files, func(a, b File) int { return manifest.Compare(a.Path, b.Path) })
	return t
}

// made is a patch with all its windows.
type made struct {
	head    []byte
	windows [][]byte
}

func (m *made) get(_ context.Context, i int) ([]byte, error) { return m.windows[i], nil }

func (m *made) size() (n int) {
	n = len(m.head)
	for _, w := range m.windows {
		n += len(w)
	}
	return n
}

func makeOf(t testing.TB, old, fresh memory, o Options) *made {
	t.Helper()
	p, err := New(t.Context(), old.tree(), fresh.tree(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if o.Window == smallWindow {
		p.most = 4 << 20
	}
	m := &made{head: p.Head()}
	for i := range p.Windows() {
		w, err := p.Window(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, c := range w.Costs {
			sum += c.Bytes
		}
		if sum != int64(len(w.Coded)) {
			t.Errorf("window %d: costs of %d bytes for %d", i, sum, len(w.Coded))
		}
		m.windows = append(m.windows, w.Coded)
	}
	return m
}

// apply returns the targets that came out right, and the first error.
func (m *made) apply(ctx context.Context, old memory) (memory, error) {
	h, err := ParseHead(m.head)
	if err != nil {
		return nil, err
	}
	a := NewApplier(h, old.open)
	defer a.Close()
	got := memory{}
	for i, target := range h.Targets {
		var b bytes.Buffer
		if _, e := a.Target(ctx, i, m.get, &b); e != nil {
			if err == nil {
				err = e
			}
			continue
		}
		got[target.Path] = b.Bytes()
	}
	return got, err
}

// roundTrip makes and applies a patch and wants all targets right.
func roundTrip(t *testing.T, name string, old, fresh memory, o Options) *made {
	t.Helper()
	m := makeOf(t, old, fresh, o)
	got, err := m.apply(t.Context(), old)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	id := Identify(old.tree().Files, fresh.tree().Files)
	for _, p := range id.Same {
		got[p.To] = old[p.From]
	}
	for _, p := range id.Copies {
		from := old
		if p.New {
			from = got
		}
		got[p.To] = from[p.From]
	}
	if len(got) != len(fresh) {
		t.Errorf("%s: %d files, want %d", name, len(got), len(fresh))
	}
	for path, b := range fresh {
		if !bytes.Equal(got[path], b) {
			t.Errorf("%s: %s differs", name, path)
		}
	}
	return m
}

// words returns text-like bytes.
func words(r *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "%d: the word %x\n", len(b), r.IntN(1<<r.IntN(20)))
	}
	return b[:n]
}

// change returns trees before and after some edits.
func change(r *rand.Rand, files int) (old, fresh memory) {
	old, fresh = memory{}, memory{}
	for i := range files {
		path := fmt.Sprintf("d%d/file-1.%d.txt", i%3, i)
		b := words(r, r.IntN(1<<r.IntN(14)))
		old[path] = b
		switch r.IntN(8) {
		case 0: // deleted
		case 1: // moved
			fresh["moved/"+path] = b
		case 2: // edited
			c := bytes.Clone(b)
			for range 1 + r.IntN(4) {
				if len(c) > 0 {
					k := r.IntN(len(c))
					c = append(c[:k:k], append([]byte("edit"), c[min(len(c), k+r.IntN(20)):]...)...)
				}
			}
			fresh[path] = c
		case 3: // renamed by version and edited
			fresh[fmt.Sprintf("d%d/file-2.%d.txt", i%3, i)] = append([]byte("new in 2\n"), b...)
		case 4: // twice
			fresh[path], fresh[path+".copy"] = b, b
		case 5: // something else
			fresh[path] = words(r, r.IntN(3000))
			fresh["twin"+path] = fresh[path]
		default:
			fresh[path] = b
		}
	}
	return old, fresh
}

func TestTrees(t *testing.T) {
	for seed := range 24 {
		r := rand.New(rand.NewPCG(uint64(seed), 5))
		old, fresh := change(r, r.IntN(20))
		window := int64(0)
		if seed%2 == 1 {
			window = 8000 + r.Int64N(20000)
		}
		roundTrip(t, fmt.Sprintf("seed %d", seed), old, fresh, Options{Window: window})
	}
}

func TestDeterministic(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	old, fresh := change(r, 40)
	a, b := makeOf(t, old, fresh, Options{}), makeOf(t, old, fresh, Options{})
	if !bytes.Equal(a.head, b.head) || !slices.EqualFunc(a.windows, b.windows, bytes.Equal) {
		t.Error("two patches differ")
	}
}

// smallWindow makes makeOf search little of the leftovers at once.
const smallWindow = 1 << 20

// TestLarge has leftovers that are not searched as a whole.
func TestLarge(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 10<<20)
	_, _ = r.Read(b)
	c := append([]byte("in front"), b...)
	for i := 1000; i < len(c); i += 1 << 18 {
		binary.LittleEndian.PutUint64(c[i:], 0)
	}
	m := roundTrip(t, "large", memory{"a": b}, memory{"b": c}, Options{Window: smallWindow})
	if n := m.size(); n > 200_000 {
		t.Errorf("%d bytes", n)
	}
}

// TestAltered changes files of the old tree after the patch was made: what
// depends on them fails and names them, everything else comes out right.
func TestAltered(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	old, fresh := memory{}, memory{}
	for i := range 6 {
		path := fmt.Sprintf("f%d", i)
		old[path] = words(r, 20000)
		fresh[path] = append(words(r, 100), old[path]...)
	}
	m := makeOf(t, old, fresh, Options{Window: 20100})
	for _, alter := range []func(b []byte) []byte{
		func(b []byte) []byte { b = bytes.Clone(b); b[700]++; return b },
		func(b []byte) []byte { return b[:100] },
		func(b []byte) []byte { return nil },
	} {
		now := memory{}
		for path, b := range old {
			now[path] = b
		}
		now["f3"] = alter(old["f3"])
		got, err := m.apply(t.Context(), now)
		var wrong *MismatchError
		if !errors.As(err, &wrong) || !wrong.Base || wrong.Path != "f3" {
			t.Errorf("error %v", err)
		}
		for path, b := range got {
			if !bytes.Equal(b, fresh[path]) {
				t.Errorf("%s is wrong", path)
			}
		}
	}
	delete(old, "f3")
	if _, err := m.apply(t.Context(), old); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestDamaged flips each part of a patch in turn: never is a byte wrong.
func TestDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	old, fresh := change(r, 12)
	m := makeOf(t, old, fresh, Options{Window: 4000})
	for i := range m.windows {
		for range 40 {
			w := bytes.Clone(m.windows[i])
			switch r.IntN(3) {
			case 0:
				w[r.IntN(len(w))] ^= byte(1 + r.IntN(255))
			case 1:
				w = w[:r.IntN(len(w))]
			case 2:
				w = append(w, 0)
			}
			bad := &made{m.head, slices.Clone(m.windows)}
			bad.windows[i] = w
			got, _ := bad.apply(t.Context(), old)
			for path, b := range got {
				if !bytes.Equal(b, fresh[path]) {
					t.Fatalf("%s is wrong", path)
				}
			}
		}
	}
	for range 300 {
		h := bytes.Clone(m.head)
		h[r.IntN(len(h))] ^= byte(1 + r.IntN(255))
		if _, err := ParseHead(h); err == nil {
			t.Fatal("a damaged head is read")
		}
	}
}

func TestWindowErrors(t *testing.T) {
	m := makeOf(t, memory{"a": []byte("hello, world")}, memory{"a": []byte("hello, World")}, Options{})
	h, err := ParseHead(m.head)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("no window for you")
	a := NewApplier(h, memory{"a": []byte("hello, world")}.open)
	defer a.Close()
	_, err = a.Target(t.Context(), 0, func(context.Context, int) ([]byte, error) { return nil, stop }, io.Discard)
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = a.Target(ctx, 0, m.get, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := a.Window(t.Context(), 1, nil); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func TestSpan(t *testing.T) {
	h := &Head{Windows: []int64{10, 10, 5}, Targets: []Target{{Fresh: 4}, {Fresh: 0}, {Fresh: 6}, {Fresh: 13}, {Fresh: 2}}}
	for i, want := range [][2]int{{0, 1}, {0, 0}, {0, 1}, {1, 3}, {2, 3}} {
		if from, to := h.Span(i); from != want[0] || to != want[1] {
			t.Errorf("target %d: %d to %d, want %v", i, from, to, want)
		}
	}
}

func TestStem(t *testing.T) {
	for a, b := range map[string]string{"lib/tomcat-10.1.55.jar": "lib/tomcat-10.1.60.jar", "modules/6.1.0-55/x.ko": "modules/6.1.0-9/x.ko"} {
		if stem(a) != stem(b) {
			t.Errorf("%s %s", stem(a), stem(b))
		}
	}
	if stem("a.b") == stem("a.c") {
		t.Error("too alike")
	}
}

func zipOf(t *testing.T, entries map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(entries[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
