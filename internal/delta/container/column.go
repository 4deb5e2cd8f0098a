package container

import "encoding/binary"

// val is a number that may be unknown.
type val struct {
	v  uint64
	ok bool
}

func some(v uint64) val { return val{v, true} }

// predictors is the number of ways to predict the numbers of a column: from
// nothing, from the old file's, or from what else is known; and each of these
// with the error that the prediction before had.
const (
	predictors = 6
	usual      = 4 // what else is known
)

// column codes numbers of one meaning: those that were not predicted, as the
// distance to the one before and the error. The encoder tries all ways to
// predict at once and keeps the cheapest.
type column struct {
	last uint64 // the number before
	errs [predictors]uint64
	gaps [predictors]uint64
	pos  [predictors][]byte // the encoder's: of errors
	vals [predictors][]byte

	way        int // the decoder's
	where, err []byte
	next       uint64 // numbers until the next error
	ends       bool   // there is none
}

// bases returns what is predicted, without the errors before.
func (c *column) bases(old, known val) [3]uint64 {
	if !old.ok {
		old.v = c.last
	}
	if !known.ok {
		known.v = old.v
	}
	return [3]uint64{0, old.v, known.v}
}

func (c *column) encode(old, known val, v uint64) {
	bases := c.bases(old, known)
	for k := range predictors {
		e := v - bases[k>>1]
		x := e
		if k&1 != 0 {
			x -= c.errs[k]
		}
		c.errs[k] = e
		if x == 0 {
			c.gaps[k]++
			continue
		}
		c.pos[k] = binary.AppendUvarint(c.pos[k], c.gaps[k])
		c.vals[k] = binary.AppendVarint(c.vals[k], int64(x))
		c.gaps[k] = 0
	}
	c.last = v
}

// best returns the cheapest way to predict.
func (c *column) best() int {
	best := usual
	for k := range predictors {
		if len(c.pos[k])+len(c.vals[k]) < len(c.pos[best])+len(c.vals[best]) {
			best = k
		}
	}
	return best
}

func (c *column) decode(old, known val) (v uint64, ok bool) {
	var x uint64
	if c.next > 0 || c.ends {
		c.next--
	} else {
		e, n := binary.Varint(c.err)
		if n <= 0 {
			return 0, false
		}
		c.err = c.err[n:]
		x = uint64(e)
		c.step()
	}
	if c.way&1 != 0 {
		c.errs[c.way] += x
		x = c.errs[c.way]
	}
	c.last = c.bases(old, known)[c.way>>1] + x
	return c.last, true
}

// step reads how far the next error is.
func (c *column) step() {
	d, n := binary.Uvarint(c.where)
	if c.ends = n <= 0; c.ends {
		return
	}
	c.where, c.next = c.where[n:], d
}

// The columns. Recipes contain their numbers.
const (
	colKind = iota
	colLink
	colRef
	colJump
	colFrom
	colData
	colLen
	colSize
	colParams
	colSpare
	colTemplate
	colTemplateLen
	colName
	colPrefix
	colSuffix
	colMiddle

	colLocalTime
	colLocalCRC
	colLocalCSize
	colLocalSize
	colLocalUnix
	colLocalUnix2
	colLocalNTFS
	colLocal64
	colTrailerCRC
	colTrailerCSize
	colTrailerSize
	colCentralTime
	colCentralCRC
	colCentralCSize
	colCentralSize
	colCentralOff
	colCentralUnix
	colCentralUnix2
	colCentralNTFS
	colCentral64
	colEndCount
	colEndCount2
	colEndSize
	colEndOff
	colEnd64Count
	colEnd64Count2
	colEnd64Size
	colEnd64Off
	colEnd64At
	colTarSize
	colTarTime
	colTarSum
	colPadding
	numColumns
)

// coder encodes or decodes a sequence of numbers and runs of bytes: the same
// calls in the same order do either.
type coder struct {
	encodes bool
	cols    [numColumns]column
	bytes   []byte // of blobs
	bad     bool   // what is decoded is malformed
}

// num codes v, or returns what is decoded.
func (c *coder) num(col int, old, known val, v uint64) uint64 {
	if c.encodes {
		c.cols[col].encode(old, known, v)
		return v
	}
	if c.bad {
		return 0
	}
	v, ok := c.cols[col].decode(old, known)
	if !ok {
		c.bad = true
	}
	return v
}

// small is num for numbers up to most.
func (c *coder) small(col int, old, known val, v, most uint64) uint64 {
	v = c.num(col, old, known, v)
	if v > most {
		c.bad = true
		return 0
	}
	return v
}

// blob codes b, or returns n bytes that are decoded.
func (c *coder) blob(b []byte, n int) []byte {
	if c.encodes {
		c.bytes = append(c.bytes, b...)
		return b
	}
	if c.bad || n > len(c.bytes) {
		c.bad = true
		return nil
	}
	b, c.bytes = c.bytes[:n], c.bytes[n:]
	return b
}

// append encodes what was coded: the columns that were not all predicted in the
// usual way, then the blobs.
func (c *coder) append(b []byte) []byte {
	var n uint64
	for i := range c.cols {
		if col := &c.cols[i]; len(col.pos[usual]) > 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, n)
	for i := range c.cols {
		col := &c.cols[i]
		if len(col.pos[usual]) == 0 {
			continue
		}
		k := col.best()
		b = append(b, byte(i), byte(k))
		b = binary.AppendUvarint(b, uint64(len(col.pos[k])))
		b = binary.AppendUvarint(b, uint64(len(col.vals[k])))
		b = append(append(b, col.pos[k]...), col.vals[k]...)
	}
	b = binary.AppendUvarint(b, uint64(len(c.bytes)))
	return append(b, c.bytes...)
}

// parseCoder starts decoding what append encoded, and returns what follows it.
func parseCoder(b []byte) (*coder, []byte, error) {
	c := new(coder)
	for i := range c.cols {
		c.cols[i].way, c.cols[i].ends = usual, true
	}
	r := reader{b: b}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		h := r.take(2)
		pos, vals := r.uvarint(), r.uvarint()
		if r.bad || h[0] >= numColumns || h[1] >= predictors {
			return nil, nil, ErrFormat
		}
		col := &c.cols[h[0]]
		col.way, col.where, col.err = int(h[1]), r.take(pos), r.take(vals)
		col.step()
	}
	c.bytes = r.take(r.uvarint())
	if r.bad {
		return nil, nil, ErrFormat
	}
	return c, r.b, nil
}

// reader reads the frame of a recipe. After a mistake it is bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return make([]byte, min(n, 2))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
