package land

import (
	"context"
	"errors"
	"fmt"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// builder makes the new tree of an atomic landing beside the old one, and
// touches neither the old tree nor what is staged, but for links to files.
type builder struct {
	*landing
	ctx context.Context
	old *fsys.Tree
	neu *fsys.Tree
	ops *manifest.Cursor
}

// build makes the whole new tree and completes the mark.
func (l *landing) build(ctx context.Context) error {
	err := l.strangers(ctx, l.a.root, func(path string, dir *fsys.Dir, leaf string) error {
		return l.movable(path, dir, leaf)
	})
	if err != nil {
		return err
	}
	name := siblingName(l.a.place.base)
	if err := l.d.mkdir(l.a.place.parent, name, 0o700); err != nil {
		return err
	}
	if l.fresh, err = l.a.place.parent.Child(name); err != nil {
		return err
	}
	info, err := l.fresh.Stat()
	if err != nil {
		return err
	}
	l.ready.New, l.ready.NewIno = []byte(name), info.Ino
	if err := l.a.writeMark(nameBuilding, &l.ready); err != nil {
		return err
	}
	r, f, _, err := openList(l.a.state, nameOps, kindOps)
	if err != nil {
		return err
	}
	defer f.Close()
	b := &builder{landing: l, ctx: ctx, old: fsys.NewTree(l.a.root), neu: fsys.NewTree(l.fresh), ops: manifest.NewCursor(putsOnly{r})}
	defer b.old.Close()
	defer b.neu.Close()
	err = l.eachFinal(ctx, func(r *manifest.Record) error {
		if err := b.entry(&r.Entry); err != nil {
			return fmt.Errorf("%q: %w", r.Path, cause(err))
		}
		l.tick()
		return nil
	})
	if err != nil {
		return err
	}
	if op, err := b.ops.Peek(); err != nil {
		return err
	} else if op != nil {
		return fmt.Errorf("%q is to be put in place, but is not in the new tree", op.Path)
	}
	if err := b.dirModes(); err != nil {
		return err
	}
	return nil
}

// putsOnly leaves out deletions.
type putsOnly struct{ src manifest.Source }

func (p putsOnly) Next(r *manifest.Record) error {
	for {
		if err := p.src.Next(r); err != nil || r.Op == manifest.Put {
			return err
		}
	}
}

// op returns the kind of operation for path, 0 for none.
func (b *builder) op(path string) (OpKind, error) {
	r, err := b.ops.Peek()
	if err != nil || r == nil || manifest.Compare(r.Path, path) > 0 {
		return 0, err
	}
	if r.Path != path {
		return 0, fmt.Errorf("%q is to be put in place, but is not in the new tree", r.Path)
	}
	var op Op
	if err := op.decode(r); err != nil {
		return 0, err
	}
	b.ops.Take()
	return op.Kind, nil
}

// entry makes one object of the new tree.
func (b *builder) entry(e *manifest.Entry) error {
	kind, err := b.op(e.Path)
	if err != nil || e.Path == "" {
		return err
	}
	to, leaf, err := b.neu.Parent(e.Path)
	if err != nil {
		return err
	}
	switch {
	case e.Type == manifest.Dir:
		return b.d.mkdir(to, leaf, 0o700)
	case kind == OpFile:
		return b.linkOrCopy(b.stage, fileName(e.Path), to, leaf)
	case kind == OpSymlink:
		return b.makeLink(to, leaf, e)
	}
	from, name, err := b.old.Parent(e.Path)
	var info fsys.Info
	if err == nil {
		info, err = from.Lstat(name)
	}
	special := e.Type != manifest.File && e.Type != manifest.Symlink
	switch {
	case special && (fsys.IsNotExist(err) || err == nil && info.Type != e.Type):
		return nil // is listed, but not transferred
	case err != nil:
		return err
	case info.Type != e.Type:
		return errChanged
	case kind != OpAttr:
		return b.linkOrCopy(from, name, to, leaf)
	case e.Type == manifest.Symlink:
		return b.makeLink(to, leaf, e)
	}
	// A link would change the old tree.
	if err := b.copyTo(from, name, to, leaf); err != nil {
		return err
	}
	at := b.at.diff(e, b.at.mode(e, &info), &info)
	return b.at.apply(at, func(at fsys.Attr) error { return b.d.setAttr(to, leaf, at) })
}

// linkOrCopy gives a file a second name, or where that is refused copies it.
func (b *builder) linkOrCopy(from *fsys.Dir, name string, to *fsys.Dir, leaf string) error {
	err := b.d.link(from, name, to, leaf)
	if err == nil || fsys.IsNotExist(err) || fsys.IsFull(err) {
		return err
	}
	info, lerr := from.Lstat(name)
	if lerr != nil {
		return lerr
	}
	switch info.Type {
	case manifest.File:
		return b.copyTo(from, name, to, leaf)
	case manifest.Symlink:
		target, rerr := from.Readlink(name)
		if rerr != nil {
			return rerr
		}
		if err := b.d.symlink(target, to, leaf); err != nil {
			return err
		}
		at := fsys.Attr{Times: &fsys.Times{Sec: info.Sec, Nsec: info.Nsec}}
		if err := b.d.setAttr(to, leaf, at); err != nil && !errors.Is(err, fsys.ErrUnsupported) {
			return err
		}
		return nil
	}
	return err
}

// dirModes gives the directories of the new tree their attributes, the deepest
// first. The root stays open to us until all has been moved into it.
func (b *builder) dirModes() error {
	var stack []manifest.Entry
	leave := func(path string) error {
		for len(stack) > 0 && (path == "" || !manifest.Within(path, stack[len(stack)-1].Path)) {
			e := &stack[len(stack)-1]
			if err := b.dirMode(e); err != nil {
				return fmt.Errorf("%q: %w", e.Path, cause(err))
			}
			stack = stack[:len(stack)-1]
		}
		return nil
	}
	err := b.eachFinal(b.ctx, func(r *manifest.Record) error {
		if err := leave(r.Path); err != nil {
			return err
		}
		if r.Type == manifest.Dir {
			stack = append(stack, r.Entry)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return leave("")
}

// dirMode gives one directory what the mask asks for, and the rest from the
// directory that it replaces.
func (b *builder) dirMode(e *manifest.Entry) error {
	old, err := b.oldDir(e.Path)
	if err != nil {
		return err
	}
	dir, err := b.neu.Dir(e.Path)
	if err != nil {
		return err
	}
	have, err := dir.Stat()
	if err != nil {
		return err
	}
	mask := b.at.mask
	keep := e.Path == "" && b.ready.OmitRootAttrs
	at := b.at.diff(e, b.at.mode(e, old), &have)
	if old != nil && (keep || mask&manifest.Owner == 0) {
		at.Owner = nil
		if old.UID != have.UID {
			at.Owner = &old.UID
		}
	}
	if old != nil && (keep || mask&manifest.Group == 0) {
		at.Group = nil
		if old.GID != have.GID {
			at.Group = &old.GID
		}
	}
	if keep && old != nil {
		at.Mode, at.Times = &old.Mode, nil
	}
	if e.Path == "" {
		b.ready.RootMode = have.Mode
		if at.Mode != nil {
			b.ready.RootMode = *at.Mode
		}
		mode := b.ready.RootMode | 0o700
		at.Mode = &mode
	}
	return b.at.apply(at, func(at fsys.Attr) error { return b.d.setDirAttr(dir, at) })
}

// oldDir describes the directory that the old tree has at path; nil if none.
func (b *builder) oldDir(path string) (*fsys.Info, error) {
	var info fsys.Info
	var err error
	if path == "" {
		info, err = b.a.root.Stat()
	} else {
		var dir *fsys.Dir
		var leaf string
		if dir, leaf, err = b.old.Parent(path); err == nil {
			info, err = dir.Lstat(leaf)
		}
	}
	switch {
	case fsys.IsNotExist(err):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Type != manifest.Dir:
		return nil, nil
	}
	return &info, nil
}
