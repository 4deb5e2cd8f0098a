package manifest

import (
	"errors"
	"io"
)

// Slice is a Source over records in memory.
func Slice(recs []Record) Source { return &slice{recs: recs} }

type slice struct{ recs []Record }

func (s *slice) Next(r *Record) error {
	if len(s.recs) == 0 {
		return io.EOF
	}
	*r, s.recs = s.recs[0], s.recs[1:]
	return nil
}

// Cursor looks one record ahead in a Source.
type Cursor struct {
	src  Source
	rec  Record
	have bool
	done bool
	err  error
}

// NewCursor returns a cursor before the first record of src; nil is empty.
func NewCursor(src Source) *Cursor {
	return &Cursor{src: src, done: src == nil}
}

// Peek returns the next record without taking it; nil at the end. It is valid
// until the next Peek after a Take.
func (c *Cursor) Peek() (*Record, error) {
	if c.err != nil {
		return nil, c.err
	}
	if !c.have && !c.done {
		switch err := c.src.Next(&c.rec); {
		case err == nil:
			c.have = true
		case errors.Is(err, io.EOF):
			c.done = true
		default:
			c.err = err
			return nil, err
		}
	}
	if c.done {
		return nil, nil
	}
	return &c.rec, nil
}

// Take drops the record that Peek returned.
func (c *Cursor) Take() { c.have = false }

// Apply yields base as changed by diff: a Put replaces or adds an entry, a Del
// removes a path and everything below it, and a Put of anything but a
// directory removes what base has below that path. Dels do not appear in the
// result. Records of base pass through with Stat and Ext.
func Apply(base, diff Source) Source {
	return &apply{base: NewCursor(base), diff: NewCursor(diff)}
}

type apply struct {
	base, diff *Cursor
	cut        string // base entries within this path are gone
	cutting    bool
	takeBase   bool
	takeDiff   bool
}

func (a *apply) Next(r *Record) error {
	if a.takeBase {
		a.base.Take()
		a.takeBase = false
	}
	if a.takeDiff {
		a.diff.Take()
		a.takeDiff = false
	}
	for {
		b, err := a.base.Peek()
		if err != nil {
			return err
		}
		if b != nil && a.cutting {
			if Within(b.Path, a.cut) {
				a.base.Take()
				continue
			}
			a.cutting = false
		}
		d, err := a.diff.Peek()
		if err != nil {
			return err
		}
		switch {
		case b == nil && d == nil:
			return io.EOF
		case d == nil || b != nil && Compare(b.Path, d.Path) < 0:
			*r = *b
			a.takeBase = true
			return nil
		}
		if b != nil && b.Path == d.Path {
			a.base.Take()
		}
		if d.Op == Del || d.Type != Dir {
			a.cut, a.cutting = d.Path, true
		}
		if d.Op == Del {
			a.diff.Take()
			continue
		}
		*r = *d
		a.takeDiff = true
		return nil
	}
}

// Distrust yields src without the Stats, so that all content is read again.
func Distrust(src Source) Source { return distrust{src} }

type distrust struct{ Source }

func (d distrust) Next(r *Record) error {
	err := d.Source.Next(r)
	r.Stat = Stat{}
	return err
}
