package plan

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	// maxCopies bounds the files that are remembered to find copies and moves,
	// and maxCopyText the bytes of their paths. Files beyond are sent instead.
	maxCopies   = 1 << 20
	maxCopyText = 64 << 20
	// pathBlock is how many paths are coded against each other.
	pathBlock = 16
)

// copies finds content among what the receiver holds: a hash table of digests
// over a list of paths in canonical order, each coded against the one before.
// A file takes some 50 bytes.
type copies struct {
	keys   []uint64 // of the table, the first bytes of the digest
	slots  []uint32 // number of the file, from 1; 0: free
	checks []uint64 // by number: the next bytes of the digest
	text   []byte
	blocks []uint32 // where each block of paths begins in text
	last   []byte
	sizes  map[int64]struct{} // of files larger than PackMax

	held, total int64 // bytes of the files that the patcher holds, and of all
}

func (c *copies) hasSize(n int64) bool {
	if c == nil {
		return false
	}
	_, ok := c.sizes[n]
	return ok
}

// split returns the parts of a digest that are remembered.
func split(d *digest.Digest) (key, check uint64) {
	return binary.BigEndian.Uint64(d[:]), binary.BigEndian.Uint64(d[8:])
}

// add remembers a file, unless one with its content is known. It reports
// whether there is room for more.
func (c *copies) add(path string, d *digest.Digest) bool {
	if len(c.checks) >= maxCopies || len(c.text) >= maxCopyText {
		return false
	}
	if 3*len(c.checks) >= 2*len(c.slots) {
		c.grow()
	}
	key, check := split(d)
	i := c.find(key)
	if c.slots[i] != 0 {
		return true
	}
	shared := 0
	if len(c.checks)%pathBlock == 0 {
		c.blocks = append(c.blocks, uint32(len(c.text)))
	} else {
		for n := min(len(path), len(c.last)); shared < n && path[shared] == c.last[shared]; {
			shared++
		}
	}
	c.text = binary.AppendUvarint(c.text, uint64(shared))
	c.text = binary.AppendUvarint(c.text, uint64(len(path)-shared))
	c.text = append(c.text, path[shared:]...)
	c.last = append(c.last[:0], path...)
	c.checks = append(c.checks, check)
	c.keys[i], c.slots[i] = key, uint32(len(c.checks))
	return true
}

// find returns the place in the table that has the key, or would have it.
func (c *copies) find(key uint64) int {
	mask := len(c.slots) - 1
	i := int(key) & mask
	for c.slots[i] != 0 && c.keys[i] != key {
		i = (i + 1) & mask
	}
	return i
}

func (c *copies) grow() {
	keys, slots := c.keys, c.slots
	n := max(2*len(slots), 1024)
	c.keys, c.slots = make([]uint64, n), make([]uint32, n)
	for i, s := range slots {
		if s != 0 {
			j := c.find(keys[i])
			c.keys[j], c.slots[j] = keys[i], s
		}
	}
}

// path returns the path of a file with the content.
func (c *copies) path(d *digest.Digest) (string, bool) {
	if len(c.slots) == 0 {
		return "", false
	}
	key, check := split(d)
	s := c.slots[c.find(key)]
	if s == 0 || c.checks[s-1] != check {
		return "", false
	}
	n := int(s - 1)
	text := c.text[c.blocks[n/pathBlock]:]
	var p []byte
	for range n%pathBlock + 1 {
		shared, k := binary.Uvarint(text)
		size, m := binary.Uvarint(text[k:])
		text = text[k+m:]
		p = append(p[:shared], text[:size]...)
		text = text[size:]
	}
	return string(p), true
}

// copiesOf reads the receiver's list once, when the first question comes.
func (s *sender) copiesOf(ctx context.Context) *copies {
	if s.copies != nil {
		return s.copies
	}
	s.copies = &copies{sizes: map[int64]struct{}{}}
	src, done, err := s.Base(ctx)
	if err != nil || src == nil {
		return s.copies
	}
	defer done()
	var r manifest.Record
	for room := true; ; {
		if err := src.Next(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				s.copies = &copies{} // a list that cannot be read to its end proves nothing
			}
			return s.copies
		}
		if p := s.Patcher; p != nil && r.Type == manifest.File {
			s.copies.total += r.Size
			if p.Holds(r.Digest, r.Size) {
				s.copies.held += r.Size
			}
		}
		if r.Type != manifest.File || r.Size <= inlineMax || !room {
			continue
		}
		if room = s.copies.add(r.Path, &r.Digest); !room {
			continue
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
	return s.copiesOf(ctx).path(&d)
}
