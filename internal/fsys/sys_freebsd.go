//go:build !osroot

package fsys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const utimeOmit = unix.UTIME_OMIT

func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall(unix.SYS_FUTIMENS, uintptr(fd), uintptr(unsafe.Pointer(ts)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func exchange(int, string, int, string) error { return ErrUnsupported }

func mknodat(fd int, name string, mode uint32, rdev uint64) error {
	return unix.Mknodat(fd, name, mode, rdev)
}

func fsync(fd int) error { return unix.Fsync(fd) }

func fineTimes(fsType string) bool { return fsType == "zfs" }
