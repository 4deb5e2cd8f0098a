package container

import (
	"bytes"
	"io"
)

const (
	maxTemplates = 1 << 10
	// maxNames bounds what names of open archives take, in bytes.
	maxNames = MaxDirectory
	// maxFacts bounds the content of a unit of which checksum and packed length
	// are not sent, in bytes: the receiver holds it in memory to learn them.
	maxFacts = 4 << 20
)

// facts is what is known of a unit before its header is coded.
type facts struct {
	crc, csize, size val
}

// host is where headers are put and what knows about units.
type host interface {
	// facts returns what is known of the unit of piece i, of which it is
	// called before its header.
	facts(i int) (facts, error)
	// head takes the header of piece i.
	head(i int, b []byte) error
	// unit takes the unit of piece i, n bytes, and returns n.
	unit(i int) (n int64, err error)
}

// headers codes the headers of pieces.
type headers struct {
	c      *coder
	old    *Layout
	pieces []piece
	host   host
	source *headReader // of the new file; the encoder's

	pos      int64 // in the new file
	was      *headReader
	now, ref parts
	buf      []byte
	rank     []int32 // of a local piece: its record
	entries  []entry
	names    []byte // of entries
	opened   []directory
	last     [numKinds][]byte // templates
	dict     [][]byte
	lastName []byte
	entry    int32 // of the last local piece; -1 without one
	content  int64 // where that of the last tar member starts
}

// entry is what the central directory will say of an entry.
type entry struct {
	pos              int64
	time             val
	crc, csize, size val
	name, nameLen    int
	deferred         bool // its numbers are in the descriptor
	packed           bool // csize and size differ
}

// directory is a zip archive whose end is still to come.
type directory struct {
	pos     int64
	entries int // of those before it
	names   int
	start   int64 // of its central directory; -1 before it
	last    int64 // the end of its records
	records uint64
}

func newHeaders(c *coder, old *Layout, pieces []piece, h host) *headers {
	return &headers{c: c, old: old, pieces: pieces, host: h, was: newHeadReader(old.file), rank: make([]int32, len(pieces)), entry: -1}
}

// code codes the headers of all pieces, of which those of next are: nil to
// decode.
func (h *headers) code(next *Layout) error {
	for i := range h.pieces {
		p := &h.pieces[i]
		f := facts{}
		if p.kind == local {
			var err error
			if f, err = h.host.facts(i); err != nil {
				return err
			}
		}
		var head []byte
		var err error
		switch {
		case p.kind == open:
			h.opened = append(h.opened, directory{pos: h.pos, entries: len(h.entries), names: len(h.names), start: -1})
		case p.kind == padding:
			n := uint64(0)
			if next != nil {
				n = uint64(next.items[i].head)
			}
			if n = h.c.small(colPadding, val{}, some(uint64(h.content-h.pos)&(tarBlock-1)), n, tarBlock-1); h.c.bad {
				return ErrFormat
			}
			head = make([]byte, n)
		case p.kind != plain:
			if next != nil {
				it := &next.items[i]
				if head, err = h.source.read(it.kind, it.off, int(it.head)); err != nil {
					return err
				}
			}
			if head, err = h.header(i, p, f, head); err != nil {
				return err
			}
		}
		if len(head) > 0 {
			h.pos += int64(len(head))
			if err := h.host.head(i, head); err != nil {
				return err
			}
		}
		if p.kind == member {
			h.content = h.pos
		}
		n, err := h.host.unit(i)
		if err != nil {
			return err
		}
		h.pos += n
	}
	return nil
}

// header codes one header.
func (h *headers) header(i int, p *piece, f facts, head []byte) ([]byte, error) {
	c, old := h.c, false
	if p.ref >= 0 {
		it := &h.old.items[p.ref]
		b, err := h.was.read(it.kind, it.off, int(it.head))
		if err != nil {
			return nil, err
		}
		old = h.ref.split(p.kind, b)
	}
	if c.encodes && !h.now.split(p.kind, head) {
		return nil, errPlain
	}
	at := h.pos
	if len(h.opened) > 0 {
		at -= h.opened[len(h.opened)-1].pos
	}
	h.template(p.kind, old)
	if !c.encodes && !c.bad {
		var ok bool
		h.now.fields, ok = fieldsOf(h.now.fields[:0], p.kind, h.now.template)
		if !ok {
			return nil, ErrFormat
		}
		h.now.values = append(h.now.values[:0], make([]uint64, len(h.now.fields))...)
	}
	var e *entry
	switch {
	case p.kind == local:
		h.rank[i], h.entry = int32(len(h.entries)), int32(len(h.entries))
		ent := entry{pos: at}
		if t := h.now.template; len(t) >= localLen {
			ent.deferred, ent.packed = le16(t[6:])&8 != 0, le16(t[8:]) != 0
		}
		if ent.deferred {
			ent.crc, ent.csize, ent.size = f.crc, f.csize, f.size
		}
		h.entries = append(h.entries, ent)
		e = &h.entries[h.entry]
	case p.kind == trailer && h.entry >= 0:
		e = &h.entries[h.entry]
	case p.kind == central:
		if r := int(h.rank[p.link]); r < len(h.entries) {
			e = &h.entries[r]
		}
	}
	h.name(p, e, old)
	if c.bad {
		return nil, ErrFormat
	}
	h.numbers(p, e, f, old)
	if c.bad {
		return nil, ErrFormat
	}
	if c.encodes {
		return head, nil
	}
	b, ok := h.now.join(h.buf[:0], p.kind)
	h.buf = b
	if !ok {
		return nil, ErrFormat
	}
	return b, nil
}

