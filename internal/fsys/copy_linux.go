//go:build !osroot

package fsys

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// clone makes dst share all blocks of src, where the file system can.
func clone(dst, src *os.File) bool {
	err := retry(func() error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) })
	return err == nil
}

func copyRange(dst, src *os.File, start, end int64) error {
	for start < end {
		from, to := start, start
		n, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(min(end-start, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
		case err == unix.ENOSPC || err == unix.EDQUOT:
			return &os.PathError{Op: "copy", Path: dst.Name(), Err: err}
		case err != nil || n <= 0: // not here: between file systems, on old kernels, in sandboxes
			return copyPlain(dst, src, start, end)
		default:
			start += int64(n)
		}
	}
	if start > end {
		return io.ErrShortWrite
	}
	return nil
}
