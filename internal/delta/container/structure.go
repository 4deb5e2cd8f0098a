package container

import (
	"math/bits"

	"github.com/ropeway/ropeway/internal/delta/deflate"
)

// source is where the bytes of a unit come from. Recipes contain its values.
type source uint8

const (
	sameUnit  source = iota // the unit of the old item
	fresh                   // the patch
	freshPack               // the patch, deflated
	otherUnit               // the unit of another old item
	noUnit                  // there are none
	numSources
)

// piece is an item of the new file as a recipe has it.
type piece struct {
	n      int64 // bytes of the unit; freshPack: of its content
	ref    int32 // the old item that it resembles; -1 if there is none
	from   int32 // otherUnit: the old item whose unit it is
	link   int32 // central: the index of its local piece
	kind   kind
	source source
	params byte // freshPack
}

// outline codes the order of the pieces, and where their units come from.
type outline struct {
	c         *coder
	old       *Layout
	recordOf  []int32 // of an old local item: the central one; -1 if none
	used      []bool  // old items that a piece has as ref
	copied    []bool  // old items whose unit is copied
	free      fenwick // old items that a jump may name
	jumps     bitString
	pieces    []piece
	opened    []archive
	ordinals  []int32 // the encoder's: of local pieces in their archive
	last      int32   // the ref before
	lastFrom  int32
	after     [numKinds]kind // what followed a piece of a kind
	lastKind  kind
	total     int64 // bytes of fresh content
	lastParam uint64
}

// archive is a zip archive between its open and its end item.
type archive struct {
	locals []int32 // pieces
	next   uint64  // the local that the next record is expected for
}

// jumps reports whether items of the kind may be named by a jump: others are
// found by those.
func (k kind) leads() bool { return k == plain || k == local || k == member }

func newOutline(c *coder, old *Layout) *outline {
	o := &outline{c: c, old: old, last: -1, lastFrom: -1}
	n := len(old.items)
	o.used, o.copied = make([]bool, n), make([]bool, n)
	o.recordOf = make([]int32, n)
	o.free.init(n)
	for i := range old.items {
		o.recordOf[i] = -1
		it := &old.items[i]
		if it.kind == central {
			o.recordOf[it.link] = int32(i)
		}
		if it.kind.leads() {
			o.free.add(i, 1)
		}
	}
	return o
}

// piece codes one piece; to decode, p is filled in.
func (o *outline) piece(p *piece) {
	c := o.c
	follow := o.last + 1
	expected := some(uint64(o.after[o.lastKind]))
	if int(follow) < len(o.old.items) {
		expected = some(uint64(o.old.items[follow].kind))
	}
	p.kind = kind(c.small(colKind, val{}, expected, uint64(p.kind), uint64(numKinds-1)))
	o.after[o.lastKind], o.lastKind = p.kind, p.kind
	if int(follow) >= len(o.old.items) {
		follow = -1
	}
	switch p.kind {
	case open:
		if len(o.opened) > MaxDepth {
			c.bad = true
			return
		}
		o.opened = append(o.opened, archive{})
	case local:
		if len(o.opened) > 0 {
			a := &o.opened[len(o.opened)-1]
			if o.c.encodes {
				o.ordinals[len(o.pieces)] = int32(len(a.locals))
			}
			a.locals = append(a.locals, int32(len(o.pieces)))
		}
	case central:
		if follow = o.record(p); c.bad {
			return
		}
	case end:
		if len(o.opened) == 0 {
			c.bad = true
			return
		}
		o.opened = o.opened[:len(o.opened)-1]
	}
	o.ref(p, follow)
	if c.bad {
		return
	}
	o.unit(p)
	o.pieces = append(o.pieces, *p)
}

// record codes which entry a record of the central directory is of. It returns
// the old record of that entry.
func (o *outline) record(p *piece) int32 {
	if len(o.opened) == 0 {
		o.c.bad = true
		return -1
	}
	a := &o.opened[len(o.opened)-1]
	var i uint64
	if o.c.encodes {
		i = uint64(o.ordinals[p.link])
	}
	i = o.c.num(colLink, val{}, some(a.next), i)
	if i >= uint64(len(a.locals)) {
		o.c.bad = true
		return -1
	}
	a.next = i + 1
	p.link = a.locals[i]
	if r := o.pieces[p.link].ref; r >= 0 {
		return o.recordOf[r]
	}
	return -1
}

// ref codes the old item that p resembles, follow as a rule.
func (o *outline) ref(p *piece, follow int32) {
	const (
		followed = iota
		none
		jump
	)
	if follow >= 0 && (o.used[follow] || o.old.items[follow].kind != p.kind) {
		follow = -1
	}
	how := uint64(followed)
	if p.ref != follow {
		if how = none; p.ref >= 0 {
			how = jump
		}
	}
	switch how = o.c.small(colRef, val{}, some(followed), how, jump); how {
	case followed:
		p.ref = follow
	case none:
		p.ref = -1
	case jump:
		p.ref = o.jump(p)
	}
	if o.c.bad || p.ref < 0 {
		return
	}
	if int(p.ref) >= len(o.used) || o.used[p.ref] || o.old.items[p.ref].kind != p.kind {
		o.c.bad = true
		return
	}
	o.used[p.ref] = true
	if p.kind.leads() {
		o.free.add(int(p.ref), -1)
	}
	o.last = p.ref
}

