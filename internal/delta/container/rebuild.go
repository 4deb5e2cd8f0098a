package container

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	inflate "github.com/klauspost/compress/flate"

	"github.com/ropeway/ropeway/internal/delta/deflate"
)

// Rebuild carries out a recipe: it reads the old file and fresh, the content of
// all fresh units in order, and writes the new file to w: never more than its
// size. It stops at the first error, which is ErrFormat or one of old, fresh or
// w; what it wrote until then is of no use. Whoever calls it compares the digest
// of the result, since neither the recipe nor the content is trusted. It needs
// about 16 MiB of memory, 40 bytes per item of the new file and the names that
// its largest archive has.
func Rebuild(recipe []byte, old *Layout, fresh io.Reader, w io.Writer) error {
	r, err := parseRecipe(recipe, old)
	if err != nil {
		return err
	}
	c, rest, err := parseCoder(r.rest)
	if err != nil || len(rest) > 0 {
		return ErrFormat
	}
	b := &builder{recipe: r, old: old, fresh: fresh, w: w, left: r.size, buf: make([]byte, 64<<10)}
	h := newHeaders(c, old, r.pieces, b)
	if err := h.code(nil); err != nil {
		return err
	}
	if b.left != 0 {
		return ErrFormat
	}
	return nil
}

// builder is the host that writes a new file.
type builder struct {
	recipe *recipe
	old    *Layout
	fresh  io.Reader
	w      io.Writer
	left   int64 // bytes that may still be written
	buf    []byte
	ready  bytes.Buffer // the unit of which facts were asked
	has    bool
	enc    *deflate.Writer
}

// knows reports whether facts of p's unit are known before its header: both
// sides agree on it.
func (p *piece) knows() bool {
	return p.kind == local && (p.source == fresh || p.source == freshPack) && p.n <= maxFacts
}

func (b *builder) facts(i int) (facts, error) {
	p := &b.recipe.pieces[i]
	if !p.knows() {
		return facts{}, nil
	}
	b.ready.Reset()
	b.has = true
	sum := crc32.NewIEEE()
	if err := b.make(p, &b.ready, sum); err != nil {
		return facts{}, err
	}
	return p.facts(int64(b.ready.Len()), sum.Sum32()), nil
}

// facts returns what is known of a fresh unit of n bytes.
func (p *piece) facts(n int64, crc uint32) facts {
	f := facts{csize: some(uint64(n))}
	if p.source == freshPack {
		f.crc, f.size = some(uint64(crc)), some(uint64(p.n))
	} else {
		f.crc = some(uint64(crc)) // of a stored entry; of others it is a wrong guess
	}
	return f
}

// make writes a fresh unit to w, and its content to sum.
func (b *builder) make(p *piece, w, sum io.Writer) error {
	in := io.LimitReader(b.fresh, p.n)
	if p.source == fresh {
		return b.copy(io.MultiWriter(w, sum), in, p.n)
	}
	params, err := deflate.ParseByte(p.params)
	if err != nil {
		return err
	}
	var enc io.WriteCloser
	switch {
	case params.Go:
		enc, err = deflate.NewEncoder(w, params)
	case b.enc == nil:
		b.enc, err = deflate.NewWriter(w, params)
		enc = b.enc
	default:
		b.enc.Reset(w, params)
		enc = b.enc
	}
	if err != nil {
		return err
	}
	if err := b.copy(io.MultiWriter(enc, sum), in, p.n); err != nil {
		return err
	}
	return enc.Close()
}

// copy writes exactly n bytes.
func (b *builder) copy(w io.Writer, r io.Reader, n int64) error {
	m, err := io.CopyBuffer(onlyWriter{w}, onlyReader{r}, b.buf)
	if err == nil && m < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// onlyWriter and onlyReader keep io.CopyBuffer from ways that do without its
// buffer.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// Write writes what the new file consists of.
func (b *builder) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("%w: the file becomes longer than it should", ErrFormat)
	}
	b.left -= int64(len(p))
	return b.w.Write(p)
}

func (b *builder) head(_ int, head []byte) error {
	_, err := b.Write(head)
	return err
}

func (b *builder) unit(i int) (int64, error) {
	p := &b.recipe.pieces[i]
	was := b.left
	var err error
	switch {
	case p.source == noUnit:
	case p.source == sameUnit || p.source == otherUnit:
		from := p.ref
		if p.source == otherUnit {
			from = p.from
		}
		it := &b.old.items[from]
		err = b.copy(b, io.NewSectionReader(b.old.file, it.dataOff(), it.data), it.data)
	case b.has:
		b.has = false
		_, err = b.Write(b.ready.Bytes())
	default:
		err = b.make(p, b, io.Discard)
	}
	return was - b.left, err
}

// openUnit returns a reader of a unit's content.
func openUnit(u Unit, file io.ReaderAt) io.Reader {
	in := io.NewSectionReader(file, u.Offset, u.Length)
	if !u.Inflate {
		return &exactReader{in, u.Size}
	}
	return &exactReader{inflate.NewReader(in), u.Size}
}

// exactReader reads n bytes of r, which must be there.
type exactReader struct {
	r io.Reader
	n int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	var corrupt inflate.CorruptInputError
	switch {
	case e.n == 0:
		err = nil
	case errors.Is(err, io.EOF), errors.As(err, &corrupt):
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
