package land

import (
	"context"
	"errors"
	"io/fs"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// doomed is a directory to remove once everything below it was dealt with.
type doomed struct {
	path, change string
}

// deletes executes deletions: with blocking those that make room for what the
// new tree has at or above their path, otherwise the rest. Contents go before
// their directory, in memory proportional to the depth of the tree.
func (l *landing) deletes(ctx context.Context, blocking bool) error {
	r, f, _, err := openList(l.a.state, nameFinal, kindIndex)
	if err != nil {
		return err
	}
	defer f.Close()
	over := covering{cur: manifest.NewCursor(r)}
	var stack []doomed
	err = l.eachOp(ctx, func(op *Op) error {
		if op.Kind != OpDelete {
			return nil
		}
		path := op.Entry.Path
		cover, err := over.find(path)
		if err != nil {
			return err
		}
		if (cover != nil) != blocking {
			return nil
		}
		for len(stack) > 0 && !manifest.Within(path, stack[len(stack)-1].path) {
			if err := l.rmdir(&stack); err != nil {
				return err
			}
		}
		dir, err := l.remove(op, cover)
		if err != nil {
			return l.fail(path, err)
		}
		if dir {
			stack = append(stack, doomed{path, op.Change})
		}
		return nil
	})
	for err == nil && len(stack) > 0 {
		err = l.rmdir(&stack)
	}
	return err
}

// remove removes what is at the path of op unless it is a directory, or what
// the new tree has there, cover, takes its place in one step.
func (l *landing) remove(op *Op, cover *manifest.Record) (dir bool, err error) {
	path := op.Entry.Path
	removed := false
	err = l.in(path, func(d *fsys.Dir, leaf string) error {
		info, err := d.Lstat(leaf)
		if err != nil {
			return err
		}
		if cover != nil && cover.Path == path && (info.Type == manifest.Dir) == (cover.Type == manifest.Dir) {
			return nil
		}
		if info.Type == manifest.Dir {
			dir = true
			return nil
		}
		removed = true
		return l.d.remove(d, leaf)
	})
	if fsys.IsNotExist(err) { // gone: that is what was wanted
		return false, nil
	}
	if err == nil && removed {
		l.deleted(path, op.Change, false)
	}
	return dir, err
}

// rmdir removes the last directory of the stack, unless something is still in
// it: what is protected, or could not be removed.
func (l *landing) rmdir(stack *[]doomed) error {
	dir := (*stack)[len(*stack)-1]
	*stack = (*stack)[:len(*stack)-1]
	l.tree.Forget(dir.path)
	err := l.in(dir.path, func(d *fsys.Dir, leaf string) error {
		err := l.d.rmdir(d, leaf)
		if errors.Is(err, fs.ErrExist) && l.dropState(d, leaf) {
			err = l.d.rmdir(d, leaf)
		}
		return err
	})
	switch {
	case err == nil:
		delete(l.modes, dir.path)
		l.deleted(dir.path, dir.change, true)
	case fsys.IsNotExist(err):
	case errors.Is(err, fs.ErrExist):
		l.a.o.Events(event.Warn{Path: dir.path, Text: "cannot delete non-empty directory"})
	default:
		return l.fail(dir.path, err)
	}
	return nil
}

// dropState removes the state of a destination that is deleted with all else in
// it, and reports whether that was all that was left.
func (l *landing) dropState(d *fsys.Dir, leaf string) bool {
	child, err := d.Child(leaf)
	if err != nil {
		return false
	}
	defer func() { _ = child.Close() }()
	var state string
	only := true
	err = child.Names(func(b []byte) error {
		if only = only && manifest.IsState(b); only {
			state = string(b)
		}
		return nil
	})
	return err == nil && only && state != "" && l.d.removeAll(context.Background(), child, state) == nil
}

func (l *landing) deleted(path, change string, dir bool) {
	l.res.Deleted++
	emitItem(l.a.o.Events, &Op{Entry: manifest.Entry{Path: path}, Change: change}, dir)
	l.tick()
}

// covering finds, for paths in canonical order, what the new tree has at a
// path, or what it has above it that is no directory.
type covering struct {
	cur  *manifest.Cursor
	last manifest.Record // the last one that does not come after the path
	any  bool
}

func (c *covering) find(path string) (*manifest.Record, error) {
	for {
		r, err := c.cur.Peek()
		if err != nil {
			return nil, err
		}
		if r == nil || manifest.Compare(r.Path, path) > 0 {
			break
		}
		c.last, c.any = *r, true
		c.cur.Take()
	}
	// Nothing follows an entry that is no directory before the paths below it.
	if c.any && (c.last.Path == path || c.last.Type != manifest.Dir && manifest.Within(path, c.last.Path)) {
		return &c.last, nil
	}
	return nil, nil
}
