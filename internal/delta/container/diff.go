package container

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	inflate "github.com/klauspost/compress/flate"

	"github.com/ropeway/ropeway/internal/delta/deflate"
)

// Diff tells how the file of next is made of that of old. It reads both: all
// content once, and that of deflated units which only one of them has once or
// twice more. The recipe has been carried out and compared with the new file,
// but for copied and deflated units, which were compared before. The error is
// one of reading.
func Diff(next, old *Layout) (*Delta, error) {
	d, err := diff(next, old)
	if errors.Is(err, ErrFormat) || errors.Is(err, errPlain) {
		// A recipe that is not right or too long; a plain one always works.
		return diff(plainLayout(next.file, next.size), old)
	}
	return d, err
}

func diff(next, old *Layout) (*Delta, error) {
	m, err := match(next, old)
	if err != nil {
		return nil, err
	}
	known, err := m.inflate()
	if err != nil {
		return nil, err
	}
	raw, err := m.unreadable()
	if err != nil {
		return nil, err
	}
	b := appendOutline(nil, next, old, m.pieces, raw)
	c := &coder{encodes: true}
	h := newHeaders(c, old, m.pieces, &checker{next: next, pieces: m.pieces, known: known})
	h.source = newHeadReader(next.file)
	if err := h.code(next); err != nil {
		return nil, err
	}
	if b = c.append(b); len(b) > MaxRecipe {
		return nil, ErrFormat
	}
	d := &Delta{Recipe: b}
	var index []int32
	d.Spare, index = spareUnits(old, m.copied(), func(i int32) bool { return raw[i] })
	for i := range m.pieces {
		p, it := &m.pieces[i], &next.items[i]
		if p.source != fresh && p.source != freshPack {
			continue
		}
		u := Unit{Offset: it.dataOff(), Length: it.data, Size: p.n, Inflate: p.source == freshPack, Ref: -1}
		if p.ref >= 0 {
			u.Ref = int(index[p.ref])
		}
		d.Fresh = append(d.Fresh, u)
	}
	return d, verify(b, m, known)
}

// verify decodes a recipe and compares what comes out with the new file.
func verify(b []byte, m *matching, known map[int32]facts) error {
	next, old := m.next, m.old
	r, err := parseRecipe(b, old)
	if err != nil {
		return err
	}
	c, _, err := parseCoder(r.rest)
	if err != nil {
		return err
	}
	if r.size != next.size || !slices.Equal(r.pieces, m.pieces) {
		return ErrFormat
	}
	v := &checker{next: next, old: old, pieces: r.pieces, known: known, source: newHeadReader(next.file)}
	return newHeaders(c, old, r.pieces, v).code(nil)
}

// checker is the host of the sender: it knows the new file, and with source it
// compares.
type checker struct {
	next, old *Layout
	pieces    []piece
	known     map[int32]facts
	source    *headReader
}

func (v *checker) facts(i int) (facts, error) {
	if !v.pieces[i].knows() {
		return facts{}, nil
	}
	return v.known[int32(i)], nil
}

func (v *checker) head(i int, b []byte) error {
	if v.source == nil {
		return nil
	}
	it := &v.next.items[i]
	if len(b) != int(it.head) {
		return fmt.Errorf("%w: header %d", ErrFormat, i)
	}
	want, err := v.source.read(it.kind, it.off, len(b))
	if err == nil && !bytes.Equal(b, want) {
		err = fmt.Errorf("%w: header %d", ErrFormat, i)
	}
	return err
}

func (v *checker) unit(i int) (int64, error) {
	it, p := &v.next.items[i], &v.pieces[i]
	n := it.data
	switch {
	case v.source == nil:
		return n, nil
	case p.source == noUnit:
		n = 0
	case p.source == sameUnit:
		n = v.old.items[p.ref].data
	case p.source == otherUnit:
		n = v.old.items[p.from].data
	case p.source == fresh:
		n = p.n
	}
	if n != it.data || it.kind != p.kind {
		return 0, fmt.Errorf("%w: unit %d", ErrFormat, i)
	}
	return n, nil
}

// inflate finds out which fresh units can be deflated again, and what is known
// of them before their headers.
func (m *matching) inflate() (map[int32]facts, error) {
	var f deflate.Finder
	known := map[int32]facts{}
	buf := make([]byte, 64<<10)
	for i := range m.pieces {
		p, it := &m.pieces[i], &m.next.items[i]
		if p.source != fresh {
			continue
		}
		in := io.NewSectionReader(m.next.file, it.dataOff(), it.data)
		if it.deflated {
			found, ok, err := f.Find(in, it.data)
			if err != nil {
				return nil, unexpected(err)
			}
			if ok && worthwhile(found.Size, it.data) {
				p.source, p.n, p.params = freshPack, found.Size, found.Params.Byte()
				if p.knows() {
					known[int32(i)] = p.facts(it.data, found.CRC)
				}
				continue
			}
		}
		if p.knows() {
			sum := crc32.NewIEEE()
			if n, err := io.CopyBuffer(sum, onlyReader{in}, buf); err != nil || n < it.data {
				return nil, unexpected(err)
			}
			known[int32(i)] = p.facts(it.data, sum.Sum32())
		}
	}
	return known, nil
}

// worthwhile reports whether a stream of n bytes that inflates to size is
// looked into: not if it only consists of repetitions.
func worthwhile(size, n int64) bool { return size <= 1<<20 || size/64 <= n }

// unreadable returns the deflated spare units of the old file that do not
// inflate to what they should.
func (m *matching) unreadable() (map[int32]bool, error) {
	raw := map[int32]bool{}
	copied := m.copied()
	var r io.ReadCloser
	buf := make([]byte, 64<<10)
	for i := range m.old.items {
		it := &m.old.items[i]
		if !it.deflated || it.data == 0 || copied[i] {
			continue
		}
		in := &watched{r: io.NewSectionReader(m.old.file, it.dataOff(), it.data)}
		if r == nil {
			r = inflate.NewReader(in)
		} else if err := r.(inflate.Resetter).Reset(in, nil); err != nil {
			return nil, err
		}
		ok := worthwhile(it.size, it.data) && it.size <= deflate.MaxInflated
		if ok {
			n, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(r, it.size+1), buf)
			ok = n == it.size && err == nil
		}
		if in.err != nil {
			return nil, in.err
		}
		if !ok {
			raw[int32(i)] = true
		}
	}
	return raw, nil
}

// watched keeps an error of reading, which is not to be taken for a stream that
// does not inflate.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}
