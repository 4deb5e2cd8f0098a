package land

import (
	"context"
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// walker finds what an old tree holds that neither the new tree has nor any
// operation deletes: what is excluded or protected, or appeared meanwhile.
type walker struct {
	ctx   context.Context
	final *manifest.Cursor
	dels  *manifest.Cursor
	dev   uint64
	fn    func(path string, dir *fsys.Dir, leaf string) error
}

// strangers calls fn for each such object, and not for what is below one.
func (l *landing) strangers(ctx context.Context, old *fsys.Dir, fn func(path string, dir *fsys.Dir, leaf string) error) error {
	final, f, _, err := openList(l.a.state, nameFinal, kindIndex)
	if err != nil {
		return err
	}
	defer f.Close()
	ops, g, _, err := openList(l.a.state, nameOps, kindOps)
	if err != nil {
		return err
	}
	defer g.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	w := walker{ctx: ctx, final: manifest.NewCursor(final), dels: manifest.NewCursor(delsOnly{ops}), dev: info.Dev, fn: fn}
	return w.walk(old, "")
}

// delsOnly leaves out everything but deletions.
type delsOnly struct{ src manifest.Source }

func (p delsOnly) Next(r *manifest.Record) error {
	for {
		if err := p.src.Next(r); err != nil || r.Op == manifest.Del {
			return err
		}
	}
}

// walk goes through a directory and what is below it in canonical order. It
// holds one handle and the names of one directory for each level.
func (w *walker) walk(dir *fsys.Dir, prefix string) error {
	var names []string
	err := dir.Names(func(b []byte) error {
		names = append(names, string(b))
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		path := prefix + name
		if prefix == "" && manifest.IsState(name) {
			continue
		}
		known, err := at(w.final, path)
		if err != nil {
			return err
		}
		deleted, err := at(w.dels, path)
		if err != nil {
			return err
		}
		if !known && !deleted {
			if err := w.fn(path, dir, name); err != nil {
				return err
			}
			continue
		}
		info, err := dir.Lstat(name)
		if fsys.IsNotExist(err) || err == nil && info.Type != manifest.Dir {
			continue
		} else if err != nil {
			return err
		}
		if err := w.descend(dir, name, path); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) descend(dir *fsys.Dir, name, path string) error {
	child, err := dir.Child(name)
	if err != nil {
		return err
	}
	defer func() { _ = child.Close() }()
	if err := noMountIn(child, w.dev, path); err != nil {
		return err
	}
	return w.walk(child, path+"/")
}

func noMountIn(dir *fsys.Dir, dev uint64, path string) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if info.Dev != dev || dir.MountRoot() {
		return fault.New(fault.Usage, hintNotAtomic, "another file system is mounted on %q inside the destination", path)
	}
	return nil
}

// at reports whether cur, whose records come in canonical order, has path.
func at(cur *manifest.Cursor, path string) (bool, error) {
	for {
		r, err := cur.Peek()
		if err != nil || r == nil {
			return false, err
		}
		switch c := manifest.Compare(r.Path, path); {
		case c > 0:
			return false, nil
		case c == 0:
			return true, nil
		}
		cur.Take()
	}
}

// movable refuses what cannot be moved to the new tree in one step.
func (l *landing) movable(path string, dir *fsys.Dir, leaf string) error {
	if strings.Contains(path, "/") {
		return fault.New(fault.Usage, "leave out --atomic, or exclude only whole entries at the top of the tree",
			"%q stays in the destination although the source does not have it, and its directory is exchanged", path)
	}
	info, err := dir.Lstat(leaf)
	if err != nil || info.Type != manifest.Dir {
		return err
	}
	root, err := dir.Stat()
	if err != nil {
		return err
	}
	child, err := dir.Child(leaf)
	if fsys.IsPermission(err) {
		return nil // it is only moved
	} else if err != nil {
		return err
	}
	defer func() { _ = child.Close() }()
	return noMountIn(child, root.Dev, path)
}
