//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile opens or creates the file of a lock.
func (d *Dir) lockFile(name string) (*os.File, error) {
	fd := -1
	err := d.call("lock", name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|openFile, 0o600)
		if err == unix.ELOOP || err == unix.EMLINK {
			return ErrNotRegular
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := regular(fd); err != nil {
		_ = unix.Close(fd)
		return nil, d.fail("lock", name, err)
	}
	return os.NewFile(uintptr(fd), d.path+"/"+name), nil
}

func tryLock(f *os.File) error {
	err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}

func unlock(f *os.File) error {
	return retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) })
}

// names reports whether f still is what name stands for.
func (d *Dir) names(name string, f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	info, err := d.Lstat(name)
	return err == nil && SameObject(info, infoOf(&st))
}
