package deflate

import (
	"encoding/binary"
	"math/bits"
)

// insert enters the three bytes at pos into the hash table and returns the last
// place where their hash was seen: 0 if nowhere (INSERT_STRING).
func (z *Writer) insert(pos int) int {
	w := binary.LittleEndian.Uint32(z.window[pos&(2*windowSize-1):])
	h := (w&255<<(2*z.shift) ^ w>>8&255<<z.shift ^ w>>16&255) & z.mask
	e := uint16(z.head[uint16(h)])
	z.prev[pos&(windowSize-1)] = e
	z.head[uint16(h)] = uint32(pos)
	return int(e)
}

// insertRange enters the places from, ..., to-1.
func (z *Writer) insertRange(from, to int) {
	if from >= to {
		return
	}
	shift, mask := z.shift, z.mask
	win := z.window[from : to+2]
	h := uint32(win[0])<<shift ^ uint32(win[1])
	for i, c := range win[2:] {
		h = (h<<shift ^ uint32(c)) & mask
		pos := from + i
		z.prev[pos&(windowSize-1)] = uint16(z.head[uint16(h)])
		z.head[uint16(h)] = uint32(pos)
	}
}

// longest follows the chain of places from cur and returns the length of the
// longest match at start, and sets matchStart to its place, if it is longer than
// best; else best, or lookahead if that is less (longest_match).
func (z *Writer) longest(cur, best int) int {
	chain, nice := z.cfg.chain, min(z.cfg.nice, z.lookahead)
	if best >= z.cfg.good {
		chain >>= 2
	}
	limit := max(z.start-maxDistance, 0)
	win, prev := z.window[:], &z.prev
	scan := win[z.start : z.start+maxMatch+8]
	// A longer match has the bytes that end at best in common, so all places
	// that differ there are passed over.
	off := max(best-3, 0)
	end := binary.LittleEndian.Uint32(scan[off:])
	mask := uint32(0xffffffff)
	if best < minMatch {
		mask = 0xffffff
	}
	for {
		if (binary.LittleEndian.Uint32(win[cur+off:])^end)&mask == 0 {
			if n := matching(scan, win[cur:cur+maxMatch+8]); n > best {
				z.matchStart, best = cur, n
				if n >= nice {
					break
				}
				off, mask = best-3, 0xffffffff
				end = binary.LittleEndian.Uint32(scan[off:])
			}
		}
		cur = int(prev[cur&(windowSize-1)])
		if cur <= limit {
			break
		}
		if chain--; chain == 0 {
			break
		}
	}
	return min(best, z.lookahead)
}

// matching returns how many bytes a and b have in common from the start, at
// most maxMatch.
func matching(a, b []byte) int {
	a, b = a[:maxMatch+8], b[:maxMatch+8]
	for n := 0; n < maxMatch; n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return min(n+bits.TrailingZeros64(x)>>3, maxMatch)
		}
	}
	return maxMatch
}

// fast is deflate_fast, of levels 1 to 3: the first match is used.
func (z *Writer) fast(stop int) {
	for z.start < stop {
		cur := 0
		if z.lookahead >= minMatch {
			cur = z.insert(z.start)
		}
		z.matchLen = 0
		if cur != 0 && z.start-cur <= maxDistance {
			z.matchLen = z.longest(cur, minMatch-1)
		}
		if n := z.matchLen; n >= minMatch {
			z.syms = append(z.syms, uint32(z.start-z.matchStart)<<16|uint32(n-minMatch))
			if n <= z.cfg.lazy && z.lookahead-n >= minMatch {
				z.insertRange(z.start+1, z.start+n)
			}
			z.start += n
			z.lookahead -= n
		} else {
			z.syms = append(z.syms, uint32(z.window[z.start]))
			z.start++
			z.lookahead--
		}
		if len(z.syms) == z.symMax {
			z.flushBlock(false)
			if z.err != nil {
				return
			}
		}
	}
}

// literals is deflate_huff: no matches at all.
func (z *Writer) literals(stop int) {
	for z.start < stop {
		z.syms = append(z.syms, uint32(z.window[z.start]))
		z.start++
		z.lookahead--
		if len(z.syms) == z.symMax {
			z.flushBlock(false)
			if z.err != nil {
				return
			}
		}
	}
}

// runs is deflate_rle: matches of distance 1.
func (z *Writer) runs(stop int) {
	for z.start < stop {
		n := 0
		if z.lookahead >= minMatch && z.start > 0 {
			c, most := z.window[z.start-1], min(z.lookahead, maxMatch)
			for n < most && z.window[z.start+n] == c {
				n++
			}
		}
		if n >= minMatch {
			z.syms = append(z.syms, 1<<16|uint32(n-minMatch))
			z.start += n
			z.lookahead -= n
		} else {
			z.syms = append(z.syms, uint32(z.window[z.start]))
			z.start++
			z.lookahead--
		}
		if len(z.syms) == z.symMax {
			z.flushBlock(false)
			if z.err != nil {
				return
			}
		}
	}
}
