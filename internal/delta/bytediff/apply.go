package bytediff

import "github.com/ropeway/ropeway/internal/delta/column"

// Apply returns the new version, size bytes of which none is checked, made of
// old, in dst if there is room for it. It takes up to twice size in memory
// besides. Every error is ErrFormat.
func Apply(dst, old, diff []byte, size int) ([]byte, error) {
	r := reader{column.Reader{B: diff}}
	if n := r.Uvarint(); r.Bad || size < 0 || size > MaxNew || n != uint64(size) {
		return nil, ErrFormat
	}
	switch kind := r.Byte(); {
	case r.Bad:
		return nil, ErrFormat
	case kind == kindDict:
		if len(old) > MaxDict {
			return nil, ErrFormat
		}
		return unpack(dst, r.B, old, size)
	case kind != kindStreams:
		return nil, ErrFormat
	}
	var s [numStreams][]byte
	for i := range s {
		var err error
		if s[i], err = r.stream(i, old, size); err != nil {
			return nil, err
		}
	}
	if len(r.B) > 0 {
		return nil, ErrFormat
	}
	return merge(dst, old, s, size)
}

// reader takes a difference apart.
type reader struct{ column.Reader }

// stream reads stream i of a difference that makes size bytes.
func (r *reader) stream(i int, old []byte, size int) ([]byte, error) {
	n := r.Uvarint()
	if r.Bad || n > uint64(most(i, size)) {
		return nil, ErrFormat
	}
	if n == 0 {
		return nil, nil
	}
	how := r.Byte()
	if how == asIs {
		b := r.Take(n)
		if r.Bad {
			return nil, ErrFormat
		}
		return b, nil
	}
	frame := r.Take(r.Uvarint())
	if r.Bad {
		return nil, ErrFormat
	}
	switch {
	case how == packed:
		return unpack(nil, frame, nil, int(n))
	case how == packedWithOld && i == extra && len(old) > 0 && len(old) <= MaxDict:
		return unpack(nil, frame, old, int(n))
	}
	return nil, ErrFormat
}

// most bounds the length of a stream of a difference that makes size bytes.
// Groups make a byte each at least, and take a byte for each length, mostly;
// runs are at least a byte too, and take up to 15.
func most(i, size int) int {
	switch i {
	case control:
		return min(16*size, size+1<<20) + 16
	case zeros, others:
		return size + 16
	}
	return size
}

// merge makes the new version of the streams. Together these are not longer
// than they could be for size bytes, but nothing else is known of them.
func merge(dst, old []byte, s [numStreams][]byte, size int) ([]byte, error) {
	c := reader{column.Reader{B: s[control]}}
	count := c.Uvarint()
	if c.Bad || count > uint64(len(c.B)) {
		return nil, ErrFormat
	}
	// Three cursors, one for each column.
	lens, places := c, c
	for range count {
		lens.Uvarint()
	}
	places = lens
	for range count {
		places.Uvarint()
	}
	out := room(dst, size)
	d := undiffs{zeros: reader{column.Reader{B: s[zeros]}}, others: reader{column.Reader{B: s[others]}}, values: s[values]}
	rest := s[extra]
	place := int64(0)
	for range count {
		before, n, dist := c.Uvarint(), lens.Uvarint(), places.Varint()
		free := uint64(size - len(out))
		if c.Bad || lens.Bad || places.Bad || before > uint64(len(rest)) || before > free || n > free-before {
			return nil, ErrFormat
		}
		out = append(out, rest[:before]...)
		rest = rest[before:]
		if dist > int64(len(old)) || dist < -int64(len(old)) {
			return nil, ErrFormat
		}
		place += dist
		if place < 0 || place > int64(len(old)) || n > uint64(int64(len(old))-place) {
			return nil, ErrFormat
		}
		from := len(out)
		out = append(out, old[place:place+int64(n)]...)
		if !d.add(out[from:]) {
			return nil, ErrFormat
		}
		place += int64(n)
	}
	if len(rest) != size-len(out) || len(places.B) > 0 || !d.done() {
		return nil, ErrFormat
	}
	return append(out, rest...), nil
}

// room returns an empty slice with room for size bytes, dst if it has it.
func room(dst []byte, size int) []byte {
	if cap(dst) >= size {
		return dst[:0:size]
	}
	return make([]byte, 0, size)
}

// undiffs adds the differences of the streams to runs.
type undiffs struct {
	zeros, others reader
	values        []byte
	zero, other   uint64 // left of the group under way
}

// add adds the next differences to b. It reports false if there are too few.
func (d *undiffs) add(b []byte) bool {
	for len(b) > 0 {
		if d.zero == 0 && d.other == 0 {
			d.zero, d.other = d.zeros.Uvarint(), d.others.Uvarint()
			if d.zeros.Bad || d.others.Bad || d.zero == 0 && d.other == 0 || d.other > uint64(len(d.values)) {
				return false
			}
		}
		if d.zero > 0 {
			n := min(d.zero, uint64(len(b)))
			d.zero -= n
			b = b[n:]
			continue
		}
		n := min(d.other, uint64(len(b)))
		for i, v := range d.values[:n] {
			b[i] += v
		}
		d.values, b = d.values[n:], b[n:]
		d.other -= n
	}
	return true
}

// done reports whether everything was used.
func (d *undiffs) done() bool {
	return d.zero == 0 && d.other == 0 && len(d.zeros.B) == 0 && len(d.others.B) == 0 && len(d.values) == 0
}
