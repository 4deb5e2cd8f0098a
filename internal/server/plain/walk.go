package plain

import (
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	maxLinks = 40   // symlinks followed for one request, as Linux does
	maxSteps = 4096 // directories opened for one request
	private  = ".ropeway"
)

// place is what a path leads to: a directory, or the file called name in it.
type place struct {
	dir  *fsys.Dir
	name string // empty for the directory itself
	path string // of the object, in the module, without symlinks
}

func (p *place) close() { _ = p.dir.Close() }

// walker resolves a path, one name at a time.
type walker struct {
	root   *fsys.Dir
	hidden func(path string, dir bool) bool
	cur    *fsys.Dir
	names  []string // that lead to cur
	steps  int
}

// resolve finds what names lead to below root. Symlinks are followed by the
// rules of the package; the caller closes the result.
func resolve(root *fsys.Dir, names []string, hidden func(path string, dir bool) bool) (*place, error) {
	cur, err := root.Descend("")
	if err != nil {
		return nil, err
	}
	w := &walker{root: root, hidden: hidden, cur: cur}
	name, err := w.walk(slices.Clone(names))
	if err != nil {
		_ = w.cur.Close()
		return nil, err
	}
	return &place{dir: w.cur, name: name, path: w.join(name)}, nil
}

// walk returns the name of a file in w.cur, or "" if w.cur is meant.
func (w *walker) walk(todo []string) (string, error) {
	links := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if w.steps++; w.steps > maxSteps {
			return "", errNotFound
		}
		if name == ".." { // only from symlinks
			if err := w.up(); err != nil {
				return "", err
			}
			continue
		}
		if isPrivate(name) {
			return "", errNotFound
		}
		info, err := w.cur.Lstat(name)
		if err != nil {
			return "", err
		}
		path := w.join(name)
		if len(path) > manifest.MaxPath || w.hidden != nil && w.hidden(path, info.Type == manifest.Dir) {
			return "", errNotFound
		}
		switch info.Type {
		case manifest.Dir:
			next, err := w.cur.Child(name)
			if err != nil {
				return "", err
			}
			w.enter(next, append(w.names, name))
		case manifest.Symlink:
			if links++; links > maxLinks {
				return "", errNotFound
			}
			target, err := w.cur.Readlink(name)
			if err != nil {
				return "", err
			}
			steps, err := follow(target)
			if err != nil {
				return "", err
			}
			todo = append(steps, todo...)
		case manifest.File:
			if len(todo) > 0 {
				return "", errNotFound
			}
			return name, nil
		default:
			return "", errNotFound
		}
	}
	return "", nil
}

// follow takes a symlink's target apart. An absolute one leaves the module.
func follow(target string) ([]string, error) {
	if target == "" || target[0] == '/' || len(target) > manifest.MaxTarget {
		return nil, errNotFound
	}
	return slices.DeleteFunc(strings.Split(target, "/"), func(s string) bool { return s == "" || s == "." }), nil
}

func (w *walker) enter(dir *fsys.Dir, names []string) {
	_ = w.cur.Close()
	w.cur, w.names = dir, names
}

// up goes to the parent by descending from the root again: ".." of a directory
// that was moved meanwhile could be anywhere.
func (w *walker) up() error {
	if len(w.names) == 0 {
		return errNotFound
	}
	names := w.names[:len(w.names)-1]
	if w.steps += len(names); w.steps > maxSteps {
		return errNotFound
	}
	dir, err := w.root.Descend(strings.Join(names, "/"))
	if err != nil {
		return err
	}
	w.enter(dir, names)
	return nil
}

func (w *walker) join(name string) string {
	path := strings.Join(w.names, "/")
	if path != "" && name != "" {
		path += "/"
	}
	return path + name
}

// isPrivate reports whether name is that of our own state, also where the file
// system does not tell cases apart.
func isPrivate(name string) bool { return strings.EqualFold(name, private) }
