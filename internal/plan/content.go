// Package plan is the difference between two trees as the sender tells it to
// the receiver: a stream of records (what is put, what is gone) and of notes
// (the objects that carry content). Sender makes it, Reader reads it.
//
// A file's content comes in one of these ways: it is what the receiver has at
// that path (no Ext), a copy of what it has elsewhere, inline, part of a pack
// (many small files, compressed in solid frames), the file's spans, or made by
// the plan's patch, which turns what the receiver has into what has changed.
package plan

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Way is how the content of a file is made.
type Way byte

// The ways. Their values are part of the wire format.
const (
	Held   Way = 0   // the receiver has it at this path
	Inline Way = 'i' // the bytes follow
	Copy   Way = 'c' // the receiver has it at another path
	Packed Way = 'p' // in a pack
	Spans  Way = 's' // in the spans noted before
	Patch  Way = 'd' // in the plan's patch, which comes after the records
)

const (
	// PackMax is the size up to which files travel in packs, in bytes.
	PackMax = 256 << 10
	// inlineMax is the size up to which a single file's bytes stand in the plan.
	inlineMax = 64
	// spansPerNote bounds the spans in one note.
	spansPerNote = 8

	noteSpans = 'S'
	notePack  = 'P'
	notePatch = 'D'
)

// Content says how the content of a file that a record puts is made.
type Content struct {
	Way    Way
	Data   []byte // Inline
	From   string // Copy: path in the receiver's tree before the landing
	Pack   uint64 // Packed: number of the pack
	Offset int64  // Packed: place in the uncompressed pack, bytes
}

// SpanNote announces consecutive spans of the file that a later record puts.
type SpanNote struct {
	Path    string
	Size    int64  // of the whole file as it was read, bytes
	Tag     uint64 // identifies the file's state at the sender; part of the request
	Weight  uint8  // expected wire bytes per 100 bytes of content
	Objects []digest.Object
}

// PackNote announces a pack. Data is set when the pack stands in the plan.
type PackNote struct {
	Seq    uint64
	Raw    int64 // uncompressed bytes
	Object digest.Object
	Data   []byte
}

var errExt = errors.New("plan: malformed content description")

func (c *Content) marshal() []byte {
	switch c.Way {
	case Inline:
		return append([]byte{byte(Inline)}, c.Data...)
	case Copy:
		return append([]byte{byte(Copy)}, c.From...)
	case Packed:
		b := binary.AppendUvarint([]byte{byte(Packed)}, c.Pack)
		return binary.AppendUvarint(b, uint64(c.Offset))
	case Spans, Patch:
		return []byte{byte(c.Way)}
	}
	return nil
}

func (c *Content) unmarshal(b []byte) error {
	*c = Content{}
	if len(b) == 0 {
		return nil
	}
	c.Way, b = Way(b[0]), b[1:]
	switch c.Way {
	case Inline:
		c.Data = b
	case Copy:
		c.From = string(b)
		return manifest.CheckPath(c.From)
	case Packed:
		d := decoder{b: b}
		c.Pack, c.Offset = d.uint(), d.int(maxPackRaw)
		return d.end()
	case Spans, Patch:
		if len(b) != 0 {
			return errExt
		}
	default:
		return fmt.Errorf("plan: unknown way %q to make content", byte(c.Way))
	}
	return nil
}

func (n *SpanNote) marshal() []byte {
	b := []byte{noteSpans}
	b = binary.AppendUvarint(b, uint64(n.Size))
	b = binary.BigEndian.AppendUint64(b, n.Tag)
	b = append(b, n.Weight)
	b = binary.AppendUvarint(b, uint64(n.Objects[0].Offset/digest.SpanSize))
	b = binary.AppendUvarint(b, uint64(len(n.Objects)))
	for i := range n.Objects {
		o := &n.Objects[i]
		b = append(b, o.ID[:]...)
		for _, cv := range o.Blocks {
			b = append(b, cv[:]...)
		}
	}
	return b
}

func (n *SpanNote) unmarshal(b []byte) error {
	d := decoder{b: b}
	n.Size = d.int(manifest.MaxSize)
	n.Tag = d.fixed64()
	n.Weight = d.byte()
	first := d.int(manifest.MaxSize / digest.SpanSize)
	count := d.int(spansPerNote)
	if d.bad || n.Size <= 0 || count == 0 {
		return errExt
	}
	for i := range count {
		o := digest.Object{Offset: (first + i) * digest.SpanSize, Root: n.Size <= digest.SpanSize}
		o.Size = min(digest.SpanSize, n.Size-o.Offset)
		if o.Size <= 0 {
			return errExt
		}
		o.ID = d.digest()
		if blocks := o.NumBlocks(); blocks > 1 {
			o.Blocks = make([]digest.Digest, blocks)
			for j := range o.Blocks {
				o.Blocks[j] = d.digest()
			}
		}
		if d.bad {
			return errExt
		}
		if err := o.Check(); err != nil {
			return err
		}
		n.Objects = append(n.Objects, o)
	}
	return d.end()
}

func (n *PackNote) marshal() []byte {
	b := []byte{notePack}
	b = binary.AppendUvarint(b, n.Seq)
	b = binary.AppendUvarint(b, uint64(n.Raw))
	b = append(b, n.Object.ID[:]...)
	b = binary.AppendUvarint(b, uint64(n.Object.Size))
	if len(n.Data) > 0 {
		b = append(b, 1)
		return append(b, n.Data...)
	}
	b = append(b, 0)
	for _, cv := range n.Object.Blocks {
		b = append(b, cv[:]...)
	}
	return b
}

func (n *PackNote) unmarshal(b []byte) error {
	d := decoder{b: b}
	n.Seq = d.uint()
	n.Raw = d.int(maxPackRaw)
	n.Object = digest.Object{ID: d.digest(), Size: d.int(digest.MaxObject), Root: true}
	inline := d.byte()
	if d.bad || inline > 1 || n.Object.Size == 0 {
		return errExt
	}
	if inline == 1 {
		n.Data = d.b
		if int64(len(n.Data)) != n.Object.Size || digest.Sum(n.Data) != n.Object.ID {
			return fmt.Errorf("plan: inline pack %d is not what it says", n.Seq)
		}
		return nil
	}
	if blocks := n.Object.NumBlocks(); blocks > 1 {
		if len(d.b) != blocks*digest.Size {
			return errExt
		}
		n.Object.Blocks = make([]digest.Digest, blocks)
		for j := range n.Object.Blocks {
			n.Object.Blocks[j] = d.digest()
		}
	}
	if err := d.end(); err != nil {
		return err
	}
	return n.Object.Check()
}

// decoder reads fixed and variable fields and remembers that one was short.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte      { return d.take(1)[0] }
func (d *decoder) fixed64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) digest() (v digest.Digest) {
	copy(v[:], d.take(digest.Size))
	return v
}

func (d *decoder) uint() uint64 {
	v, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[k:]
	return v
}

func (d *decoder) int(most int64) int64 {
	v := d.uint()
	if v > uint64(most) {
		d.bad = true
		return 0
	}
	return int64(v)
}

func (d *decoder) end() error {
	if d.bad || len(d.b) != 0 {
		return errExt
	}
	return nil
}
