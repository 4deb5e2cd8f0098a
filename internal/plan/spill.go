package plan

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/ropeway/ropeway/internal/manifest"
)

// spill keeps batches in a file without a name, each by its number. They are
// this process's own and live no longer than it does: their form may change
// at any time.
type spill struct {
	file *os.File
	size int64
	at   map[int]extent
	buf  []byte
}

type extent struct{ from, to int64 }

// Flags of an entry, and of a warning.
const (
	isKnown = 1 << iota
	isCalm
	isHidden
	isTrusted
)

// put writes a batch.
func (s *spill) put(n int, b *batch, temp func() (*os.File, error)) error {
	if s.file == nil {
		f, err := temp()
		if err != nil {
			return err
		}
		s.file, s.at = f, map[int]extent{}
	}
	s.buf = appendBatch(s.buf[:0], b)
	if _, err := s.file.WriteAt(s.buf, s.size); err != nil {
		return err
	}
	s.at[n] = extent{s.size, s.size + int64(len(s.buf))}
	s.size += int64(len(s.buf))
	return nil
}

func (s *spill) find(n int) (extent, *os.File) { return s.at[n], s.file }

func (s *spill) close() {
	if s.file != nil {
		_ = s.file.Close()
		*s = spill{}
	}
}

func appendBatch(b []byte, x *batch) []byte {
	flag := func(v bool, f byte) byte {
		if v {
			return f
		}
		return 0
	}
	b = append(b, flag(x.calm, isCalm))
	b = binary.AppendUvarint(b, uint64(len(x.warns)))
	for i := range x.warns {
		w := &x.warns[i]
		b = append(b, flag(w.vanished, 1))
		for _, s := range []string{w.path, w.text} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	var enc manifest.Encoder
	for i := range x.found {
		f := &x.found[i]
		r := f.Record
		r.Ext = []byte{flag(f.Known, isKnown) | flag(f.calm, isCalm) | flag(f.hidden, isHidden) | flag(f.trust, isTrusted)}
		enc.Append(&r)
	}
	return append(b, enc.Take()...)
}

var errSpill = errors.New("plan: the file of a scan under way is damaged")

func readBatch(f *os.File, at extent) (*batch, error) {
	if f == nil || at.to <= at.from {
		return nil, errSpill
	}
	b := make([]byte, at.to-at.from)
	if _, err := f.ReadAt(b, at.from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return parseBatch(b)
}

func parseBatch(b []byte) (*batch, error) {
	d := decoder{b: b}
	x := &batch{calm: d.byte()&isCalm != 0}
	for n := d.int(1 << 20); n > 0 && !d.bad; n-- {
		w := warning{vanished: d.byte() != 0}
		for _, s := range []*string{&w.path, &w.text} {
			*s = string(d.take(int(d.int(int64(len(d.b))))))
		}
		x.warns = append(x.warns, w)
	}
	if d.bad {
		return nil, errSpill
	}
	dec := manifest.NewDecoder(d.b)
	for {
		var f found
		err := dec.Next(&f.Record)
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err != nil || len(f.Ext) != 1 {
			return nil, errSpill
		}
		flags := f.Ext[0]
		f.Ext = nil
		f.Known, f.calm, f.hidden, f.trust = flags&isKnown != 0, flags&isCalm != 0, flags&isHidden != 0, flags&isTrusted != 0
		x.found = append(x.found, f)
	}
}
