package twolevel

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Apply decodes a part, which must make the bytes [off, off+length) of the new
// version, and writes them: once each, in ascending order. What the old version
// no longer yields is left out. It returns how many bytes were literals. An
// error of write ends it; what else is wrong with the part is ErrFormat.
func Apply(part io.Reader, off, length int64, old io.ReaderAt, write func(p []byte, off int64) error) (literal int64, err error) {
	in := bufio.NewReaderSize(part, 64<<10)
	if v, err := in.ReadByte(); err != nil || v != version {
		return 0, malformed(err, "version")
	}
	var head [5]int64 // off, length, literals, operations, stored operations
	for i, most := range []int64{MaxSize, MaxSize, length, maxOps, 2 * maxOps} {
		v, err := binary.ReadUvarint(in)
		if err != nil || v > uint64(most) {
			return 0, malformed(err, "head")
		}
		head[i] = int64(v)
	}
	if head[0] != off || head[1] != length {
		return 0, malformed(nil, "another part")
	}
	ops, err := readOps(in, head[3], head[4])
	if err != nil {
		return 0, err
	}
	a := &applier{old: old, write: write, buf: make([]byte, chunk), at: off, end: off + length}
	if head[2] > 0 {
		dec, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return 0, malformed(err, "literals")
		}
		defer dec.Close()
		a.lits, a.left = dec, head[2]
	}
	err = a.run(&decoder{b: ops})
	return head[2] - a.left, err
}

func readOps(in io.Reader, size, stored int64) ([]byte, error) {
	b := make([]byte, stored)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, malformed(err, "operations")
	}
	dec, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxOps), zstd.WithDecoderMaxMemory(maxOps), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, malformed(err, "operations")
	}
	defer dec.Close()
	ops := make([]byte, size)
	if _, err := io.ReadFull(dec, ops); err != nil {
		return nil, malformed(err, "operations")
	}
	return ops, nil
}

type applier struct {
	old     io.ReaderAt
	write   func([]byte, int64) error
	buf     []byte
	lits    io.Reader
	left    int64 // literals
	at, end int64
	from    int64 // where the last copy ends in the old version
}

func (a *applier) run(d *decoder) error {
	for len(d.b) > 0 {
		lit := d.int(min(a.left, a.end-a.at))
		n := d.int(a.end - a.at - lit)
		if n > 0 {
			a.from += d.signed()
		}
		if d.bad || a.from < 0 || a.from > MaxSize || lit+n == 0 {
			return malformed(nil, "operation")
		}
		if err := a.literal(lit); err != nil {
			return err
		}
		if err := a.copy(n); err != nil {
			return err
		}
	}
	if a.at != a.end || a.left != 0 {
		return malformed(nil, "a part that ends early")
	}
	return nil
}

func (a *applier) literal(n int64) error {
	for n > 0 {
		p := a.buf[:min(n, int64(len(a.buf)))]
		if _, err := io.ReadFull(a.lits, p); err != nil {
			return malformed(err, "literals")
		}
		if err := a.write(p, a.at); err != nil {
			return err
		}
		a.at += int64(len(p))
		a.left -= int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

func (a *applier) copy(n int64) error {
	for n > 0 {
		p := a.buf[:min(n, int64(len(a.buf)))]
		if readAt(a.old, p, a.from) == nil {
			if err := a.write(p, a.at); err != nil {
				return err
			}
		}
		a.at += int64(len(p))
		a.from += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

func malformed(err error, what string) error {
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s", ErrFormat, what)
	}
	return fmt.Errorf("%w: %s: %w", ErrFormat, what, err)
}
