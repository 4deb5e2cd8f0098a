package fsys

import (
	"errors"
	"math"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// Free returns how many bytes the caller can still create on the directory's
// volume; objects are not counted.
func (d *Dir) Free() (bytes, inodes uint64, err error) {
	p, err := windows.UTF16PtrFromString(d.path)
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(p, &bytes, nil, nil)
	}
	return bytes, math.MaxUint64, d.fail("statfs", "", err)
}

// IsFull reports whether err says that the file system is full.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func setFileTime(f *os.File, t time.Time) error {
	if t.Year() < 1970 || t.Year() > 2261 { // beyond what the conversion holds
		return ErrUnsupported
	}
	ft := windows.NsecToFiletime(t.UnixNano())
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, nil, &ft)
}

// lockedByte is far beyond the text, which others must be able to read.
func lockedByte() *windows.Overlapped { return &windows.Overlapped{OffsetHigh: 0x40000000} }

func tryLock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, lockedByte())
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return ErrLocked
	}
	return err
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockedByte())
}
