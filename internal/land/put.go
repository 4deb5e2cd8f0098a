package land

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

var (
	errInTheWay = errors.New("a directory that is not empty is in the way")
	errLost     = errors.New("its staged content is gone")
	errChanged  = errors.New("something else is there now")
)

// in calls f with the directory that holds path and the name there. Where that
// is refused, our own directories on the way are opened up and it is tried
// once more.
func (l *landing) in(path string, f func(dir *fsys.Dir, leaf string) error) error {
	for again := false; ; again = true {
		dir, leaf, err := l.tree.Parent(path)
		if err == nil {
			err = f(dir, leaf)
		}
		if again || !errors.Is(err, fs.ErrPermission) || !l.openUp(manifest.Parent(path)) {
			return err
		}
	}
}

// mkdir makes a directory, or accepts the one that is there. It is open to us
// until dirs gives it its own mode.
func (l *landing) mkdir(dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	mode := l.at.mode(e, nil)
	if l.at.mask&manifest.Perm == 0 && mode&0o700 != 0o700 { // dirs does not know it then
		if info, err := dir.Lstat(leaf); err != nil || info.Type != manifest.Dir {
			if err := l.noteMode(e.Path, mode); err != nil {
				return err
			}
		}
	}
	err := l.d.mkdir(dir, leaf, mode|0o700)
	if errors.Is(err, fs.ErrExist) {
		info, lerr := dir.Lstat(leaf)
		if lerr != nil {
			return lerr
		}
		if info.Type == manifest.Dir {
			return l.chown(dir, leaf, e)
		}
		l.tree.Forget(e.Path)
		if err := l.d.remove(dir, leaf); err != nil {
			return err
		}
		err = l.d.mkdir(dir, leaf, mode|0o700)
	}
	if err != nil {
		return err
	}
	return l.chown(dir, leaf, e)
}

// chown gives what is called leaf the owner and group of e. Its mode and time
// are set later, so setgid may go.
func (l *landing) chown(dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	if l.at.mask&(manifest.Owner|manifest.Group) == 0 {
		return nil
	}
	info, err := dir.Lstat(leaf)
	if err != nil {
		return err
	}
	return l.at.apply(l.at.owner(e, &info), func(at fsys.Attr) error { return l.d.setAttr(dir, leaf, at) })
}

// putRoot sets the owner of the destination itself; dirs does the rest.
func (l *landing) putRoot(e *manifest.Entry) error {
	if e.Type != manifest.Dir {
		return fmt.Errorf("the root is a %v", e.Type)
	}
	if l.ready.OmitRootAttrs {
		return nil
	}
	info, err := l.a.root.Stat()
	if err != nil {
		return err
	}
	return l.at.apply(l.at.owner(e, &info), func(at fsys.Attr) error { return l.d.setDirAttr(l.a.root, at) })
}

// file moves a staged file into place.
func (l *landing) file(dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	name := fileName(e.Path)
	err := l.d.rename(l.stage, name, dir, leaf)
	if err == nil {
		return nil
	}
	if _, serr := l.stage.Lstat(name); fsys.IsNotExist(serr) {
		if l.inPlace(dir, leaf, e) {
			return nil
		}
		return errLost
	}
	if otherDevice(err) {
		return l.carry(name, dir, leaf, e)
	}
	return l.makeWay(err, l.stage, name, dir, leaf, e.Path)
}

// inPlace reports whether the file was moved by a landing that was
// interrupted later.
func (l *landing) inPlace(dir *fsys.Dir, leaf string, e *manifest.Entry) bool {
	info, err := dir.Lstat(leaf)
	return err == nil && info.Type == manifest.File && info.Size == e.Size &&
		(l.at.mask&manifest.Times == 0 || sameTime(dir, &info, e))
}

// makeWay removes an empty directory that made a move fail with err, and moves
// again.
func (l *landing) makeWay(err error, from *fsys.Dir, name string, dir *fsys.Dir, leaf, path string) error {
	info, lerr := dir.Lstat(leaf)
	if lerr != nil || info.Type != manifest.Dir {
		return err
	}
	l.tree.Forget(path)
	if err := l.d.rmdir(dir, leaf); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return errInTheWay
		}
		return err
	}
	return l.d.rename(from, name, dir, leaf)
}

// otherDevice reports whether err says that a move would cross file systems,
// or directories between which the system cannot move.
func otherDevice(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, fsys.ErrUnsupported)
}

