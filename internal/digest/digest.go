// Package digest names content and verifies it a block at a time.
//
// Content is hashed with BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs),
// a Merkle tree over 1 KiB chunks. ropeway cuts content into blocks of 64 KiB
// and files into spans of 4 MiB; both are aligned powers of two, so each full
// block and each full span is a subtree with a chaining value of its own. A
// receiver that knows the chaining values of an object's blocks can verify any
// block alone, and a file's digest is composed from its spans' values without
// reading the file again.
//
// All functions are safe for concurrent use; the types are not.
package digest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"lukechampine.com/blake3/guts"
)

const (
	// Size is the length of a digest in bytes.
	Size = 32
	// BlockSize is the unit of verification, in bytes.
	BlockSize = 64 << 10
	// SpanBlocks is the number of blocks in a full span.
	SpanBlocks = 64
	// SpanSize is the unit in which files are named on the wire, in bytes.
	SpanSize = SpanBlocks * BlockSize

	blockChunks = BlockSize / guts.ChunkSize
)

// Digest is a BLAKE3-256 hash, or the chaining value of a subtree.
type Digest [Size]byte

// IsZero reports whether d is the zero value, which no content has.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns d in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	p, err := Parse(string(b))
	if err == nil {
		*d = p
	}
	return err
}

// Parse reads the hexadecimal form that String writes.
func Parse(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*Size {
		return d, fmt.Errorf("digest: want %d hex digits, have %d characters", 2*Size, len(s))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest: %w", err)
	}
	return d, nil
}

// FromBytes copies b, which must be Size bytes long, into a Digest.
func FromBytes(b []byte) (Digest, error) {
	if len(b) != Size {
		return Digest{}, fmt.Errorf("digest: want %d bytes, have %d", Size, len(b))
	}
	return Digest(b), nil
}

// Sum returns the BLAKE3-256 hash of b.
func Sum(b []byte) Digest {
	if len(b) <= BlockSize {
		return finish(blockNode(b, 0), true)
	}
	t := NewTree()
	for off := 0; off < len(b); off += BlockSize {
		t.PushBlock(BlockCV(b[off:min(off+BlockSize, len(b))], int64(off/BlockSize)))
	}
	return t.Root()
}

// BlockCV returns the chaining value of the block with the given index in its
// file. Only the last block of a file may be shorter than BlockSize. The value
// is a file's digest only through Tree; a file of one block is named by Sum.
func BlockCV(data []byte, index int64) Digest {
	return finish(blockNode(data, uint64(index)*blockChunks), false)
}

// Blocks returns the number of blocks that size bytes occupy.
func Blocks(size int64) int { return int((size + BlockSize - 1) / BlockSize) }

// Spans returns the number of spans that size bytes occupy.
func Spans(size int64) int64 { return (size + SpanSize - 1) / SpanSize }

// Compose returns the chaining value of the subtree over consecutive block
// values, or, with root, the digest of a file made of exactly these blocks.
// It panics when cvs is empty or when root is asked of a single block, whose
// chaining value and digest are not related.
func Compose(cvs []Digest, root bool) Digest {
	if len(cvs) == 0 || root && len(cvs) == 1 {
		panic("digest: Compose needs at least one value, two for a root")
	}
	if len(cvs) == 1 {
		return cvs[0]
	}
	left := 1 << (bits.Len(uint(len(cvs)-1)) - 1)
	return parent(Compose(cvs[:left], false), Compose(cvs[left:], false), root)
}

// blockNode returns the root node of up to BlockSize bytes that start at the
// given chunk of their file.
func blockNode(data []byte, counter uint64) guts.Node {
	const group = guts.MaxSIMD * guts.ChunkSize
	var (
		stack [8]guts.Node
		sizes [8]int
		n     int
	)
	push := func(node guts.Node, chunks int) {
		for n > 0 && sizes[n-1] == chunks {
			node = guts.ParentNode(guts.ChainingValue(stack[n-1]), guts.ChainingValue(node), &guts.IV, 0)
			chunks *= 2
			n--
		}
		stack[n], sizes[n] = node, chunks
		n++
	}
	var last [group]byte
	for {
		take := min(len(data), group)
		buf := &last
		if take == group {
			buf = (*[group]byte)(data[:group])
		} else {
			copy(last[:], data)
		}
		push(guts.CompressBuffer(buf, take, &guts.IV, counter, 0), (take+guts.ChunkSize-1)/guts.ChunkSize)
		counter += guts.MaxSIMD
		if data = data[take:]; len(data) == 0 {
			break
		}
	}
	node := stack[n-1]
	for i := n - 2; i >= 0; i-- {
		node = guts.ParentNode(guts.ChainingValue(stack[i]), guts.ChainingValue(node), &guts.IV, 0)
	}
	return node
}

