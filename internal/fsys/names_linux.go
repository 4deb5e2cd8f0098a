//go:build !osroot

package fsys

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Names calls fn for each entry except "." and "..", in the order of the
// file system, from the start. The bytes are only valid during the call. An
// error of fn ends it and is returned. Entries added or removed meanwhile may
// or may not be seen. Memory is constant.
func (d *Dir) Names(fn func(name []byte) error) error {
	if err := d.hold(); err != nil {
		return d.fail("readdir", "", err)
	}
	defer d.done()
	fd := d.fd
	if d.list.TryLock() {
		defer d.list.Unlock()
		if err := retry(func() error { _, err := unix.Seek(fd, 0, 0); return err }); err != nil {
			return d.fail("readdir", "", err)
		}
	} else { // someone else is reading through this handle
		var err error
		if fd, err = openat(d.fd, ".", openDir, 0); err != nil {
			return d.fail("readdir", "", err)
		}
		defer unix.Close(fd)
	}
	buf := make([]byte, 4<<10)
	for {
		n := 0
		err := retry(func() (err error) { n, err = unix.Getdents(fd, buf); return err })
		if err != nil {
			return d.fail("readdir", "", err)
		}
		if n <= 0 {
			return nil
		}
		for rest := buf[:n]; len(rest) > 0; {
			name, size, ok := dirent(rest)
			if !ok {
				return d.fail("readdir", "", fmt.Errorf("the system's answer is malformed: %w", unix.EIO))
			}
			rest = rest[size:]
			if len(name) == 0 || name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.') {
				continue
			}
			if err := fn(name); err != nil {
				return err
			}
		}
		if len(buf) < 32<<10 {
			buf = make([]byte, 32<<10)
		}
	}
}

// dirent returns the name in the linux_dirent64 at the start of b, and the
// record's size.
func dirent(b []byte) (name []byte, size int, ok bool) {
	const head = 8 + 8 + 2 + 1 // inode, offset, size, type
	if len(b) < head {
		return nil, 0, false
	}
	size = int(binary.NativeEndian.Uint16(b[16:]))
	if size < head || size > len(b) {
		return nil, 0, false
	}
	name = b[head:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return name, size, true
}
