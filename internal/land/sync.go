package land

import (
	"context"
	"errors"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// syncStaged makes durable what a landing needs: staged files, its lists, and
// the new tree of an atomic one.
func (l *landing) syncStaged(ctx context.Context) error {
	staged, err := l.stage.Stat()
	if err != nil {
		return err
	}
	state, err := l.a.state.Stat()
	if err != nil {
		return err
	}
	if err := l.d.syncFS(l.a.state); errors.Is(err, fsys.ErrUnsupported) {
		return l.syncOneByOne(ctx)
	} else if err != nil {
		return err
	}
	if staged.Dev != state.Dev {
		return l.d.syncFS(l.stage)
	}
	return nil
}

// syncOneByOne is for systems that cannot sync a file system.
func (l *landing) syncOneByOne(ctx context.Context) error {
	for _, name := range []string{nameOps, nameFinal} {
		if err := l.syncFile(l.a.state, name); err != nil {
			return err
		}
	}
	err := l.eachOp(ctx, func(op *Op) error {
		if op.Kind != OpFile || op.done {
			return nil
		}
		err := l.syncFile(l.stage, fileName(op.Entry.Path))
		if fsys.IsNotExist(err) || errors.Is(err, fsys.ErrNotRegular) {
			return nil // the landing will say so
		}
		return err
	})
	if err != nil {
		return err
	}
	if l.ready.Atomic {
		if err := l.syncDirs(ctx, l.fresh); err != nil {
			return err
		}
	}
	for _, d := range []*fsys.Dir{l.stage, l.a.state} {
		if err := l.d.syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (l *landing) syncFile(dir *fsys.Dir, name string) error {
	f, err := dir.OpenFileRW(name)
	if fsys.IsPermission(err) { // finished, with a mode that forbids it; reading suffices on most systems
		if f, _, err = dir.OpenFile(name); fsys.IsPermission(err) && dir == l.stage {
			f, _, err = l.openClosed(name)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return l.d.fsync(f)
}

// syncDirs makes all directories of the new tree below root durable.
func (l *landing) syncDirs(ctx context.Context, root *fsys.Dir) error {
	tree := fsys.NewTree(root)
	defer tree.Close()
	return l.eachFinal(ctx, func(r *manifest.Record) error {
		if r.Type != manifest.Dir {
			return nil
		}
		dir, err := tree.Dir(r.Path)
		if err != nil {
			return err
		}
		return l.d.syncDir(dir)
	})
}

// syncLanded makes the landed tree durable.
func (l *landing) syncLanded(ctx context.Context) error {
	if err := l.d.syncFS(l.a.root); !errors.Is(err, fsys.ErrUnsupported) {
		return err
	}
	last, begun := "", false
	return l.eachOp(ctx, func(op *Op) error {
		parent := manifest.Parent(op.Entry.Path)
		if begun && parent == last {
			return nil
		}
		last, begun = parent, true
		dir, err := l.tree.Dir(parent)
		if fsys.IsNotExist(err) || fsys.IsPermission(err) {
			return nil // removed, or failed before
		} else if err != nil {
			return err
		}
		return l.d.syncDir(dir)
	})
}
