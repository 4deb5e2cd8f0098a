package patch

import (
	"cmp"
	"context"
	"slices"
)

// sketch tells which parts of large leftovers resemble some content: places
// that a rolling hash chooses are remembered with the hash of the 64 bytes
// before them (as in content-defined chunking: W. Xia et al., FastCDC, 2016, for
// the hash).
type sketch struct {
	blocks int              // of the leftovers
	size   int64            // of these
	at     map[uint64]int32 // block that has the hash, -1 where several have
	shift  uint
}

const (
	sketchBlock = 256 << 10
	maxAnchors  = 2 << 20
)

func newSketch(ctx context.Context, s *space, tick func(int64) error) (*sketch, error) {
	k := &sketch{blocks: int((s.size + sketchBlock - 1) / sketchBlock), size: s.size, at: map[uint64]int32{}, shift: 64 - 10}
	for s.size>>(64-k.shift) > maxAnchors {
		k.shift--
	}
	gear := gearTable()
	buf := make([]byte, sketchBlock)
	h := uint64(0)
	for i := range k.blocks {
		off := int64(i) * sketchBlock
		b := buf[:min(sketchBlock, s.size-off)]
		if err := s.read(ctx, b, off); err != nil {
			return nil, err
		}
		if err := tick(int64(len(b))); err != nil {
			return nil, err
		}
		for _, c := range b {
			if h = h<<1 + gear[c]; h>>k.shift == 0 {
				if old, known := k.at[h]; known && old != int32(i) {
					k.at[h] = -1
				} else if !known {
					k.at[h] = int32(i)
				}
			}
		}
	}
	return k, nil
}

// similar returns extents of the leftovers, at most most bytes, that have most
// in common with b.
func (k *sketch) similar(b []byte, most int64) []extent {
	votes := make([]int, k.blocks)
	gear := gearTable()
	h := uint64(0)
	hits := 0
	for _, c := range b {
		if h = h<<1 + gear[c]; h>>k.shift == 0 {
			if i, known := k.at[h]; known && i >= 0 {
				votes[i] += 16
				hits++
				for _, j := range []int32{i - 1, i + 1} { // what changed lies beside
					if j >= 0 && int(j) < len(votes) {
						votes[j]++
					}
				}
			}
		}
	}
	order := make([]int, 0, k.blocks)
	for i, v := range votes {
		if v > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(votes[b], votes[a]) })
	order = order[:min(len(order), int(most/sketchBlock))]
	var list []extent
	for _, i := range order {
		off := int64(i) * sketchBlock
		list = append(list, extent{off, min(sketchBlock, k.size-off)})
	}
	return join(list, 0)
}

// gearTable returns a random number for each byte, always the same: splitmix64
// (S. Vigna), from 0.
func gearTable() *[256]uint64 {
	var t [256]uint64
	x := uint64(0)
	for i := range t {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		t[i] = z ^ z>>31
	}
	return &t
}
