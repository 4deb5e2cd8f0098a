package bytediff

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
)

// sample returns n bytes of the kind that has repetitions on many scales.
func sample(r *rand.Rand, n int) []byte {
	words := make([][]byte, 1+r.IntN(200))
	for i := range words {
		words[i] = make([]byte, 1+r.IntN(40))
		for j := range words[i] {
			words[i][j] = byte(r.IntN(256) >> r.IntN(8))
		}
	}
	b := make([]byte, 0, n+40)
	for len(b) < n {
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b[:n]
}

// mutate returns b after some edits of the kinds that releases have.
func mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range r.IntN(12) {
		if len(b) == 0 {
			return sample(r, r.IntN(100))
		}
		i := r.IntN(len(b))
		j := i + r.IntN(min(len(b)-i, 2000)+1)
		switch r.IntN(7) {
		case 0:
			b = append(b[:i:i], b[j:]...) // cut out
		case 1:
			b = append(b[:i:i], append(sample(r, r.IntN(500)), b[i:]...)...) // insert
		case 2:
			k := r.IntN(len(b))
			b = append(b[:k:k], append(bytes.Clone(b[i:j]), b[k:]...)...) // copy
		case 3:
			for ; i < j; i += 4 + r.IntN(40) { // addresses move
				b[i] += 4
			}
		case 4:
			b[i] ^= byte(1 + r.IntN(255))
		case 5:
			b = append(bytes.Clone(b[i:]), b[:i]...) // rotate
		case 6:
			for ; i+8 <= j; i += 8 {
				binary.LittleEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:])+0x140)
			}
		}
	}
	return b
}

func TestMakeApply(t *testing.T) {
	c := NewCoder()
	for seed := range 40 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		old := sample(r, r.IntN(1<<r.IntN(15)))
		fresh := mutate(r, old)
		if seed%10 == 0 {
			fresh = sample(r, r.IntN(1000))
		}
		diff := c.Make(old, fresh)
		got, err := Apply(nil, old, diff, len(fresh))
		if err != nil || !bytes.Equal(got, fresh) {
			t.Fatalf("seed %d, %d to %d bytes: %v", seed, len(old), len(fresh), err)
		}
		if len(diff) > len(fresh)+32 {
			t.Errorf("seed %d: %d bytes for %d", seed, len(diff), len(fresh))
		}
	}
}

// TestStreams takes thousands of inputs through streams, which are coded for
// some only, since that takes its time.
func TestStreams(t *testing.T) {
	c := NewCoder()
	for seed := range 5000 {
		r := rand.New(rand.NewPCG(uint64(seed), 2))
		old := sample(r, r.IntN(1<<r.IntN(15)))
		fresh := mutate(r, old)
		runs, err := NewIndex(old).Match(fresh, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := split(old, fresh, runs)
		got, err := merge(nil, old, s, len(fresh))
		if err == nil && seed%50 == 0 {
			diff := c.streams(append(binary.AppendUvarint(nil, uint64(len(fresh))), kindStreams), s)
			got, err = Apply(nil, old, diff, len(fresh))
		}
		if err != nil || !bytes.Equal(got, fresh) {
			t.Fatalf("seed %d, %d to %d bytes: %v", seed, len(old), len(fresh), err)
		}
	}
}

// TestSmall wants differences that are small where little changed.
func TestSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	old := make([]byte, 1<<20)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	fresh := append([]byte("something new in front"), old...)
	for i := 5000; i < len(fresh); i += 50000 {
		fresh[i]++
	}
	if n := len(NewCoder().Make(old, fresh)); n > 200 {
		t.Errorf("%d bytes", n)
	}
}

func TestMatchAscends(t *testing.T) {
	for seed := range 300 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		old := sample(r, r.IntN(20000))
		fresh := mutate(r, old)
		runs, _ := NewIndex(old).Match(fresh, nil)
		at := 0
		for _, x := range runs {
			if x.New < at || x.Len <= 0 || x.New+x.Len > len(fresh) || x.Old < 0 || x.Old+x.Len > len(old) {
				t.Fatalf("seed %d: %+v after %d", seed, x, at)
			}
			at = x.New + x.Len
		}
	}
}

