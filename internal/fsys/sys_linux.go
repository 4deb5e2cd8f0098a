//go:build !osroot

package fsys

import (
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

const utimeOmit = unix.UTIME_OMIT

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Type: typeOf(st.Mode), Mode: st.Mode & 0o7777, Size: st.Size,
		Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec), CSec: int64(st.Ctim.Sec), CNsec: uint32(st.Ctim.Nsec),
		UID: st.Uid, GID: st.Gid, Ino: st.Ino, Dev: uint64(st.Dev), Rdev: uint64(st.Rdev), Nlink: uint64(st.Nlink),
	}
}

// futimens is utimensat(2) without a path, as the C library does it.
func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// chmodat changes the mode of name, but not of what a symlink points to.
func chmodat(d *Dir, name string, mode uint32) error {
	err := unix.Fchmodat(d.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.EOPNOTSUPP || err == unix.EPERM { // EPERM: old sandboxes, for unknown calls
		return chmodPinned(d, name, mode)
	}
	return err
}

// chmodPinned is for kernels before 6.6, which have no call for it: the object
// is pinned by a handle that cannot follow, and changed through /proc.
func chmodPinned(d *Dir, name string, mode uint32) error {
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	err = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
	if err == unix.ENOENT {
		return fmt.Errorf("%w: /proc is not mounted and the kernel is older than 6.6", ErrUnsupported)
	}
	return err
}

func exchange(from int, oldname string, to int, newname string) error {
	return unix.Renameat2(from, oldname, to, newname, unix.RENAME_EXCHANGE)
}

func mknodat(fd int, name string, mode uint32, rdev uint64) error {
	return unix.Mknodat(fd, name, mode, int(rdev))
}

func fsync(fd int) error { return unix.Fsync(fd) }

func syncfs(fd int) error { return unix.Syncfs(fd) }

// MountRoot reports whether something is mounted on the directory itself,
// bind mounts included, as far as the system tells.
func (d *Dir) MountRoot() bool {
	var st unix.Statx_t
	err := d.self("statx", func() error {
		return unix.Statx(d.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st)
	})
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Free returns how many bytes and objects unprivileged callers can still
// create on the directory's file system. inodes is MaxUint64 where the file
// system does not count them.
func (d *Dir) Free() (bytes, inodes uint64, err error) {
	var st unix.Statfs_t
	if err := d.self("statfs", func() error { return unix.Fstatfs(d.fd, &st) }); err != nil {
		return 0, 0, err
	}
	unit := uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	if st.Files == 0 {
		return st.Bavail * unit, math.MaxUint64, nil
	}
	return st.Bavail * unit, st.Ffree, nil
}

const (
	f2fsMagic = 0xf2f52010
	zfsMagic  = 0x2fc12fc1
)

// FineTimes reports whether the file system is known to keep nanoseconds with
// a tick of at most 10 ms, so that two writes more than 50 ms apart differ in
// their times.
func (d *Dir) FineTimes() bool {
	var st unix.Statfs_t
	if d.self("statfs", func() error { return unix.Fstatfs(d.fd, &st) }) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.OVERLAYFS_SUPER_MAGIC, f2fsMagic, zfsMagic:
		// ext2, ext3 and ext4 with small inodes look the same, but keep seconds.
		info, err := d.Stat()
		return err == nil && info.CNsec != 0
	}
	return false
}
