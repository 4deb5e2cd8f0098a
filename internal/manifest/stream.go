package manifest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
)

// A stored list is
//
//	magic "rope" kind version | segments | uvarint 0 | trailer
//
// where a segment is uvarint length and a zstd frame of at most SegmentSize
// bytes uncompressed, and the trailer is 8 bytes count, 32 bytes tree digest,
// 8 bytes meta, 4 bytes "epor", big-endian. A list without a whole trailer was
// not finished and is refused.
const (
	// SegmentSize bounds an uncompressed segment, in bytes. Writers cut at half.
	SegmentSize = 2 << 20
	segmentCut  = 512 << 10
	magic       = "rope"
	endMagic    = "epor"
	trailerSize = 8 + digest.Size + 8 + 4

	// Version is the format's version; others are refused.
	Version = 0
)

// ErrTruncated is returned for a list that ends before its trailer.
var ErrTruncated = errors.New("manifest: list is truncated")

// Trailer ends a stored list.
type Trailer struct {
	Count int64
	Tree  digest.Digest // of the tree that the list describes; zero when it is none
	Meta  uint64        // the writer's own use
}

// Source yields records in canonical order.
type Source interface {
	// Next fills r with the next record; io.EOF at the end. What r points to is
	// valid until the next call.
	Next(r *Record) error
}

// Compressor turns segment bodies into zstd frames. Not safe for concurrent
// use.
type Compressor struct{ enc *zstd.Encoder }

// NewCompressor returns a compressor for segments that travel.
func NewCompressor() *Compressor { return newCompressor(zstd.SpeedDefault) }

// NewFastCompressor returns a compressor for links that outrun the other.
func NewFastCompressor() *Compressor { return newCompressor(zstd.SpeedFastest) }

func newCompressor(level zstd.EncoderLevel) *Compressor {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level), zstd.WithWindowSize(SegmentSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("manifest: " + err.Error()) // only for bad options, which these are not
	}
	return &Compressor{enc: enc}
}

// Pack appends the compressed form of body to dst.
func (c *Compressor) Pack(dst, body []byte) []byte { return c.enc.EncodeAll(body, dst) }

// Decompressor reverses Compressor, within SegmentSize. Not safe for
// concurrent use.
type Decompressor struct {
	dec *zstd.Decoder
	buf []byte
}

// NewDecompressor returns a decompressor.
func NewDecompressor() *Decompressor {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(SegmentSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("manifest: " + err.Error()) // only for bad options, which these are not
	}
	return &Decompressor{dec: dec}
}

// Unpack returns the body of a compressed segment, valid until the next call.
func (d *Decompressor) Unpack(frame []byte) ([]byte, error) {
	body, err := d.dec.DecodeAll(frame, d.buf[:0])
	if err != nil {
		return nil, fmt.Errorf("manifest: segment: %w", err)
	}
	d.buf = body
	return body, nil
}

// Close frees the decompressor's memory.
func (d *Decompressor) Close() { d.dec.Close() }

// Writer stores a list. Not safe for concurrent use.
type Writer struct {
	w     io.Writer
	enc   Encoder
	comp  *Compressor
	frame []byte
	order Ordered
	count int64
	err   error
}

// NewWriter begins a list of the given kind, a letter of the caller's choice
// that a Reader must name again. Writes are large; w needs no buffering.
func NewWriter(w io.Writer, kind byte) *Writer {
	lw := &Writer{w: w, comp: newCompressor(zstd.SpeedFastest)} // lists are read here, not sent
	lw.frame = append(lw.frame, magic...)
	lw.frame = append(lw.frame, kind, Version)
	return lw
}

// Put appends a record, which must come after all before it.
func (w *Writer) Put(r *Record) error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.order.Check(r.Path); w.err != nil {
		return w.err
	}
	w.enc.Append(r)
	w.count++
	if w.enc.Len() >= segmentCut {
		w.flush()
	}
	return w.err
}

// Append adds a record that a tool reads in the order of writing, without the
// canonical order.
func (w *Writer) Append(r *Record) error {
	if w.err == nil {
		w.enc.Append(r)
		w.count++
		if w.enc.Len() >= segmentCut {
			w.flush()
		}
	}
	return w.err
}

