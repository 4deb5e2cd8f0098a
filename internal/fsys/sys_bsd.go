//go:build (darwin || freebsd) && !osroot

package fsys

import (
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/manifest"
)

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Type: typeOf(uint32(st.Mode)), Mode: uint32(st.Mode) & 0o7777, Size: st.Size,
		Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec), CSec: int64(st.Ctim.Sec), CNsec: uint32(st.Ctim.Nsec),
		UID: st.Uid, GID: st.Gid, Ino: st.Ino, Dev: uint64(st.Dev), Rdev: uint64(st.Rdev), Nlink: uint64(st.Nlink),
	}
}

// chmodat changes the mode of name unless it is a symlink; in a race it
// changes the symlink itself.
func chmodat(d *Dir, name string, mode uint32) error {
	if info, err := d.Lstat(name); err != nil || info.Type == manifest.Symlink {
		return err
	}
	return unix.Fchmodat(d.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
}

func syncfs(int) error { return ErrUnsupported }

// MountRoot reports whether something is mounted on the directory itself, as
// far as the system tells.
func (d *Dir) MountRoot() bool { return false }

// Free returns how many bytes and objects unprivileged callers can still
// create on the directory's file system. inodes is MaxUint64 where the file
// system does not count them.
func (d *Dir) Free() (bytes, inodes uint64, err error) {
	var st unix.Statfs_t
	if err := d.self("statfs", func() error { return unix.Fstatfs(d.fd, &st) }); err != nil {
		return 0, 0, err
	}
	bytes = uint64(max(int64(st.Bavail), 0)) * uint64(st.Bsize)
	if st.Files == 0 {
		return bytes, math.MaxUint64, nil
	}
	return bytes, uint64(max(int64(st.Ffree), 0)), nil
}

// FineTimes reports whether the file system is known to keep nanoseconds with
// a tick of at most 10 ms, so that two writes more than 50 ms apart differ in
// their times.
func (d *Dir) FineTimes() bool {
	var st unix.Statfs_t
	if d.self("statfs", func() error { return unix.Fstatfs(d.fd, &st) }) != nil {
		return false
	}
	info, err := d.Stat()
	return err == nil && info.CNsec != 0 && fineTimes(unix.ByteSliceToString(st.Fstypename[:]))
}

// Names calls fn for each entry except "." and "..", in the order of the
// file system, from the start. The bytes are only valid during the call. An
// error of fn ends it and is returned. Entries added or removed meanwhile may
// or may not be seen. Memory is constant.
func (d *Dir) Names(fn func(name []byte) error) error {
	fd := -1
	err := d.self("readdir", func() (err error) {
		fd, err = unix.Openat(d.fd, ".", openDir, 0)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	return readNames(f, fn)
}

func clone(_, _ *os.File) bool { return false }

func copyRange(dst, src *os.File, start, end int64) error { return copyPlain(dst, src, start, end) }
