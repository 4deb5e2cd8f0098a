// Package fsys owns every path that comes from outside. It descends one
// directory at a time, never through a symlink, and calls only leaf names on
// directory handles, so that nobody who swaps a directory for a symlink makes
// us read, write or remove anything elsewhere.
//
// Linux, macOS and FreeBSD use the *at calls on handles that are open for
// reading, so a directory that may be entered but not listed is refused. Other
// systems build on os.Root: times have the precision of os.Chtimes, attributes
// of symlinks cannot be changed, owners, device numbers and change times are
// absent, entries move only between directories of one OpenDir, and a name can
// be swapped between a check and its use (but never for something outside of
// the directory that was opened).
package fsys

import (
	"io/fs"
	"time"

	"github.com/ropeway/ropeway/internal/manifest"
)

// Info describes one object; a symlink is described itself, not its target.
type Info struct {
	Type  manifest.Type // 0 for kinds that no entry can have
	Mode  uint32        // permission bits 07777
	Size  int64         // bytes
	Sec   int64         // modification time: seconds since 1970, may be negative
	Nsec  uint32        // and nanoseconds
	CSec  int64         // change time, 0 where the system has none
	CNsec uint32
	UID   uint32
	GID   uint32
	Ino   uint64 // 0 where the system does not tell
	Dev   uint64
	Rdev  uint64 // devices: their number
	Nlink uint64
}

// ModTime returns the modification time.
func (i Info) ModTime() time.Time { return time.Unix(i.Sec, int64(i.Nsec)) }

// SameObject reports whether a and b are the same object of a file system. It
// is false where the system does not tell inode numbers.
func SameObject(a, b Info) bool { return a.Ino != 0 && a.Ino == b.Ino && a.Dev == b.Dev }

// Times is a modification time; the access time is never changed.
type Times struct {
	Sec  int64  // seconds since 1970, may be negative
	Nsec uint32 // 0 to 999,999,999
}

// Attr is a change of attributes. A nil part is left alone, except that
// systems clear setuid and setgid of files whose owner changes.
type Attr struct {
	Mode  *uint32 // permission bits 07777; ignored for symlinks
	Times *Times
	Owner *uint32 // user number
	Group *uint32 // group number
}

// leaf refuses what is not the name of an entry of a directory.
func (d *Dir) leaf(op, name string) error {
	if err := checkName(name); err != nil {
		return &fs.PathError{Op: op, Path: d.path + "/" + name, Err: err}
	}
	return nil
}

// fail names the object that err is about. It returns nil for nil.
func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	p := d.path
	if name != "" {
		p += "/" + name
	}
	return &fs.PathError{Op: op, Path: p, Err: err}
}
