package patchfile

import (
	"encoding/binary"
	"math"

	"github.com/ropeway/ropeway/internal/delta/column"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// What a record of a listing says of a path.
const (
	opDelete  = iota // it is no more, nor what was below it
	opAttr           // attributes changed, nothing else
	opDir            // a directory
	opSymlink        // with its target
	opTarget         // a file that the patch makes: the next target
	opOld            // a file of the content of an old one, by its path
	opNew            // a file of the content of another new one, by its path, which comes before
	numOps
	opMask   = 7
	hasMode  = 8  // permissions follow; without, those of the old entry of the same path and type
	hasTime  = 16 // likewise the modification time
	knownOps = opMask | hasMode | hasTime
)

// record is one line of a listing: how the new tree differs from the old one.
type record struct {
	op    byte
	entry manifest.Entry // path, attributes and target
	flags byte           // hasMode, hasTime
	from  string         // opOld, opNew
}

// listing is the difference between the lists of two trees.
type listing struct {
	single  bool
	mask    manifest.Mask
	tree    digest.Digest // of the new tree
	bytes   int64         // of its files
	records []record      // in canonical order
}

const (
	flagSingle = 1
	flagTimes  = 2
	// maxListing bounds an encoded listing and each of its columns, in bytes.
	maxListing = 64 << 20
)

// The columns of a listing.
const (
	colOps = iota
	colNames
	colText
	colModes
	colSecs
	colNanos
	numCols
)

// encode returns
//
//	byte    flags: 1 a single file, 2 with times
//	32      digest of the new tree
//	uvarint its files' bytes, count of records
//	columns, each uvarint raw length, uvarint coded length (0: as it is), bytes
func (l *listing) encode() []byte {
	var c [numCols][]byte
	text := func(last, s string) {
		n := 0
		for n < min(len(last), len(s)) && last[n] == s[n] {
			n++
		}
		c[colNames] = binary.AppendUvarint(c[colNames], uint64(n))
		c[colNames] = binary.AppendUvarint(c[colNames], uint64(len(s)-n))
		c[colText] = append(c[colText], s[n:]...)
	}
	last, from, sec := "", "", int64(0)
	for i := range l.records {
		r := &l.records[i]
		e := &r.entry
		c[colOps] = append(c[colOps], r.op|r.flags)
		text(last, e.Path)
		last = e.Path
		switch r.op {
		case opSymlink:
			text("", e.Target)
		case opOld, opNew:
			text(from, r.from)
			from = r.from
		}
		if r.flags&hasMode != 0 {
			c[colModes] = binary.AppendUvarint(c[colModes], uint64(e.Mode))
		}
		if r.flags&hasTime != 0 {
			c[colSecs] = binary.AppendVarint(c[colSecs], e.Sec-sec)
			c[colNanos] = binary.AppendUvarint(c[colNanos], uint64(e.Nsec))
			sec = e.Sec
		}
	}
	flags := byte(0)
	if l.single {
		flags |= flagSingle
	}
	if l.mask&manifest.Times != 0 {
		flags |= flagTimes
	}
	out := append([]byte{flags}, l.tree[:]...)
	out = binary.AppendUvarint(out, uint64(l.bytes))
	out = binary.AppendUvarint(out, uint64(len(l.records)))
	for _, raw := range c {
		out = column.Append(out, raw)
	}
	return out
}

// text reads a string that was coded against last.
func text(c *[numCols]*column.Reader, last string) (string, bool) {
	same, rest := c[colNames].Uvarint(), c[colNames].Uvarint()
	b := c[colText].Take(rest)
	if c[colNames].Bad || c[colText].Bad || same > uint64(len(last)) || same+rest > manifest.MaxPath {
		return "", false
	}
	return last[:same] + string(b), true
}

// parseListing reads what encode wrote.
func parseListing(b []byte) (*listing, error) {
	r := &column.Reader{B: b}
	head := r.Take(1 + digest.Size)
	if r.Bad || head[0]&^(flagSingle|flagTimes) != 0 {
		return nil, errFormat
	}
	l := &listing{single: head[0]&flagSingle != 0, mask: manifest.Perm | manifest.Links, tree: digest.Digest(head[1:])}
	if head[0]&flagTimes != 0 {
		l.mask |= manifest.Times
	}
	size, n := r.Uvarint(), r.Uvarint()
	if r.Bad || size > math.MaxInt64 || n > maxListing {
		return nil, errFormat
	}
	l.bytes = int64(size)
	var c [numCols]*column.Reader
	for i, most := range [numCols]uint64{n, 8 * n, maxListing, 3 * n, 10 * n, 5 * n} {
		if c[i] = (&column.Reader{B: r.Column(int(min(most, maxListing)))}); r.Bad {
			return nil, errFormat
		}
	}
	if len(r.B) > 0 || uint64(len(c[colOps].B)) != n {
		return nil, errFormat
	}
	last, from, sec := "", "", int64(0)
	for i := range n {
		rec, ok := readRecord(&c, last, &from, &sec)
		if !ok || i > 0 && manifest.Compare(last, rec.entry.Path) >= 0 {
			return nil, errFormat
		}
		last = rec.entry.Path
		l.records = append(l.records, rec)
	}
	for _, x := range c {
		if len(x.B) > 0 {
			return nil, errFormat
		}
	}
	return l, nil
}

func readRecord(c *[numCols]*column.Reader, last string, from *string, sec *int64) (rec record, ok bool) {
	op := c[colOps].Take(1)
	if c[colOps].Bad || op[0]&^knownOps != 0 || op[0]&opMask >= numOps {
		return rec, false
	}
	rec.op, rec.flags = op[0]&opMask, op[0]&^opMask
	e := &rec.entry
	if e.Path, ok = text(c, last); !ok || manifest.CheckPath(e.Path) != nil {
		return rec, false
	}
	switch rec.op {
	case opDir:
		e.Type = manifest.Dir
	case opSymlink:
		e.Type = manifest.Symlink
		if e.Target, ok = text(c, ""); !ok {
			return rec, false
		}
	case opTarget:
		e.Type = manifest.File
	case opOld, opNew:
		e.Type = manifest.File
		if *from, ok = text(c, *from); !ok || *from == "" || manifest.CheckPath(*from) != nil {
			return rec, false
		}
		rec.from = *from
	}
	if rec.flags&hasMode != 0 {
		e.Mode = uint32(min(c[colModes].Uvarint(), 1<<16))
	}
	if rec.flags&hasTime != 0 {
		*sec += c[colSecs].Varint()
		e.Sec, e.Nsec = *sec, uint32(min(c[colNanos].Uvarint(), 1<<31))
	}
	if c[colModes].Bad || c[colSecs].Bad || c[colNanos].Bad || e.Mode > 0o7777 || e.Nsec > 999_999_999 {
		return rec, false
	}
	return rec, rec.op != opDelete || rec.flags == 0
}
