package scan

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// walker is one walk. The directories from the root to the current one are on
// its stack, each with the names that are left.
type walker struct {
	ctx   context.Context
	o     Options
	visit func(f *Found) error
	tree  *fsys.Tree
	stack []frame
	held  int     // bytes of names in the stack
	spare []*list // lists to use again
	index *matcher
	meter *meter
	stats Stats

	dir   *fsys.Dir // the directory of the current entry
	name  string    // the current entry's name in dir
	found Found
	buf   []byte

	fine bool   // the root's file system has fine times
	dev  uint64 // its number
}

type frame struct {
	path  string // of the directory
	names *list
	next  int
}

func newWalker(ctx context.Context, o Options) *walker {
	if o.Names == nil {
		o.Names = NewNames()
	}
	if o.maxNames == 0 {
		o.maxNames = defaultMaxNames
	}
	return &walker{ctx: ctx, o: o, tree: fsys.NewTree(o.Root), index: newMatcher(&o), meter: newMeter(o.Progress)}
}

func (w *walker) close() { w.tree.Close() }

func (w *walker) run() error {
	info, err := w.o.Root.Stat()
	if err != nil {
		return err
	}
	w.fine, w.dev = w.o.Root.FineTimes(), info.Dev
	names := new(list)
	if len(w.o.OneFile) > manifest.MaxName {
		w.warn(w.o.OneFile, ErrTooLong)
	} else if w.o.OneFile != "" {
		names.add([]byte(w.o.OneFile))
	} else if err := w.list(names, "", w.o.Root, nil); err != nil {
		return err
	}
	if err := w.report("", info); err != nil {
		return err
	}
	w.dir = w.o.Root
	w.stack = append(w.stack, frame{names: names})
	for len(w.stack) > 0 {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	w.meter.flush()
	return w.index.finish()
}

// step deals with the next name of the innermost directory, or leaves it.
func (w *walker) step() error {
	f := &w.stack[len(w.stack)-1]
	if f.next == f.names.len() {
		if f.names.more {
			return w.relist(f)
		}
		return w.leave()
	}
	name := f.names.name(f.next)
	f.next++
	w.buf = w.buf[:0]
	if manifest.IsState(name) {
		return nil
	}
	if f.path != "" {
		w.buf = append(append(w.buf, f.path...), '/')
	}
	w.buf = append(w.buf, name...)
	path := string(w.buf)
	return w.entry(path, path[len(path)-len(name):])
}

// relist reads the next part of a huge directory.
func (w *walker) relist(f *frame) error {
	after := bytes.Clone(f.names.name(f.names.len() - 1))
	f.next = 0
	w.held -= f.names.size
	if err := w.list(f.names, f.path, w.dir, after); err != nil {
		w.warn(f.path, err)
		w.drop(f)
	}
	return nil
}

// leave goes back to the directory that holds the innermost one.
func (w *walker) leave() error {
	n := len(w.stack) - 1
	w.held -= w.stack[n].names.size
	w.recycle(w.stack[n].names)
	w.stack[n] = frame{}
	if w.stack = w.stack[:n]; n == 0 {
		return nil
	}
	f := &w.stack[n-1]
	if f.next == f.names.len() && !f.names.more {
		return nil // nothing left there that needs the handle
	}
	return w.back()
}

func (w *walker) entry(path, name string) error {
	w.meter.add(1, 0)
	info, err := w.dir.Lstat(name)
	if err != nil {
		return w.without(path, err)
	}
	if w.o.Filter.Hidden(path, info.Type == manifest.Dir) {
		w.stats.Hidden++
		return nil
	}
	switch {
	case info.Type == manifest.Dir || info.Type == manifest.File:
	case info.Type == manifest.Symlink && w.o.Mask&manifest.Links != 0:
	default:
		if int(info.Type) < len(w.stats.Skipped) {
			w.stats.Skipped[info.Type]++
		}
		return nil
	}
	if len(path) > manifest.MaxPath || len(w.stack) > manifest.MaxDepth || info.Size > manifest.MaxSize {
		return w.without(path, ErrTooLong)
	}
	w.name = name
	if info.Type != manifest.Dir || !w.o.Recursive {
		return w.report(path, info)
	}
	return w.enter(path, info)
}

// enter lists a directory before it is reported: one that cannot be read is
// left out, or its contents would look deleted.
func (w *walker) enter(path string, info fsys.Info) error {
	child, err := w.tree.Dir(path)
	if err != nil {
		// Opening the child may have moved the tree's handles.
		if err := w.without(path, err); err != nil {
			return err
		}
		return w.back()
	}
	var names *list
	if n := len(w.spare); n > 0 {
		names, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		names = new(list)
	}
	if err := w.list(names, path, child, nil); err != nil {
		w.held -= names.size
		w.recycle(names)
		if err := w.without(path, err); err != nil {
			return err
		}
		return w.back()
	}
	if err := w.report(path, info); err != nil {
		return err
	}
	w.dir = child
	w.stack = append(w.stack, frame{path: path, names: names})
	return nil
}

// back makes the innermost directory of the stack the current one again.
func (w *walker) back() error {
	f := &w.stack[len(w.stack)-1]
	var err error
	if w.dir, err = w.tree.Dir(f.path); err != nil {
		w.warn(f.path, err)
		w.drop(f)
	}
	return nil
}

// drop forgets the names that are left of a directory.
func (w *walker) drop(f *frame) {
	w.held -= f.names.size
	f.names.reset()
	f.next = 0
}

func (w *walker) recycle(l *list) {
	if l.reset(); len(w.spare) < keptLists {
		w.spare = append(w.spare, l)
	}
}

// list reads names of a directory, as many as the walk may still hold.
func (w *walker) list(l *list, path string, d *fsys.Dir, after []byte) error {
	defer func() { w.held += l.size }()
	l.limit = max(w.o.maxNames/manifest.MaxDepth, w.o.maxNames-w.held)
	return l.read(d.Names, after,
		func(n int) { w.meter.add(0, int64(n)) },
		func(name []byte) {
			if path != "" {
				name = append([]byte(path+"/"), name...)
			}
			w.warn(string(name), ErrTooLong)
		})
}

// without leaves an entry out.
func (w *walker) without(path string, err error) error {
	if cerr := w.ctx.Err(); cerr != nil {
		return cerr
	}
	w.warn(path, err)
	return nil
}

func (w *walker) warn(path string, err error) {
	w.stats.Warned++
	if w.o.Warn != nil {
		w.o.Warn(path, err)
	}
}

// report visits an entry.
func (w *walker) report(path string, info fsys.Info) error {
	f := &w.found
	*f = Found{}
	f.Path = path
	f.Fine = w.fine && info.Dev == w.dev
	fill(&f.Record, info, w.o.Mask, w.o.Names)
	switch info.Type {
	case manifest.File:
		w.stats.Files++
		w.stats.Bytes += info.Size
		w.meter.add(0, info.Size)
	case manifest.Dir:
		w.stats.Dirs++
	case manifest.Symlink:
		target, err := w.dir.Readlink(w.name)
		if err == nil && (target == "" || len(target) > manifest.MaxTarget) {
			err = ErrTooLong
		}
		if err != nil {
			return w.without(path, err)
		}
		f.Target = target
		w.stats.Symlinks++
	}
	old, err := w.index.match(path)
	if err != nil {
		return err
	}
	if f.Old = old; old != nil && old.Type == f.Type && Unchanged(old.Stat, f.Stat) && (f.Type != manifest.File || !old.Digest.IsZero()) {
		f.Known = true
		if f.Type == manifest.File {
			f.Digest = old.Digest
			w.stats.Known++
		}
	}
	err = w.visit(f)
	w.index.done(f.Type)
	return err
}

// fill sets what info tells of an entry.
func fill(r *manifest.Record, info fsys.Info, mask manifest.Mask, names *Names) {
	r.Type, r.Mode, r.Sec, r.Nsec = info.Type, info.Mode, info.Sec, info.Nsec
	r.UID, r.GID = info.UID, info.GID
	r.Stat = StatOf(info)
	if info.Type == manifest.File {
		r.Size = info.Size
	}
	if mask&manifest.Owner != 0 {
		r.User = names.User(info.UID)
	}
	if mask&manifest.Group != 0 {
		r.Group = names.Group(info.GID)
	}
}

// open opens the current entry and checks that it is what was reported.
func (w *walker) open() (*os.File, error) {
	f, info, err := w.openAny()
	if err == nil && StatOf(info) != w.found.Stat {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: w.found.Path, Err: ErrChanged}
	}
	return f, err
}

// openAny opens whatever regular file now has the current entry's name.
func (w *walker) openAny() (*os.File, fsys.Info, error) {
	if w.found.Type != manifest.File {
		return nil, fsys.Info{}, fmt.Errorf("%q: %w", w.found.Path, fsys.ErrNotRegular)
	}
	return w.dir.OpenFile(w.name)
}
