//go:build !(linux || darwin || freebsd) || osroot

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/ropeway/ropeway/internal/manifest"
)

// Dir is an open directory. Its methods take names of its entries, never
// paths, and may be called concurrently.
type Dir struct {
	path string // for messages
	root *os.Root
	top  *top
	rel  string // where root is below top; for moves between directories
}

// top is the directory that the operator named. os.Root moves entries only
// within one Root, so those below one OpenDir share it.
type top struct {
	root *os.Root
	uses atomic.Int64
}

// OpenDir opens a directory that the operator named; symlinks are followed.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	own, err := root.OpenRoot(".")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	t := &top{root: root}
	t.uses.Store(1)
	return &Dir{path: path, root: own, top: t, rel: "."}, nil
}

// Close closes the handle. Later calls fail.
func (d *Dir) Close() error {
	err := d.root.Close()
	if d.top.uses.Add(-1) == 0 {
		_ = d.top.root.Close()
	}
	return err
}

// Path returns the directory's path for messages.
func (d *Dir) Path() string { return d.path }

// Stat describes the directory itself.
func (d *Dir) Stat() (Info, error) {
	info, err := d.root.Stat(".")
	if err != nil {
		return Info{}, d.wrap("stat", "", err)
	}
	return infoOf(info), nil
}

// wrap is fail without the path that os.Root has put into err.
func (d *Dir) wrap(op, name string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		err = le.Err
	}
	return d.fail(op, name, err)
}

// Child opens a directory in d; what is not a directory, symlinks to
// directories included, is refused with ErrNotDir.
func (d *Dir) Child(name string) (*Dir, error) {
	if err := d.leaf("open", name); err != nil {
		return nil, err
	}
	before, err := d.root.Lstat(name)
	if err != nil {
		return nil, d.wrap("open", name, err)
	}
	if !before.IsDir() {
		return nil, d.fail("open", name, errNotChild)
	}
	return d.sub(name, before)
}

// sub opens the directory that was seen as before.
func (d *Dir) sub(name string, before fs.FileInfo) (*Dir, error) {
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, d.wrap("open", name, err)
	}
	after, err := root.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = errNotChild // swapped in between, perhaps for a symlink
	}
	if err != nil {
		_ = root.Close()
		return nil, d.wrap("open", name, err)
	}
	child := &Dir{path: d.path, root: root, top: d.top, rel: d.rel}
	if name != "." {
		child.path, child.rel = d.path+"/"+name, d.rel+"/"+name
	}
	d.top.uses.Add(1)
	return child, nil
}

// Descend opens the directory at the slash-separated path rel, component by
// component; "" duplicates the handle.
func (d *Dir) Descend(rel string) (*Dir, error) {
	if rel == "" {
		info, err := d.root.Stat(".")
		if err != nil {
			return nil, d.wrap("open", "", err)
		}
		return d.sub(".", info)
	}
	cur := d
	for {
		name, rest, more := strings.Cut(rel, "/")
		next, err := cur.Child(name)
		if cur != d {
			_ = cur.Close()
		}
		if err != nil || !more {
			return next, err
		}
		cur, rel = next, rest
	}
}

// Lstat describes an entry; symlinks are not followed.
func (d *Dir) Lstat(name string) (Info, error) {
	if err := d.leaf("lstat", name); err != nil {
		return Info{}, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return Info{}, d.wrap("lstat", name, err)
	}
	return infoOf(info), nil
}

func infoOf(info fs.FileInfo) Info {
	t := info.ModTime()
	i := Info{
		Mode: uint32(info.Mode().Perm()), Size: info.Size(),
		Sec: t.Unix(), Nsec: uint32(t.Nanosecond()), Nlink: 1,
	}
	if info.Mode()&fs.ModeSetuid != 0 {
		i.Mode |= 0o4000
	}
	if info.Mode()&fs.ModeSetgid != 0 {
		i.Mode |= 0o2000
	}
	if info.Mode()&fs.ModeSticky != 0 {
		i.Mode |= 0o1000
	}
	switch info.Mode().Type() {
	case 0:
		i.Type = manifest.File
	case fs.ModeDir:
		i.Type = manifest.Dir
	case fs.ModeSymlink:
		i.Type = manifest.Symlink
	case fs.ModeNamedPipe:
		i.Type = manifest.Fifo
	case fs.ModeSocket:
		i.Type = manifest.Socket
	case fs.ModeDevice | fs.ModeCharDevice:
		i.Type = manifest.CharDev
	case fs.ModeDevice:
		i.Type = manifest.BlkDev
	}
	return i
}

// Readlink returns the target of a symlink.
func (d *Dir) Readlink(name string) (string, error) {
	if err := d.leaf("readlink", name); err != nil {
		return "", err
	}
	target, err := d.root.Readlink(name)
	if err != nil {
		return "", d.wrap("readlink", name, err)
	}
	return target, nil
}

// Names calls fn for each entry except "." and "..", in the order of the
// file system, from the start. The bytes are only valid during the call. An
// error of fn ends it and is returned. Entries added or removed meanwhile may
// or may not be seen. Memory is constant.
func (d *Dir) Names(fn func(name []byte) error) error {
	f, err := d.root.Open(".")
	if err != nil {
		return d.wrap("readdir", "", err)
	}
	defer f.Close()
	return readNames(f, fn)
}

// OpenFile opens a regular file for reading; anything else, symlinks
// included, is refused with ErrNotRegular.
func (d *Dir) OpenFile(name string) (*os.File, Info, error) { return d.open(name, os.O_RDONLY) }

// OpenFileRW opens an existing regular file for reading and writing, like
// OpenFile.
func (d *Dir) OpenFileRW(name string) (*os.File, error) {
	f, _, err := d.open(name, os.O_RDWR)
	return f, err
}

func (d *Dir) open(name string, flags int) (*os.File, Info, error) {
	if err := d.leaf("open", name); err != nil {
		return nil, Info{}, err
	}
	before, err := d.root.Lstat(name)
	if err != nil {
		return nil, Info{}, d.wrap("open", name, err)
	}
	if !before.Mode().IsRegular() {
		return nil, infoOf(before), d.fail("open", name, ErrNotRegular)
	}
	f, err := d.root.OpenFile(name, flags, 0)
	if err != nil {
		return nil, Info{}, d.wrap("open", name, err)
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = ErrNotRegular // swapped in between
	}
	if err != nil {
		_ = f.Close()
		return nil, Info{}, d.wrap("open", name, err)
	}
	return f, infoOf(after), nil
}

// CreateFile creates a file that does not exist yet and opens it for reading
// and writing. The process's umask applies to perm.
func (d *Dir) CreateFile(name string, perm uint32) (*os.File, error) {
	if err := d.leaf("create", name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fs.FileMode(perm&0o777))
	if err != nil {
		return nil, d.wrap("create", name, err)
	}
	return f, nil
}
