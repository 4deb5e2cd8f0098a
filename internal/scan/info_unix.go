//go:build linux || darwin || freebsd

package scan

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// fileInfo describes an open regular file.
func fileInfo(f *os.File) (fsys.Info, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return fsys.Info{}, err
	}
	var st unix.Stat_t
	var serr error
	if err := c.Control(func(fd uintptr) {
		for serr = unix.EINTR; serr == unix.EINTR; {
			serr = unix.Fstat(int(fd), &st)
		}
	}); err != nil {
		return fsys.Info{}, err
	}
	if serr != nil {
		return fsys.Info{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: serr}
	}
	return fsys.Info{
		Type: manifest.File, Mode: uint32(st.Mode) & 0o7777, Size: st.Size,
		Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec), CSec: int64(st.Ctim.Sec), CNsec: uint32(st.Ctim.Nsec),
		UID: st.Uid, GID: st.Gid, Ino: uint64(st.Ino), Dev: uint64(st.Dev), Nlink: uint64(st.Nlink),
	}, nil
}