func finish(n guts.Node, root bool) Digest {
	if root {
		n.Flags |= guts.FlagRoot
	}
	w := guts.WordsToBytes(guts.CompressNode(n))
	return Digest(w[:Size])
}

func parent(left, right Digest, root bool) Digest {
	return finish(guts.ParentNode(words(left), words(right), &guts.IV, 0), root)
}

func words(d Digest) (w [8]uint32) {
	for i := range w {
		w[i] = uint32(d[4*i]) | uint32(d[4*i+1])<<8 | uint32(d[4*i+2])<<16 | uint32(d[4*i+3])<<24
	}
	return w
}

// Tree composes a digest from block or span values that arrive in order, in
// O(log n) memory.
type Tree struct {
	stack []Digest
	sizes []int64 // blocks under each value, strictly falling powers of two but for the last
}

// NewTree returns an empty tree.
func NewTree() *Tree { return &Tree{} }

// PushBlock appends the value of the next block.
func (t *Tree) PushBlock(cv Digest) { t.push(cv, 1) }

// PushSpan appends the value of the next span, which covers the given number
// of blocks: SpanBlocks for all but the last.
func (t *Tree) PushSpan(cv Digest, blocks int) { t.push(cv, int64(blocks)) }

func (t *Tree) push(cv Digest, size int64) {
	// Merging is put off until the next value proves that the node is not the
	// root, which is compressed with a flag of its own.
	t.settle()
	t.stack = append(t.stack, cv)
	t.sizes = append(t.sizes, size)
}

func (t *Tree) settle() {
	for n := len(t.stack); n >= 2 && t.sizes[n-1] == t.sizes[n-2]; n = len(t.stack) {
		t.stack[n-2] = parent(t.stack[n-2], t.stack[n-1], false)
		t.sizes[n-2] *= 2
		t.stack, t.sizes = t.stack[:n-1], t.sizes[:n-1]
	}
}

// Root returns the digest of everything pushed: at least two values.
func (t *Tree) Root() Digest { return t.top(true) }

// CV returns the chaining value of everything pushed: at least one value.
func (t *Tree) CV() Digest { return t.top(false) }

func (t *Tree) top(root bool) Digest {
	if len(t.stack) == 0 || root && len(t.stack) == 1 {
		panic("digest: Tree needs at least one value, two for a root")
	}
	d := t.stack[len(t.stack)-1]
	for i := len(t.stack) - 2; i >= 0; i-- {
		d = parent(t.stack[i], d, root && i == 0)
	}
	return d
}

// SumReader returns the digest of everything r yields and its length. buf is
// scratch space of at least 2*BlockSize bytes; nil allocates it.
func SumReader(r io.Reader, buf []byte) (Digest, int64, error) {
	if len(buf) < 2*BlockSize {
		buf = make([]byte, 2*BlockSize)
	}
	// The first two blocks are read together: whether there is a second decides
	// if the first is a root.
	n, err := io.ReadFull(r, buf[:2*BlockSize])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Digest{}, int64(n), err
	}
	if n <= BlockSize {
		return Sum(buf[:n]), int64(n), nil
	}
	var t Tree
	t.PushBlock(BlockCV(buf[:BlockSize], 0))
	t.PushBlock(BlockCV(buf[BlockSize:n], 1))
	total := int64(n)
	for err == nil {
		n, err = io.ReadFull(r, buf[:BlockSize])
		if n > 0 {
			t.PushBlock(BlockCV(buf[:n], total/BlockSize))
			total += int64(n)
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Digest{}, total, err
	}
	return t.Root(), total, nil
}