// jump codes p.ref: which of the old items that are not used yet.
func (o *outline) jump(p *piece) int32 {
	if !p.kind.leads() {
		return int32(o.c.small(colJump, val{}, some(uint64(o.last+1)), uint64(p.ref), uint64(len(o.used))))
	}
	left := o.free.sum(len(o.used))
	if left == 0 {
		o.c.bad = true
		return -1
	}
	if o.c.encodes {
		o.jumps.put(o.free.sum(int(p.ref)), left)
		return p.ref
	}
	rank, ok := o.jumps.take(left)
	if !ok {
		o.c.bad = true
		return -1
	}
	return int32(o.free.find(rank))
}

// unit codes where the bytes of p's unit come from.
func (o *outline) unit(p *piece) {
	c := o.c
	var was *item
	expected, oldLen, oldSize := noUnit, val{}, val{}
	if p.ref >= 0 {
		was = &o.old.items[p.ref]
		if was.data > 0 {
			expected = sameUnit
		}
		oldLen, oldSize = some(uint64(was.data)), some(uint64(was.size))
	} else if p.kind.leads() {
		expected = fresh
	}
	p.source = source(c.small(colData, val{}, some(uint64(expected)), uint64(p.source), uint64(numSources-1)))
	if p.source != noUnit && !p.kind.leads() {
		c.bad = true
	}
	if c.bad {
		return
	}
	switch p.source {
	case sameUnit:
		if was == nil || was.data == 0 {
			c.bad = true
			return
		}
		p.n = was.data
		o.copied[p.ref] = true
	case otherUnit:
		p.from = int32(c.small(colFrom, val{}, some(uint64(o.lastFrom+1)), uint64(p.from), uint64(len(o.old.items))))
		if int(p.from) >= len(o.old.items) || o.old.items[p.from].data == 0 {
			c.bad = true
			return
		}
		o.lastFrom = p.from
		p.n = o.old.items[p.from].data
		o.copied[p.from] = true
	case fresh:
		p.n = int64(c.small(colLen, oldLen, val{}, uint64(p.n), maxSize))
		o.total += p.n
	case freshPack:
		p.n = int64(c.small(colSize, oldSize, val{}, uint64(p.n), maxSize))
		p.params = byte(c.small(colParams, val{}, some(o.lastParam), uint64(p.params), 255))
		if _, err := deflate.ParseByte(p.params); err != nil {
			c.bad = true
			return
		}
		o.lastParam = uint64(p.params)
		o.total += p.n
	}
	if o.total > maxSize {
		c.bad = true
	}
}

// maxSize bounds the length of a file, in bytes.
const maxSize = 1 << 50

// fenwick counts things by index (P. Fenwick, 1994).
type fenwick struct{ sums []int32 }

func (f *fenwick) init(n int) { f.sums = make([]int32, n+1) }

func (f *fenwick) add(i int, v int32) {
	for i++; i < len(f.sums); i += i & -i {
		f.sums[i] += v
	}
}

// sum counts the things below i.
func (f *fenwick) sum(i int) (n int) {
	for ; i > 0; i -= i & -i {
		n += int(f.sums[i])
	}
	return n
}

// find returns the index of the thing that has n before it.
func (f *fenwick) find(n int) int {
	at := 0
	for step := 1 << bits.Len(uint(len(f.sums))); step > 0; step >>= 1 {
		if next := at + step; next < len(f.sums) && int(f.sums[next]) <= n {
			at = next
			n -= int(f.sums[next])
		}
	}
	return at
}

// bitString holds numbers below a limit in as few bits as it takes (truncated
// binary code).
type bitString struct {
	b   []byte
	buf uint64
	n   uint
}

func (s *bitString) put(v, limit int) {
	k := uint(bits.Len(uint(limit)) - 1)
	short := 1<<(k+1) - limit // numbers that take a bit less
	if v < short {
		s.bits(uint64(v), k)
		return
	}
	v += short
	s.bits(uint64(v>>1), k)
	s.bits(uint64(v&1), 1)
}

func (s *bitString) bits(v uint64, n uint) {
	s.buf |= v << s.n
	for s.n += n; s.n >= 8; s.n -= 8 {
		s.b = append(s.b, byte(s.buf))
		s.buf >>= 8
	}
}

// done returns all bits, in bytes.
func (s *bitString) done() []byte {
	if s.n > 0 {
		s.b = append(s.b, byte(s.buf))
	}
	return s.b
}

func (s *bitString) take(limit int) (int, bool) {
	k := uint(bits.Len(uint(limit)) - 1)
	short := 1<<(k+1) - limit
	v, ok := s.read(k)
	if !ok || v < short {
		return v, ok
	}
	low, ok := s.read(1)
	return v<<1 + low - short, ok
}

func (s *bitString) read(n uint) (int, bool) {
	for s.n < n {
		if len(s.b) == 0 {
			return 0, false
		}
		s.buf |= uint64(s.b[0]) << s.n
		s.b = s.b[1:]
		s.n += 8
	}
	v := s.buf & (1<<n - 1)
	s.buf >>= n
	s.n -= n
	return int(v), true
}
