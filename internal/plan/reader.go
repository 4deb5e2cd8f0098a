package plan

import (
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Item is one line of a plan: exactly one of its parts is set.
type Item struct {
	Record  *manifest.Record // a Put or a Del; Ext is not to be used
	Content Content          // of a Put of a regular file
	Spans   *SpanNote
	Pack    *PackNote
	Patch   *PatchNote
}

// Reader reads plan segments and checks that they make sense: paths in
// canonical order, spans without gaps that compose to the digest of the file
// they belong to. Not safe for concurrent use.
type Reader struct {
	order manifest.Ordered
	dec   *manifest.Decompressor
	file  spanFile
	packs uint64 // next pack number
	due   int64  // bytes of the records that the patch makes
	had   bool   // the patch
	err   error
}

// spanFile follows the spans of the file that is being announced.
type spanFile struct {
	path  string
	size  int64
	tag   uint64
	next  int64 // offset of the next span
	tree  digest.Tree
	only  digest.Digest
	begun bool
}

// NewReader returns a reader before the first segment.
func NewReader() *Reader { return &Reader{dec: manifest.NewDecompressor()} }

// Close frees the reader's memory.
func (r *Reader) Close() { r.dec.Close() }

// Segment reads one compressed segment and calls fn for each item. What the
// item points to is valid only during the call, but for notes, which the
// callee may keep.
func (r *Reader) Segment(body []byte, fn func(*Item) error) error {
	if r.err != nil {
		return r.err
	}
	r.err = r.segment(body, fn)
	return r.err
}

func (r *Reader) segment(body []byte, fn func(*Item) error) error {
	raw, err := r.dec.Unpack(body)
	if err != nil {
		return err
	}
	dec := manifest.NewDecoder(raw)
	for {
		var rec manifest.Record
		switch err := dec.Next(&rec); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		item, err := r.item(&rec)
		if err != nil {
			return err
		}
		if err := fn(item); err != nil {
			return err
		}
	}
}

func (r *Reader) item(rec *manifest.Record) (*Item, error) {
	if rec.Op == manifest.Note {
		if len(rec.Ext) == 0 {
			return nil, errExt
		}
		switch rec.Ext[0] {
		case noteSpans:
			n := &SpanNote{Path: rec.Path}
			if err := n.unmarshal(rec.Ext[1:]); err != nil {
				return nil, err
			}
			return &Item{Spans: n}, r.spans(n)
		case notePack:
			n := &PackNote{}
			if err := n.unmarshal(append([]byte(nil), rec.Ext[1:]...)); err != nil {
				return nil, err
			}
			if n.Seq != r.packs {
				return nil, fmt.Errorf("plan: pack %d where %d was due", n.Seq, r.packs)
			}
			r.packs++
			return &Item{Pack: n}, nil
		case notePatch:
			n := &PatchNote{}
			if err := n.unmarshal(append([]byte(nil), rec.Ext[1:]...)); err != nil {
				return nil, err
			}
			if r.had || n.Raw != r.due {
				return nil, fmt.Errorf("plan: a patch that makes %d bytes where %d were due", n.Raw, r.due)
			}
			r.had = true
			return &Item{Patch: n}, nil
		}
		return nil, fmt.Errorf("plan: unknown note %q", rec.Ext[0])
	}
	if err := r.order.Check(rec.Path); err != nil {
		return nil, err
	}
	item := &Item{Record: rec}
	if rec.Op == manifest.Del || rec.Type != manifest.File {
		if len(rec.Ext) != 0 {
			return nil, errExt
		}
		return item, nil
	}
	if err := item.Content.unmarshal(rec.Ext); err != nil {
		return nil, err
	}
	return item, r.content(rec, &item.Content)
}

func (r *Reader) spans(n *SpanNote) error {
	f := &r.file
	if n.Objects[0].Offset == 0 {
		*f = spanFile{path: n.Path, size: n.Size, tag: n.Tag, begun: true}
	}
	if !f.begun || f.path != n.Path || f.size != n.Size || f.tag != n.Tag || f.next != n.Objects[0].Offset {
		return fmt.Errorf("plan: spans of %q out of place", n.Path)
	}
	for i := range n.Objects {
		o := &n.Objects[i]
		f.tree.PushSpan(o.ID, o.NumBlocks())
		f.only = o.ID
		f.next = o.Offset + digest.SpanSize
	}
	return nil
}

func (r *Reader) content(rec *manifest.Record, c *Content) error {
	switch c.Way {
	case Inline:
		if int64(len(c.Data)) != rec.Size || digest.Sum(c.Data) != rec.Digest {
			return fmt.Errorf("plan: inline content of %q is not what it says", rec.Path)
		}
	case Packed:
		if rec.Size > PackMax || c.Offset+rec.Size > maxPackRaw || c.Pack > r.packs+maxOpenPacks {
			return fmt.Errorf("plan: %q cannot be in pack %d at %d", rec.Path, c.Pack, c.Offset)
		}
	case Patch:
		if r.had || r.due > MaxPatch-rec.Size {
			return fmt.Errorf("plan: %q cannot be in the patch", rec.Path)
		}
		r.due += rec.Size
	case Spans:
		f := &r.file
		got := f.only
		if f.size > digest.SpanSize && f.begun && f.next >= f.size {
			got = f.tree.Root()
		}
		if !f.begun || f.path != rec.Path || f.size != rec.Size || f.next < f.size || got != rec.Digest {
			return fmt.Errorf("plan: spans of %q do not compose to it", rec.Path)
		}
		f.begun = false
	}
	return nil
}
