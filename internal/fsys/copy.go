package fsys

import (
	"errors"
	"io"
	"os"
)

// CopyFile makes dst hold the first size bytes of src, in the cheapest way
// that the system has: shared blocks (reflinked), a copy within the kernel,
// or reading and writing. Holes stay holes. What dst held is gone. It fails
// with io.ErrUnexpectedEOF if src is shorter. The files' positions may move.
func CopyFile(dst, src *os.File, size int64) (reflinked bool, err error) {
	info, err := src.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < size {
		return false, io.ErrUnexpectedEOF
	}
	if err := dst.Truncate(0); err != nil {
		return false, err
	}
	if size > 0 && clone(dst, src) {
		info, err := dst.Stat()
		switch {
		case err != nil:
			return false, err
		case info.Size() < size:
			return false, io.ErrUnexpectedEOF
		case info.Size() > size:
			return true, dst.Truncate(size)
		}
		return true, nil
	}
	err = DataRanges(src, func(start, end int64) error {
		if start >= size {
			return errEnough
		}
		return copyRange(dst, src, start, min(end, size))
	})
	if err != nil && err != errEnough {
		return false, err
	}
	if info, err = src.Stat(); err == nil && info.Size() < size { // what was cut off looked like a hole
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return false, err
	}
	return false, dst.Truncate(size)
}

var errEnough = errors.New("enough")

// copyPlain copies bytes start to end by reading and writing.
func copyPlain(dst, src *os.File, start, end int64) error {
	if start >= end {
		return nil
	}
	buf := make([]byte, min(128<<10, end-start))
	n, err := io.CopyBuffer(io.NewOffsetWriter(dst, start), io.NewSectionReader(src, start, end-start), buf)
	if err == nil && n < end-start {
		return io.ErrUnexpectedEOF
	}
	return err
}

// wholeFile is the one range of a file whose holes are not known.
func wholeFile(f *os.File, fn func(start, end int64) error) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return fn(0, info.Size())
}
