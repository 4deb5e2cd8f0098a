package twolevel

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// Signature holds the hashes of blocks of the old version.
type Signature struct {
	Seed   Seed
	Block  int     // bytes
	Ranges []Range // of the old version, each cut into blocks from its start on; a rest is not signed
	hash   int     // bytes per block
	roll   int     // of them from the rolling hash
	sums   []byte
	first  []int // number of each range's first block, and of all blocks
}

// Blocks returns the number of blocks.
func (s *Signature) Blocks() int { return s.first[len(s.Ranges)] }

// off returns where block i is in the old version.
func (s *Signature) off(i int) int64 {
	lo, hi := 0, len(s.Ranges) // the last range whose first block is at most i
	for hi-lo > 1 {
		if m := (lo + hi) / 2; s.first[m] <= i {
			lo = m
		} else {
			hi = m
		}
	}
	return s.Ranges[lo].Off + int64(i-s.first[lo])*int64(s.Block)
}

// at returns the block that begins at off of the old version; -1 if none does.
func (s *Signature) at(off int64) int {
	lo, hi := 0, len(s.Ranges)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; s.Ranges[m].Off <= off {
			lo = m
		} else {
			hi = m
		}
	}
	if hi == 0 {
		return -1
	}
	d := off - s.Ranges[lo].Off
	if i := s.first[lo] + int(d/int64(s.Block)); d >= 0 && d%int64(s.Block) == 0 && i < s.first[lo+1] {
		return i
	}
	return -1
}

// rolled returns the upper bytes of block i's rolling hash.
func (s *Signature) rolled(i int) uint64 {
	var h [8]byte
	copy(h[:], s.sum(i)[:s.roll])
	return binary.BigEndian.Uint64(h[:])
}

func (s *Signature) sum(i int) []byte { return s.sums[i*s.hash : (i+1)*s.hash] }

// count numbers the blocks and reports whether there are not too many.
func (s *Signature) count() bool {
	s.first = make([]int, 1, len(s.Ranges)+1)
	n := 0
	for _, r := range s.Ranges {
		if r.Len/int64(s.Block) > maxBlocks-int64(n) {
			return false
		}
		n += int(r.Len / int64(s.Block))
		s.first = append(s.first, n)
	}
	// In large files, four bytes agree by chance too often.
	s.roll = 4
	if int64(n)*int64(s.Block) > 1<<32 {
		s.roll = 5
	}
	return true
}

// Odds are the number of bits by which a hash exceeds what makes one false
// match likely: the chance of one in a whole file is 2^-Odds.
const (
	OddsFirst  = 30
	OddsSecond = 20 // there are many blocks, and a false match costs no more than getting 64 KiB again
)

// Sign hashes the blocks in ranges of old, which ascend. gaps is the number of
// bytes of the new version in which they will be looked for. tick is called
// now and then with the bytes read; its error ends the work.
func Sign(old io.ReaderAt, ranges []Range, block int, gaps int64, odds int, seed Seed, tick func(n int64) error) (*Signature, error) {
	s := &Signature{Seed: seed, Block: block, Ranges: ranges}
	if block < minBlock || block > maxBlock || !s.count() {
		return nil, ErrFormat
	}
	n := s.Blocks()
	s.hash = hashLen(int64(n), gaps, odds)
	s.sums = make([]byte, 0, n*s.hash)
	roll, strong := newRoller(seed, block), newStrong(seed)
	var h [8]byte
	buf := make([]byte, max(block, 256<<10/block*block))
	for _, r := range ranges {
		for end := r.Off + r.Len/int64(block)*int64(block); r.Off < end; {
			p := buf[:min(int64(len(buf)), end-r.Off)]
			if err := readAt(old, p, r.Off); err != nil {
				return nil, err
			}
			r.Off += int64(len(p))
			for b := range len(p) / block {
				p := p[b*block : (b+1)*block]
				binary.BigEndian.PutUint64(h[:], roll.sum(p))
				s.sums = append(append(s.sums, h[:s.roll]...), strong.sum(p)[:s.hash-s.roll]...)
			}
			if err := tick(int64(len(p))); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func hashLen(blocks, gaps int64, odds int) int {
	n := bits.Len64(uint64(blocks)) + bits.Len64(uint64(max(gaps, 0))) + odds
	return min(12, max(6, (n+7)/8))
}

// Marshal returns the encoded signature.
func (s *Signature) Marshal() []byte {
	b := append([]byte{version}, s.Seed[:]...)
	b = binary.AppendUvarint(b, uint64(s.Block))
	b = append(b, byte(s.hash))
	b = append(b, MarshalRanges(s.Ranges)...)
	return append(b, s.sums...)
}

// ParseSignature reads what Marshal wrote, which it aliases.
func ParseSignature(b []byte) (*Signature, error) {
	d := decoder{b: b}
	s := &Signature{}
	if v := d.take(1); d.bad || v[0] != version || len(b) > MaxSignature {
		return nil, ErrFormat
	}
	copy(s.Seed[:], d.take(len(s.Seed)))
	s.Block = int(d.int(maxBlock))
	if h := d.take(1); !d.bad {
		s.hash = int(h[0])
	}
	s.Ranges = d.ranges(MaxSize)
	if d.bad || s.Block < minBlock || s.hash < 6 || s.hash > 12 || !s.count() || len(d.b) != s.Blocks()*s.hash {
		return nil, ErrFormat
	}
	s.sums = d.b
	return s, nil
}

// readAt fills p, or fails.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
