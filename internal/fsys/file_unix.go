//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/manifest"
)

// OpenFile opens a regular file for reading; anything else, symlinks
// included, is refused with ErrNotRegular and is not opened at all unless it
// is swapped in that moment, and then without waiting.
func (d *Dir) OpenFile(name string) (*os.File, Info, error) {
	return d.open(name, unix.O_RDONLY)
}

// OpenFileRW opens an existing regular file for reading and writing, like
// OpenFile.
func (d *Dir) OpenFileRW(name string) (*os.File, error) {
	f, _, err := d.open(name, unix.O_RDWR)
	return f, err
}

func (d *Dir) open(name string, flags int) (*os.File, Info, error) {
	// Opening a device can have effects, so look first.
	info, err := d.Lstat(name)
	if err != nil {
		return nil, Info{}, err
	}
	if info.Type != manifest.File {
		return nil, info, d.fail("open", name, ErrNotRegular)
	}
	if err := d.hold(); err != nil {
		return nil, Info{}, d.fail("open", name, err)
	}
	defer d.done()
	fd, err := openat(d.fd, name, flags|openFile, 0)
	switch err {
	case nil:
	case unix.ELOOP, unix.ENXIO, unix.EISDIR, unix.EMLINK:
		return nil, Info{}, d.fail("open", name, ErrNotRegular)
	default:
		return nil, Info{}, d.fail("open", name, err)
	}
	info, err = regular(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, info, d.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), d.path+"/"+name), info, nil
}

// regular describes fd, refuses what is not a regular file, and makes fd
// blocking, as regular files are.
func regular(fd int) (Info, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return Info{}, err
	}
	info := infoOf(&st)
	if info.Type != manifest.File {
		return info, ErrNotRegular
	}
	return info, unix.SetNonblock(fd, false)
}

// CreateFile creates a file that does not exist yet and opens it for reading
// and writing. The process's umask applies to perm.
func (d *Dir) CreateFile(name string, perm uint32) (*os.File, error) {
	fd := -1
	err := d.call("create", name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm&0o7777)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), d.path+"/"+name), nil
}
