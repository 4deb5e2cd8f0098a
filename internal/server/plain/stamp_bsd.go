//go:build darwin || freebsd

package plain

import (
	"io/fs"
	"syscall"
)

// changeOf returns the change time in nanoseconds and the number of names.
func changeOf(fi fs.FileInfo) (change int64, links uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ctimespec.Nano(), uint64(st.Nlink)
}
