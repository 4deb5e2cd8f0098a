//go:build !(linux || darwin || freebsd || windows) || osroot

package fsys

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Free is not supported here.
func (d *Dir) Free() (bytes, inodes uint64, err error) {
	return 0, 0, d.fail("statfs", "", ErrUnsupported)
}

// IsFull reports whether err says that the file system is full.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

func setFileTime(*os.File, time.Time) error { return ErrUnsupported }

func tryLock(*os.File) error { return ErrUnsupported }

func unlock(*os.File) error { return nil }
