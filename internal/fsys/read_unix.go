//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/manifest"
)

// ReadSmall reads a regular file into buf, in as few calls as there can be,
// and returns how many bytes it has read, at most len(buf), and what the file
// is after that. It is for files that were just seen to be regular.
func (d *Dir) ReadSmall(name string, buf []byte) (n int, info Info, err error) {
	err = d.call("read", name, func() error {
		n = 0
		fd, err := openat(d.fd, name, unix.O_RDONLY|openFile, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		for n < len(buf) {
			k, err := unix.Read(fd, buf[n:])
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			if k == 0 {
				break
			}
			n += k
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if info = infoOf(&st); info.Type != manifest.File {
			return ErrNotRegular
		}
		return nil
	})
	return n, info, err
}
