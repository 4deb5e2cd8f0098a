// Package manifest is the canonical list of a tree's entries: their order,
// the tuple that identifies each, the Merkle digest of the whole, and the
// compact encoding that disk and wire share.
//
// Identity is content: the digest covers names, types, content digests, link
// targets and the attributes in a Mask, never encoding or sizes of frames.
package manifest

import (
	"fmt"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
)

// Type is the kind of an entry.
type Type uint8

// The types of entries. Their values are part of the wire format.
const (
	File    Type = 1
	Dir     Type = 2
	Symlink Type = 3
	Fifo    Type = 4
	Socket  Type = 5
	CharDev Type = 6
	BlkDev  Type = 7
)

func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	case Fifo:
		return "fifo"
	case Socket:
		return "socket"
	case CharDev:
		return "character device"
	case BlkDev:
		return "block device"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Mask names the attributes that take part in a comparison or a digest.
// Its values are part of the wire format.
type Mask uint8

// The attributes. Without Perm, only the executable bit of regular files
// counts.
const (
	Perm  Mask = 1 << iota // permission bits, setuid, setgid, sticky
	Times                  // modification time, nanoseconds
	Owner                  // user
	Group                  // group
	Links                  // symlinks are entries at all (otherwise skipped)
)

// Limits on what a peer may send; longer values are refused.
const (
	MaxName   = 255     // bytes of one path component
	MaxPath   = 4096    // bytes of a path
	MaxTarget = 4096    // bytes of a symlink's target
	MaxUser   = 256     // bytes of a user's or group's name
	MaxDepth  = 1024    // components of a path
	MaxSize   = 1 << 50 // bytes of a file
)

// Entry is one object of a tree. Which fields count depends on Type.
type Entry struct {
	// Path is relative to the tree's root, slash-separated, without leading,
	// trailing or doubled slashes and without "." or ".." components. The root
	// directory itself is "". Bytes need not be valid UTF-8.
	Path   string
	Type   Type
	Digest digest.Digest // regular files: BLAKE3 of the content
	Size   int64         // regular files: bytes
	Target string        // symlinks
	Mode   uint32        // permission bits 07777, no type
	Sec    int64         // modification time: seconds since 1970, may be negative
	Nsec   uint32        // and nanoseconds, 0 to 999,999,999
	UID    uint32
	GID    uint32
	User   string // name of UID at the sender; empty when it has none
	Group  string // name of GID at the sender; empty when it has none
}

// ModTime returns the entry's modification time.
func (e *Entry) ModTime() time.Time { return time.Unix(e.Sec, int64(e.Nsec)) }

// Name returns the last component of the entry's path.
func (e *Entry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// SameContent reports whether a and b are of one type and, but for
// attributes, equal: same bytes, same link target.
func SameContent(a, b *Entry) bool {
	return a.Type == b.Type && a.Digest == b.Digest && a.Target == b.Target && (a.Type != File || a.Size == b.Size)
}

// SameAttrs reports whether a and b agree in the attributes that mask names.
// Symlinks have no permissions.
func SameAttrs(a, b *Entry, mask Mask) bool {
	if a.Type != Symlink {
		if mask&Perm != 0 {
			if a.Mode != b.Mode {
				return false
			}
		} else if a.Type == File && (a.Mode&0o111 != 0) != (b.Mode&0o111 != 0) {
			return false
		}
	}
	if mask&Times != 0 && (a.Sec != b.Sec || a.Nsec != b.Nsec) {
		return false
	}
	if mask&Owner != 0 && (a.UID != b.UID || a.User != b.User) {
		return false
	}
	return mask&Group == 0 || a.GID == b.GID && a.Group == b.Group
}

// Check refuses entries that no well-behaved peer sends: paths that climb or
// are absolute, impossible lengths, sizes, times and types.
func (e *Entry) Check() error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Type < File || e.Type > BlkDev:
		return fmt.Errorf("manifest: %q has unknown type %d", e.Path, e.Type)
	case e.Path == "" && e.Type == Symlink:
		return fmt.Errorf("manifest: the root is a symlink")
	case e.Size < 0 || e.Size > MaxSize || e.Type != File && e.Size != 0:
		return fmt.Errorf("manifest: %q has impossible size %d", e.Path, e.Size)
	case e.Type == Symlink && (e.Target == "" || len(e.Target) > MaxTarget || strings.IndexByte(e.Target, 0) >= 0):
		return fmt.Errorf("manifest: symlink %q has an impossible target of %d bytes", e.Path, len(e.Target))
	case e.Type != Symlink && e.Target != "":
		return fmt.Errorf("manifest: %q is a %v with a link target", e.Path, e.Type)
	case e.Mode&^0o7777 != 0:
		return fmt.Errorf("manifest: %q has impossible mode %o", e.Path, e.Mode)
	case e.Nsec > 999_999_999:
		return fmt.Errorf("manifest: %q has impossible nanoseconds %d", e.Path, e.Nsec)
	case len(e.User) > MaxUser || len(e.Group) > MaxUser:
		return fmt.Errorf("manifest: %q has an owner's name of more than %d bytes", e.Path, MaxUser)
	}
	return nil
}

// CheckPath refuses paths that are not of the form that Entry.Path describes.
func CheckPath(p string) error {
	if p == "" {
		return nil
	}
	if len(p) > MaxPath {
		return fmt.Errorf("manifest: path of %d bytes", len(p))
	}
	bad := func(name string) error {
		return fmt.Errorf("manifest: %q has an impossible component %q", p, name)
	}
	depth, start := 1, 0
	for i := 0; ; i++ {
		if i < len(p) && p[i] != '/' {
			if p[i] == 0 {
				return bad(p[start : i+1])
			}
			continue
		}
		name := p[start:i]
		if n := len(name); n == 0 || n > MaxName || name[0] == '.' && (n == 1 || n == 2 && name[1] == '.') {
			return bad(name)
		}
		if i == len(p) {
			return nil
		}
		if depth++; depth > MaxDepth {
			return fmt.Errorf("manifest: %q is nested too deep", p)
		}
		start = i + 1
	}
}

// Compare orders paths: depth first, a directory before what is in it, and
// siblings by the bytes of their names. It is byte order with '/' lower than
// every other byte.
func Compare(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return len(a) - len(b)
	}
	switch {
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	case a[i] < b[i]:
		return -1
	}
	return 1
}

// StateDir is the directory in which a destination keeps what is ours.
const StateDir = ".ropeway"

// IsState reports whether name is that of a StateDir, for file systems that
// ignore case too.
func IsState[S string | []byte](name S) bool {
	return len(name) == len(StateDir) && name[0] == '.' && strings.EqualFold(string(name), StateDir)
}

// InState reports whether path is a StateDir or lies below one, wherever that
// is: the state of a destination inside of another is no part of any tree.
func InState(path string) bool {
	for {
		name, rest, more := strings.Cut(path, "/")
		switch {
		case IsState(name):
			return true
		case !more:
			return false
		}
		path = rest
	}
}

// Within reports whether path is dir itself or lies below it. Everything is
// within "".
func Within(path, dir string) bool {
	return dir == "" || strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// Parent returns the directory that holds path; the root's parent is "".
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}
