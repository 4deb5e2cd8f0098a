package job

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
)

const (
	doomKind = 'd'

	forcedMark = 'f'
)

// applier merges the plan, as it streams in, with what is held: it orders the
// operations of the landing, starts the making of content, and lists the tree
// that the destination will be.
type applier struct {
	j       *job
	local   *manifest.Cursor
	reader  *plan.Reader
	content *content
	hasher  *manifest.Hasher
	cut     string // local entries within it are gone from the tree
	cutting bool
	forced  bool // they make room for something else: removed even without --delete
	deletes int64
	sum     counts
	limited int64 // deletions left undone by --max-delete
	extras  bool
	tree    digest.Digest
	missing map[string]struct{} // on the list of what to take, and not seen yet
	doomed  *manifest.Writer    // what --delete removes, once the plan proves whole
	dooms   *os.File
}

// counts become the summary.
type counts struct {
	files, dirs, symlinks, bytes int64
	transferred, created         int64
	skipped                      int64
}

func (j *job) newApplier(c *content) (*applier, error) {
	src, err := j.held.open()
	if err != nil {
		return nil, err
	}
	a := &applier{
		j: j, local: manifest.NewCursor(src), reader: plan.NewReader(), content: c,
		hasher: manifest.NewHasher(j.o.Mask),
	}
	a.missing, _ = j.o.Filter.Listed()
	return a, nil
}

func (a *applier) close() {
	a.reader.Close()
	if a.dooms != nil {
		_ = a.dooms.Close()
	}
}