// template codes the template: mostly that of the old header.
func (h *headers) template(k kind, old bool) {
	const (
		asOld = iota
		asLast
		literal
		inDict
	)
	c := h.c
	how := uint64(literal)
	if c.encodes {
		switch {
		case old && bytes.Equal(h.now.template, h.ref.template):
			how = asOld
		case h.last[k] != nil && bytes.Equal(h.now.template, h.last[k]):
			how = asLast
		default:
			for i, t := range h.dict {
				if bytes.Equal(t, h.now.template) {
					how = inDict + uint64(i)
				}
			}
		}
	}
	how = c.small(colTemplate, val{}, some(asOld), how, inDict+maxTemplates)
	if c.bad {
		return
	}
	t := &h.now.template
	switch {
	case how == asOld:
		if !old {
			c.bad = true
			return
		}
		*t = append((*t)[:0], h.ref.template...)
	case how == asLast:
		if h.last[k] == nil {
			c.bad = true
			return
		}
		*t = append((*t)[:0], h.last[k]...)
	case how == literal:
		n := int(c.small(colTemplateLen, val{}, some(uint64(len(h.last[k]))), uint64(len(*t)), maxHead))
		*t = append((*t)[:0], c.blob(*t, n)...)
		if len(h.dict) < maxTemplates && n <= 1<<10 {
			h.dict = append(h.dict, bytes.Clone(*t))
		}
	case int(how-inDict) < len(h.dict):
		*t = append((*t)[:0], h.dict[how-inDict]...)
	default:
		c.bad = true
		return
	}
	h.last[k] = append(h.last[k][:0], *t...)
	if h.last[k] == nil {
		h.last[k] = []byte{}
	}
}

// name codes the name: mostly that of the old header, or of the entry.
func (h *headers) name(p *piece, e *entry, old bool) {
	if p.kind != local && p.kind != central && p.kind != member {
		return
	}
	c, base := h.c, h.lastName
	if old {
		base = h.ref.name
	}
	if p.kind == central && e != nil {
		base = h.names[e.name : e.name+e.nameLen]
	}
	name := h.now.name
	var differs, prefix, suffix, middle uint64
	if c.encodes && !bytes.Equal(name, base) {
		differs = 1
		prefix, suffix = common(name, base)
		middle = uint64(len(name)) - prefix - suffix
	}
	if c.small(colName, val{}, some(0), differs, 1) == 0 {
		h.now.name = append(name[:0], base...)
	} else {
		prefix = c.small(colPrefix, val{}, val{}, prefix, uint64(len(base)))
		suffix = c.small(colSuffix, val{}, val{}, suffix, uint64(len(base))-prefix)
		middle = c.small(colMiddle, val{}, val{}, middle, 1<<16-1)
		b := name
		if c.encodes {
			b = name[prefix : prefix+middle]
		}
		b = c.blob(b, int(middle))
		if c.bad {
			return
		}
		if !c.encodes {
			name = append(name[:0], base[:prefix]...)
			name = append(name, b...)
			h.now.name = append(name, base[uint64(len(base))-suffix:]...)
		}
	}
	h.lastName = append(h.lastName[:0], h.now.name...)
	if p.kind == local {
		e.name, e.nameLen = len(h.names), len(h.now.name)
		h.names = append(h.names, h.now.name...)
		if len(h.names) > maxNames {
			c.bad = true
		}
	}
}

// common returns how many bytes a and b share at the start and, of the rest, at
// the end.
func common(a, b []byte) (prefix, suffix uint64) {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	j := 0
	for j < n-i && a[len(a)-1-j] == b[len(b)-1-j] {
		j++
	}
	return uint64(i), uint64(j)
}

// numbers codes the numbers of a header, and keeps what others derive from.
func (h *headers) numbers(p *piece, e *entry, f facts, old bool) {
	n := &h.now
	old = old && len(n.fields) == len(h.ref.fields)
	d := h.begin(p)
	for i, fd := range n.fields {
		was := val{}
		if old && h.ref.fields[i].col == fd.col {
			was = some(h.ref.values[i])
		}
		v := h.c.num(int(fd.col), was, h.derive(fd, p, e, f, d), n.values[i])
		n.values[i] = v
		if e != nil {
			e.take(fd.col, v)
		}
	}
	if p.kind == end && d != nil {
		h.entries, h.names = h.entries[:d.entries], h.names[:d.names]
		h.opened = h.opened[:len(h.opened)-1]
		h.entry = -1
	}
}

