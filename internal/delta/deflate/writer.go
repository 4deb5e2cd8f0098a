package deflate

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	windowSize   = 32 << 10
	minLookahead = maxMatch + minMatch + 1
	maxDistance  = windowSize - minLookahead
	bits4        = 15
	tooFar       = 4096 // matches of 3 bytes are not worth a longer distance
)

// Writer deflates what is written to it exactly as zlib does when it is given
// everything before it is told to finish. It uses about 800 KiB of memory.
type Writer struct {
	w   io.Writer
	err error

	p      Params
	cfg    config
	shift  uint
	mask   uint32
	symMax int // a block ends when it has so many symbols

	// The window: what has been deflated lately, and what has not been.
	start      int // the next byte to deflate
	lookahead  int // bytes from start
	blockStart int // negative once it has left the window

	// State of lazy matching between two calls.
	matchLen   int
	matchStart int
	pending    bool // the byte before start is not yet in a symbol

	syms  []uint32 // of the block: a literal, or distance<<16 | length - 3
	trees builder

	bitBuf  uint64
	bitLen  uint
	out     []byte
	flushed bool // some of out has been written

	window [2*windowSize + maxMatch + 16]byte
	// By hash of three bytes: the last place, and above it the number of places
	// so far. By place: the one before on its chain.
	head [1 << 16]uint32
	prev [windowSize]uint16
	// The same by hash of four. By place: the one before, and above it the
	// number of the place on the chain of three.
	head4 [1 << bits4]uint16
	node4 [windowSize]uint32
}

// NewWriter returns a Writer for settings of zlib.
func NewWriter(w io.Writer, p Params) (*Writer, error) {
	if !p.Valid() || p.Go {
		return nil, ErrParams
	}
	z := new(Writer)
	z.trees.init()
	z.Reset(w, p)
	return z, nil
}

// Reset makes z what NewWriter returns for the settings, which must be Valid
// and zlib's.
func (z *Writer) Reset(w io.Writer, p Params) {
	z.w, z.err = w, nil
	z.p, z.cfg = p, configs[p.Level]
	bits := uint(p.MemLevel) + 7
	z.shift, z.mask = (bits+minMatch-1)/minMatch, 1<<bits-1
	z.symMax = 1<<(p.MemLevel+6) - 1
	z.start, z.lookahead, z.blockStart = 0, 0, 0
	z.matchLen, z.matchStart, z.pending = minMatch-1, 0, false
	if cap(z.syms) < z.symMax {
		z.syms = make([]uint32, 0, 1<<(p.MemLevel+6))
	}
	z.syms = z.syms[:0]
	z.bitBuf, z.bitLen, z.out, z.flushed = 0, 0, z.out[:0], false
	clear(z.head[:z.mask+1])
	if p.Level >= 4 {
		clear(z.head4[:])
	}
}

// Write deflates p. It returns the error of the writer below.
func (z *Writer) Write(p []byte) (n int, err error) {
	for z.err == nil && n < len(p) {
		if z.start+z.lookahead == 2*windowSize {
			z.slide()
		}
		m := copy(z.window[z.start+z.lookahead:2*windowSize], p[n:])
		z.lookahead += m
		n += m
		if z.start+z.lookahead == 2*windowSize {
			z.deflate(false)
		}
	}
	return n, z.err
}

// Close ends the stream. It does not close the writer below.
func (z *Writer) Close() error {
	if z.err != nil {
		return z.err
	}
	z.deflate(true)
	if z.pending {
		z.syms = append(z.syms, uint32(z.window[z.start-1]))
		z.pending = false
	}
	z.flushBlock(true)
	z.flushBits()
	z.flushOut()
	if z.err != nil {
		return z.err
	}
	z.err = errClosed
	return nil
}

var errClosed = errors.New("deflate: writer is closed")

// deflate makes symbols of what the window holds: all of it at the end. zlib
// slides the window when little is left to look at, and a match may not reach
// back to the place where the window starts; so it matters when that is.
func (z *Writer) deflate(end bool) {
	top := z.start + z.lookahead
	least := minLookahead
	switch z.p.Strategy {
	case Huffman:
		least = 1
	case RLE:
		least = maxMatch + 1
	}
	z.run(top - least + 1)
	if !end {
		return
	}
	const high = windowSize + maxDistance
	for z.err == nil && z.lookahead > 0 {
		if z.start >= high {
			z.slide()
		}
		if top = z.start + z.lookahead; top > high && z.start < high {
			top = high
		}
		z.run(top)
	}
}

// run makes symbols until start reaches stop.
func (z *Writer) run(stop int) {
	switch {
	case z.p.Strategy == Huffman:
		z.literals(stop)
	case z.p.Strategy == RLE:
		z.runs(stop)
	case z.p.Level < 4:
		z.fast(stop)
	default:
		z.slow(stop)
	}
}

// slide moves the upper half of the window down.
func (z *Writer) slide() {
	copy(z.window[:windowSize], z.window[windowSize:2*windowSize])
	z.matchStart -= windowSize
	z.start -= windowSize
	z.blockStart -= windowSize
	slideNodes(z.head[:z.mask+1])
	slidePlaces(z.prev[:])
	if z.p.Level >= 4 {
		slidePlaces(z.head4[:])
		slideNodes(z.node4[:])
	}
}