func TestTickEndsTheWork(t *testing.T) {
	stop := errors.New("stop")
	if _, err := NewIndex(nil).Match(make([]byte, 10), func(int) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// TestDeterministic makes the same difference with one processor and several,
// with a fresh coder and a used one.
func TestDeterministic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	old := sample(r, 300_000)
	fresh := mutate(r, old)
	c := NewCoder()
	first := c.Make(old, fresh)
	c.Make(fresh, old)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(first, c.Make(old, fresh)) || !bytes.Equal(first, NewCoder().Make(old, fresh)) {
		t.Error("the same input gave two differences")
	}
}

// TestGolden holds the format: differences that were once written stay readable.
func TestGolden(t *testing.T) {
	old := []byte("The quick brown fox jumps over the lazy dog, and then it sleeps.")
	for _, g := range []struct{ name, diff, want string }{
		{"streams", golden1, "The quick brown cat jumps over the lazy dog, and then it sleeps. Good."},
		{"dictionary", golden2, "The lazy dog, and then The quick brown fox jumps over the lazy dog"},
		{"empty", "000001000000000000", ""},
	} {
		b, err := hex.DecodeString(g.diff)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Apply(nil, old, b, len(g.want)); err != nil || string(got) != g.want {
			t.Errorf("%s: %q, %v", g.name, got, err)
			runs, _ := NewIndex(old).Match([]byte(g.want), nil)
			t.Logf("now: %x", NewCoder().streams(append(binary.AppendUvarint(nil, uint64(len(g.want))), kindStreams), split(old, []byte(g.want), runs)))
		}
	}
}

const (
	golden1 = "46000400010040000200102d020003000300fdf2fc060020476f6f642e"
	golden2 = "420100005500000854020068c104a2a82b"
)

func TestRefuses(t *testing.T) {
	old := []byte("0123456789")
	for name, diff := range map[string][]byte{
		"nothing":         {},
		"other size":      {3, 0, 0, 0, 0, 0, 0},
		"no kind":         {4},
		"unknown kind":    {4, 9},
		"no streams":      {4, 0},
		"long stream":     {4, 0, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"unknown coding":  {4, 0, 4, 9},
		"old for control": {4, 0, 4, 2, 1, 0},
		"no control":      {4, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3, 4},
		"trailing":        {4, 0, 1, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3, 4, 5},
		"short extra":     {4, 0, 1, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3},
		"negative place":  {4, 0, 4, 0, 1, 0, 4, 1, 1, 0, 4, 1, 0, 0, 0, 0},
		"place too far":   {4, 0, 4, 0, 1, 0, 4, 14, 1, 0, 4, 1, 0, 0, 0, 0},
		"no differences":  {4, 0, 4, 0, 1, 0, 4, 0, 0, 0, 0, 0},
		"empty group":     {4, 0, 4, 0, 1, 0, 4, 0, 1, 0, 0, 1, 0, 0, 0, 0},
		"group left over": {4, 0, 4, 0, 1, 0, 4, 0, 1, 0, 5, 1, 0, 0, 0, 0},
		"long run":        {4, 0, 4, 0, 1, 0, 9, 0, 1, 0, 9, 1, 0, 0, 0, 0},
		"bad frame":       {4, 1, 1, 2, 3},
		"no frame":        {4, 1},
	} {
		if got, err := Apply(nil, old, diff, 4); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := Apply(nil, old, []byte{4, 0, 4, 0, 1, 0, 4, 2, 1, 0, 4, 1, 0, 0, 0, 0}, 4); err != nil {
		t.Error("what is right is refused", err)
	}
	if _, err := Apply(nil, old, nil, -1); err == nil {
		t.Error("a negative size")
	}
}

func FuzzApply(f *testing.F) {
	c := NewCoder()
	old := []byte("The quick brown fox jumps over the lazy dog, and then it sleeps.")
	for _, s := range []string{"", "dog, and then", "The quick brown cat jumps over the lazy dog, and then it sleeps.", "\x00\x01\x02"} {
		f.Add(old, c.Make(old, []byte(s)), len(s))
		runs, _ := NewIndex(old).Match([]byte(s), nil)
		f.Add(old, c.streams(append(binary.AppendUvarint(nil, uint64(len(s))), kindStreams), split(old, []byte(s), runs)), len(s))
	}
	f.Fuzz(func(t *testing.T, old, diff []byte, size int) {
		if size > 1<<20 {
			return
		}
		if got, err := Apply(nil, old, diff, size); err == nil && len(got) != size || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// FuzzMake wants everything to come back as it was.
func FuzzMake(f *testing.F) {
	f.Add([]byte("The quick brown fox jumps over the lazy dog"), []byte("jumps over the lazy dog The quick brown fox"))
	c := NewCoder()
	f.Fuzz(func(t *testing.T, old, fresh []byte) {
		got, err := Apply(nil, old, c.Make(old, fresh), len(fresh))
		if err != nil || !bytes.Equal(got, fresh) {
			t.Errorf("%q, %v", got, err)
		}
	})
}
