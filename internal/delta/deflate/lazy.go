package deflate

import "encoding/binary"

// slow is deflate_slow, of levels 4 to 9: a match is used unless there is a
// longer one a byte further.
func (z *Writer) slow(stop int) {
	end := z.start + z.lookahead
	start, matchLen, pending := z.start, z.matchLen, z.pending
	filtered := z.p.Strategy == Filtered
	for start < stop {
		cur := 0
		if end-start >= minMatch {
			cur = z.enter(start)
		}
		prevLen, prevStart := matchLen, z.matchStart
		matchLen = minMatch - 1
		if cur != 0 && prevLen < z.cfg.lazy && start-cur <= maxDistance {
			matchLen = z.search(start, cur, prevLen, end-start)
			if matchLen <= 5 && (filtered || matchLen == minMatch && start-z.matchStart > tooFar) {
				matchLen = minMatch - 1
			}
		}
		switch {
		case prevLen >= minMatch && matchLen <= prevLen:
			z.syms = append(z.syms, uint32(start-1-prevStart)<<16|uint32(prevLen-minMatch))
			next := start + prevLen - 1
			z.enterRange(start+1, min(next, end-minMatch+1))
			start, matchLen, pending = next, minMatch-1, false
		case pending:
			z.syms = append(z.syms, uint32(z.window[start-1]))
			start++
		default:
			pending = true
			start++
			continue
		}
		if len(z.syms) == z.symMax {
			// The byte of a literal stays in the window; a block ends before it.
			z.start = start
			if pending {
				z.start--
			}
			z.flushBlock(false)
			if z.err != nil {
				return
			}
		}
	}
	z.start, z.lookahead, z.matchLen, z.pending = start, end-start, matchLen, pending
}

// enter enters the bytes at pos into the hash tables and returns the last place
// where the hash of three was seen: 0 if nowhere (INSERT_STRING).
func (z *Writer) enter(pos int) int {
	w := binary.LittleEndian.Uint32(z.window[pos&(2*windowSize-1):])
	h := uint16((w<<(2*z.shift&31) ^ w>>8&255<<(z.shift&31) ^ w>>16&255) & z.mask)
	e := z.head[h]
	n := e&^0xffff + 1<<16 // the places that had this hash, in the upper half
	z.head[h] = n | uint32(pos)
	z.prev[pos&(windowSize-1)] = uint16(e)
	h4 := w * 2654435761 >> (32 - bits4) & (1<<bits4 - 1)
	z.node4[pos&(windowSize-1)] = n | uint32(z.head4[h4])
	z.head4[h4] = uint16(pos)
	return int(uint16(e))
}

// enterRange enters the places from, ..., to-1.
func (z *Writer) enterRange(from, to int) {
	if from >= to {
		return
	}
	shift, mask, prev, node4 := z.shift&31, z.mask, &z.prev, &z.node4
	win := z.window[from : to+3]
	for pos := from; len(win) >= 4; pos++ {
		w := binary.LittleEndian.Uint32(win)
		win = win[1:]
		h := uint16((w<<(2*shift&31) ^ w>>8&255<<shift ^ w>>16&255) & mask)
		e := z.head[h]
		n := e&^0xffff + 1<<16
		z.head[h] = n | uint32(pos)
		prev[pos&(windowSize-1)] = uint16(e)
		h4 := w * 2654435761 >> (32 - bits4) & (1<<bits4 - 1)
		node4[pos&(windowSize-1)] = n | uint32(z.head4[h4])
		z.head4[h4] = uint16(pos)
	}
}

// search returns what longest does, without looking at every place of the chain
// from cur. Once there is a match of three bytes a longer one has four in
// common, and so is on the chain of places with the same hash of four, which is
// much shorter. Each place has its number on its chain of three, and so it is
// known which of them zlib would have reached before it gives up.
func (z *Writer) search(start, cur, best, lookahead int) int {
	if best >= lookahead {
		return lookahead
	}
	chain, nice := uint16(z.cfg.chain), min(z.cfg.nice, lookahead)
	if best >= z.cfg.good {
		chain >>= 2
	}
	limit := max(start-maxDistance, 0)
	win, prev, node4 := z.window[:], &z.prev, &z.node4
	scan := win[start : start+maxMatch+8]
	first := binary.LittleEndian.Uint32(scan)
	if best < minMatch || cur == limit {
		// The first match of three may be anywhere on the chain of three; and
		// only the first place may be as far as the limit.
		left := chain
		for (binary.LittleEndian.Uint32(win[cur:])^first)&0xffffff != 0 {
			cur = int(prev[cur&(windowSize-1)])
			if left--; cur <= limit || left == 0 {
				return min(best, lookahead)
			}
		}
		if n := matching(scan, win[cur:cur+maxMatch+8]); n > best {
			z.matchStart, best = cur, n
		}
		if best >= nice || cur == limit {
			return min(best, lookahead)
		}
	}
	v := node4[start&(windowSize-1)]
	number := uint16(v>>16) - 1
	off := best - 3
	want := binary.LittleEndian.Uint32(scan[off:])
	for cur = int(uint16(v)); cur > limit; cur = int(uint16(v)) {
		v = node4[cur&(windowSize-1)]
		if binary.LittleEndian.Uint32(win[cur+off:]) == want {
			if n := matching(scan, win[cur:cur+maxMatch+8]); n > best {
				if number-uint16(v>>16) >= chain {
					break
				}
				z.matchStart, best = cur, n
				if n >= nice {
					break
				}
				off = best - 3
				want = binary.LittleEndian.Uint32(scan[off:])
				continue
			}
		}
		if number-uint16(v>>16) >= chain && binary.LittleEndian.Uint32(win[cur:]) == first {
			break
		}
	}
	return min(best, lookahead)
}
