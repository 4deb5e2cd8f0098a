package twolevel

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Part makes the bytes [Off, Off+Len) of the new version. Encoded it is
//
//	version, then as varints Off, Len, the literal bytes in it, the lengths of
//	the operations and of their stored form; the operations, a zstd frame; the
//	literals, one after the other, a zstd frame unless there are none.
//
// An operation is the number of literals, and that of bytes to copy with, unless
// that is 0, the distance of their place in the old version from the end of the
// copy before.
type Part struct {
	Off, Len int64
	Literal  int64  // bytes of it that are not copied
	Data     []byte // encoded
}

const (
	partStored = 4 << 20   // a part ends when its literals take so much
	maxOps     = 512 << 10 // bytes of operations in a part
	maxWindow  = 2 << 20   // of compression, bytes
)

// Encode encodes the new version, size bytes long, in one or more parts. emit
// must not keep Data. tick is called now and then with the literals read; its
// error ends the work.
func Encode(src io.ReaderAt, size int64, copies []Copy, tick func(n int64) error, emit func(*Part) error) error {
	e := &encoder{src: src, tick: tick, emit: emit, buf: make([]byte, 128<<10)}
	at := int64(0)
	for i := 0; i <= len(copies); i++ {
		c := Copy{New: size}
		if i < len(copies) {
			c = copies[i]
		}
		lit := int64(0)
		for at < c.New {
			n := min(int64(len(e.buf)), c.New-at)
			if err := e.literal(at, e.buf[:n]); err != nil {
				return err
			}
			at += n
			lit += n
			if e.stored.Len() >= partStored {
				e.op(lit, Copy{})
				lit = 0
				if err := e.flush(); err != nil {
					return err
				}
			}
		}
		if lit > 0 || c.Len > 0 {
			e.op(lit, c)
		}
		at += c.Len
		if len(e.ops) > maxOps-64 {
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	return e.flush()
}

type encoder struct {
	src    io.ReaderAt
	tick   func(int64) error
	emit   func(*Part) error
	buf    []byte
	part   Part
	ops    []byte
	last   int64 // where the last copy of the part ends in the old version
	lits   *zstd.Encoder
	stored bytes.Buffer // compressed literals
	data   []byte
}

func (e *encoder) literal(at int64, p []byte) error {
	if err := readAt(e.src, p, at); err != nil {
		return err
	}
	if e.lits == nil {
		e.lits = newEncoder(&e.stored)
	}
	e.part.Literal += int64(len(p))
	if _, err := e.lits.Write(p); err != nil {
		return err
	}
	return e.tick(int64(len(p)))
}

func (e *encoder) op(lit int64, c Copy) {
	e.ops = binary.AppendUvarint(e.ops, uint64(lit))
	e.ops = binary.AppendUvarint(e.ops, uint64(c.Len))
	if c.Len > 0 {
		e.ops = binary.AppendVarint(e.ops, c.Old-e.last)
		e.last = c.Old + c.Len
	}
	e.part.Len += lit + c.Len
}

// flush emits the part and begins the next.
func (e *encoder) flush() error {
	if e.part.Len == 0 {
		return nil
	}
	if e.part.Literal > 0 {
		if err := e.lits.Close(); err != nil {
			return err
		}
	}
	ops := compressOps(e.ops)
	b := append(e.data[:0], version)
	for _, n := range []int64{e.part.Off, e.part.Len, e.part.Literal, int64(len(e.ops)), int64(len(ops))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(append(b, ops...), e.stored.Bytes()...)
	e.data, e.part.Data = b, b
	if err := e.emit(&e.part); err != nil {
		return err
	}
	e.part = Part{Off: e.part.Off + e.part.Len}
	e.ops, e.last = e.ops[:0], 0
	e.stored.Reset()
	if e.lits != nil {
		e.lits.Reset(&e.stored)
	}
	return nil
}

func newEncoder(w io.Writer) *zstd.Encoder {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(maxWindow), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("twolevel: " + err.Error()) // only for bad options, which these are not
	}
	return enc
}

func compressOps(ops []byte) []byte {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(maxOps), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("twolevel: " + err.Error()) // as above
	}
	return enc.EncodeAll(ops, nil)
}
