//go:build linux || darwin || freebsd

package fstest

import (
	"os"

	"golang.org/x/sys/unix"
)

// setTime does what os.Chtimes cannot: symlinks, and years after 2262.
func setTime(path string, sec, nsec int64) error {
	var ts [2]unix.Timespec
	setSpec(&ts[0].Sec, &ts[0].Nsec, sec, nsec)
	ts[1] = ts[0]
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimes", Path: path, Err: err}
	}
	return nil
}

func setSpec[S, N int32 | int64](s *S, n *N, sec, nsec int64) { *s, *n = S(sec), N(nsec) }

func mkfifo(path string) error {
	return unix.Mkfifo(path, 0o600)
}
