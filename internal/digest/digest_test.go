package digest

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"lukechampine.com/blake3"
)

func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

var sizes = []int{
	0, 1, 63, 64, 1023, 1024, 1025, 2048, 16 << 10, 16<<10 + 1, 17 << 10, BlockSize - 1, BlockSize, BlockSize + 1,
	2 * BlockSize, 2*BlockSize + 1, 3*BlockSize + 7, SpanSize - 1, SpanSize, SpanSize + 1, 2*SpanSize + BlockSize, 3*SpanSize + 12345,
}

func TestSumAgreesWithReference(t *testing.T) {
	data := random(sizes[len(sizes)-1])
	for _, n := range sizes {
		want := Digest(blake3.Sum256(data[:n]))
		if got := Sum(data[:n]); got != want {
			t.Errorf("Sum of %d bytes = %s, want %s", n, got, want)
		}
		for name, r := range map[string]interface{ Read([]byte) (int, error) }{
			"plain": bytes.NewReader(data[:n]), "half": iotest.HalfReader(bytes.NewReader(data[:n])),
		} {
			got, size, err := SumReader(r, nil)
			if err != nil || got != want || size != int64(n) {
				t.Errorf("%s SumReader of %d bytes = %s, %d, %v; want %s", name, n, got, size, err, want)
			}
		}
	}
}

func TestSpansComposeToTheFile(t *testing.T) {
	data := random(sizes[len(sizes)-1])
	for _, n := range sizes {
		if n == 0 {
			continue
		}
		var tree Tree
		var only Digest
		for off := 0; off < n; off += SpanSize {
			part := data[off:min(off+SpanSize, n)]
			o := NewSpan(part, int64(off), n <= SpanSize)
			if err := o.Check(); err != nil {
				t.Fatalf("%d bytes, span at %d: %v", n, off, err)
			}
			for i := range o.NumBlocks() {
				b := part[i*BlockSize : i*BlockSize+o.BlockLen(i)]
				if !o.VerifyBlock(i, b) {
					t.Fatalf("%d bytes, span at %d: block %d does not verify", n, off, i)
				}
				bad := bytes.Clone(b)
				bad[len(bad)/2] ^= 1
				if o.VerifyBlock(i, bad) || o.VerifyBlock(i, b[1:]) || o.VerifyBlock(i+1, b) && i+1 < o.NumBlocks() {
					t.Fatalf("%d bytes, span at %d: altered block %d verifies", n, off, i)
				}
			}
			only = o.ID
			tree.PushSpan(o.ID, o.NumBlocks())
		}
		got := only
		if n > SpanSize {
			got = tree.Root()
		}
		if want := Digest(blake3.Sum256(data[:n])); got != want {
			t.Errorf("%d bytes: composed %s, want %s", n, got, want)
		}
	}
}

func TestCheckRefusesLies(t *testing.T) {
	data := random(3 * BlockSize)
	good := NewObject(data)
	for name, change := range map[string]func(*Object){
		"size":       func(o *Object) { o.Size += BlockSize },
		"negative":   func(o *Object) { o.Size = -1 },
		"zero":       func(o *Object) { o.Size = 0 },
		"huge":       func(o *Object) { o.Size = MaxObject + 1 },
		"offset":     func(o *Object) { o.Offset = 5 },
		"root":       func(o *Object) { o.Offset = SpanSize },
		"value":      func(o *Object) { o.Blocks[1][0] ^= 1 },
		"few values": func(o *Object) { o.Blocks = o.Blocks[:2] },
		"id":         func(o *Object) { o.ID[3] ^= 1 },
		"not root":   func(o *Object) { o.Root = false },
	} {
		o := good
		o.Blocks = append([]Digest(nil), good.Blocks...)
		change(&o)
		if o.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	d := Sum([]byte("x"))
	p, err := Parse(d.String())
	if err != nil || p != d {
		t.Fatal(p, err)
	}
	for _, bad := range []string{"", "zz", d.String()[1:], d.String()[:63] + "g"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q parsed", bad)
		}
	}
}

func BenchmarkBlockCV(b *testing.B) {
	data := random(BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		BlockCV(data, 3)
	}
}

func BenchmarkSumSmall(b *testing.B) {
	data := random(2000)
	b.SetBytes(2000)
	for b.Loop() {
		Sum(data)
	}
}
