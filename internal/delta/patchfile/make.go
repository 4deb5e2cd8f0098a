package patchfile

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Options tell how a patch file is made. The zero value is usable.
type Options struct {
	NoTimes bool  // modification times are not kept
	Window  int64 // bytes, see patch.Options
}

// Make writes the patch that turns old into fresh, both walked with their
// content, to w. It carries each window out before it writes it. Stages of tell
// are "plan" and "patch", in bytes of the new tree's changed files.
func Make(ctx context.Context, old, fresh *Tree, o Options, w io.Writer, tell Progress) (*Report, error) {
	if old.Single != fresh.Single {
		return nil, fault.New(fault.Usage, "give two files, or two directories", "%s and %s are not of one kind", old.Name, fresh.Name)
	}
	stage := "plan"
	p, err := patch.New(ctx, old.content(), fresh.content(), patch.Options{
		Window: o.Window, Tick: func(n int64) error { return tell(stage, 0, n) },
	})
	if err != nil {
		return nil, pathError(err, old, fresh)
	}
	defer p.Close()
	l, err := list(old, fresh, &p.Identity, !o.NoTimes)
	if err != nil {
		return nil, err
	}
	buf := bufio.NewWriterSize(w, 1<<20)
	head := p.Head()
	parsed, err := patch.ParseHead(head)
	if err != nil {
		return nil, err // ours: cannot be
	}
	r := &Report{Tree: l.tree, OldBytes: old.bytes(), NewBytes: fresh.bytes(), Skipped: old.Skipped + fresh.Skipped}
	if r.Listing, err = writeHead(buf, l.encode(), head); err != nil {
		return nil, err
	}
	r.Patch = r.Listing
	stage = "patch"
	costs := make([]Content, len(p.Table().Targets))
	v := newVerifier(parsed, old)
	defer v.Close()
	for i := range p.Windows() {
		m, err := p.Window(ctx, i)
		if err != nil {
			return nil, pathError(err, old, fresh)
		}
		if err := v.window(ctx, i, m.Coded); err != nil {
			return nil, pathError(err, old, fresh)
		}
		var n [binary.MaxVarintLen64]byte
		k := binary.PutUvarint(n[:], uint64(len(m.Coded)))
		if _, err := buf.Write(n[:k]); err != nil {
			return nil, err
		}
		if _, err := buf.Write(m.Coded); err != nil {
			return nil, err
		}
		r.Patch += int64(k + len(m.Coded))
		r.Windows++
		for _, c := range m.Costs {
			x := &costs[c.Target]
			x.Cost += c.Bytes
			x.Literal += c.Literal
			if c.Dict {
				x.Method = Dict
			}
		}
	}
	if err := buf.Flush(); err != nil {
		return nil, err
	}
	r.tell(old, fresh, l, p, costs)
	return r, nil
}

// verifier carries windows out as they are made. What container.Diff has
// carried out already it does not again.
type verifier struct{ *patch.Applier }

func newVerifier(h *patch.Head, old *Tree) *verifier {
	return &verifier{patch.NewApplier(h, old.source)}
}

func (v *verifier) window(ctx context.Context, i int, coded []byte) error {
	_, err := v.Window(ctx, i, coded)
	return err
}

