//go:build !linux && !darwin && !freebsd

package scan

import (
	"os"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// fileInfo describes an open regular file, as far as the system tells.
func fileInfo(f *os.File) (fsys.Info, error) {
	fi, err := f.Stat()
	if err != nil {
		return fsys.Info{}, err
	}
	return fsys.Info{
		Type: manifest.File, Mode: uint32(fi.Mode().Perm()), Size: fi.Size(),
		Sec: fi.ModTime().Unix(), Nsec: uint32(fi.ModTime().Nanosecond()),
	}, nil
}
