package container

import "io"

// Layout is a parsed file. It reads the file again when it needs bytes.
type Layout struct {
	file  io.ReaderAt
	size  int64
	items []item
}

// item is a header, a unit, or one with the other behind it.
type item struct {
	off  int64
	data int64
}

// Parse finds the structure of the first size bytes of file, which must not
// change as long as the layout is in use. It reads headers and directories, not
// content. The error is one of reading.
func Parse(file io.ReaderAt, size int64) (*Layout, error) {
	l := &Layout{file: file, size: size}
	if size > 0 {
		l.items = []item{{0, size}}
	}
	return l, nil
}

// Size returns the length of the file in bytes.
func (l *Layout) Size() int64 { return l.size }

// Plain reports whether nothing was found to open: the file is a single unit,
// or empty, and a recipe gains nothing over coding it as it is.
func (l *Layout) Plain() bool { return len(l.items) < 2 }
