package land

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// place is where a destination is.
type place struct {
	path     string    // absolute; the last component is no symlink
	base     string    // the last component; "" for the root of a file system
	parent   *fsys.Dir // nil where we may not read it
	resolved string    // path, if the operator's path is a symlink
	missing  bool
	created  bool // by us, when it was opened
}

// locate finds the operator's path, which need not exist but for its parent.
func locate(dest string) (place, error) {
	if dest == "" {
		return place{}, fault.New(fault.Usage, "", "the destination is empty")
	}
	abs, err := filepath.Abs(dest)
	if err != nil {
		return place{}, wrap(err, "", "cannot find %s", dest)
	}
	dir, base := filepath.Split(abs)
	if base == "" {
		return place{path: abs}, nil
	}
	dir, err = filepath.EvalSymlinks(dir)
	if fsys.IsNotExist(err) || errors.Is(err, syscall.ENOTDIR) {
		return place{}, fault.New(fault.NotFound, "create it first: only the last directory of a destination is created",
			"cannot create %s: there is no directory %s", dest, filepath.Dir(abs))
	} else if err != nil {
		return place{}, wrap(err, "", "cannot reach %s", dest)
	}
	p := place{path: filepath.Join(dir, base), base: base}
	whole, err := filepath.EvalSymlinks(p.path)
	switch {
	case err == nil && whole != p.path && isSymlink(p.path):
		p.path, p.resolved = whole, whole
		dir, p.base = filepath.Split(whole)
	case err == nil:
	case !fsys.IsNotExist(err):
		return place{}, wrap(err, "", "cannot reach %s", dest)
	case isSymlink(p.path):
		return place{}, fault.New(fault.NotFound, "", "%s is a symlink to something that does not exist", dest)
	default:
		p.missing = true
	}
	if d, err := fsys.OpenDir(dir); err == nil {
		p.parent = d
	} else if p.missing {
		return place{}, wrap(err, "", "cannot create %s", dest)
	}
	return p, nil
}

// isSymlink looks at a path of the operator's; on systems that spell a path in
// several ways, a resolved one differs without any symlink.
func isSymlink(path string) bool {
	_, err := os.Readlink(path)
	return err == nil
}

// open opens the destination, which it creates when it is missing.
func (p *place) open(d disk) (*fsys.Dir, error) {
	if p.missing {
		d.step("mkdir")
		err := p.parent.Mkdir(p.base, 0o777)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, wrap(err, "", "cannot create %s", p.path)
		}
		p.created = err == nil
		p.missing = false
	}
	return p.openExisting()
}

func (p *place) openExisting() (*fsys.Dir, error) {
	root, err := fsys.OpenDir(p.path)
	if err == nil {
		return root, nil
	}
	if info, e := os.Stat(p.path); e == nil && !info.IsDir() {
		return nil, fault.New(fault.Usage, "", "%s is a file, not a directory", p.path)
	}
	return nil, wrap(err, "", "cannot open %s", p.path)
}
