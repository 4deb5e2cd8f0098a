// Package deflate compresses exactly as others did: it finds out which encoder,
// at which settings, made a deflate stream (RFC 1951), and makes the same bytes
// again of what the stream inflates to.
//
// A difference between two archives is small only if it looks at what their
// entries inflate to, and that is of use only where the receiver can deflate the
// new content to the very bytes that the sender has. Nearly all archives come
// from zlib, whose output depends on its input, its level, its memory level and
// its strategy alone; Writer follows zlib's algorithm decision by decision. Go's
// own tools deflate with compress/flate, which is called for their streams.
// Nothing is ever assumed: Finder.Find compares every byte.
//
// The algorithm is that of zlib 1.2 and 1.3 by Jean-loup Gailly and Mark Adler
// (deflate.c, trees.c), written anew in Go. This is an altered version in the
// sense of zlib's licence, which is in LICENSES/Zlib.txt.
package deflate

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// Strategy tells zlib what kind of data to expect.
type Strategy uint8

// The strategies have zlib's numbers.
const (
	Default  Strategy = iota
	Filtered          // matches of less than 6 bytes are not worth it
	Huffman           // no matches
	RLE               // matches of distance 1
	Fixed             // no codes of a block's own
)

// Params name an encoder and its settings.
type Params struct {
	// Go says that the encoder is compress/flate of the Go release that built
	// this program, and not zlib. MemLevel and Strategy are then 0. Its output
	// may differ between Go releases, so what it made is compared by digest.
	Go bool
	// Level is 1 to 9.
	Level uint8
	// MemLevel is 8 or 9; it sizes hash table and blocks.
	MemLevel uint8
	Strategy Strategy
}

// ErrParams is returned for settings that no encoder has.
var ErrParams = errors.New("deflate: unknown settings")

// Valid reports whether the settings are those of an encoder.
func (p Params) Valid() bool {
	switch {
	case p.Level < 1 || p.Level > 9:
		return false
	case p.Go:
		return p.MemLevel == 0 && p.Strategy == 0
	}
	return (p.MemLevel == 8 || p.MemLevel == 9) && p.Strategy <= Fixed
}

// Byte encodes the settings, which must be Valid, in a byte: never 0.
func (p Params) Byte() byte {
	if p.Go {
		return 15<<4 | p.Level
	}
	return (2*byte(p.Strategy)+p.MemLevel-8)<<4 | p.Level
}

// ParseByte decodes what Byte encoded, or returns ErrParams.
func ParseByte(b byte) (Params, error) {
	p := Params{Level: b & 15}
	if high := b >> 4; high == 15 {
		p.Go = true
	} else {
		p.MemLevel, p.Strategy = 8+high&1, Strategy(high>>1)
	}
	if !p.Valid() {
		return Params{}, ErrParams
	}
	return p, nil
}

func (p Params) String() string {
	if p.Go {
		return fmt.Sprintf("go-flate-%d", p.Level)
	}
	s := fmt.Sprintf("zlib-%d", p.Level)
	if p.MemLevel != 8 {
		s += fmt.Sprintf("/mem%d", p.MemLevel)
	}
	return s + [...]string{"", "/filtered", "/huffman", "/rle", "/fixed"}[p.Strategy]
}

// NewEncoder returns a writer that deflates to w as p says: a Writer, or that of
// compress/flate. Close ends the stream; it does not close w.
func NewEncoder(w io.Writer, p Params) (io.WriteCloser, error) {
	switch {
	case !p.Valid():
		return nil, ErrParams
	case p.Go:
		return flate.NewWriter(w, int(p.Level))
	}
	return NewWriter(w, p)
}
