//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/manifest"
)

// Mkdir creates a directory. The process's umask applies to perm.
func (d *Dir) Mkdir(name string, perm uint32) error {
	return d.call("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, perm&0o7777) })
}

// Symlink creates a symlink called name that points to target.
func (d *Dir) Symlink(target, name string) error {
	return d.call("symlink", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

// Mknod creates a fifo, socket or device; rdev is the number of a device.
func (d *Dir) Mknod(name string, t manifest.Type, perm uint32, rdev uint64) error {
	var mode uint32
	switch t {
	case manifest.Fifo:
		mode, rdev = unix.S_IFIFO, 0
	case manifest.Socket:
		mode, rdev = unix.S_IFSOCK, 0
	case manifest.CharDev:
		mode = unix.S_IFCHR
	case manifest.BlkDev:
		mode = unix.S_IFBLK
	default:
		return d.fail("mknod", name, ErrUnsupported)
	}
	return d.call("mknod", name, func() error { return mknodat(d.fd, name, mode|perm&0o7777, rdev) })
}

// Link gives the entry oldname a second name in to. A symlink is linked
// itself.
func (d *Dir) Link(oldname string, to *Dir, newname string) error {
	return d.call2("link", oldname, to, newname, func() error {
		return unix.Linkat(d.fd, oldname, to.fd, newname, 0)
	})
}

// Rename moves an entry, replacing what newname was as rename(2) does.
func (d *Dir) Rename(oldname string, to *Dir, newname string) error {
	return d.call2("rename", oldname, to, newname, func() error {
		err := unix.Renameat(d.fd, oldname, to.fd, newname)
		if err == unix.ENOTDIR {
			return ErrNotDir
		}
		return err
	})
}

// Exchange swaps two entries in one step, whatever their types. It fails with
// ErrUnsupported where the system or the file system cannot.
func (d *Dir) Exchange(oldname string, to *Dir, newname string) error {
	return d.call2("exchange", oldname, to, newname, func() error {
		err := exchange(d.fd, oldname, to.fd, newname)
		switch err {
		case unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP:
			return fmt.Errorf("%w (%w)", ErrUnsupported, err)
		}
		return err
	})
}

// Remove removes an entry that is not a directory.
func (d *Dir) Remove(name string) error {
	return d.call("remove", name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.call("rmdir", name, func() error {
		err := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)
		if err == unix.ENOTDIR {
			return ErrNotDir
		}
		return err
	})
}

// Sync makes the directory's entries durable. File systems that cannot sync
// directories are taken to need none.
func (d *Dir) Sync() error {
	return d.self("sync", func() error {
		err := fsync(d.fd)
		if err == unix.EINVAL || err == unix.EOPNOTSUPP {
			return nil
		}
		return err
	})
}

// SyncFS makes everything on the directory's file system durable, in one
// step. It fails with ErrUnsupported except on Linux.
func (d *Dir) SyncFS() error {
	return d.self("syncfs", func() error { return syncfs(d.fd) })
}

// IsFull reports whether err says that the file system or the quota is full.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
