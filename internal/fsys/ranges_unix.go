//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// DataRanges calls fn for each range of f that may hold data, in order; the
// rest reads as zeros. Without knowledge of holes it is one range. The file's
// position is kept, but moves meanwhile. An error of fn ends it and is
// returned.
func DataRanges(f *os.File, fn func(start, end int64) error) error {
	pos, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	defer func() { _, _ = f.Seek(pos, io.SeekStart) }()
	for at := int64(0); ; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO): // no more data
			return nil
		case err != nil && at == 0:
			return wholeFile(f, fn)
		case err != nil:
			return err
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) { // cut off meanwhile
			return nil
		} else if err != nil {
			return err
		}
		if end <= start {
			return nil
		}
		if err := fn(start, end); err != nil {
			return err
		}
		at = end
	}
}
