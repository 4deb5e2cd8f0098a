package patch

import (
	"context"
	"errors"
	"io"
	"slices"
	"sort"

	"github.com/ropeway/ropeway/internal/delta/container"
)

// space is the content of many units, one after the other: the leftovers, or
// the fresh stream.
type space struct {
	pieces []piece
	files  []spaceFile
	size   int64
}

// piece is a unit's place in a space.
type piece struct {
	at   int64
	file int
	unit container.Unit
}

type spaceFile struct {
	path string
	at   int64 // of its first piece
	r    io.ReaderAt
}

// add appends the units of a file.
func (s *space) add(path string, r io.ReaderAt, units []container.Unit) {
	s.files = append(s.files, spaceFile{path, s.size, r})
	for _, u := range units {
		if u.Size > 0 {
			s.pieces = append(s.pieces, piece{s.size, len(s.files) - 1, u})
			s.size += u.Size
		}
	}
}

// addPlain appends a file as it is.
func (s *space) addPlain(path string, r io.ReaderAt, size int64) {
	s.add(path, r, []container.Unit{{Length: size, Size: size, Ref: -1}})
}

// fileAt returns the index of the file that the byte at off belongs to.
func (s *space) fileAt(off int64) int {
	return s.pieces[s.pieceAt(off)].file
}

// pieceAt returns the index of the piece that holds the byte at off.
func (s *space) pieceAt(off int64) int {
	return sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].at > off }) - 1
}

// readError is an error of reading a file of a space.
type readError struct {
	path string
	err  error
}

func (e *readError) Error() string { return e.path + ": " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// read fills b with the bytes at off, which lie within the space. An error is
// a *readError, unless it is that of ctx.
func (s *space) read(ctx context.Context, b []byte, off int64) error {
	for i := s.pieceAt(off); len(b) > 0; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := s.pieces[i]
		n := min(p.at+p.unit.Size-off, int64(len(b)))
		if err := s.readPiece(p, b[:n], off-p.at); err != nil {
			return &readError{s.files[p.file].path, err}
		}
		b, off = b[n:], off+n
	}
	return nil
}

func (s *space) readPiece(p piece, b []byte, off int64) error {
	file := s.files[p.file].r
	if !p.unit.Inflate {
		n, err := file.ReadAt(b, p.unit.Offset+off)
		if n == len(b) {
			return nil
		}
		return short(err)
	}
	r := p.unit.Open(file)
	if off > 0 {
		if _, err := io.CopyN(io.Discard, r, off); err != nil {
			return short(err)
		}
	}
	_, err := io.ReadFull(r, b)
	return short(err)
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// extent is a range of a space.
type extent struct{ off, n int64 }

// load reads extents, one after the other, into buf if there is room.
func (s *space) load(ctx context.Context, buf []byte, list []extent) ([]byte, error) {
	n := total(list)
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	b := buf[:n]
	at := int64(0)
	for _, e := range list {
		if err := s.read(ctx, b[at:at+e.n], e.off); err != nil {
			return nil, err
		}
		at += e.n
	}
	return b, nil
}

func total(list []extent) (n int64) {
	for _, e := range list {
		n += e.n
	}
	return n
}

// join sorts extents and unites those that overlap or lie closer than gap.
func join(list []extent, gap int64) []extent {
	slices.SortFunc(list, func(a, b extent) int {
		switch {
		case a.off < b.off:
			return -1
		case a.off > b.off:
			return 1
		}
		return 0
	})
	var out []extent
	for _, e := range list {
		if n := len(out); n > 0 && e.off <= out[n-1].off+out[n-1].n+gap {
			out[n-1].n = max(out[n-1].n, e.off+e.n-out[n-1].off)
			continue
		}
		out = append(out, e)
	}
	return out
}
