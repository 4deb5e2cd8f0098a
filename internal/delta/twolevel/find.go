package twolevel

import (
	"bytes"
	"io"
	"math/bits"
)

// Find looks for the blocks of sig in what copies leave of the new version,
// size bytes long, and returns all copies, in ascending order. tick is called
// now and then with the bytes passed; its error ends the work.
func Find(src io.ReaderAt, size int64, copies []Copy, sig *Signature, tick func(n int64) error) ([]Copy, error) {
	f := newFinder(src, sig, tick)
	f.out = make([]Copy, 0, len(copies)+16)
	f.tries = 1024 + size/int64(sig.Block)
	at := int64(0)
	for i := 0; ; i++ {
		end := size
		if i < len(copies) {
			end = copies[i].New
		}
		if end-at >= int64(sig.Block) {
			if err := f.gap(at, end); err != nil {
				return nil, err
			}
		}
		if i == len(copies) {
			return f.out, nil
		}
		f.add(copies[i])
		at = copies[i].New + copies[i].Len
	}
}

type finder struct {
	sig    *Signature
	roll   *roller
	strong *strong
	block  int
	src    io.ReaderAt
	tick   func(int64) error
	out    []Copy
	// tries is how often the strong hash may still disagree where the rolling one
	// agreed. By chance that takes less time than reading the file: a signature
	// that makes it happen more often is there to burn our time.
	tries int64

	filter []uint64 // a bit for each upper part of the rolling hashes
	fshift int
	heads  []int32 // first block of each bucket, +1
	hshift int
	next   []int32 // next block in the same bucket, +1

	buf  []byte // of the new version
	base int64  // where buf begins
}

func newFinder(src io.ReaderAt, sig *Signature, tick func(int64) error) *finder {
	n := sig.Blocks()
	width := max(6, bits.Len(uint(n)))
	f := &finder{
		sig: sig, roll: newRoller(sig.Seed, sig.Block), strong: newStrong(sig.Seed), block: sig.Block, src: src, tick: tick,
		filter: make([]uint64, 1<<width), fshift: 64 - width - 6,
		heads: make([]int32, 1<<width), hshift: 64 - width, next: make([]int32, n),
	}
	for i := n - 1; i >= 0; i-- { // so that the first of equal blocks is found
		h := sig.rolled(i)
		k := h >> f.hshift
		if j := f.heads[k]; j > 0 && bytes.Equal(sig.sum(int(j-1)), sig.sum(i)) {
			f.next[i] = f.next[j-1] // it takes the place of its equal
		} else {
			f.next[i] = f.heads[k]
		}
		f.heads[k] = int32(i + 1)
		b := h >> f.fshift
		f.filter[b>>6] |= 1 << (b & 63)
	}
	return f
}

// add appends a copy, or lets the one before grow.
func (f *finder) add(c Copy) {
	if n := len(f.out); n > 0 {
		if l := &f.out[n-1]; l.New+l.Len == c.New && l.Old+l.Len == c.Old {
			l.Len += c.Len
			return
		}
	}
	f.out = append(f.out, c)
}

// due returns the block that comes next if the old version goes on where the
// last copy ends; -1 if none does.
func (f *finder) due() int {
	if n := len(f.out); n > 0 {
		return f.sig.at(f.out[n-1].Old + f.out[n-1].Len)
	}
	return f.sig.at(0)
}

// chunk is what is read and ticked at least.
const chunk = 256 << 10

// window returns the bytes from at on: a block and more, up to end.
func (f *finder) window(at, end int64) ([]byte, error) {
	if at >= f.base && at+int64(f.block) <= f.base+int64(len(f.buf)) {
		return f.buf[at-f.base : min(int64(len(f.buf)), end-f.base)], nil
	}
	if f.buf == nil {
		f.buf = make([]byte, 0, f.block+max(f.block, chunk))
	}
	keep := 0
	if at >= f.base && at < f.base+int64(len(f.buf)) {
		keep = copy(f.buf[:cap(f.buf)], f.buf[at-f.base:])
	}
	n := int(min(int64(cap(f.buf)), end-at))
	f.buf = f.buf[:max(n, keep)]
	if n > keep {
		if err := readAt(f.src, f.buf[keep:n], at+int64(keep)); err != nil {
			return nil, err
		}
	}
	f.base = at
	return f.buf[:n], f.tick(int64(n - keep))
}

// gap looks for blocks in [at, end).
func (f *finder) gap(at, end int64) error {
	for end-at >= int64(f.block) && len(f.out) < MaxCopies {
		w, err := f.window(at, end)
		if err != nil {
			return err
		}
		// What follows in the old version mostly follows in the new.
		if i := f.due(); i >= 0 && f.same(i, w[:f.block]) {
			f.add(Copy{at, f.sig.off(i), int64(f.block)})
			at += int64(f.block)
			continue
		}
		var found bool
		if at, found, err = f.scan(at, end); err != nil || !found {
			return err
		}
	}
	return nil
}

// scan passes bytes until a block is found at the returned place, which then is
// behind it, or the gap ends.
func (f *finder) scan(at, end int64) (int64, bool, error) {
	w, err := f.window(at, end)
	if err != nil {
		return at, false, err
	}
	r, block, filter, shift := f.roll, f.block, f.filter, f.fshift
	h := r.sum(w[:block])
	for f.tries > 0 {
		n := len(w) - block // steps that w permits
		in, out := w[block:], w[:n]
		i := 0
		for {
			if b := h >> shift; filter[b>>6]&(1<<(b&63)) != 0 {
				if j := f.lookUp(h, w[i:i+block]); j >= 0 {
					f.add(Copy{at + int64(i), f.sig.off(j), int64(block)})
					return at + int64(i) + int64(block), true, nil
				}
			}
			if i >= n {
				break
			}
			h = h*r.a + (r.in[in[i]] - r.out[out[i]])
			i++
		}
		at += int64(n)
		if at+int64(block) >= end {
			return at, false, nil
		}
		// The byte that goes next is the first of the new window.
		last := w[n]
		if w, err = f.window(at+1, end); err != nil {
			return at, false, err
		}
		h = h*r.a + (r.in[w[block-1]] - r.out[last])
		at++
	}
	return at, false, nil
}

// same reports whether p is block i by its strong hash.
func (f *finder) same(i int, p []byte) bool {
	want := f.sig.sum(i)[f.sig.roll:]
	return bytes.Equal(f.strong.sum(p)[:len(want)], want)
}

// maxChain bounds the blocks that are compared at one place.
const maxChain = 64

// lookUp returns the first block with this rolling hash that p is; -1 if none.
func (f *finder) lookUp(h uint64, p []byte) int {
	var sum []byte
	j := f.heads[h>>f.hshift]
	for n := 0; j > 0 && n < maxChain; n++ {
		i := int(j - 1)
		if (f.sig.rolled(i)^h)>>(64-8*f.sig.roll) == 0 {
			if sum == nil {
				sum = f.strong.sum(p)[:f.sig.hash-f.sig.roll]
			}
			if bytes.Equal(sum, f.sig.sum(i)[f.sig.roll:]) {
				return i
			}
		}
		j = f.next[i]
	}
	if sum != nil {
		f.tries--
	}
	return -1
}
