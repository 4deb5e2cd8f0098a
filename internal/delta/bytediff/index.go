package bytediff

import (
	"encoding/binary"
	"math/bits"
)

const (
	seedLen  = 16 // bytes that must agree before a place is looked at
	seedStep = 4  // every so many old bytes begin a seed
	slots    = 2  // places that an index remembers for one hash
)

// MaxOld bounds the old version that an Index takes, in bytes.
const MaxOld = 512 << 20

// Index finds places in an old version. It is read only once made, so it may
// be used by several goroutines, and takes about 2 bytes of memory for each
// old byte.
type Index struct {
	old   []byte
	table []uint32 // slots for each bucket: place/seedStep + 1, 0 is empty
	n     uint64   // buckets
}

// NewIndex indexes old, which it keeps and which must not change. Of what is
// longer than MaxOld the rest is not found.
func NewIndex(old []byte) *Index {
	old = old[:min(len(old), MaxOld)]
	x := &Index{old: old, n: uint64(len(old)/seedStep) + 1}
	if len(old) < seedLen {
		return x
	}
	x.table = make([]uint32, slots*x.n)
	for p := 0; p+seedLen <= len(old); p += seedStep {
		b := x.bucket(old[p:])
		// The first place stays, the last one takes the others' place: of many
		// alike, the two that are farthest apart.
		if b[0] == 0 {
			b[0] = uint32(p/seedStep) + 1
		} else {
			b[1] = uint32(p/seedStep) + 1
		}
	}
	return x
}

// bucket returns the slots for the first seedLen bytes of b.
func (x *Index) bucket(b []byte) []uint32 {
	lo, hi := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	h := (lo*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(hi, 29)) * 0xbf58476d1ce4e5b9
	h ^= h >> 32
	i, _ := bits.Mul64(h*0x94d049bb133111eb, x.n)
	return x.table[slots*i : slots*i+slots]
}

// common returns how many bytes a and b have in common at their beginning.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// alike counts the places at which a and b agree.
func alike(a, b []byte) int {
	n := min(len(a), len(b))
	same, i := 0, 0
	for ; i+8 <= n; i += 8 {
		d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
		same += zeroBytes(d)
	}
	for ; i < n; i++ {
		if a[i] == b[i] {
			same++
		}
	}
	return same
}

// zeroBytes counts the bytes of d that are zero.
func zeroBytes(d uint64) int {
	const low = 0x7f7f7f7f7f7f7f7f
	return bits.OnesCount64(^((d&low + low) | d | low))
}
