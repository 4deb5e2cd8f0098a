//go:build !osroot

package fsys

import (
	"golang.org/x/sys/unix"
)

const utimeOmit = -2

// futimens keeps microseconds only: macOS has no call for nanoseconds on an
// open file that can be made without C.
func futimens(fd int, ts *[2]unix.Timespec) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return unix.Futimes(fd, []unix.Timeval{
		{Sec: st.Atim.Sec, Usec: int32(st.Atim.Nsec / 1000)},
		{Sec: ts[1].Sec, Usec: int32(ts[1].Nsec / 1000)},
	})
}

func exchange(from int, oldname string, to int, newname string) error {
	return unix.RenameatxNp(from, oldname, to, newname, unix.RENAME_SWAP)
}

// mknodat is missing: macOS creates special files only by path.
func mknodat(int, string, uint32, uint64) error { return ErrUnsupported }

// fsync waits for the disk, which fsync(2) does not on macOS.
func fsync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if err == nil || err == unix.EINTR {
		return err
	}
	return unix.Fsync(fd) // network file systems know only this
}

func fineTimes(fsType string) bool { return fsType == "apfs" }
