package twolevel

import (
	"encoding/binary"

	"lukechampine.com/blake3"
)

// Seed keys the hashes of one signature.
type Seed [16]byte

// roller is the hash that can be moved by a byte: a polynomial in an odd
// number, modulo 2^64, of random values for the bytes. Only its upper part
// is used.
type roller struct {
	a          uint64 // the number
	a2, a3, a4 uint64
	in, out    [256]uint64 // value of a byte that comes, and of one that goes
}

func newRoller(seed Seed, block int) *roller {
	h := blake3.New(8*257, key(seed, 'r'))
	b := h.Sum(nil)
	r := &roller{a: binary.LittleEndian.Uint64(b) | 1}
	r.a2 = r.a * r.a
	r.a3, r.a4 = r.a2*r.a, r.a2*r.a2
	gone := uint64(1)
	for range block {
		gone *= r.a
	}
	for i := range r.in {
		r.in[i] = binary.LittleEndian.Uint64(b[8+8*i:])
		r.out[i] = r.in[i] * gone
	}
	return r
}

// sum returns the hash of a block.
func (r *roller) sum(p []byte) (h uint64) {
	for ; len(p) >= 4; p = p[4:] {
		h = h*r.a4 + (r.in[p[0]]*r.a3 + r.in[p[1]]*r.a2 + r.in[p[2]]*r.a + r.in[p[3]])
	}
	for _, c := range p {
		h = h*r.a + r.in[c]
	}
	return h
}

// strong is the hash that decides.
type strong struct {
	h   *blake3.Hasher
	buf [32]byte
}

func newStrong(seed Seed) *strong { return &strong{h: blake3.New(32, key(seed, 's'))} }

// sum returns the hash of p, valid until the next call.
func (s *strong) sum(p []byte) []byte {
	s.h.Reset()
	_, _ = s.h.Write(p)
	return s.h.Sum(s.buf[:0])
}

// key makes the seed a key of BLAKE3, another for each use.
func key(seed Seed, use byte) []byte {
	k := make([]byte, 32)
	copy(k, seed[:])
	k[16] = use
	return k
}
