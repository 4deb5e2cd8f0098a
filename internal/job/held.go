package job

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/wire"
)

// An index's records carry letters in Ext.
const (
	// extra marks what the destination has and the sender never knew or no
	// longer has: it is kept unless --delete, and not told again.
	extra = 'x'
	// fresh marks, in the list of changes, a record whose Stat alone is new.
	fresh = 'r'

	indexKind  = 'i'
	changeKind = 'c'
)

func isExtra(r *manifest.Record) bool { return bytes.IndexByte(r.Ext, extra) >= 0 }

// held is what the destination has: its index as changed by what a walk found.
type held struct {
	area    *land.Area
	indexed bool          // the index counts
	tree    digest.Digest // of the tree landed last; zero: the sender must be told all
	file    *os.File      // list of changes, kind changeKind; nil when there are none
	changes int64         // in file, fresh ones included
	told    int64         // in file, without fresh ones
	inline  []byte        // told changes as one compressed segment; nil when too long
	extras  bool          // the index has extras
	sum     counts        // of what the walk saw
}

// look walks the destination. The index counts only if it was written for the
// same attributes.
func (j *job) look(ctx context.Context) (*held, error) {
	h := &held{area: j.area}
	index, trailer, err := j.area.OpenIndex()
	if err != nil {
		return nil, err
	}
	if j.area.Missing() {
		return h, nil // a dry run into a directory that is not there
	}
	var src manifest.Source
	if index != nil && trailer.Meta&metaMask == j.meta()&metaMask {
		h.indexed, h.tree, h.extras = true, trailer.Tree, trailer.Meta&metaExtras != 0
		src = index
	}
	var (
		w    *manifest.Writer
		enc  manifest.Encoder
		long bool
	)
	put := func(r *manifest.Record, told bool) error {
		if w == nil {
			if h.file, err = j.temp(); err != nil {
				return err
			}
			w = manifest.NewWriter(h.file, changeKind)
		}
		h.changes++
		if told {
			h.told++
			if !long {
				t := *r
				t.Stat, t.Ext = manifest.Stat{}, nil
				enc.Append(&t)
				// Segments compress at least a little; the exact length is seen below.
				long = enc.Len() > 2*wire.MaxInline
			}
		}
		return w.Put(r)
	}
	opts := scan.Options{
		Root: j.area.Root(), Filter: j.o.Filter, Mask: j.o.Mask, Index: src,
		Recursive: j.o.Recursive, OneFile: j.oneFile(),
		Progress: func(files, n int64) { j.emit(event.Work{Stage: "scan", Files: files, Bytes: n}) },
		Warn: func(path string, err error) {
			if !fsys.IsNotExist(err) {
				j.warn(path, fsys.Plain(err)+" (in the destination)", false)
			}
		},
		Refresh: func(r *manifest.Record) error {
			c := *r
			c.Ext = append(append([]byte(nil), r.Ext...), fresh)
			return put(&c, false)
		},
	}
	stats, err := scan.Changes(ctx, opts, scan.HashOptions{
		Progress: func(files, n int64) { j.emit(event.Work{Stage: "hash", Files: files, Bytes: n}) },
	}, func(r *manifest.Record) error {
		if r.Op == manifest.Put && r.Path == "" && j.o.OmitRoot {
			if h.indexed {
				c := rootOf(r)
				c.Ext = []byte{fresh}
				return put(&c, false)
			}
			c := rootOf(r)
			return put(&c, true)
		}
		return put(r, true)
	})
	if err != nil {
		return nil, err
	}
	h.sum = counts{files: stats.Files, dirs: stats.Dirs, symlinks: stats.Symlinks, bytes: stats.Bytes}
	if w != nil {
		if err := w.Close(digest.Digest{}, 0); err != nil {
			return nil, err
		}
	}
	if h.told > 0 && !long {
		if h.inline = manifest.NewCompressor().Pack(nil, enc.Take()); len(h.inline) > wire.MaxInline {
			h.inline = nil
		}
	}
	return h, nil
}

// rootOf is the root with the attributes that it has when they do not matter.
func rootOf(r *manifest.Record) manifest.Record {
	c := *r
	c.Mode, c.Sec, c.Nsec, c.UID, c.GID, c.User, c.Group = 0o755, 0, 0, 0, 0, "", ""
	return c
}

// open yields everything that the destination has, in canonical order, with
// Stat where it can be trusted.
func (h *held) open() (manifest.Source, error) {
	src := manifest.Slice(nil)
	if h.indexed {
		index, _, err := h.area.OpenIndex()
		if err != nil || index == nil {
			return nil, errors.Join(err, errors.New("the index is gone"))
		}
		src = index
	}
	if h.file != nil {
		// With a place of its own: the list is told to the sender while it is
		// compared with the plan.
		changes, err := manifest.NewReader(io.NewSectionReader(h.file, 0, math.MaxInt64), changeKind)
		if err != nil {
			return nil, err
		}
		src = manifest.Apply(src, changes)
	}
	return src, nil
}

// quiet reports whether nothing has to be told or written.
func (h *held) quiet() bool { return h.indexed && h.changes == 0 }

func (h *held) close() {
	if h.file != nil {
		_ = h.file.Close()
	}
}

// base is what the sender is told first.
func (h *held) base() (b wire.Base, ok bool) {
	if h.told > 0 && h.inline == nil {
		return wire.Base{}, false
	}
	b.Changes = h.inline
	if h.indexed {
		b.Tree = h.tree
	}
	return b, true
}

// segments lists everything held as compressed segments for upload.
func (h *held) segments(put func(frame []byte) error) error {
	src, err := h.open()
	if err != nil {
		return err
	}
	var (
		rec  manifest.Record
		enc  manifest.Encoder
		comp = manifest.NewCompressor()
	)
	flush := func() error {
		if enc.Count() == 0 {
			return nil
		}
		return put(comp.Pack(nil, enc.Take()))
	}
	for {
		switch err := src.Next(&rec); {
		case errors.Is(err, io.EOF):
			return flush()
		case err != nil:
			return err
		}
		if isExtra(&rec) {
			continue
		}
		rec.Stat, rec.Ext = manifest.Stat{}, nil
		enc.Append(&rec)
		if enc.Len() >= 512<<10 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}
