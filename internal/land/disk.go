package land

import (
	"context"
	"os"

	"github.com/ropeway/ropeway/internal/fsys"
)

// disk is the gate through which every change of the disk goes, so that a
// test can stop the program between any two of them.
type disk struct {
	hook     func(op string)
	noSyncFS bool
}

func (d disk) step(op string) {
	if d.hook != nil {
		d.hook(op)
	}
}

func (d disk) mkdir(dir *fsys.Dir, name string, perm uint32) error {
	d.step("mkdir")
	return dir.Mkdir(name, perm)
}

func (d disk) create(dir *fsys.Dir, name string, perm uint32) (*os.File, error) {
	d.step("create")
	return dir.CreateFile(name, perm)
}

func (d disk) write(f *os.File, b []byte) error {
	d.step("write")
	_, err := f.Write(b)
	return err
}

func (d disk) symlink(target string, dir *fsys.Dir, name string) error {
	d.step("symlink")
	return dir.Symlink(target, name)
}

func (d disk) link(from *fsys.Dir, old string, to *fsys.Dir, name string) error {
	d.step("link")
	return from.Link(old, to, name)
}

func (d disk) rename(from *fsys.Dir, old string, to *fsys.Dir, name string) error {
	d.step("rename")
	return from.Rename(old, to, name)
}

func (d disk) exchange(from *fsys.Dir, old string, to *fsys.Dir, name string) error {
	d.step("exchange")
	return from.Exchange(old, to, name)
}

func (d disk) remove(dir *fsys.Dir, name string) error {
	d.step("remove")
	return dir.Remove(name)
}

// discard removes what may not exist.
func (d disk) discard(dir *fsys.Dir, name string) error {
	if _, err := dir.Lstat(name); fsys.IsNotExist(err) {
		return nil
	}
	if err := d.remove(dir, name); !fsys.IsNotExist(err) {
		return err
	}
	return nil
}

func (d disk) rmdir(dir *fsys.Dir, name string) error {
	d.step("rmdir")
	return dir.Rmdir(name)
}

func (d disk) removeAll(ctx context.Context, dir *fsys.Dir, name string) error {
	if _, err := dir.Lstat(name); fsys.IsNotExist(err) {
		return nil
	}
	d.step("removeall")
	return dir.RemoveAll(ctx, name)
}

func (d disk) setAttr(dir *fsys.Dir, name string, at fsys.Attr) error {
	d.step("setattr")
	return dir.SetAttr(name, at)
}

func (d disk) setDirAttr(dir *fsys.Dir, at fsys.Attr) error {
	d.step("setattr")
	return dir.SetDirAttr(at)
}

func (d disk) setFileAttr(f *os.File, at fsys.Attr) error {
	d.step("setattr")
	return fsys.SetFileAttr(f, at)
}

func (d disk) copyFile(dst, src *os.File, size int64) error {
	d.step("copy")
	_, err := fsys.CopyFile(dst, src, size)
	return err
}

func (d disk) fsync(f *os.File) error {
	d.step("fsync")
	return f.Sync()
}

func (d disk) syncDir(dir *fsys.Dir) error {
	d.step("syncdir")
	return dir.Sync()
}

func (d disk) syncFS(dir *fsys.Dir) error {
	d.step("syncfs")
	if d.noSyncFS {
		return fsys.ErrUnsupported
	}
	return dir.SyncFS()
}