// carry copies a staged file to another file system, under a name that the
// next landing finds if this one is interrupted, and then moves it into place.
func (l *landing) carry(name string, dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	tmp := carriedName(e.Path)
	if err := l.d.discard(dir, tmp); err != nil {
		return err
	}
	err := l.copyTo(l.stage, name, dir, tmp)
	if err == nil {
		if err = l.d.rename(dir, tmp, dir, leaf); err != nil {
			err = l.makeWay(err, dir, tmp, dir, leaf, e.Path)
		}
	}
	if err != nil {
		_ = l.d.discard(dir, tmp)
		return err
	}
	if err := l.d.syncDir(dir); err != nil {
		return err
	}
	return l.d.remove(l.stage, name)
}

// copyTo makes a durable copy of a file, attributes included.
func (l *landing) copyTo(from *fsys.Dir, name string, dir *fsys.Dir, leaf string) error {
	src, info, err := from.OpenFile(name)
	if errors.Is(err, fs.ErrPermission) && from == l.stage {
		src, info, err = l.openClosed(name)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := l.d.create(dir, leaf, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := l.d.copyFile(dst, src, info.Size); err != nil {
		return err
	}
	if err := l.cloneAttrs(dst, &info); err != nil {
		return err
	}
	return l.d.fsync(dst)
}

// openClosed opens a staged file with a mode that shuts out even its owner.
func (l *landing) openClosed(name string) (*os.File, fsys.Info, error) {
	info, err := l.stage.Lstat(name)
	if err != nil {
		return nil, info, err
	}
	mode := info.Mode | 0o600
	if err := l.d.setAttr(l.stage, name, fsys.Attr{Mode: &mode}); err != nil {
		return nil, info, err
	}
	f, _, err := l.stage.OpenFile(name)
	if rerr := l.d.setAttr(l.stage, name, fsys.Attr{Mode: &info.Mode}); err == nil && rerr != nil {
		_ = f.Close()
		err = rerr
	}
	return f, info, err
}

// cloneAttrs gives an open file of ours the attributes of info.
func (l *landing) cloneAttrs(f *os.File, info *fsys.Info) error {
	at := fsys.Attr{Mode: &info.Mode, Times: &fsys.Times{Sec: info.Sec, Nsec: info.Nsec}}
	if info.UID != l.at.uid {
		at.Owner = &info.UID
	}
	if info.GID != l.at.gid {
		at.Group = &info.GID
	}
	return l.at.apply(at, func(at fsys.Attr) error { return l.d.setFileAttr(f, at) })
}

// symlink makes a symlink under another name and moves it into place, so that
// what was there is replaced in one step.
func (l *landing) symlink(dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	name := linkName(e.Path)
	if err := l.makeLink(l.stage, name, e); err != nil {
		return err
	}
	err := l.d.rename(l.stage, name, dir, leaf)
	switch {
	case err == nil:
		return nil
	case otherDevice(err):
		tmp := carriedName(e.Path)
		if err = l.makeLink(dir, tmp, e); err != nil {
			return err
		}
		if err = l.d.rename(dir, tmp, dir, leaf); err != nil {
			err = l.makeWay(err, dir, tmp, dir, leaf, e.Path)
		}
		if err != nil {
			_ = l.d.discard(dir, tmp)
		}
		return errors.Join(err, l.d.discard(l.stage, name))
	}
	return l.makeWay(err, l.stage, name, dir, leaf, e.Path)
}

// makeLink makes a symlink with its attributes, in place of what an
// interrupted landing left.
func (l *landing) makeLink(dir *fsys.Dir, name string, e *manifest.Entry) error {
	err := l.d.symlink(e.Target, dir, name)
	if errors.Is(err, fs.ErrExist) {
		if err := l.d.remove(dir, name); err != nil {
			return err
		}
		err = l.d.symlink(e.Target, dir, name)
	}
	if err != nil {
		return err
	}
	have := l.at.fresh(0)
	at := l.at.diff(e, 0, &have)
	if empty(at) {
		return nil
	}
	err = l.at.apply(at, func(at fsys.Attr) error { return l.d.setAttr(dir, name, at) })
	if errors.Is(err, fsys.ErrUnsupported) { // symlinks have no attributes here
		return nil
	}
	return err
}

// attr sets the attributes of what is there; the mode and time of a directory
// come later.
func (l *landing) attr(dir *fsys.Dir, leaf string, e *manifest.Entry) error {
	if e.Type == manifest.Dir {
		return l.chown(dir, leaf, e)
	}
	info, err := dir.Lstat(leaf)
	if err != nil {
		return err
	}
	if info.Type != e.Type {
		return errChanged
	}
	at := l.at.diff(e, l.at.mode(e, &info), &info)
	err = l.at.apply(at, func(at fsys.Attr) error { return l.d.setAttr(dir, leaf, at) })
	if e.Type == manifest.Symlink && errors.Is(err, fsys.ErrUnsupported) {
		return nil
	}
	return err
}