// begin returns the archive that a header belongs to, and counts its records.
func (h *headers) begin(p *piece) *directory {
	if len(h.opened) == 0 {
		return nil
	}
	d := &h.opened[len(h.opened)-1]
	if p.kind == central {
		if d.start < 0 {
			d.start = h.pos
		}
		d.records++
		d.last = h.pos + int64(len(h.now.template)+len(h.now.name))
	}
	return d
}

// take keeps a number of an entry.
func (e *entry) take(col uint8, v uint64) {
	switch col {
	case colLocalTime:
		e.time = some(v)
	case colLocalCRC, colTrailerCRC:
		e.keep(&e.crc, col == colTrailerCRC, v)
	case colLocalCSize, colTrailerCSize:
		e.keep(&e.csize, col == colTrailerCSize, v)
	case colLocalSize, colTrailerSize:
		e.keep(&e.size, col == colTrailerSize, v)
	}
}

func (e *entry) keep(to *val, trailer bool, v uint64) {
	if trailer == e.deferred {
		*to = some(v)
	}
}

// derive returns what a number should be by all that came before it.
func (h *headers) derive(fd field, p *piece, e *entry, f facts, d *directory) val {
	switch fd.col {
	case colLocalCRC, colLocalCSize, colLocalSize:
		return e.ahead(fd.col, f)
	case colTrailerCRC, colTrailerCSize, colTrailerSize, colCentralTime, colCentralCRC, colCentralCSize, colCentralSize, colCentralOff:
		if e == nil {
			return val{}
		}
		switch fd.col {
		case colCentralTime:
			return e.time
		case colCentralOff:
			return clip(some(uint64(e.pos)), fd)
		case colTrailerCRC, colCentralCRC:
			return e.crc
		case colTrailerCSize, colCentralCSize:
			return clip(e.csize, fd)
		}
		return clip(e.size, fd)
	case colTarSize:
		if p.source != noUnit {
			return some(uint64(p.n))
		}
	case colTarSum:
		return h.tarSum()
	}
	if d == nil || d.start < 0 {
		return val{}
	}
	switch fd.col {
	case colEndCount, colEndCount2, colEnd64Count, colEnd64Count2:
		return clip(some(d.records), fd)
	case colEndSize, colEnd64Size:
		return clip(some(uint64(d.last-d.start)), fd)
	case colEndOff, colEnd64Off:
		return clip(some(uint64(d.start-d.pos)), fd)
	case colEnd64At:
		return some(uint64(h.pos - d.pos))
	}
	return val{}
}

// ahead returns a number of a local header, which comes before the unit.
func (e *entry) ahead(col uint8, f facts) val {
	switch {
	case e.deferred:
		return some(0)
	case col == colLocalCRC:
		return f.crc
	case col == colLocalCSize:
		return clip(f.csize, field{width: 4})
	case !f.size.ok && !e.packed:
		return e.csize
	}
	return clip(f.size, field{width: 4})
}

// clip returns v as a field has it that cannot hold more: all ones.
func clip(v val, f field) val {
	if f.width < 8 {
		v.v = min(v.v, 1<<(8*f.width)-1)
	}
	return v
}

// tarSum returns the checksum of the tar header at hand.
func (h *headers) tarSum() val {
	n := &h.now
	sum := *n
	sum.template = bytes.Clone(n.template)
	sum.values = append([]uint64(nil), n.values...)
	sum.values[len(sum.values)-1] = 0
	b, ok := sum.join(nil, member)
	if !ok {
		return val{}
	}
	return some(tarSum(b))
}

// headReader reads headers: directories and the rest each through a window.
type headReader struct {
	file io.ReaderAt
	wins [2]struct {
		off int64
		b   []byte
	}
}

func newHeadReader(file io.ReaderAt) *headReader { return &headReader{file: file} }

// read returns n bytes at off, valid until the next call.
func (r *headReader) read(k kind, off int64, n int) ([]byte, error) {
	w := &r.wins[0]
	if k == central {
		w = &r.wins[1]
	}
	if off < w.off || off+int64(n) > w.off+int64(len(w.b)) {
		size := max(n, 16<<10)
		if cap(w.b) < size {
			w.b = make([]byte, size)
		}
		w.b = w.b[:size]
		w.off = off
		m, err := r.file.ReadAt(w.b, off)
		w.b = w.b[:m]
		if m < n {
			w.b = w.b[:0]
			return nil, unexpected(err)
		}
	}
	return w.b[off-w.off:][:n], nil
}
