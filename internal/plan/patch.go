package plan

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	// MaxPatch bounds what one patch makes, in bytes. What has changed beyond it
	// is sent as ever.
	MaxPatch = 512 << 20
	// maxOlds bounds the older files that a patch may refer to.
	maxOlds = 1 << 18
	// patchPiece is the size of the objects that carry a patch.
	patchPiece = digest.SpanSize
	// maxPatchPieces: a patch is not larger than what it makes, by much.
	maxPatchPieces = MaxPatch/patchPiece + 16
)

// File is a file of which a patch is made, or that it makes.
type File struct {
	Path   string
	Digest digest.Digest
	Size   int64
	Stat   manifest.Stat // of a new file, as it was read
}

// Patcher makes what turns contents that the receiver has into new ones.
type Patcher interface {
	// Holds reports whether the sender has the content of a file of the
	// receiver's.
	Holds(d digest.Digest, size int64) bool
	// Defers reports whether the content of a file should wait for the patch. old
	// is what the receiver has at its path, nil for nothing.
	Defers(old *manifest.Entry, size int64) bool
	// Make makes the patch. It returns what stands for it, whose objects are
	// stored. work tells of bytes dealt with.
	Make(ctx context.Context, olds, news []File, work func(bytes int64)) (*PatchNote, error)
}

// PatchNote announces the patch that makes the files whose records say so. It
// comes after them. The patch is what the objects hold one after the other,
// or Data.
type PatchNote struct {
	Raw     int64 // bytes of the files that it makes
	Objects []digest.Object
	Data    []byte
}

// Size returns the patch's length in bytes.
func (n *PatchNote) Size() int64 {
	size := int64(len(n.Data))
	for i := range n.Objects {
		size += n.Objects[i].Size
	}
	return size
}

// PatchWriter cuts a patch that is written to it into objects, or lets it stand
// in the plan if it is small. It holds one object in memory. Not safe for
// concurrent use.
type PatchWriter struct {
	note  PatchNote
	buf   []byte
	store func(id digest.Digest, data []byte) error
}

// NewPatchWriter returns a writer of a patch that makes raw bytes, whose objects
// store keeps.
func NewPatchWriter(raw int64, store func(id digest.Digest, data []byte) error) *PatchWriter {
	return &PatchWriter{note: PatchNote{Raw: raw}, store: store}
}

// Write implements io.Writer.
func (w *PatchWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		k := min(len(b), patchPiece-len(w.buf))
		w.buf, b, n = append(w.buf, b[:k]...), b[k:], n+k
		if len(w.buf) == patchPiece {
			if err := w.cut(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// cut stores what is buffered as an object.
func (w *PatchWriter) cut() error {
	if len(w.note.Objects) == maxPatchPieces {
		return fmt.Errorf("a patch of more than %d objects", maxPatchPieces)
	}
	o := digest.NewObject(w.buf)
	if err := w.store(o.ID, w.buf); err != nil {
		return err
	}
	w.note.Objects, w.buf = append(w.note.Objects, o), w.buf[:0]
	return nil
}

// Note returns what announces the patch, once all of it is written.
func (w *PatchWriter) Note() (*PatchNote, error) {
	if len(w.note.Objects) == 0 && len(w.buf) <= inlineBudget {
		w.note.Data = w.buf
		return &w.note, nil
	}
	if len(w.buf) > 0 {
		if err := w.cut(); err != nil {
			return nil, err
		}
	}
	return &w.note, nil
}

// Marshal returns the note's form in a plan, without its kind.
func (n *PatchNote) Marshal() []byte {
	b := binary.AppendUvarint(nil, uint64(n.Raw))
	b = binary.AppendUvarint(b, uint64(len(n.Objects)))
	for i := range n.Objects {
		o := &n.Objects[i]
		b = append(b, o.ID[:]...)
		b = binary.AppendUvarint(b, uint64(o.Size))
		for _, cv := range o.Blocks {
			b = append(b, cv[:]...)
		}
	}
	return append(b, n.Data...)
}

func (n *PatchNote) unmarshal(b []byte) error {
	d := decoder{b: b}
	n.Raw = d.int(MaxPatch)
	count := d.int(maxPatchPieces)
	for range count {
		o := digest.Object{ID: d.digest(), Size: d.int(patchPiece), Root: true}
		if d.bad || o.Size == 0 {
			return errExt
		}
		if blocks := o.NumBlocks(); blocks > 1 {
			if len(d.b) < blocks*digest.Size {
				return errExt
			}
			o.Blocks = make([]digest.Digest, blocks)
			for j := range o.Blocks {
				o.Blocks[j] = d.digest()
			}
		}
		if err := o.Check(); err != nil {
			return err
		}
		n.Objects = append(n.Objects, o)
	}
	n.Data = d.b
	if d.bad || (len(n.Objects) == 0) == (len(n.Data) == 0) || len(n.Data) > inlineBudget {
		return errExt
	}
	return nil
}

// ParsePatchNote reads what Marshal wrote.
func ParsePatchNote(b []byte) (*PatchNote, error) {
	n := &PatchNote{}
	if err := n.unmarshal(b); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return n, nil
}

// patching collects what the plan's patch is made of.
type patching struct {
	Patcher
	on         bool // the sender has most of what the receiver has
	asked      bool
	olds, news []File
	raw        int64
}

// patched reports whether a file's content can wait for the patch.
func (s *sender) patched(ctx context.Context, old *manifest.Entry, size int64) bool {
	p := &s.patching
	if p.Patcher == nil || size <= inlineMax || p.raw > MaxPatch-size || len(p.news) >= maxOlds {
		return false
	}
	if !p.asked {
		p.asked = true
		held, total := s.copiesOf(ctx).held, s.copiesOf(ctx).total
		p.on = total > 0 && held >= total/2
	}
	return p.on && p.Defers(old, size)
}

// later has the patch make a file.
func (s *sender) later(f *found, rec *manifest.Record) Content {
	p := &s.patching
	p.news = append(p.news, File{Path: rec.Path, Digest: rec.Digest, Size: rec.Size, Stat: f.Stat})
	p.raw += rec.Size
	return Content{Way: Patch}
}

// leftover notes a file that the receiver has and that is not as the tree has
// it: what has changed is likely to be like it.
func (s *sender) leftover(e *manifest.Entry) {
	p := &s.patching
	if p.Patcher == nil || e.Type != manifest.File || e.Size == 0 || len(p.olds) >= maxOlds {
		return
	}
	p.olds = append(p.olds, File{Path: strings.Clone(e.Path), Digest: e.Digest, Size: e.Size})
}

// patch makes the patch and announces it.
func (s *sender) patch(ctx context.Context) error {
	p := &s.patching
	if len(p.news) == 0 {
		return nil
	}
	olds := p.olds[:0]
	for _, f := range p.olds {
		if p.Holds(f.Digest, f.Size) {
			olds = append(olds, f)
		}
	}
	done := int64(0)
	n, err := p.Make(ctx, olds, p.news, func(n int64) {
		done += n
		s.Work("diff", s.files, s.read+done)
	})
	s.read += done
	if err != nil {
		return err
	}
	s.enc.Append(&manifest.Record{Op: manifest.Note, Ext: append([]byte{notePatch}, n.Marshal()...)})
	s.pending += n.Size()
	return nil
}
