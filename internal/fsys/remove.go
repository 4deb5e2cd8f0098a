package fsys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ropeway/ropeway/internal/manifest"
)

// maxRecursion is how deep RemoveAll nests, and so how many handles it holds.
const maxRecursion = 48

// RemoveAll removes name and, if it is a directory, all that is in it. What
// does not exist is no error. Symlinks are removed, not followed; directories
// on which something is mounted are left with ErrMount. Our own directories
// that we may not enter or change are made accessible first. It goes on after
// an error and returns the first one; at the end of ctx it stops.
func (d *Dir) RemoveAll(ctx context.Context, name string) error {
	if err := d.leaf("removeall", name); err != nil {
		return err
	}
	r := remover{ctx: ctx}
	return r.remove(d, name, 0)
}

// remover is one run of RemoveAll.
type remover struct {
	ctx   context.Context
	top   *Dir   // the directory that is removed
	dev   uint64 // its file system
	moved int    // numbers the directories moved up to top
}

// remove removes the object called name in d, which is depth levels below the
// directory of RemoveAll's caller.
func (r *remover) remove(d *Dir, name string, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	err := d.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	info, lerr := d.Lstat(name)
	switch {
	case errors.Is(lerr, fs.ErrNotExist):
		return nil
	case lerr != nil:
		return lerr
	case info.Type != manifest.Dir:
		return err
	}
	if depth > maxRecursion {
		return r.moveUp(d, name)
	}
	return r.removeDir(d, name, depth)
}

func (r *remover) removeDir(d *Dir, name string, depth int) error {
	if err := d.Rmdir(name); err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil // was empty, which is common
	}
	child, err := d.enter(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer child.Close()
	info, err := child.Stat()
	if err != nil {
		return err
	}
	if r.top == nil {
		parent, err := d.Stat()
		if err != nil {
			return err
		}
		r.top, r.dev = child, parent.Dev
	}
	if info.Dev != r.dev || child.MountRoot() {
		return d.fail("removeall", name, ErrMount)
	}
	if info.Mode&0o700 != 0o700 && int(info.UID) == os.Geteuid() {
		mode := info.Mode | 0o700
		_ = child.SetDirAttr(Attr{Mode: &mode}) // where it matters, removing fails and says so
	}
	for {
		count := 0
		var first error
		err := child.Names(func(b []byte) error {
			count++
			err := r.remove(child, string(b), depth+1)
			if first == nil {
				first = err
			}
			return r.ctx.Err()
		})
		if first == nil {
			first = err
		}
		if first != nil {
			return first
		}
		err = d.Rmdir(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		// Systems may skip names in a listing while others are removed.
		if count == 0 || !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// moveUp moves a directory that lies too deep into the top directory, whose
// listing comes to it later.
func (r *remover) moveUp(d *Dir, name string) error {
	for {
		r.moved++
		err := d.Rename(name, r.top, fmt.Sprintf(".removing-%d-%d", os.Getpid(), r.moved))
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, fs.ErrExist), errors.Is(err, ErrNotDir):
			continue // the name is taken
		case errors.Is(err, fs.ErrPermission):
			// A directory changes its parent only if it can be written.
			if info, lerr := d.Lstat(name); lerr == nil && info.Mode&0o700 != 0o700 && int(info.UID) == os.Geteuid() {
				mode := info.Mode | 0o700
				if d.SetAttr(name, Attr{Mode: &mode}) == nil {
					continue
				}
			}
		}
		return err
	}
}

// enter opens a directory and, when we own it but may not read it, makes it
// readable first.
func (d *Dir) enter(name string) (*Dir, error) {
	child, err := d.Child(name)
	if !errors.Is(err, fs.ErrPermission) {
		return child, err
	}
	info, lerr := d.Lstat(name)
	if lerr != nil || info.Type != manifest.Dir || int(info.UID) != os.Geteuid() {
		return nil, err
	}
	mode := info.Mode | 0o700
	if cerr := d.SetAttr(name, Attr{Mode: &mode}); cerr != nil {
		return nil, err
	}
	return d.Child(name)
}
