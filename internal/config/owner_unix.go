//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// ownerOf returns the user id of a file's owner; ok is false where files have
// none.
func ownerOf(fi fs.FileInfo) (uid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
