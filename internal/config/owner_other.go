//go:build !unix

package config

import "io/fs"

// ownerOf returns false: files have no numeric owner here, and the temporary
// directory is the user's own.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }
