package push

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/manifest"
)

// destination returns the operator's path of a path within a module. No
// component of it is a symlink: a pushed one must not lead a later push out of
// the module. Nothing but a push changes that while it runs, and pushes to
// places that hold one another exclude each other.
func destination(root, path string) (string, error) {
	if path == "" {
		return root, nil
	}
	refuse := func(err error, hint string) error {
		return fault.New(fsys.Class(err), hint, "/%s: %s", path, fsys.Plain(err))
	}
	top, err := fsys.OpenDir(root)
	if err != nil {
		return "", fault.Wrap(fsys.Class(err), err, "", "the module's directory cannot be opened")
	}
	defer top.Close()
	parent, err := top.Descend(manifest.Parent(path))
	if err != nil {
		return "", refuse(err, "only the last directory of a destination is created; symlinks are not followed")
	}
	defer parent.Close()
	info, err := parent.Lstat(path[strings.LastIndexByte(path, '/')+1:])
	switch {
	case err == nil && info.Type != manifest.Dir:
		return "", fault.New(fault.Usage, "", "/%s is a %v, not a directory", path, info.Type)
	case err != nil && !fsys.IsNotExist(err):
		return "", refuse(err, "")
	}
	return filepath.Join(root, filepath.FromSlash(path)), nil
}

// generation returns the digest of the tree that the destination was landed
// as, "" when nothing has landed there. A landing that was interrupted is
// finished first: it counts. A missing destination is not created.
func generation(ctx context.Context, o *job.Options) (string, error) {
	d, err := fsys.OpenDir(o.Dest)
	if err == nil {
		err = d.Close()
	}
	if fsys.IsNotExist(err) {
		return "", nil
	}
	a, err := land.Open(ctx, land.Options{Dest: o.Dest, DryRun: o.DryRun, Holder: o.Holder})
	if err != nil {
		return "", err
	}
	defer func() { _ = a.Close() }()
	index, trailer, err := a.OpenIndex()
	if err != nil || index == nil || trailer.Tree.IsZero() {
		return "", err
	}
	return trailer.Tree.String(), nil
}
