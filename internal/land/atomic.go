package land

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// An atomic landing builds the new tree in a directory beside the destination,
// marks the landing ready, exchanges the two, moves the state directory and
// what is protected across, and removes the old tree. The state directory
// tells how far an interrupted one came: it is in the old tree until it is
// moved, and the old tree is the destination until the exchange.

const hintNotAtomic = "leave out --atomic, or choose another destination"

// errNotExchanged says that an atomic landing did not happen and that the
// destination is the old tree.
var errNotExchanged = errors.New("the trees could not be exchanged; the destination is as it was")

// atomicPossible refuses destinations that cannot be exchanged.
func (a *Area) atomicPossible(ctx context.Context) error {
	if err := a.noMount(); err != nil {
		return err
	}
	if a.place.parent == nil {
		return fault.New(fault.Denied, hintNotAtomic, "the directory that holds %s cannot be read, so nothing can be built there", a.place.path)
	}
	name := siblingName(a.place.base)
	err := a.d.mkdir(a.place.parent, name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Denied, "look whether anything in it is needed, then remove it",
			"%s/%s is where the new tree would be built, but it exists", a.place.parent.Path(), name)
	}
	if err != nil {
		return wrap(err, hintNotAtomic, "the new tree cannot be built beside %s", a.place.path)
	}
	if err := a.d.rmdir(a.place.parent, name); err != nil {
		return wrap(err, hintNotAtomic, "the new tree cannot be built beside %s", a.place.path)
	}
	return a.tryExchange(ctx)
}

// noMount refuses destinations on which something is mounted.
func (a *Area) noMount() error {
	mounted := a.place.base == "" || a.root.MountRoot()
	if p := a.place.parent; p != nil && !mounted {
		above, err := p.Stat()
		if err != nil {
			return wrap(err, "", "cannot look at %s", p.Path())
		}
		root, err := a.root.Stat()
		if err != nil {
			return wrap(err, "", "cannot look at %s", a.place.path)
		}
		mounted = above.Dev != root.Dev
	}
	if mounted {
		return fault.New(fault.Usage, "leave out --atomic, or choose a directory below it", "%s is a mount point, which cannot be exchanged", a.place.path)
	}
	return nil
}

// tryExchange exchanges two empty directories.
func (a *Area) tryExchange(ctx context.Context) error {
	names := [2]string{"try-1", "try-2"}
	for _, n := range names {
		if err := a.d.removeAll(ctx, a.state, n); err != nil {
			return wrap(err, "", "cannot write to %s", a.place.path)
		}
		if err := a.d.mkdir(a.state, n, 0o700); err != nil {
			return wrap(err, "", "cannot write to %s", a.place.path)
		}
	}
	err := a.d.exchange(a.state, names[0], a.state, names[1])
	for _, n := range names {
		if rerr := a.d.rmdir(a.state, n); rerr != nil && err == nil {
			return wrap(rerr, "", "cannot write to %s", a.place.path)
		}
	}
	switch {
	case errors.Is(err, fsys.ErrUnsupported):
		return fault.Wrap(fault.Usage, err, hintNotAtomic, "the system or the file system of %s cannot exchange directories", a.place.path)
	case err != nil:
		return wrap(err, hintNotAtomic, "directories cannot be exchanged in %s", a.place.path)
	}
	return nil
}

// dropSibling removes the new tree of a landing that was not marked, and is
// careful not to take for it an old tree, in which something may be left.
func (a *Area) dropSibling(ctx context.Context) error {
	if a.place.parent == nil || a.place.base == "" {
		return nil
	}
	name := siblingName(a.place.base)
	info, err := a.place.parent.Lstat(name)
	switch {
	case fsys.IsNotExist(err):
	case err != nil:
		return err
	default:
		mine, found, err := readMark(a.state, nameBuilding)
		if err != nil || !found || mine.NewIno != info.Ino {
			_ = a.d.rmdir(a.place.parent, name) // nothing is lost with it if it is empty
		} else if err := a.d.removeAll(ctx, a.place.parent, name); err != nil {
			return err
		}
	}
	return a.d.discard(a.state, nameBuilding)
}

// abandon removes a new tree that was not exchanged.
func (l *landing) abandon() error {
	if l.fresh != nil {
		_ = l.fresh.Close()
		l.fresh = nil
	}
	return l.a.dropSibling(context.Background())
}

// swap exchanges the trees and deals with the old one.
func (l *landing) swap(ctx context.Context) error {
	a, name := l.a, string(l.ready.New)
	if a.place.parent == nil || a.place.base == "" {
		return fault.New(fault.Denied, "", "the directory that holds %s cannot be read", a.place.path)
	}
	if err := l.exchange(name); err != nil {
		return err
	}
	if err := a.reopenRoot(); err != nil {
		return err
	}
	l.tree.Close()
	l.tree = fsys.NewTree(a.root)
	old, err := a.place.parent.Child(name)
	if err != nil && !fsys.IsNotExist(err) {
		return err
	}
	if err == nil {
		defer func() { _ = old.Close() }()
		if err := l.clear(ctx, old, name); err != nil {
			return err
		}
	}
	if err := l.finishRoot(); err != nil {
		return err
	}
	if err := l.d.syncDir(a.place.parent); err != nil {
		return err
	}
	// Staged files are further names of files in place: removing those changes
	// these files' times, so it comes before the index is written.
	if err := l.dropStage(ctx, false); err != nil {
		return err
	}
	return l.tellAll(ctx)
}

