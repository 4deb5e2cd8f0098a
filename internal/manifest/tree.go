package manifest

import (
	"encoding/binary"
	"fmt"
	"strings"

	"lukechampine.com/blake3"

	"github.com/ropeway/ropeway/internal/digest"
)

// treeVersion is covered by every tree digest.
const treeVersion = "ropeway tree 0\n"

// Hasher computes the digest of a tree from its entries in canonical order, in
// memory proportional to the depth of the tree.
//
// A directory's hash covers the tuples of its children in order; the tuple of
// an entry is its type, name, content digest and size (file), target
// (symlink) or hash (directory), then the attributes of the mask. The tree
// digest covers the version, the mask and the root's tuple.
type Hasher struct {
	mask  Mask
	stack []level
	free  []*blake3.Hasher
	tuple []byte
	count int64
}

type level struct {
	dir Entry
	h   *blake3.Hasher
}

// NewHasher returns a hasher for the attributes of mask.
func NewHasher(mask Mask) *Hasher { return &Hasher{mask: mask} }

// Add appends an entry. The first must be the root directory; every other
// entry's parent must have come before as a directory.
func (t *Hasher) Add(e *Entry) error {
	t.count++
	if len(t.stack) == 0 {
		if t.count > 1 || e.Path != "" || e.Type != Dir {
			return fmt.Errorf("manifest: a tree begins with its root directory, not with the %v %q", e.Type, e.Path)
		}
		t.push(e)
		return nil
	}
	if e.Path == "" {
		return fmt.Errorf("manifest: second root")
	}
	parent := Parent(e.Path)
	for t.top().dir.Path != parent {
		if len(t.stack) == 1 {
			return fmt.Errorf("manifest: %q comes without its directory", e.Path)
		}
		t.pop()
	}
	if e.Type == Dir {
		t.push(e)
		return nil
	}
	t.write(e, nil)
	return nil
}

func (t *Hasher) top() *level { return &t.stack[len(t.stack)-1] }

func (t *Hasher) push(e *Entry) {
	var h *blake3.Hasher
	if n := len(t.free); n > 0 {
		h, t.free = t.free[n-1], t.free[:n-1]
		h.Reset()
	} else {
		h = blake3.New(digest.Size, nil)
	}
	dir := *e
	dir.Path = strings.Clone(e.Path)
	t.stack = append(t.stack, level{dir: dir, h: h})
}

func (t *Hasher) pop() {
	l := *t.top()
	sum := l.h.Sum(nil)
	t.free = append(t.free, l.h)
	t.stack = t.stack[:len(t.stack)-1]
	t.write(&l.dir, sum)
}

// write feeds e's tuple to the directory on top of the stack.
func (t *Hasher) write(e *Entry, children []byte) {
	t.tuple = appendTuple(t.tuple[:0], e, children, t.mask)
	_, _ = t.top().h.Write(t.tuple)
}

func appendTuple(b []byte, e *Entry, children []byte, mask Mask) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = append(b, byte(e.Type))
	str(e.Name())
	switch e.Type {
	case File:
		b = append(b, e.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(e.Size))
	case Dir:
		b = append(b, children...)
	case Symlink:
		str(e.Target)
	}
	if e.Type != Symlink {
		if mask&Perm != 0 {
			b = binary.AppendUvarint(b, uint64(e.Mode))
		} else if e.Type == File {
			b = append(b, byte(min(e.Mode&0o111, 1)))
		}
	}
	if mask&Times != 0 {
		b = binary.AppendVarint(b, e.Sec)
		b = binary.AppendUvarint(b, uint64(e.Nsec))
	}
	if mask&Owner != 0 {
		b = binary.AppendUvarint(b, uint64(e.UID))
		str(e.User)
	}
	if mask&Group != 0 {
		b = binary.AppendUvarint(b, uint64(e.GID))
		str(e.Group)
	}
	return b
}

// Count returns the entries added.
func (t *Hasher) Count() int64 { return t.count }

// Tree ends the list and returns the tree digest. Without entries it is the
// zero digest: the digest of no tree.
func (t *Hasher) Tree() digest.Digest {
	if len(t.stack) == 0 {
		return digest.Digest{}
	}
	for len(t.stack) > 1 {
		t.pop()
	}
	root := t.top()
	b := append([]byte(treeVersion), byte(t.mask))
	b = appendTuple(b, &root.dir, root.h.Sum(nil), t.mask)
	t.stack = nil
	return digest.Sum(b)
}