func (w *Writer) flush() {
	body := w.comp.Pack(nil, w.enc.Take())
	w.frame = binary.AppendUvarint(w.frame, uint64(len(body)))
	w.frame = append(w.frame, body...)
	_, w.err = w.w.Write(w.frame)
	w.frame = w.frame[:0]
}

// Count returns the records written so far.
func (w *Writer) Count() int64 { return w.count }

// Close ends the list; it does not close the underlying writer.
func (w *Writer) Close(tree digest.Digest, meta uint64) error {
	if w.err == nil && w.enc.Count() > 0 {
		w.flush()
	}
	if w.err != nil {
		return w.err
	}
	b := append(w.frame, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(w.count))
	b = append(b, tree[:]...)
	b = binary.BigEndian.AppendUint64(b, meta)
	b = append(b, endMagic...)
	_, w.err = w.w.Write(b)
	return w.err
}

// Reader reads a stored list. Not safe for concurrent use.
type Reader struct {
	r       *bufio.Reader
	dec     *Decompressor
	frame   []byte
	body    Decoder
	count   int64
	trailer *Trailer
	err     error
}

// NewReader begins to read a list of the given kind.
func NewReader(r io.Reader, kind byte) (*Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	var head [6]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, ErrTruncated
	}
	if string(head[:4]) != magic || head[4] != kind {
		return nil, errors.New("manifest: not a list of this kind")
	}
	if head[5] != Version {
		return nil, fmt.Errorf("manifest: list has format version %d, this program reads %d", head[5], Version)
	}
	return &Reader{r: br, dec: NewDecompressor()}, nil
}

// Next implements Source.
func (r *Reader) Next(rec *Record) error {
	if r.err != nil {
		return r.err
	}
	for {
		err := r.body.Next(rec)
		if err == nil {
			r.count++
			return nil
		}
		if err != io.EOF { //nolint:errorlint // Decoder returns io.EOF itself
			r.err = err
			return err
		}
		if r.err = r.segment(); r.err != nil {
			r.dec.Close()
			return r.err
		}
	}
}

func (r *Reader) segment() error {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return ErrTruncated
	}
	if n == 0 {
		return r.end()
	}
	if n > SegmentSize {
		return fmt.Errorf("manifest: segment of %d bytes", n)
	}
	if uint64(cap(r.frame)) < n {
		r.frame = make([]byte, n)
	}
	r.frame = r.frame[:n]
	if _, err := io.ReadFull(r.r, r.frame); err != nil {
		return ErrTruncated
	}
	body, err := r.dec.Unpack(r.frame)
	if err != nil {
		return err
	}
	r.body = *NewDecoder(body)
	return nil
}

func (r *Reader) end() error {
	var b [trailerSize]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return ErrTruncated
	}
	t, err := parseTrailer(b[:])
	if err != nil {
		return err
	}
	if t.Count != r.count {
		return fmt.Errorf("manifest: list of %d records says %d", r.count, t.Count)
	}
	r.trailer = &t
	return io.EOF
}

// Trailer returns the list's trailer once Next has returned io.EOF.
func (r *Reader) Trailer() (Trailer, bool) {
	if r.trailer == nil {
		return Trailer{}, false
	}
	return *r.trailer, true
}

// ReadTrailer reads only the trailer of a stored list of the given size.
func ReadTrailer(r io.ReaderAt, size int64) (Trailer, error) {
	var b [trailerSize]byte
	if size < trailerSize+7 {
		return Trailer{}, ErrTruncated
	}
	if _, err := r.ReadAt(b[:], size-trailerSize); err != nil {
		return Trailer{}, fmt.Errorf("manifest: trailer: %w", err)
	}
	return parseTrailer(b[:])
}

func parseTrailer(b []byte) (Trailer, error) {
	if string(b[trailerSize-4:]) != endMagic {
		return Trailer{}, ErrTruncated
	}
	t := Trailer{Count: int64(binary.BigEndian.Uint64(b)), Meta: binary.BigEndian.Uint64(b[8+digest.Size:])}
	copy(t.Tree[:], b[8:])
	return t, nil
}
