// Package column writes and reads the parts of which the formats of differences
// are made: numbers, and runs of bytes (columns) that are compressed where that
// makes them shorter.
//
// A column is uvarint length, and unless that is 0: uvarint length of a zstd
// frame (RFC 8878) and the frame, or 0 and the bytes themselves.
package column

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// Append appends raw as a column. The same bytes give the same column.
func Append(dst, raw []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(raw)))
	if len(raw) == 0 {
		return dst
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("column: options that zstd refuses: " + err.Error()) // constants all
	}
	z := enc.EncodeAll(raw, nil)
	if len(z) >= len(raw) {
		return append(append(dst, 0), raw...)
	}
	return append(binary.AppendUvarint(dst, uint64(len(z))), z...)
}

// Reader takes encoded things apart. Bad is set at the first fault, and stays;
// from then on all values are zero. Not safe for concurrent use.
type Reader struct {
	B   []byte // what has not been read
	Bad bool
}

// Fail sets Bad.
func (r *Reader) Fail() { r.Bad, r.B = true, nil }

// Uvarint reads an unsigned number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Varint reads a signed number.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Int64 reads a length or an offset, at most 1<<62.
func (r *Reader) Int64() int64 {
	v := r.Uvarint()
	if v > 1<<62 {
		r.Fail()
		return 0
	}
	return int64(v)
}

// Count reads a number of at most most things.
func (r *Reader) Count(most int) int {
	v := r.Uvarint()
	if v > uint64(most) {
		r.Fail()
		return 0
	}
	return int(v)
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Take returns the next n bytes, which alias what is read; not nil unless there
// are fewer.
func (r *Reader) Take(n uint64) []byte {
	if r.Bad || n > uint64(len(r.B)) {
		r.Fail()
		return nil
	}
	if n == 0 {
		return []byte{}
	}
	b := r.B[:n:n]
	r.B = r.B[n:]
	return b
}

// Column reads a column of at most most bytes.
func (r *Reader) Column(most int) []byte {
	size := r.Count(most)
	if size == 0 {
		return nil
	}
	coded := r.Uvarint()
	if coded == 0 {
		return r.Take(uint64(size))
	}
	frame := r.Take(coded)
	if r.Bad {
		return nil
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		r.Fail()
		return nil
	}
	defer dec.Close()
	out, err := dec.DecodeAll(frame, make([]byte, 0, size))
	if err != nil || len(out) != size {
		r.Fail()
		return nil
	}
	return out
}
