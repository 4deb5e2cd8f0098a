//go:build !(linux || darwin || freebsd) || osroot

package fsys

import (
	"io/fs"
	"os"
	"time"

	"github.com/ropeway/ropeway/internal/manifest"
)

// Mkdir creates a directory. The process's umask applies to perm.
func (d *Dir) Mkdir(name string, perm uint32) error {
	return d.call("mkdir", name, func() error { return d.root.Mkdir(name, fs.FileMode(perm&0o777)) })
}

// call runs f, about the entry called name.
func (d *Dir) call(op, name string, f func() error) error {
	if err := d.leaf(op, name); err != nil {
		return err
	}
	if err := f(); err != nil {
		return d.wrap(op, name, err)
	}
	return nil
}

// Symlink creates a symlink called name that points to target.
func (d *Dir) Symlink(target, name string) error {
	return d.call("symlink", name, func() error { return d.root.Symlink(target, name) })
}

// Mknod is not supported here.
func (d *Dir) Mknod(name string, _ manifest.Type, _ uint32, _ uint64) error {
	return d.fail("mknod", name, ErrUnsupported)
}

// Link gives the entry oldname a second name in to, which must stem from the
// same OpenDir.
func (d *Dir) Link(oldname string, to *Dir, newname string) error {
	return d.call2("link", oldname, to, newname, (*os.Root).Link)
}

// Rename moves an entry, replacing what newname was. Both directories must
// stem from the same OpenDir.
func (d *Dir) Rename(oldname string, to *Dir, newname string) error {
	return d.call2("rename", oldname, to, newname, (*os.Root).Rename)
}

// call2 runs f on the Root that d and to share.
func (d *Dir) call2(op, oldname string, to *Dir, newname string, f func(r *os.Root, oldname, newname string) error) error {
	if err := to.leaf(op, newname); err != nil {
		return err
	}
	return d.call(op, oldname, func() error {
		if d.rel == to.rel && d.top == to.top {
			return f(d.root, oldname, newname)
		}
		if d.top != to.top {
			return ErrUnsupported
		}
		if err := d.stillThere(); err != nil {
			return err
		}
		if err := to.stillThere(); err != nil {
			return err
		}
		return f(d.top.root, d.rel+"/"+oldname, to.rel+"/"+newname)
	})
}

// stillThere fails if the directory was moved or replaced since it was
// opened.
func (d *Dir) stillThere() error {
	now, err := d.top.root.Stat(d.rel)
	if err != nil {
		return err
	}
	own, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(now, own) {
		return fs.ErrNotExist
	}
	return nil
}

// Exchange is not supported here.
func (d *Dir) Exchange(oldname string, _ *Dir, _ string) error {
	return d.fail("exchange", oldname, ErrUnsupported)
}

// Remove removes an entry that is not a directory.
func (d *Dir) Remove(name string) error {
	return d.call("remove", name, func() error {
		info, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fs.ErrInvalid
		}
		return d.root.Remove(name)
	})
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.call("rmdir", name, func() error {
		info, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return ErrNotDir
		}
		return d.root.Remove(name)
	})
}

// SetAttr changes attributes of an entry. Those of symlinks cannot be
// changed here: their mode is ignored, the rest is ErrUnsupported.
func (d *Dir) SetAttr(name string, a Attr) error {
	return d.call("setattr", name, func() error {
		info, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Mode().Type() == fs.ModeSymlink {
			if a.Owner != nil || a.Group != nil || a.Times != nil {
				return ErrUnsupported
			}
			return nil
		}
		return d.set(name, a)
	})
}

// SetDirAttr changes attributes of the directory itself.
func (d *Dir) SetDirAttr(a Attr) error {
	if err := d.set(".", a); err != nil {
		return d.wrap("setattr", "", err)
	}
	return nil
}

func (d *Dir) set(name string, a Attr) error {
	if a.Owner != nil || a.Group != nil {
		uid, gid := -1, -1
		if a.Owner != nil {
			uid = int(*a.Owner)
		}
		if a.Group != nil {
			gid = int(*a.Group)
		}
		if err := d.root.Lchown(name, uid, gid); err != nil {
			return err
		}
	}
	if a.Times != nil {
		if err := d.root.Chtimes(name, time.Time{}, a.Times.time()); err != nil {
			return err
		}
	}
	if a.Mode != nil {
		return d.root.Chmod(name, fileMode(*a.Mode))
	}
	return nil
}

func (t Times) time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// SetFileAttr changes attributes of an open file.
func SetFileAttr(f *os.File, a Attr) error {
	if a.Owner != nil || a.Group != nil {
		return &fs.PathError{Op: "setattr", Path: f.Name(), Err: ErrUnsupported}
	}
	if a.Times != nil {
		if err := setFileTime(f, a.Times.time()); err != nil {
			return &fs.PathError{Op: "setattr", Path: f.Name(), Err: err}
		}
	}
	if a.Mode != nil {
		return f.Chmod(fileMode(*a.Mode))
	}
	return nil
}

// Sync does nothing: directories cannot be synced here.
func (d *Dir) Sync() error { return nil }

// SyncFS is not supported here.
func (d *Dir) SyncFS() error { return d.fail("syncfs", "", ErrUnsupported) }

// FineTimes is false: times may tick every 16 ms.
func (d *Dir) FineTimes() bool { return false }

// MountRoot is false: a junction or mount point is no directory for Child.
func (d *Dir) MountRoot() bool { return false }

// DataRanges calls fn for the whole file: holes are not known here.
func DataRanges(f *os.File, fn func(start, end int64) error) error { return wholeFile(f, fn) }

func clone(_, _ *os.File) bool { return false }

func copyRange(dst, src *os.File, start, end int64) error { return copyPlain(dst, src, start, end) }

// lockFile opens or creates the file of a lock.
func (d *Dir) lockFile(name string) (*os.File, error) {
	if f, err := d.CreateFile(name, 0o600); err == nil {
		return f, nil
	}
	return d.OpenFileRW(name)
}

// names reports whether f still is what name stands for.
func (d *Dir) names(name string, f *os.File) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := d.root.Lstat(name)
	return err == nil && os.SameFile(own, now)
}
