package twolevel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func quiet(int64) error { return nil }

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// result is what an exchange took.
type result struct {
	copies []Copy
	sent   int // by the receiver
	parts  [][]byte
}

// exchange rebuilds now from old, with all messages encoded and decoded.
func exchange(t testing.TB, old, now []byte) (res result) {
	t.Helper()
	size := int64(len(now))
	sig := func(rs []Range, block int, gaps int64, odds int) *Signature {
		s, err := Sign(bytes.NewReader(old), rs, block, gaps, odds, Seed{7}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		b := s.Marshal()
		res.sent += len(b)
		if s, err = ParseSignature(b); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := sig([]Range{{0, int64(len(old))}}, First(int64(len(old))), size, OddsFirst)
	copies, err := Find(bytes.NewReader(now), size, nil, s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	gaps := Total(Gaps(size, copies))
	if unused := s.Unused(copies, 512); s.Refine(gaps, Total(unused)) {
		if copies, err = ParseCopies(MarshalCopies(size, copies), size); err != nil {
			t.Fatal(err)
		}
		if unused, err = ParseRanges(MarshalRanges(unused), int64(len(old))); err != nil {
			t.Fatal(err)
		}
		s = sig(unused, Second(Total(unused), int64(len(old)), 1), gaps, OddsSecond)
		if copies, err = Find(bytes.NewReader(now), size, copies, s, quiet); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range copies {
		if !bytes.Equal(now[c.New:c.New+c.Len], old[c.Old:c.Old+c.Len]) {
			t.Fatalf("%+v is none", c)
		}
	}
	out := make([]byte, size)
	at := int64(0)
	err = Encode(bytes.NewReader(now), size, copies, quiet, func(p *Part) error {
		if p.Off != at || len(p.Data) > MaxPart {
			t.Fatalf("part at %d of %d bytes, not at %d", p.Off, len(p.Data), at)
		}
		at += p.Len
		res.parts = append(res.parts, bytes.Clone(p.Data))
		lit, err := Apply(bytes.NewReader(p.Data), p.Off, p.Len, bytes.NewReader(old), func(b []byte, off int64) error {
			copy(out[off:], b)
			return nil
		})
		if lit != p.Literal {
			t.Fatalf("%d literals, not %d", lit, p.Literal)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, now) {
		t.Fatal("not the new version")
	}
	res.copies = copies
	return res
}

func (r result) literal(size int) int64 { return Total(Gaps(int64(size), r.copies)) }

func TestChangesAreFound(t *testing.T) {
	const size = 6 << 20
	old := noise(1, size)
	edit := bytes.Clone(old)
	for i := range 20 {
		copy(edit[i*300_003+77:], "changed")
	}
	moved := slices.Concat(old[5<<20:], old[:5<<20])
	zeros := make([]byte, size)
	for _, c := range []struct {
		name     string
		old, now []byte
		literal  int64 // at most
		sent     int   // at most, hashes
	}{
		{"same", old, old, 0, 10 << 10},
		{"edits", old, edit, 20 * 2 * 512, 32 << 10},
		{"front", old, slices.Concat([]byte("insert"), old), 4 << 10, 16 << 10},
		{"middle", old, slices.Concat(old[:3<<20+5], []byte("insert"), old[3<<20+5:]), 4 << 10, 16 << 10},
		{"cut", old, slices.Concat(old[:3<<20+5], old[4<<20+9:]), 8 << 10, 16 << 10},
		{"grown", old, slices.Concat(old, noise(2, 100_000)), 100_000 + 4<<10, 16 << 10},
		{"moved", old, moved, 4 << 10, 32 << 10},
		{"shorter", old, old[:1<<20+3], 1 << 10, 200 << 10},
		{"rewritten", old, noise(3, size), size, 200 << 10},
		{"zeros", zeros, zeros[:size-77], 8 << 10, 64 << 10},
		{"from zeros", zeros, old, size, 200 << 10},
		{"small", old[:200_000], edit[:200_000], 2 << 10, 5 << 10},
		{"tiny", old[:600], edit[:700], 700, 100},
		{"less than a block", old[:300], old[:300], 300, 100},
		{"doubled", old[:1<<20], slices.Concat(old[:1<<20], old[:1<<20]), 0, 10 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := exchange(t, c.old, c.now)
			n := 0
			for _, p := range r.parts {
				n += len(p)
			}
			t.Logf("%d literals, %d bytes of hashes, %d of %d parts", r.literal(len(c.now)), r.sent, n, len(r.parts))
			if l := r.literal(len(c.now)); l > c.literal {
				t.Errorf("%d literals", l)
			}
			if r.sent > c.sent {
				t.Errorf("%d bytes of hashes", r.sent)
			}
		})
	}
}

// Every kind of small change, with small blocks, against all alignments.
func TestRandomEdits(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 2))
		old := make([]byte, r.IntN(60_000))
		for i := range old {
			old[i] = byte(r.IntN(1 + r.IntN(4))) // with repeats
		}
		now := bytes.Clone(old)
		for range r.IntN(6) {
			i := r.IntN(len(now) + 1)
			j := i + r.IntN(len(now)-i+1)/(1+r.IntN(20))
			switch r.IntN(3) {
			case 0:
				now = slices.Concat(now[:i], now[j:])
			case 1:
				now = slices.Concat(now[:i], noise(seed, r.IntN(3000)), now[i:])
			case 2:
				now = slices.Concat(now[:i], now[j:], now[i:j])
			}
		}
		exchange(t, old, now)
	}
}

func TestLargeDifferencesComeInParts(t *testing.T) {
	old, now := noise(1, 1<<20), noise(2, 20<<20)
	r := exchange(t, old, slices.Concat(now, old))
	if len(r.parts) < 4 {
		t.Errorf("%d parts", len(r.parts))
	}
	again := exchange(t, old, slices.Concat(now, old))
	for i := range r.parts {
		if !bytes.Equal(r.parts[i], again.parts[i]) {
			t.Errorf("part %d is another the second time", i)
		}
	}
}

func TestOldThatChangedIsNoError(t *testing.T) {
	old := noise(1, 1<<20)
	r := exchange(t, old, old)
	wrote := int64(0)
	_, err := Apply(bytes.NewReader(r.parts[0]), 0, 1<<20, bytes.NewReader(old[:1000]), func(p []byte, _ int64) error {
		wrote += int64(len(p))
		return nil
	})
	if err != nil || wrote > 1000 {
		t.Errorf("%d bytes, %v", wrote, err)
	}
}

func TestHostileSignatureBurnsLittleTime(t *testing.T) {
	// All blocks have the rolling hash of zeros, and the file is full of them.
	zeros := make([]byte, 1<<20)
	s, err := Sign(bytes.NewReader(zeros), []Range{{0, int64(len(zeros))}}, 64, 1<<20, OddsFirst, Seed{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Blocks() {
		for j := range s.sum(i)[s.roll:] {
			s.sum(i)[s.roll+j] = byte(i >> (8 * j))
		}
	}
	if _, err := Find(bytes.NewReader(zeros), int64(len(zeros)), nil, s, quiet); err != nil {
		t.Fatal(err)
	}
}

func TestBlockSizes(t *testing.T) {
	for _, size := range []int64{1, 64 << 10, 1 << 20, 1<<20 + 1, 20e6, 60e6, 1e9, 5e9, 100e9, MaxSize} {
		b := int64(First(size))
		if b < minBlock || b > maxBlock || size/b > maxBlocks {
			t.Errorf("%d bytes in blocks of %d", size, b)
		}
		if b := int64(Second(size, size, .3)); b < minBlock || b > maxBlock || size/b > maxBlocks {
			t.Errorf("%d bytes again in blocks of %d", size, b)
		}
		t.Log(size, b, hashLen(size/b, size, OddsFirst))
	}
	if First(MaxSize+1) != 0 {
		t.Error("a file can be too large")
	}
}

func FuzzParse(f *testing.F) {
	old := noise(1, 100_000)
	s, _ := Sign(bytes.NewReader(old), []Range{{5, 50_000}, {60_000, 20_000}}, 512, 100_000, OddsFirst, Seed{1}, quiet)
	f.Add(s.Marshal())
	f.Add(MarshalCopies(1000, []Copy{{1, 5, 7}, {8, 1, 900}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		now := noise(2, 3000)
		if s, err := ParseSignature(b); err == nil {
			copies, err := Find(bytes.NewReader(now), 3000, nil, s, quiet)
			if err != nil {
				t.Fatal(err)
			}
			s.Unused(copies, 1)
			if !bytes.Equal(s.Marshal(), b) {
				t.Skip("varints need not be minimal")
			}
		}
		if copies, err := ParseCopies(b, 1000); err == nil {
			at := int64(0)
			for _, c := range copies {
				if c.New < at || c.Len <= 0 || c.New+c.Len > 1000 || c.Old < 0 {
					t.Fatalf("%+v", copies)
				}
				at = c.New + c.Len
			}
		}
		_, _ = ParseRanges(b, 1000)
	})
}

func FuzzApply(f *testing.F) {
	old := noise(1, 100_000)
	_ = Encode(bytes.NewReader(noise(2, 1000)), 1000, []Copy{{10, 50, 900}}, quiet, func(p *Part) error {
		f.Add(bytes.Clone(p.Data))
		return nil
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		at := int64(0)
		_, _ = Apply(bytes.NewReader(b), 0, 1000, bytes.NewReader(old), func(p []byte, off int64) error {
			if off < at || off+int64(len(p)) > 1000 {
				t.Fatalf("%d bytes at %d", len(p), off)
			}
			at = off + int64(len(p))
			return nil
		})
	})
}

func BenchmarkSign(b *testing.B) {
	old := noise(1, 16<<20)
	for _, block := range []int{512, 2048, 32 << 10} {
		b.Run(fmt.Sprint(block), func(b *testing.B) {
			b.SetBytes(int64(len(old)))
			for b.Loop() {
				_, _ = Sign(bytes.NewReader(old), []Range{{0, int64(len(old))}}, block, 1<<24, OddsFirst, Seed{}, quiet)
			}
		})
	}
}

func BenchmarkFind(b *testing.B) {
	old := noise(1, 16<<20)
	edit := bytes.Clone(old)
	for i := range 16 {
		copy(edit[i<<20+77:], "changed")
	}
	for _, c := range []struct {
		name  string
		block int
		now   []byte
	}{{"edits/32768", 32 << 10, edit}, {"edits/512", 512, edit}, {"rewritten/32768", 32 << 10, noise(2, 16<<20)}, {"rewritten/1024", 1024, noise(2, 16<<20)}} {
		s, _ := Sign(bytes.NewReader(old), []Range{{0, int64(len(old))}}, c.block, 1<<24, OddsFirst, Seed{}, quiet)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(old)))
			for b.Loop() {
				_, _ = Find(bytes.NewReader(c.now), int64(len(old)), nil, s, quiet)
			}
		})
	}
}