// run takes segments until there are no more, then what is left of the local
// list.
func (a *applier) run(ctx context.Context, segments <-chan []byte) error {
	for {
		select {
		case body, ok := <-segments:
			if !ok {
				return nil
			}
			if err := a.reader.Segment(body, func(it *plan.Item) error { return a.item(ctx, it) }); err != nil {
				return refused(err)
			}
			if err := a.content.preflight(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refused classifies what a plan that makes no sense is.
func refused(err error) error {
	if fault.ClassOf(err) != fault.Other {
		return err
	}
	return fault.Wrap(fault.Integrity, err, "", "the plan cannot be right")
}

// finish passes the rest of the local list and closes the new one.
func (a *applier) finish() error {
	for {
		r, err := a.local.Peek()
		if err != nil {
			return err
		}
		if r == nil {
			break
		}
		if err := a.keep(r); err != nil {
			return err
		}
		a.local.Take()
	}
	a.tree = a.hasher.Tree()
	return nil
}

func (a *applier) item(ctx context.Context, it *plan.Item) error {
	switch {
	case it.Spans != nil:
		return a.content.spans(ctx, it.Spans)
	case it.Pack != nil:
		return a.content.pack(ctx, it.Pack)
	case it.Patch != nil:
		return a.content.patch(ctx, it.Patch)
	}
	rec := it.Record
	if err := a.asked(rec); err != nil {
		return err
	}
	if err := a.pass(rec.Path); err != nil {
		return err
	}
	if rec.Op == manifest.Del {
		a.cut, a.cutting, a.forced = strings.Clone(rec.Path), true, false
		return nil
	}
	return a.put(ctx, rec, &it.Content)
}

// pass deals with the local entries before path.
func (a *applier) pass(path string) error {
	for {
		r, err := a.local.Peek()
		if r == nil || err != nil || manifest.Compare(r.Path, path) >= 0 {
			return err
		}
		if err := a.keep(r); err != nil {
			return err
		}
		a.local.Take()
	}
}

// keep deals with a local entry that the plan does not put.
func (a *applier) keep(r *manifest.Record) error {
	cut := a.cutting && manifest.Within(r.Path, a.cut)
	switch {
	case cut && a.forced:
		return a.remove(r, true)
	case cut || isExtra(r):
		return a.gone(r)
	}
	if err := a.hasher.Add(&r.Entry); err != nil {
		return err
	}
	a.count(&r.Entry)
	r.Ext = nil
	return a.area().List(doubted(r))
}

// doubted marks an entry whose digest cannot be remembered, so that the
// landing does not take its state of later for the one that was read.
func doubted(r *manifest.Record) *manifest.Record {
	if r.Stat.IsZero() && r.Type != manifest.Dir {
		r.Stat = manifest.Stat{Size: -1} // matches nothing
	}
	return r
}

func (a *applier) area() *land.Area { return a.j.area }

// gone deals with a local entry that is not in the tree: it is deleted if that
// was asked for, and otherwise stays without being told of again.
func (a *applier) gone(r *manifest.Record) error {
	o := &a.j.o
	if o.Delete && !a.j.outside(r.Path) && !o.Filter.Protected(r.Path, r.Type == manifest.Dir) {
		if o.MaxDelete < 0 || a.deletes < o.MaxDelete {
			a.deletes++
			return a.remove(r, false)
		}
		a.limited++
	}
	a.extras = true
	c := *r
	c.Ext = []byte{extra}
	return a.area().List(doubted(&c))
}

// remove notes an entry to be deleted. That waits for the end of the plan:
// what the source could not read must not be taken for gone. Forced is what
// makes room for something else.
func (a *applier) remove(r *manifest.Record, forced bool) (err error) {
	if a.doomed == nil {
		if a.dooms, err = a.j.temp(); err != nil {
			return err
		}
		a.doomed = manifest.NewWriter(a.dooms, doomKind)
	}
	d := manifest.Record{Entry: r.Entry}
	if forced {
		d.Ext = []byte{forcedMark}
	}
	return a.doomed.Put(&d)
}

// doom orders the deletions: all of them, or only the forced ones.
func (a *applier) doom(all bool) error {
	if a.doomed == nil {
		return nil
	}
	if err := a.doomed.Close(digest.Digest{}, 0); err != nil {
		return err
	}
	if _, err := a.dooms.Seek(0, io.SeekStart); err != nil {
		return err
	}
	src, err := manifest.NewReader(a.dooms, doomKind)
	if err != nil {
		return err
	}
	var r manifest.Record
	for {
		switch err := src.Next(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !all && len(r.Ext) == 0 {
			continue
		}
		if err := a.area().Add(&land.Op{Kind: land.OpDelete, Entry: r.Entry, Change: deleting}); err != nil {
			return err
		}
	}
}

func (a *applier) count(e *manifest.Entry) {
	delete(a.missing, e.Path)
	switch e.Type {
	case manifest.File:
		a.sum.files++
		a.sum.bytes += e.Size
	case manifest.Dir:
		a.sum.dirs++
	case manifest.Symlink:
		a.sum.symlinks++
	}
}

// put makes rec part of the tree.
func (a *applier) put(ctx context.Context, rec *manifest.Record, c *plan.Content) error {
	var old *manifest.Entry
	r, err := a.local.Peek()
	if err != nil {
		return err
	}
	if r != nil && r.Path == rec.Path {
		e := r.Entry
		old = &e
		a.local.Take()
	}
	if err := a.hasher.Add(&rec.Entry); err != nil {
		return err
	}
	a.count(&rec.Entry)
	now := manifest.Record{Entry: rec.Entry} // its Stat is taken after the landing
	if err := a.area().List(&now); err != nil {
		return err
	}
	if old != nil && old.Type == manifest.Dir && rec.Type != manifest.Dir {
		a.cut, a.cutting, a.forced = strings.Clone(rec.Path), true, true
		next, err := a.local.Peek()
		if err != nil {
			return err
		}
		if next != nil && manifest.Within(next.Path, rec.Path) && !a.j.o.Delete {
			return a.stay(rec.Path)
		}
	}
	return a.change(ctx, old, rec, c)
}

// stay leaves a directory where the source has something else: what is in it
// would be lost. Its entries are not listed, so that the next walk tells them.
func (a *applier) stay(path string) error {
	a.j.warn(path, "cannot replace a directory that is not empty: use --delete", true)
	for {
		r, err := a.local.Peek()
		if r == nil || err != nil || !manifest.Within(r.Path, path) {
			return err
		}
		a.local.Take()
	}
}

// change orders what turns old into rec.
func (a *applier) change(ctx context.Context, old *manifest.Entry, rec *manifest.Record, c *plan.Content) error {
	if rec.Path == "" && a.j.o.OmitRoot {
		return nil
	}
	op := land.Op{Entry: rec.Entry, Change: itemize(old, &rec.Entry, a.j.o.Mask, a.j.o.Checksum)}
	if a.j.o.StripSetID && rec.Type == manifest.File {
		op.Entry.Mode &^= 0o6000
	}
	same := old != nil && manifest.SameContent(old, &rec.Entry)
	if old == nil {
		a.sum.created++
	}
	switch {
	case same:
		op.Kind = land.OpAttr
	case rec.Type == manifest.Dir:
		op.Kind = land.OpMkdir
	case rec.Type == manifest.Symlink:
		op.Kind = land.OpSymlink
	case rec.Type == manifest.File:
		op.Kind = land.OpFile
		a.sum.transferred++
		if c.Way == plan.Held {
			return errBase
		}
	default:
		a.sum.skipped++
		a.j.warn(rec.Path, "a "+rec.Type.String()+" is not transferred", false)
		return nil
	}
	if op.Kind == land.OpFile && !a.j.o.DryRun {
		ready := func() error { return nil }
		if a.j.o.Early {
			early := op
			ready = func() error { return a.area().Add(&early) }
		}
		if err := a.content.file(ctx, &op.Entry, c, ready); err != nil {
			return err
		}
		if a.j.o.Early {
			return nil // added when it is finished
		}
	}
	return a.area().Add(&op)
}

// errBase says that sender and receiver do not agree on what is held.
var errBase = errors.New("the sender is wrong about what the destination holds")
