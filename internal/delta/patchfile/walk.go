package patchfile

import (
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// onlyFile is the name in a patch of the file that it is for, where that is
// not a tree.
const onlyFile = "file"

// Tree is a directory, or a single file, as it was found.
type Tree struct {
	Name    string           // as the user gave it
	Entries []manifest.Entry // in canonical order; a directory's begin with itself, ""
	Single  bool             // it is a file: the only entry
	Skipped int64            // devices, sockets and the like, which are no part of it

	root *fsys.Dir // of a single file, the directory that holds it
	leaf string    // a single file's name there
}

// Progress is told of work: bytes read since the last call, or 0 for a file
// that was passed. Its error ends the work.
type Progress func(stage string, files, bytes int64) error

// Walk reads the tree at path, which messages call name; with hash, content
// too. A single file must not be a symlink. Close must be called.
func Walk(ctx context.Context, name, path string, hash bool, tell Progress) (*Tree, error) {
	t := &Tree{Name: name}
	if err := t.find(path); err != nil {
		return nil, t.failed("", err)
	}
	if t.Single {
		info, err := t.root.Lstat(t.leaf)
		if err == nil && info.Type != manifest.File {
			err = fsys.ErrNotRegular
		}
		if err != nil {
			t.Close()
			return nil, t.failed("", err)
		}
		t.Entries = []manifest.Entry{entry(onlyFile, info)}
		if !hash {
			return t, nil
		}
		f, err := t.open(onlyFile)
		if err == nil {
			err = t.hash(ctx, &t.Entries[0], f, tell)
		}
		if err != nil {
			t.Close()
			return nil, err
		}
		return t, nil
	}
	self, err := t.root.Stat()
	if err != nil {
		t.Close()
		return nil, t.failed("", err)
	}
	t.Entries = []manifest.Entry{entry("", self)}
	if err := t.walk(ctx, t.root, "", hash, tell); err != nil {
		t.Close()
		return nil, err
	}
	slices.SortFunc(t.Entries, func(a, b manifest.Entry) int { return manifest.Compare(a.Path, b.Path) })
	return t, nil
}

// find opens the directory at path, or the one that holds the file there.
func (t *Tree) find(path string) (err error) {
	if t.root, err = fsys.OpenDir(path); err == nil {
		return nil
	}
	parent, failed := fsys.OpenDir(filepath.Dir(path))
	if failed != nil {
		return err
	}
	info, failed := parent.Lstat(filepath.Base(path))
	if failed != nil || info.Type == manifest.Dir {
		_ = parent.Close()
		return err
	}
	t.root, t.Single, t.leaf = parent, true, filepath.Base(path)
	return nil
}

// Close closes the tree.
func (t *Tree) Close() { _ = t.root.Close() } // it was only read

func entry(p string, i fsys.Info) manifest.Entry {
	e := manifest.Entry{Path: p, Type: i.Type, Mode: i.Mode, Sec: i.Sec, Nsec: i.Nsec}
	if i.Type == manifest.File {
		e.Size = i.Size
	}
	return e
}

func (t *Tree) walk(ctx context.Context, dir *fsys.Dir, rel string, hash bool, tell Progress) error {
	var names []string
	if err := dir.Names(func(b []byte) error { names = append(names, string(b)); return nil }); err != nil {
		return t.failed(rel, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := path.Join(rel, name)
		info, err := dir.Lstat(name)
		if fsys.IsNotExist(err) || manifest.IsState(name) {
			continue
		}
		if err != nil {
			return t.failed(p, err)
		}
		e := entry(p, info)
		if err := manifest.CheckPath(p); err != nil {
			return t.failed(p, err)
		}
		switch info.Type {
		case manifest.Dir:
			t.Entries = append(t.Entries, e)
			child, err := dir.Child(name)
			if err != nil {
				return t.failed(p, err)
			}
			err = t.walk(ctx, child, p, hash, tell)
			_ = child.Close()
			if err != nil {
				return err
			}
			continue
		case manifest.Symlink:
			if e.Target, err = dir.Readlink(name); err != nil {
				return t.failed(p, err)
			}
		case manifest.File:
			if !hash {
				break
			}
			f, _, err := dir.OpenFile(name)
			if err != nil {
				return t.failed(p, err)
			}
			if err := t.hash(ctx, &e, f, tell); err != nil {
				return err
			}
		default:
			t.Skipped++
			continue
		}
		t.Entries = append(t.Entries, e)
	}
	return nil
}

// hash fills in digest and size of e, and closes f.
func (t *Tree) hash(ctx context.Context, e *manifest.Entry, f *os.File, tell Progress) (err error) {
	defer func() { _ = f.Close() }()
	e.Digest, e.Size, err = digest.SumReader(&told{ctx, f, tell}, nil)
	if err == nil {
		return tell("scan", 1, 0)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return t.failed(e.Path, err)
}

// told reads and tells of it.
type told struct {
	ctx  context.Context
	r    io.Reader
	tell Progress
}

func (r *told) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(b)
	if n > 0 {
		if err := r.tell("scan", 0, int64(n)); err != nil {
			return n, err
		}
	}
	return n, err
}

// failed is an error at a path of the tree.
func (t *Tree) failed(rel string, err error) error {
	class := fsys.Class(err)
	if class == fault.Other && fsys.IsNotExist(err) {
		class = fault.NotFound
	}
	return fault.New(class, "", "%s: %s", t.at(rel), fsys.Plain(err))
}

// at names a path of the tree for messages.
func (t *Tree) at(rel string) string {
	if t.Single || rel == "" {
		return t.Name
	}
	return path.Join(t.Name, rel)
}

// open opens a file of the tree.
func (t *Tree) open(p string) (*os.File, error) {
	if t.Single {
		f, _, err := t.root.OpenFile(t.leaf)
		return f, err
	}
	dir, err := t.root.Descend(manifest.Parent(p))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	f, _, err := dir.OpenFile(path.Base(p))
	return f, err
}

// content is the tree as package patch sees it.
func (t *Tree) content() patch.Tree {
	c := patch.Tree{Open: t.source}
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Type == manifest.File {
			c.Files = append(c.Files, patch.File{Path: e.Path, Size: e.Size, Digest: e.Digest})
		}
	}
	return c
}

func (t *Tree) source(p string) (patch.Source, error) {
	f, err := t.open(p)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// bytes returns the size of all files.
func (t *Tree) bytes() (n int64) {
	for i := range t.Entries {
		n += t.Entries[i].Size
	}
	return n
}

// digestOf is what a tree is known by.
func digestOf(entries []manifest.Entry, mask manifest.Mask, single bool) (digest.Digest, error) {
	if single {
		return entries[0].Digest, nil
	}
	h := manifest.NewHasher(mask)
	for i := range entries {
		if err := h.Add(&entries[i]); err != nil {
			return digest.Digest{}, err
		}
	}
	return h.Tree(), nil
}
