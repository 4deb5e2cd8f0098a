package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
	"slices"

	inflate "github.com/klauspost/compress/flate"
)

const (
	// MaxInflated bounds what a stream may inflate to for Find to look at it,
	// in bytes.
	MaxInflated = 1 << 30
	// keep bounds what is inflated into memory and not once per candidate.
	keep = 1 << 20
)

// Found describes a deflate stream that can be made again.
type Found struct {
	Params Params
	Size   int64  // of what it inflates to, in bytes
	CRC    uint32 // of what it inflates to (IEEE, as zip has it)
}

// Finder finds out how streams were made. Its zero value is ready. It tries what
// it found lately first, and less and less if it finds nothing, so the streams
// of one archive should go through one Finder. It is not safe for concurrent
// use, and what it finds depends on the streams before.
type Finder struct {
	order  []Params
	misses int // in a row

	writer  *Writer
	goes    [10]*flate.Writer
	reader  io.ReadCloser
	content []byte // what the stream inflates to, if that is not much
	buf     [32 << 10]byte
	stream  []byte // its beginning
}

// candidates lists settings by how common they are.
func candidates() (all []Params) {
	for _, mem := range []uint8{8, 9} {
		for _, level := range []uint8{6, 9, 5, 8, 7, 4, 1, 2, 3} {
			all = append(all, Params{Level: level, MemLevel: mem})
		}
		if mem == 8 {
			for _, level := range []uint8{5, 6, 1, 9} { // archive/zip, most, the linker
				all = append(all, Params{Go: true, Level: level})
			}
		}
	}
	return append(all,
		Params{Level: 6, MemLevel: 8, Strategy: Filtered}, Params{Level: 9, MemLevel: 8, Strategy: Filtered},
		Params{Level: 6, MemLevel: 8, Strategy: Huffman}, Params{Level: 6, MemLevel: 8, Strategy: RLE},
		Params{Level: 6, MemLevel: 8, Strategy: Fixed})
}

// Find finds out how the first size bytes of r, a raw deflate stream, were
// made. With ok, encoding what they inflate to gave the very same bytes; without,
// no known encoder did, or it is no such stream, or one beyond MaxInflated. The
// error is one of r.
func (f *Finder) Find(r io.ReaderAt, size int64) (found Found, ok bool, err error) {
	if f.order == nil {
		f.order = candidates()
	}
	src := &source{r: r, size: size}
	found, ok = f.inflate(src)
	if !ok || src.err != nil {
		return Found{}, false, src.err
	}
	f.stream = grow(f.stream, min(size, 96<<10))
	if _, err := r.ReadAt(f.stream, 0); err != nil && !errors.Is(err, io.EOF) {
		return Found{}, false, err
	}
	syms, whole, last := firstBlock(f.stream, 1<<15)
	for i, p := range f.order {
		if f.misses >= 8 && i >= 4 || f.misses >= 64 && i >= 1 {
			break
		}
		if !possible(p, len(syms), whole, last) {
			continue
		}
		ok := f.try(src, p, found.Size, syms)
		if src.err != nil {
			return Found{}, false, src.err
		}
		if ok {
			copy(f.order[1:], f.order[:i])
			f.order[0] = p
			f.misses = 0
			found.Params = p
			return found, true, nil
		}
	}
	f.misses++
	return Found{}, false, nil
}

// possible reports whether p can have made a first block of n symbols; where the
// block was not seen whole, the answer is yes.
func possible(p Params, n int, whole, last bool) bool {
	if !whole || p.Go {
		return true
	}
	most := 1<<(p.MemLevel+6) - 1
	return n == most || last && n < most
}

// inflate reads the whole stream once.
func (f *Finder) inflate(src *source) (Found, bool) {
	f.content = f.content[:0]
	var found Found
	in := f.inflater(src)
	for {
		n, err := in.Read(f.buf[:])
		found.Size += int64(n)
		found.CRC = crc32.Update(found.CRC, crc32.IEEETable, f.buf[:n])
		if found.Size <= keep {
			f.content = append(f.content, f.buf[:n]...)
		}
		switch {
		case errors.Is(err, io.EOF):
			return found, true
		case err != nil || found.Size > MaxInflated:
			return Found{}, false
		}
	}
}

// inflater returns a reader of what src inflates to, valid until the next.
func (f *Finder) inflater(src *source) io.Reader {
	src.at = 0
	in := io.LimitReader(src, src.size)
	if f.reader == nil {
		f.reader = inflate.NewReader(in)
		return f.reader
	}
	_ = f.reader.(inflate.Resetter).Reset(in, nil) // never fails
	return f.reader
}

// try encodes with p until the first byte that differs.
func (f *Finder) try(src *source, p Params, size int64, syms []uint32) bool {
	cmp := &comparer{src: src, buf: f.stream}
	defer func() { f.stream = cmp.buf }()
	var w io.WriteCloser
	var z *Writer
	switch {
	case p.Go && f.goes[p.Level] == nil:
		f.goes[p.Level], _ = flate.NewWriter(cmp, int(p.Level)) // the level is valid
		w = f.goes[p.Level]
	case p.Go:
		f.goes[p.Level].Reset(cmp)
		w = f.goes[p.Level]
	case f.writer == nil:
		f.writer, _ = NewWriter(cmp, p) // the settings are valid
		z, w = f.writer, f.writer
	default:
		f.writer.Reset(cmp, p)
		z, w = f.writer, f.writer
	}
	content, in := f.content, io.Reader(nil)
	if size > keep {
		content, in = nil, f.inflater(src)
	}
	for step := 2 << 10; ; step = min(2*step, len(f.buf)) {
		piece := content[:min(step, len(content))]
		if in != nil {
			n, err := io.ReadFull(in, f.buf[:step])
			if piece = f.buf[:n]; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false
			}
		} else {
			content = content[len(piece):]
		}
		if len(piece) == 0 {
			return w.Close() == nil && cmp.at == src.size
		}
		if _, err := w.Write(piece); err != nil {
			return false
		}
		// The symbols of the first block tell within a few KiB.
		if z != nil && !z.begun() {
			z.deflate(false)
			if k := min(len(z.syms), len(syms)); !z.begun() && !slices.Equal(z.syms[:k], syms[:k]) {
				return false
			}
		}
	}
}

// begun reports whether the first block is done.
func (z *Writer) begun() bool { return len(z.out) > 0 || z.bitLen > 0 || z.flushed }

// source reads a stream from its start, and keeps an error of reading, which is
// not to be taken for a stream that does not inflate.
type source struct {
	r    io.ReaderAt
	size int64
	at   int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.ReadAt(p, s.at)
	s.at += int64(n)
	if n > 0 {
		return n, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

var errDiffers = errors.New("deflate: bytes differ")

// comparer is a writer of what src has.
type comparer struct {
	src *source
	at  int64
	buf []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	if int64(len(p)) > c.src.size-c.at {
		return 0, errDiffers
	}
	c.buf = grow(c.buf, int64(len(p)))
	if n, err := c.src.r.ReadAt(c.buf, c.at); n < len(c.buf) {
		c.src.err = err
		return 0, err
	}
	if !bytes.Equal(c.buf, p) {
		return 0, errDiffers
	}
	c.at += int64(len(p))
	return len(p), nil
}

func grow(b []byte, n int64) []byte { return slices.Grow(b[:0], int(n))[:n] }
