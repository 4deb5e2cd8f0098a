package patch

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// reader takes encoded things apart. bad is set at the first fault, and stays.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// int64 reads a length or an offset.
func (r *reader) int64() int64 {
	v := r.uvarint()
	if v > 1<<62 {
		r.fail()
		return 0
	}
	return int64(v)
}

// count reads a number of at most most things.
func (r *reader) count(most int) int {
	v := r.uvarint()
	if v > uint64(most) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// take returns the next n bytes, which alias what is read; not nil unless there
// are fewer.
func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	if n == 0 {
		return []byte{}
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// column reads what appendColumn wrote: at most most bytes.
func (r *reader) column(most int) []byte {
	size := r.count(most)
	if size == 0 {
		return nil
	}
	coded := r.uvarint()
	if coded == 0 {
		return r.take(uint64(size))
	}
	frame := r.take(coded)
	if r.bad {
		return nil
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		r.fail()
		return nil
	}
	defer dec.Close()
	out, err := dec.DecodeAll(frame, make([]byte, 0, size))
	if err != nil || len(out) != size {
		r.fail()
		return nil
	}
	return out
}
