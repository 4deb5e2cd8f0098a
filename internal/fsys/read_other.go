//go:build !(linux || darwin || freebsd) || osroot

package fsys

import (
	"errors"
	"io"
)

// ReadSmall reads a regular file into buf and returns how many bytes it has
// read, at most len(buf), and what the file is.
func (d *Dir) ReadSmall(name string, buf []byte) (n int, info Info, err error) {
	f, info, err := d.OpenFile(name)
	if err != nil {
		return 0, info, err
	}
	defer func() { _ = f.Close() }()
	n, err = io.ReadFull(f, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, info, err
}
