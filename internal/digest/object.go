package digest

import "fmt"

// Object describes an immutable run of bytes whose blocks can be verified one
// by one. It is either stand-alone (Root set, Offset 0: ID is the BLAKE3 hash
// of the bytes) or a span of a larger file (ID is the chaining value of the
// span's subtree, Offset its place in the file).
type Object struct {
	ID     Digest
	Size   int64 // bytes; a span has at most SpanSize
	Offset int64 // bytes, a multiple of SpanSize; 0 when stand-alone
	Root   bool
	// Blocks holds the chaining value of every block. It is empty for objects
	// of one block, which ID itself verifies.
	Blocks []Digest
}

// MaxObject bounds the size of a stand-alone object, in bytes.
const MaxObject = 64 << 20

// NewObject describes data as a stand-alone object.
func NewObject(data []byte) Object {
	return describe(data, 0, true)
}

// NewSpan describes data as the span that starts at offset of a file; only
// is set when the span is the whole file.
func NewSpan(data []byte, offset int64, only bool) Object {
	return describe(data, offset, only)
}

func describe(data []byte, offset int64, root bool) Object {
	o := Object{Size: int64(len(data)), Offset: offset, Root: root}
	if len(data) <= BlockSize {
		if root {
			o.ID = Sum(data)
		} else {
			o.ID = BlockCV(data, offset/BlockSize)
		}
		return o
	}
	o.Blocks = make([]Digest, 0, Blocks(o.Size))
	for at := 0; at < len(data); at += BlockSize {
		o.Blocks = append(o.Blocks, BlockCV(data[at:min(at+BlockSize, len(data))], (offset+int64(at))/BlockSize))
	}
	o.ID = Compose(o.Blocks, root)
	return o
}

// Check verifies that the description is consistent: bounds, alignment, and
// that the block values compose to ID. A peer's description must pass it
// before any of its blocks is asked for.
func (o *Object) Check() error {
	switch {
	case o.Size <= 0:
		return fmt.Errorf("digest: object of %d bytes", o.Size)
	case o.Offset < 0 || o.Offset%SpanSize != 0:
		return fmt.Errorf("digest: object at unaligned offset %d", o.Offset)
	case o.Root && o.Offset != 0:
		return fmt.Errorf("digest: stand-alone object at offset %d", o.Offset)
	case o.Root && o.Size > MaxObject, !o.Root && o.Size > SpanSize:
		return fmt.Errorf("digest: object of %d bytes is too large", o.Size)
	}
	n := o.NumBlocks()
	if n == 1 {
		if len(o.Blocks) != 0 {
			return fmt.Errorf("digest: one-block object lists %d block values", len(o.Blocks))
		}
		return nil
	}
	if len(o.Blocks) != n {
		return fmt.Errorf("digest: object of %d blocks lists %d block values", n, len(o.Blocks))
	}
	if Compose(o.Blocks, o.Root) != o.ID {
		return fmt.Errorf("digest: block values do not compose to %s", o.ID)
	}
	return nil
}

// NumBlocks returns the number of blocks.
func (o *Object) NumBlocks() int { return Blocks(o.Size) }

// BlockLen returns the length of block i in bytes.
func (o *Object) BlockLen(i int) int {
	return int(min(BlockSize, o.Size-int64(i)*BlockSize))
}

// VerifyBlock reports whether data is block i of the object. The object must
// have passed Check.
func (o *Object) VerifyBlock(i int, data []byte) bool {
	if i < 0 || i >= o.NumBlocks() || len(data) != o.BlockLen(i) {
		return false
	}
	if len(o.Blocks) == 0 {
		if o.Root {
			return Sum(data) == o.ID
		}
		return BlockCV(data, o.Offset/BlockSize) == o.ID
	}
	return BlockCV(data, o.Offset/BlockSize+int64(i)) == o.Blocks[i]
}
