// Package twolevel makes the difference between two versions of a file that
// are not in one place: the receiver has the old one, the sender the new one,
// and neither has seen the other's.
//
// The receiver signs its version: a hash for each block. The sender looks for
// those blocks at every offset of its version (Find), which yields Copies: runs
// of bytes that both have. Where little of what is left can be explained that
// way, the receiver signs the runs that were of no use with smaller blocks, and
// the sender looks again in the gaps: that is the second level, at a fraction of
// the hashes that small blocks everywhere would take. The sender then encodes
// Parts: copies and literals, each Part for itself. The receiver applies them.
//
// Nothing here proves that the result is right: a hash may agree by chance, the
// old version may have changed meanwhile. The receiver verifies what it made
// against digests that it knows from elsewhere. The hashes are keyed by a
// random seed of the receiver's, so that nobody can prepare files that collide.
//
// All input from a peer is bounded before memory is taken. Memory is at most
// 16 MiB on each side, whatever the size of the files. Functions are safe for
// concurrent use on different values; the types are not.
package twolevel

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

const (
	// MaxSize is the size of the largest file, in bytes: 128 GiB.
	MaxSize = maxBlock * maxBlocks
	// MaxSignature bounds an encoded Signature, in bytes.
	MaxSignature = 2 << 20
	// MaxCopies bounds the copies of one file.
	MaxCopies = 2 * maxBlocks
	// MaxState bounds their encoding, in bytes.
	MaxState = 8 << 20
	// MaxPart bounds an encoded Part, in bytes.
	MaxPart = 8 << 20

	minBlock  = 64
	maxBlock  = 1 << 20
	maxBlocks = 1 << 17 // in one signature
	version   = 0
)

// ErrFormat is returned for what a peer sent and cannot be right.
var ErrFormat = errors.New("twolevel: malformed")

// Range is a run of bytes.
type Range struct{ Off, Len int64 }

// Copy says that Len bytes at New of the new version are at Old of the old.
type Copy struct{ New, Old, Len int64 }

// First returns the size of the blocks for the first look at a file of size
// bytes; 0 if it is too large.
func First(size int64) int {
	if size > MaxSize {
		return 0
	}
	if size <= 1<<20 { // small enough for one level
		return int(max(512, power(isqrt(size))))
	}
	b := min(32<<10, max(4<<10, power(size/1024)))
	for b*maxBlocks < size {
		b *= 2
	}
	return int(b)
}

// Second returns the size of the blocks for the second look, of which unused
// bytes of the old version's size are to be signed. weight is the expected
// number of wire bytes per literal byte. Small blocks take more hashes, large
// ones more literals for each change.
func Second(unused, size int64, weight float64) int {
	b := power(int64(512 / min(1, max(weight, .125))))
	if unused > size/2 { // perhaps all is new
		b *= 2
	}
	for b*maxBlocks < unused {
		b *= 2
	}
	return int(b)
}

// Refine reports whether a second look may pay after one with this signature:
// gaps bytes of the new version are not found, and unused bytes of the old one
// may explain them.
func (s *Signature) Refine(gaps, unused int64) bool {
	return s.Block >= 4<<10 && min(gaps, unused) >= 8<<10
}

// power returns the power of two that is nearest to n by ratio.
func power(n int64) int64 {
	if n < 2 {
		return 1
	}
	p := int64(1) << (bits.Len64(uint64(n)) - 1)
	if n*n > 2*p*p {
		p *= 2
	}
	return p
}

func isqrt(n int64) int64 {
	r := int64(1)
	for r*r < n {
		r *= 2
	}
	for step := r / 2; step > 0; step /= 2 {
		if (r-step)*(r-step) >= n {
			r -= step
		}
	}
	return r
}

// Gaps returns what of the new version, size bytes long, the copies leave.
func Gaps(size int64, copies []Copy) []Range {
	var out []Range
	at := int64(0)
	for _, c := range copies {
		if c.New > at {
			out = append(out, Range{at, c.New - at})
		}
		at = c.New + c.Len
	}
	if size > at {
		out = append(out, Range{at, size - at})
	}
	return out
}

// Total returns the sum of the ranges' lengths.
func Total(rs []Range) (n int64) {
	for _, r := range rs {
		n += r.Len
	}
	return n
}

// MarshalRanges encodes ascending ranges.
func MarshalRanges(rs []Range) []byte {
	b := binary.AppendUvarint(nil, uint64(len(rs)))
	at := int64(0)
	for _, r := range rs {
		b = binary.AppendUvarint(b, uint64(r.Off-at))
		b = binary.AppendUvarint(b, uint64(r.Len))
		at = r.Off + r.Len
	}
	return b
}

// ParseRanges reads what MarshalRanges wrote. The ranges ascend and lie within
// [0, size).
func ParseRanges(b []byte, size int64) ([]Range, error) {
	d := decoder{b: b}
	rs := d.ranges(size)
	if d.bad || len(d.b) > 0 {
		return nil, ErrFormat
	}
	return rs, nil
}

// decoder reads fields and remembers that one was short or out of bounds.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) take(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) int(most int64) int64 {
	v, k := binary.Uvarint(d.b)
	if k <= 0 || most < 0 || v > uint64(most) {
		d.fail()
		return 0
	}
	d.b = d.b[k:]
	return int64(v)
}

func (d *decoder) signed() int64 {
	v, k := binary.Varint(d.b)
	if k <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[k:]
	return v
}

func (d *decoder) ranges(size int64) []Range {
	n := d.int(maxBlocks)
	if n > int64(len(d.b)/2) { // each takes two bytes at least
		d.fail()
	}
	if d.bad {
		return nil
	}
	rs := make([]Range, 0, n)
	at := int64(0)
	for range n {
		r := Range{Off: at + d.int(size-at)}
		r.Len = d.int(size - r.Off)
		if d.bad || r.Len == 0 {
			d.fail()
			return nil
		}
		rs = append(rs, r)
		at = r.Off + r.Len
	}
	return rs
}