// slidePlaces moves places down: those below windowSize become 0.
func slidePlaces(t []uint16) {
	for i, v := range t {
		t[i] = v & uint16(int16(v)>>15) & (windowSize - 1)
	}
}

// slideNodes does so with places that have a number above them.
func slideNodes(t []uint32) {
	for i, v := range t {
		high := v & windowSize
		t[i] = v & (0xffff0000 | (high - high>>15))
	}
}

// flushBlock ends a block: it chooses among stored, fixed and own codes
// (_tr_flush_block).
func (z *Writer) flushBlock(last bool) {
	b := &z.trees
	b.reset()
	for _, s := range z.syms {
		if d := s >> 16; d != 0 {
			b.lit.freq[endBlock+1+int(tables.lenCode[s&255])]++
			b.dist.freq[tables.distanceCode(d-1)]++
		} else {
			b.lit.freq[s&255]++
		}
	}
	n := b.buildAll()
	own, static := (b.optLen+3+7)>>3, (b.staticLen+3+7)>>3
	fixed := static <= own || z.p.Strategy == Fixed
	if fixed {
		own = static
	}
	size := z.start - z.blockStart
	head := uint64(0)
	if last {
		head = 1
	}
	switch {
	case size+4 <= own && z.blockStart >= 0:
		z.bits(head, 3)
		z.flushBits()
		z.out = binary.LittleEndian.AppendUint16(z.out, uint16(size))
		z.out = binary.LittleEndian.AppendUint16(z.out, ^uint16(size))
		z.out = append(z.out, z.window[z.blockStart:z.start]...)
	case fixed:
		z.bits(head|1<<1, 3)
		z.symbols((*[numLitLen]code)(tables.lit[:]), &tables.dist)
	default:
		z.bits(head|2<<1, 3)
		z.sendTrees(n)
		z.symbols((*[numLitLen]code)(b.lit.code[:]), (*[numDist]code)(b.dist.code[:]))
	}
	z.syms = z.syms[:0]
	z.blockStart = z.start
	if len(z.out) >= 32<<10 {
		z.flushOut()
	}
}

// sendTrees sends the codes of a block, and n lengths of the code that they are
// sent in.
func (z *Writer) sendTrees(n int) {
	b := &z.trees
	z.bits(uint64(b.lit.max+1-257), 5)
	z.bits(uint64(b.dist.max+1-1), 5)
	z.bits(uint64(n-4), 4)
	for _, s := range bitOrder[:n] {
		z.bits(uint64(b.bl.code[s].len), 3)
	}
	send := func(symbol, extra int) {
		c := b.bl.code[symbol]
		z.bits(uint64(c.bits)|uint64(extra)<<c.len, uint(c.len)+uint(extraBits[symbol]))
	}
	b.lit.runs(send)
	b.dist.runs(send)
}

// symbols sends the symbols of the block and its end.
func (z *Writer) symbols(lit *[numLitLen]code, dist *[numDist]code) {
	t := tables
	buf, n, out := z.bitBuf, z.bitLen, z.out
	for _, s := range z.syms {
		if n >= 16 { // 48 bits are to come at most
			out = binary.LittleEndian.AppendUint64(out, buf)
			bytes := n >> 3
			out = out[:len(out)-8+int(bytes)]
			buf >>= bytes * 8
			n &= 7
		}
		d := s >> 16
		if d == 0 {
			c := lit[s&255]
			buf |= uint64(c.bits) << n
			n += uint(c.len)
			continue
		}
		length := uint16(s & 255)
		l := t.lenCode[length]
		c := lit[endBlock+1+int(l)]
		buf |= uint64(c.bits) << n
		n += uint(c.len)
		if e := extraLen[l]; e != 0 {
			buf |= uint64(length-t.baseLen[l]) << n
			n += uint(e)
		}
		d--
		k := t.distanceCode(d)
		c = dist[k]
		buf |= uint64(c.bits) << n
		n += uint(c.len)
		buf |= uint64(uint16(d)-t.baseDist[k]) << n
		n += uint(extraDist[k])
	}
	z.bitBuf, z.bitLen, z.out = buf, n, out
	z.bits(uint64(lit[endBlock].bits), uint(lit[endBlock].len))
}

// bits sends the lowest n bits of v, at most 24.
func (z *Writer) bits(v uint64, n uint) {
	for ; z.bitLen >= 8; z.bitLen -= 8 {
		z.out = append(z.out, byte(z.bitBuf))
		z.bitBuf >>= 8
	}
	z.bitBuf |= v << z.bitLen
	z.bitLen += n
}

// flushBits fills up the last byte.
func (z *Writer) flushBits() {
	for z.bitLen > 0 {
		z.out = append(z.out, byte(z.bitBuf))
		z.bitBuf >>= 8
		z.bitLen -= min(8, z.bitLen)
	}
}

func (z *Writer) flushOut() {
	if z.err == nil {
		_, z.err = z.w.Write(z.out)
	}
	z.out, z.flushed = z.out[:0], true
}
