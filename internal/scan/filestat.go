package scan

import (
	"os"

	"github.com/ropeway/ropeway/internal/manifest"
)

// FileStat returns the Stat of an open regular file.
func FileStat(f *os.File) (manifest.Stat, error) {
	info, err := fileInfo(f)
	return StatOf(info), err
}
