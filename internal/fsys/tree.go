package fsys

import (
	"io/fs"
	"strings"
)

// maxOpen is how many directory handles a Tree keeps open at most.
const maxOpen = 64

// Tree gives directories below a root for work in canonical order: it keeps
// the handles of the directories that lead to the last path, so that
// neighbours cost no new descent. It is not safe for concurrent use.
type Tree struct {
	root  *Dir
	stack []level // from below the root downwards
	open  int     // how many of the stack have a handle
}

// level is one directory of the stack. Its handle is nil when it was closed to
// keep within maxOpen; it is opened again on demand.
type level struct {
	name string
	dir  *Dir
}

// NewTree returns a Tree below root, which stays the caller's to close.
func NewTree(root *Dir) *Tree { return &Tree{root: root} }

// Parent returns the directory that holds path and path's last component. The
// directory belongs to the Tree and is valid until the next call.
func (t *Tree) Parent(path string) (dir *Dir, leaf string, err error) {
	parent, leaf := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, leaf = path[:i], path[i+1:]
		if parent == "" {
			return nil, "", &fs.PathError{Op: "open", Path: path, Err: ErrName}
		}
	}
	if err := checkName(leaf); err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: t.root.path + "/" + path, Err: err}
	}
	dir, err = t.Dir(parent)
	return dir, leaf, err
}

// Dir returns the directory at path, "" being the root. It belongs to the Tree
// and is valid until the next call.
func (t *Tree) Dir(path string) (*Dir, error) {
	depth := 0
	for rest := path; rest != ""; depth++ {
		name, tail, more := strings.Cut(rest, "/")
		if more && tail == "" {
			return nil, &fs.PathError{Op: "open", Path: t.root.path + "/" + path, Err: ErrName}
		}
		if depth < len(t.stack) && t.stack[depth].name != name {
			t.cut(depth)
		}
		if depth == len(t.stack) {
			if err := t.push(name); err != nil {
				return nil, err
			}
		}
		rest = tail
	}
	t.cut(depth)
	return t.at(depth)
}

// Forget drops the handles of path and of what is below it, because the
// directory was replaced or removed.
func (t *Tree) Forget(path string) {
	depth := 0
	for rest := path; rest != ""; depth++ {
		name, tail, _ := strings.Cut(rest, "/")
		if depth == len(t.stack) || t.stack[depth].name != name {
			return
		}
		rest = tail
	}
	t.cut(max(depth-1, 0))
}

// Close closes the handles of the Tree, not the root. The Tree can be used
// again.
func (t *Tree) Close() { t.cut(0) }

// cut closes all levels from depth on.
func (t *Tree) cut(depth int) {
	for i := len(t.stack) - 1; i >= depth; i-- {
		t.drop(i)
		t.stack[i] = level{}
	}
	t.stack = t.stack[:min(depth, len(t.stack))]
}

func (t *Tree) drop(i int) {
	if d := t.stack[i].dir; d != nil {
		_ = d.Close()
		t.stack[i].dir = nil
		t.open--
	}
}

// push opens name below the deepest level.
func (t *Tree) push(name string) error {
	parent, err := t.at(len(t.stack))
	if err != nil {
		return err
	}
	dir, err := parent.Child(name)
	if err != nil {
		return err
	}
	t.stack = append(t.stack, level{name, dir})
	t.added(len(t.stack) - 1)
	return nil
}

// added accounts for the handle opened at level i and closes the handle that
// will be needed last, the one nearest to the root.
func (t *Tree) added(i int) {
	if t.open++; t.open <= maxOpen {
		return
	}
	for j := range t.stack {
		if j != i && t.stack[j].dir != nil {
			t.drop(j)
			return
		}
	}
}

// at returns the handle after depth levels, opening it and what leads to it
// again where it was closed.
func (t *Tree) at(depth int) (*Dir, error) {
	from := depth
	for from > 0 && t.stack[from-1].dir == nil {
		from--
	}
	dir := t.root
	if from > 0 {
		dir = t.stack[from-1].dir
	}
	for i := from; i < depth; i++ {
		next, err := dir.Child(t.stack[i].name)
		if err != nil {
			t.cut(i)
			return nil, err
		}
		t.stack[i].dir = next
		t.added(i)
		dir = next
	}
	return dir, nil
}
