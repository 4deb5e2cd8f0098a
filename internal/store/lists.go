package store

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Kinds of stored lists.
const (
	manifestKind = 'm'
	indexKind    = 'i'
)

// Manifests are lists of trees by module and tree digest.
type Manifests struct{ lists }

// Create begins a manifest, which Commit will name.
func (m *Manifests) Create(module string) (*Writer, error) {
	return m.create(func(tree digest.Digest) string { return nameOf(module, tree) })
}

// Open opens the manifest of a tree; ErrGone if there is none.
func (m *Manifests) Open(module string, tree digest.Digest) (*Reader, error) {
	return m.open(nameOf(module, tree), &tree)
}

// Adopt makes a module's index, which has just been written, the manifest of
// its tree as well: both list the same. It fails where a file cannot have two
// names.
func (m *Manifests) Adopt(module string, tree digest.Digest, x *Indexes, index string) error {
	from, to := key(index), nameOf(module, tree)
	info, err := x.dir.Lstat(from)
	if err == nil {
		err = x.dir.Link(from, m.dir, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return failed(err)
	}
	m.mu.Lock()
	m.used += info.Size
	m.mu.Unlock()
	return failed(m.dir.Sync())
}

// Aside marks a record that an index keeps though it is no entry of its tree.
const Aside = "h"

// Has reports whether there is a manifest of the tree.
func (m *Manifests) Has(module string, tree digest.Digest) bool {
	_, err := m.dir.Lstat(nameOf(module, tree))
	return err == nil
}

// Indexes are lists of what the modules' trees were when they were last read,
// one for each module. A reader keeps what it opened when it is replaced.
type Indexes struct{ lists }

// Create begins a module's next index; Commit puts it in place of the last.
func (x *Indexes) Create(module string) (*Writer, error) {
	return x.create(func(digest.Digest) string { return key(module) })
}

// Open opens a module's index; ErrGone if there is none.
func (x *Indexes) Open(module string) (*Reader, error) { return x.open(key(module), nil) }

// lists is a folder of stored lists of one kind.
type lists struct {
	*folder
	kind byte
}

func (l *lists) create(name func(tree digest.Digest) string) (*Writer, error) {
	temp, file, err := l.folder.create()
	if err != nil {
		return nil, failed(err)
	}
	return &Writer{w: manifest.NewWriter(file, l.kind), lists: l, file: file, temp: temp, name: name}, nil
}

// open opens a list. One that is damaged, or whose trailer names another tree
// than want, is removed.
func (l *lists) open(name string, want *digest.Digest) (*Reader, error) {
	f, info, err := l.dir.OpenFile(name)
	if err != nil {
		return nil, gone(err)
	}
	t, err := manifest.ReadTrailer(f, info.Size)
	kind := l.kind
	if kind == manifestKind && kindOf(f) == indexKind {
		kind = indexKind
	}
	var src *manifest.Reader
	if err == nil {
		src, err = manifest.NewReader(f, kind)
	}
	if err != nil || want != nil && t.Tree != *want {
		_ = f.Close()
		_, _ = l.remove(stored{name, info.Size, info.ModTime()})
		return nil, ErrGone
	}
	l.touch(name, info)
	return &Reader{src: src, adopted: kind != l.kind, kind: kind, file: f, size: info.Size, trailer: t}, nil
}

// Writer writes a list. It is not safe for concurrent use. It must end with
// Commit or Cancel.
type Writer struct {
	w     *manifest.Writer
	lists *lists
	file  *os.File // nil after the end
	temp  string
	name  func(tree digest.Digest) string
}

// Put appends a record, which must follow all before it in canonical order.
func (w *Writer) Put(r *manifest.Record) error { return w.w.Put(r) }

// Count returns the records written so far.
func (w *Writer) Count() int64 { return w.w.Count() }

// Commit ends the list, whose tree has the digest tree, and makes it durable
// and visible. meta is the caller's own. On error, nothing is left.
func (w *Writer) Commit(tree digest.Digest, meta uint64) error {
	if w.file == nil {
		return os.ErrClosed
	}
	defer w.Cancel()
	if err := w.w.Close(tree, meta); err != nil {
		return failed(err)
	}
	info, err := w.file.Stat()
	if err = errors.Join(err, w.file.Sync(), w.file.Close()); err != nil {
		return failed(err)
	}
	f := w.lists.folder
	if err := f.rename(w.temp, w.name(tree), info.Size(), 0, ""); err != nil {
		return failed(err)
	}
	w.file = nil
	return failed(f.dir.Sync())
}

// Cancel drops the list, unless it has been committed.
func (w *Writer) Cancel() {
	if w.file == nil {
		return
	}
	_ = w.file.Close()
	w.file = nil
	_ = w.lists.dir.Remove(w.temp)
}

// Reader reads a list; it is a manifest.Source. It is not safe for concurrent
// use.
type Reader struct {
	src     *manifest.Reader
	adopted bool // an index that is read as a manifest
	kind    byte
	file    *os.File
	size    int64
	trailer manifest.Trailer
}

// Again returns another source that reads the same list from its start. It is
// valid until Close, and may be used beside r and others.
func (r *Reader) Again() (manifest.Source, error) {
	return manifest.NewReader(io.NewSectionReader(r.file, 0, r.size), r.kind)
}

// Next implements manifest.Source.
func (r *Reader) Next(rec *manifest.Record) error {
	for {
		err := r.src.Next(rec)
		if err != nil || !r.adopted {
			return err
		}
		if aside := string(rec.Ext) == Aside; !aside {
			rec.Stat, rec.Ext = manifest.Stat{}, nil
			return nil
		}
	}
}

// kindOf returns the kind of a stored list, 0 if it is none.
func kindOf(f *os.File) byte {
	var head [5]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0
	}
	return head[4]
}

// Trailer returns the list's count, tree and meta, also before it is read.
func (r *Reader) Trailer() manifest.Trailer { return r.trailer }

// Close closes the list.
func (r *Reader) Close() error { return r.file.Close() }
