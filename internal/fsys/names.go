//go:build !linux || osroot

package fsys

import (
	"io"
	"os"
)

// readNames calls fn for each name in the open directory f.
func readNames(f *os.File, fn func(name []byte) error) error {
	for {
		names, err := f.Readdirnames(512)
		for _, name := range names {
			if err := fn([]byte(name)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
