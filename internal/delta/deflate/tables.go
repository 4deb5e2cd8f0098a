package deflate

const (
	minMatch  = 3
	maxMatch  = 258
	endBlock  = 256
	numLitLen = 286 // literals, the end of a block, lengths
	numDist   = 30
	numBits   = 19 // codes of the lengths of codes
	maxBits   = 15
	maxBL     = 7
	heapSize  = 2*numLitLen + 1
)

// config are the limits of a level (deflate.c, configuration_table).
type config struct {
	good  int // a match this long is followed up less
	lazy  int // no search for a better match than this; fast: no insertion of longer ones
	nice  int // a match this long ends the search
	chain int // candidates looked at
}

var configs = [10]config{
	{}, {4, 4, 8, 4}, {4, 5, 16, 8}, {4, 6, 32, 32}, // deflate_fast
	{4, 4, 16, 16}, {8, 16, 32, 32}, {8, 16, 128, 128}, {8, 32, 128, 256}, {32, 128, 258, 1024}, {32, 258, 258, 4096},
}

// bitOrder is the order in which lengths of the codes of code lengths are sent.
var bitOrder = [numBits]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

var (
	extraLen  = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	extraDist = [numDist]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	extraBits = [numBits]uint8{16: 2, 17: 3, 18: 7}
)

// codes are tables that derive from the constants above.
type codes struct {
	lenCode  [maxMatch - minMatch + 1]uint8 // of a match's length - 3
	distCode [512]uint8                     // of distance - 1 below 256, else of (distance - 1) >> 7 at 256
	baseLen  [29]uint16
	baseDist [numDist]uint16
	lit      [numLitLen + 2]code // the fixed codes
	dist     [numDist]code
}

// code is a prefix code as it is sent: the first bit is the lowest.
type code struct {
	bits uint16
	len  uint16
}

var tables = makeTables()

func makeTables() *codes {
	t := new(codes)
	n := 0
	for c := 0; c < 28; c++ {
		t.baseLen[c] = uint16(n)
		for range 1 << extraLen[c] {
			t.lenCode[n] = uint8(c)
			n++
		}
	}
	t.lenCode[255] = 28 // 258 has a code of its own
	t.baseLen[28] = 0
	d := 0
	for c := range 16 {
		t.baseDist[c] = uint16(d)
		for range 1 << extraDist[c] {
			t.distCode[d] = uint8(c)
			d++
		}
	}
	d >>= 7
	for c := 16; c < numDist; c++ {
		t.baseDist[c] = uint16(d << 7)
		for range 1 << (extraDist[c] - 7) {
			t.distCode[256+d] = uint8(c)
			d++
		}
	}
	var count [maxBits + 1]uint16
	for i := range t.lit {
		switch {
		case i < 144, i >= 280:
			t.lit[i].len = 8
		case i < 256:
			t.lit[i].len = 9
		default:
			t.lit[i].len = 7
		}
		count[t.lit[i].len]++
	}
	assign(t.lit[:], &count)
	for i := range t.dist {
		t.dist[i] = code{reverse(uint16(i), 5), 5}
	}
	return t
}

// assign gives codes of the lengths that tree has, count of each.
func assign(tree []code, count *[maxBits + 1]uint16) {
	var next [maxBits + 1]uint16
	c := uint16(0)
	for bits := 1; bits <= maxBits; bits++ {
		c = (c + count[bits-1]) << 1
		next[bits] = c
	}
	for i := range tree {
		if n := tree[i].len; n != 0 {
			tree[i].bits = reverse(next[n], n)
			next[n]++
		}
	}
}

// reverse returns the lowest n bits of c in reverse.
func reverse(c, n uint16) (r uint16) {
	for ; n > 0; n-- {
		r = r<<1 | c&1
		c >>= 1
	}
	return r
}

// distanceCode returns the code of a distance - 1.
func (t *codes) distanceCode(d uint32) uint8 {
	if d < 256 {
		return t.distCode[d]
	}
	return t.distCode[256+d>>7&255]
}