// exchange makes the new tree the destination, unless it is already, or takes
// the landing back. Inode numbers tell the trees apart; device numbers may
// change when the machine restarts.
func (l *landing) exchange(name string) error {
	p := l.a.place.parent
	dest, err := p.Lstat(l.a.place.base)
	if err != nil {
		return err
	}
	if dest.Ino == l.ready.NewIno {
		return nil
	}
	neu, err := p.Lstat(name)
	if err == nil && neu.Ino != l.ready.NewIno {
		return fault.New(fault.Integrity, "", "neither %s nor %s/%s is the new tree", l.a.place.path, p.Path(), name)
	}
	if err == nil {
		err = l.d.exchange(p, name, p, l.a.place.base)
	}
	if err == nil {
		return l.d.syncDir(p)
	}
	if derr := l.d.discard(l.a.state, nameReady); derr != nil {
		return derr
	}
	if derr := l.abandon(); derr != nil {
		return derr
	}
	return fault.Wrap(fsys.Class(err), errors.Join(errNotExchanged, err), hintNotAtomic, "%s did not land", l.a.place.path)
}

// reopenRoot opens the destination again after the exchange.
func (a *Area) reopenRoot() error {
	root, err := a.place.parent.Child(a.place.base)
	if err != nil {
		return err
	}
	_ = a.root.Close()
	a.root = root
	return nil
}

// clear moves what must stay from the old tree to the new one and removes the
// rest.
func (l *landing) clear(ctx context.Context, old *fsys.Dir, name string) error {
	a := l.a
	if info, err := old.Stat(); err != nil {
		return err
	} else if info.Mode&0o700 != 0o700 && info.UID == l.at.uid {
		mode := info.Mode | 0o700 // nothing can be moved out of it otherwise
		if err := l.d.setDirAttr(old, fsys.Attr{Mode: &mode}); err != nil {
			return err
		}
	}
	if _, err := old.Lstat(StateDir); err == nil {
		// Another run may look for the state between exchange and move, but it
		// creates none: it finds this one first.
		if err := l.d.rename(old, StateDir, a.root, StateDir); err != nil {
			return err
		}
		if err := l.d.syncDir(a.root); err != nil {
			return err
		}
	}
	kept := false
	err := l.strangers(ctx, old, func(path string, dir *fsys.Dir, leaf string) error {
		err := l.moveAcross(path, dir, leaf)
		if err != nil {
			kept = true
			return l.fail(path, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !kept {
		return l.patiently(func() error { return l.d.removeAll(ctx, a.place.parent, name) })
	}
	keep := keptName(a.place.base, strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := l.d.rename(a.place.parent, name, a.place.parent, keep); err != nil {
		return err
	}
	a.o.Events(event.Warn{Path: keep, Partial: true, Text: "the old tree is kept beside the destination: not all that is protected could be moved from it"})
	return nil
}

// moveAcross moves what only the old tree has to the same place in the new one.
func (l *landing) moveAcross(path string, dir *fsys.Dir, leaf string) error {
	to, name, err := l.tree.Parent(path)
	if err != nil {
		return err
	}
	if _, err := to.Lstat(name); err == nil {
		return errChanged
	}
	err = l.d.rename(dir, leaf, to, name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// A directory moves to another parent only if we may write in it.
	info, lerr := dir.Lstat(leaf)
	if lerr != nil || info.Type != manifest.Dir || info.Mode&0o700 == 0o700 || info.UID != l.at.uid {
		return err
	}
	mode := info.Mode | 0o700
	if l.d.setAttr(dir, leaf, fsys.Attr{Mode: &mode}) != nil {
		return err
	}
	if err := l.d.rename(dir, leaf, to, name); err != nil {
		return err
	}
	return l.d.setAttr(to, name, fsys.Attr{Mode: &info.Mode})
}

// finishRoot gives the new destination its time and mode, which the moves have
// touched or needed otherwise.
func (l *landing) finishRoot() error {
	r, f, _, err := openList(l.a.state, nameFinal, kindIndex)
	if err != nil {
		return err
	}
	defer f.Close()
	var rec manifest.Record
	if err := r.Next(&rec); err != nil {
		return err
	}
	info, err := l.a.root.Stat()
	if err != nil {
		return err
	}
	var at fsys.Attr
	if !l.ready.OmitRootAttrs && rec.Path == "" && l.at.mask&manifest.Times != 0 {
		at.Times = &fsys.Times{Sec: rec.Sec, Nsec: rec.Nsec}
	}
	if l.ready.RootMode != info.Mode {
		at.Mode = &l.ready.RootMode
	}
	if empty(at) {
		return nil
	}
	return l.d.setDirAttr(l.a.root, at)
}

// tellAll reports all operations, which were executed by the exchange.
func (l *landing) tellAll(ctx context.Context) error {
	return l.eachOp(ctx, func(op *Op) error {
		if op.Kind == OpDelete {
			l.deleted(op.Entry.Path, op.Change, op.dir)
			return nil
		}
		return l.settle(op, nil)
	})
}
