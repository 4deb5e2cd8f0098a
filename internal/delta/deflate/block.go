package deflate

// firstBlock decodes the symbols of the first block of a deflate stream, as
// Writer has them, of which b is the beginning. It stops after most symbols, or
// where b ends. whole tells that it saw the end of the block, and last that the
// block is the stream's last. What is not a block with symbols has none.
func firstBlock(b []byte, most int) (syms []uint32, whole, last bool) {
	r := bitReader{b: b}
	last = r.take(1) == 1
	var lit, dist decoder
	switch r.take(2) {
	case 1:
		lit.init(tables.lit[:])
		dist.init(tables.dist[:])
	case 2:
		if !readTrees(&r, &lit, &dist) {
			return nil, false, last
		}
	default:
		return nil, false, last
	}
	for !r.bad && len(syms) < most {
		s := lit.symbol(&r)
		switch {
		case r.bad:
		case s < endBlock:
			syms = append(syms, uint32(s))
		case s == endBlock:
			return syms, true, last
		case s >= numLitLen:
			return syms, false, last
		default:
			k := s - endBlock - 1
			n := uint32(tables.baseLen[k]) + r.take(uint(extraLen[k]))
			if k == 28 {
				n = 255
			}
			k = dist.symbol(&r)
			if r.bad || k >= numDist {
				return syms, false, last
			}
			d := uint32(tables.baseDist[k]) + r.take(uint(extraDist[k])) + 1
			if r.bad || d > windowSize {
				return syms, false, last
			}
			syms = append(syms, d<<16|n)
		}
	}
	return syms, false, last
}

// readTrees reads the codes of a block.
func readTrees(r *bitReader, lit, dist *decoder) bool {
	nl, nd, nb := int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	var bl [numBits]code
	for _, s := range bitOrder[:nb] {
		bl[s].len = uint16(r.take(3))
	}
	var d decoder
	if nl > numLitLen || !d.init(bl[:]) {
		return false
	}
	var all [numLitLen + 32]code
	for n := 0; n < nl+nd; {
		s := d.symbol(r)
		count, v := 1, uint16(0)
		switch {
		case r.bad:
			return false
		case s < 16:
			v = uint16(s)
		case s == 16:
			if n == 0 {
				return false
			}
			count, v = 3+int(r.take(2)), all[n-1].len
		case s == 17:
			count = 3 + int(r.take(3))
		default:
			count = 11 + int(r.take(7))
		}
		if n+count > nl+nd {
			return false
		}
		for ; count > 0; count-- {
			all[n].len = v
			n++
		}
	}
	return lit.init(all[:nl]) && dist.init(all[nl:nl+nd])
}

// bitReader reads numbers of bits, the lowest first. After the end it is bad.
type bitReader struct {
	b   []byte
	buf uint32
	n   uint
	bad bool
}

func (r *bitReader) take(n uint) uint32 {
	for r.n < n {
		if len(r.b) == 0 {
			r.bad = true
			return 0
		}
		r.buf |= uint32(r.b[0]) << r.n
		r.b = r.b[1:]
		r.n += 8
	}
	v := r.buf & (1<<n - 1)
	r.buf >>= n
	r.n -= n
	return v
}

// decoder decodes a canonical prefix code a bit at a time, as puff.c by Mark
// Adler does: it is for the first few thousand symbols of a stream.
type decoder struct {
	count  [maxBits + 1]int
	sorted [numLitLen + 2]uint16
}

// init takes the lengths of tree's codes. It reports whether they can be codes.
func (d *decoder) init(tree []code) bool {
	for _, c := range tree {
		d.count[c.len]++
	}
	d.count[0] = 0
	left := 1
	var next [maxBits + 2]int
	for n := 1; n <= maxBits; n++ {
		if left = left<<1 - d.count[n]; left < 0 {
			return false
		}
		next[n+1] = next[n] + d.count[n]
	}
	for s, c := range tree {
		if c.len != 0 {
			d.sorted[next[c.len]] = uint16(s)
			next[c.len]++
		}
	}
	return true
}

func (d *decoder) symbol(r *bitReader) int {
	c, first, index := 0, 0, 0
	for n := 1; n <= maxBits; n++ {
		c |= int(r.take(1))
		if r.bad {
			return 0
		}
		if c-first < d.count[n] {
			return int(d.sorted[index+c-first])
		}
		index += d.count[n]
		first = (first + d.count[n]) << 1
		c <<= 1
	}
	r.bad = true
	return 0
}
