//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	openDir  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	openFile = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
)

// Dir is an open directory. Its methods take names of its entries, never
// paths, and may be called concurrently.
type Dir struct {
	path string // for messages
	fd   int
	uses atomic.Int64 // calls under way, plus closing
	list *sync.Mutex  // owns the reading position, which duplicates share
}

// closing is added to uses by Close; the last user then closes the handle.
const closing = 1 << 40

// OpenDir opens a directory that the operator named; symlinks are followed.
func OpenDir(path string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, openDir, 0)
	if err == unix.ENOTDIR {
		err = ErrNotDir
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return newDir(path, fd), nil
}

func newDir(path string, fd int) *Dir { return &Dir{path: path, fd: fd, list: new(sync.Mutex)} }

// Close closes the handle once the calls under way have returned. Later calls
// fail with fs.ErrClosed.
func (d *Dir) Close() error {
	for {
		n := d.uses.Load()
		if n >= closing {
			return d.fail("close", "", fs.ErrClosed)
		}
		if d.uses.CompareAndSwap(n, n+closing) {
			if n == 0 {
				return d.fail("close", "", unix.Close(d.fd))
			}
			return nil
		}
	}
}

// hold keeps the handle open until done.
func (d *Dir) hold() error {
	for {
		n := d.uses.Load()
		if n >= closing {
			return fs.ErrClosed
		}
		if d.uses.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (d *Dir) done() {
	if d.uses.Add(-1) == closing {
		_ = unix.Close(d.fd)
	}
}

// self runs f on the handle and repeats it when a signal interrupted it.
func (d *Dir) self(op string, f func() error) error {
	if err := d.hold(); err != nil {
		return d.fail(op, "", err)
	}
	defer d.done()
	return d.fail(op, "", retry(f))
}

// call is self for an operation on the entry called name.
func (d *Dir) call(op, name string, f func() error) error {
	if err := d.leaf(op, name); err != nil {
		return err
	}
	if err := d.hold(); err != nil {
		return d.fail(op, name, err)
	}
	defer d.done()
	return d.fail(op, name, retry(f))
}

// call2 is call with a second directory.
func (d *Dir) call2(op, name string, to *Dir, newname string, f func() error) error {
	if err := to.leaf(op, newname); err != nil {
		return err
	}
	if err := to.hold(); err != nil {
		return to.fail(op, newname, err)
	}
	defer to.done()
	err := d.call(op, name, f)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return &os.LinkError{Op: op, Old: pe.Path, New: to.path + "/" + newname, Err: pe.Err}
	}
	return err
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func openat(fd int, name string, flags int, perm uint32) (int, error) {
	for {
		n, err := unix.Openat(fd, name, flags, perm)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Path returns the directory's path for messages.
func (d *Dir) Path() string { return d.path }

// Stat describes the directory itself.
func (d *Dir) Stat() (Info, error) {
	var st unix.Stat_t
	err := d.self("stat", func() error { return unix.Fstat(d.fd, &st) })
	return infoOf(&st), err
}

// Child opens a directory in d; what is not a directory, symlinks to
// directories included, is refused with ErrNotDir.
func (d *Dir) Child(name string) (*Dir, error) {
	if err := d.leaf("open", name); err != nil {
		return nil, err
	}
	if err := d.hold(); err != nil {
		return nil, d.fail("open", name, err)
	}
	defer d.done()
	fd, err := openat(d.fd, name, openDir|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if err == unix.ENOTDIR || err == unix.ELOOP || err == unix.EMLINK {
			err = errNotChild
		}
		return nil, d.fail("open", name, err)
	}
	return newDir(d.path+"/"+name, fd), nil
}

// Descend opens the directory at the slash-separated path rel, component by
// component; "" duplicates the handle.
func (d *Dir) Descend(rel string) (*Dir, error) {
	if rel == "" {
		return d.dup()
	}
	cur := d
	for {
		name, rest, more := strings.Cut(rel, "/")
		next, err := cur.Child(name)
		if cur != d {
			_ = cur.Close()
		}
		if err != nil || !more {
			return next, err
		}
		cur, rel = next, rest
	}
}

func (d *Dir) dup() (*Dir, error) {
	fd := -1
	err := d.self("dup", func() (err error) {
		fd, err = unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Dir{path: d.path, fd: fd, list: d.list}, nil
}

// Lstat describes an entry; symlinks are not followed.
func (d *Dir) Lstat(name string) (Info, error) {
	if err := d.leaf("lstat", name); err != nil {
		return Info{}, err
	}
	if err := d.hold(); err != nil {
		return Info{}, d.fail("lstat", name, err)
	}
	defer d.done()
	var st unix.Stat_t
	for {
		switch err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err {
		case nil:
			return infoOf(&st), nil
		case unix.EINTR:
		default:
			return Info{}, d.fail("lstat", name, err)
		}
	}
}

func typeOf(mode uint32) manifest.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return manifest.File
	case unix.S_IFDIR:
		return manifest.Dir
	case unix.S_IFLNK:
		return manifest.Symlink
	case unix.S_IFIFO:
		return manifest.Fifo
	case unix.S_IFSOCK:
		return manifest.Socket
	case unix.S_IFCHR:
		return manifest.CharDev
	case unix.S_IFBLK:
		return manifest.BlkDev
	}
	return 0
}

// Readlink returns the target of a symlink.
func (d *Dir) Readlink(name string) (string, error) {
	// Longer targets than this are refused everywhere else; systems stop at 4 KiB.
	buf := make([]byte, 256)
	for {
		n := 0
		err := d.call("readlink", name, func() (err error) {
			n, err = unix.Readlinkat(d.fd, name, buf)
			return err
		})
		if err != nil {
			return "", err
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		if len(buf) > manifest.MaxTarget {
			return "", d.fail("readlink", name, unix.ENAMETOOLONG)
		}
		buf = make([]byte, 4*len(buf)+4)
	}
}
