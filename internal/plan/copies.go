package plan

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// maxCopies bounds the files that are remembered to find copies and moves: at
// about 100 bytes each. Files beyond it are sent instead.
const maxCopies = 1 << 20

// copies finds content among what the receiver holds.
type copies struct {
	paths map[uint64]string // by the head of the digest
	full  map[string]digest.Digest
	sizes map[int64]struct{} // of files larger than PackMax

	held, total int64 // bytes of the files that the patcher holds, and of all
}

func (c *copies) hasSize(n int64) bool {
	if c == nil {
		return false
	}
	_, ok := c.sizes[n]
	return ok
}

// copiesOf reads the receiver's list once, when the first question comes.
func (s *sender) copiesOf(ctx context.Context) *copies {
	if s.copies != nil {
		return s.copies
	}
	s.copies = &copies{paths: map[uint64]string{}, full: map[string]digest.Digest{}, sizes: map[int64]struct{}{}}
	src, done, err := s.Base(ctx)
	if err != nil || src == nil {
		return s.copies
	}
	defer done()
	var r manifest.Record
	for {
		if err := src.Next(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				clear(s.copies.paths) // a list that cannot be read to its end proves nothing
			}
			return s.copies
		}
		if p := s.Patcher; p != nil && r.Type == manifest.File {
			s.copies.total += r.Size
			if p.Holds(r.Digest, r.Size) {
				s.copies.held += r.Size
			}
		}
		if r.Type != manifest.File || r.Size <= inlineMax || len(s.copies.paths) >= maxCopies {
			continue
		}
		key := binary.BigEndian.Uint64(r.Digest[:])
		if _, ok := s.copies.paths[key]; !ok {
			s.copies.paths[key] = r.Path
			s.copies.full[r.Path] = r.Digest
		}
		if r.Size > PackMax {
			s.copies.sizes[r.Size] = struct{}{}
		}
	}
}

// lookUp returns a path of the receiver's tree that has the content.
func (s *sender) lookUp(ctx context.Context, d digest.Digest, size int64) (string, bool) {
	if size <= inlineMax {
		return "", false
	}
	c := s.copiesOf(ctx)
	p, ok := c.paths[binary.BigEndian.Uint64(d[:])]
	return p, ok && c.full[p] == d
}