// tell fills in what became of what.
func (r *Report) tell(old, fresh *Tree, l *listing, p *patch.Patch, costs []Content) {
	gone := map[string]bool{}
	for i := range old.Entries {
		if old.Entries[i].Type == manifest.File {
			r.OldFiles++
			gone[old.Entries[i].Path] = true
		}
	}
	by := map[string]Content{}
	for i := range fresh.Entries {
		if fresh.Entries[i].Type == manifest.File {
			delete(gone, fresh.Entries[i].Path)
		}
	}
	for _, x := range p.Identity.Same {
		by[x.To] = Content{Method: Same}
	}
	for _, x := range p.Identity.Copies {
		c := Content{Method: Copied, From: x.From}
		if gone[x.From] && !x.New {
			c.Method = Moved
			delete(gone, x.From) // others of it are copies
		}
		by[x.To] = c
	}
	for i, t := range p.Table().Targets {
		c := costs[i]
		switch {
		case t.Opened():
			c.Method = Container
		case c.Literal*10 >= t.Size*9:
			c.Method = Whole
		case c.Method == "":
			c.Method = ByteDiff
		}
		by[t.Path] = c
	}
	for i := range fresh.Entries {
		e := &fresh.Entries[i]
		if e.Type != manifest.File {
			continue
		}
		r.NewFiles++
		c := by[e.Path]
		c.Path, c.Size = e.Path, e.Size
		r.Content = append(r.Content, c)
	}
	for _, rec := range l.records {
		switch rec.op {
		case opDelete:
			r.Deleted++
		case opAttr:
			r.Attributes++
		}
	}
}

// list compares the lists of two trees.
func list(old, fresh *Tree, id *patch.Identity, times bool) (*listing, error) {
	l := &listing{single: fresh.Single, mask: manifest.Perm | manifest.Links, bytes: fresh.bytes()}
	if times {
		l.mask |= manifest.Times
	}
	copies := make(map[string]patch.Pair, len(id.Copies))
	for _, c := range id.Copies {
		copies[c.To] = c
	}
	i, under := 0, ""
	drop := func(e *manifest.Entry) {
		if under != "" && manifest.Within(e.Path, under) {
			return // gone with its directory
		}
		under = e.Path
		l.records = append(l.records, record{op: opDelete, entry: manifest.Entry{Path: e.Path}})
	}
	for j := range fresh.Entries {
		e := &fresh.Entries[j]
		for i < len(old.Entries) && manifest.Compare(old.Entries[i].Path, e.Path) < 0 {
			drop(&old.Entries[i])
			i++
		}
		var was *manifest.Entry
		if i < len(old.Entries) && old.Entries[i].Path == e.Path {
			was = &old.Entries[i]
			i++
		}
		if r, changed := l.compare(was, e, copies); changed {
			l.records = append(l.records, r)
		}
	}
	for ; i < len(old.Entries); i++ {
		drop(&old.Entries[i])
	}
	var err error
	l.tree, err = digestOf(fresh.Entries, l.mask, fresh.Single)
	return l, err
}

// compare returns the record for e, which was was; nil if it is new.
func (l *listing) compare(was, e *manifest.Entry, copies map[string]patch.Pair) (record, bool) {
	r := record{op: opAttr, entry: *e}
	if was != nil && was.Type != e.Type {
		was = nil
	}
	if e.Type != manifest.Symlink && (was == nil || was.Mode != e.Mode) {
		r.flags |= hasMode
	}
	if l.mask&manifest.Times != 0 && (was == nil || was.Sec != e.Sec || was.Nsec != e.Nsec) {
		r.flags |= hasTime
	}
	c, copied := copies[e.Path]
	switch {
	case e.Type == manifest.Dir && was == nil:
		r.op = opDir
	case e.Type == manifest.Symlink && (was == nil || was.Target != e.Target):
		r.op = opSymlink
	case e.Type == manifest.File && copied:
		r.op, r.from = opOld, c.From
		if c.New {
			r.op = opNew
		}
	case e.Type == manifest.File && (was == nil || was.Digest != e.Digest):
		r.op = opTarget
	}
	return r, r.op != opAttr || r.flags != 0
}

// pathError gives an error of package patch a class.
func pathError(err error, old, fresh *Tree) error {
	var known *fault.Error
	var wrong *patch.MismatchError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &wrong):
		name := fresh.Name
		if wrong.Base {
			name = old.Name
		}
		return fault.New(fault.Integrity, "run it again while nothing writes there", "%s: it changed while the patch was made: %s", name, err)
	}
	return err
}
