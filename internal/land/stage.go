package land

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// errDryRun is returned where a dry run would have to write.
var errDryRun = errors.New("land: a dry run stages nothing")

// Staged is a staged file that is being filled. ReadAt and WriteAt may be
// called concurrently; the rest once, at the end.
type Staged struct {
	a    *Area
	f    *os.File
	name string
	done string // its name once it is finished; "" keeps it
	size int64
	old  bool // was there before
}

// Stage opens the staged content of the file at path, size bytes long, or
// creates it. What an earlier run has written there is kept, but for what lies
// beyond size. The blocks in it must be verified before they are used. Only
// when it is finished can it land.
func (a *Area) Stage(path string, size int64) (*Staged, error) {
	if a.stage == nil {
		return nil, errDryRun
	}
	part, whole := partName(path), fileName(path)
	if err := a.d.rename(a.stage, whole, a.stage, part); err != nil && !fsys.IsNotExist(err) {
		return nil, wrap(err, "", "cannot stage a file")
	}
	s, err := a.openStaged(part, size)
	if err == nil {
		s.done = whole
	}
	return s, err
}

// Unstage removes what is staged whole for the file at path, so that it cannot
// land.
func (a *Area) Unstage(path string) error {
	if a.stage == nil {
		return nil
	}
	if err := a.d.discard(a.stage, fileName(path)); err != nil {
		return wrap(err, "", "cannot remove a staged file")
	}
	return nil
}

// Object opens a staged derived object in the same way.
func (a *Area) Object(id digest.Digest, size int64) (*Staged, error) {
	return a.openStaged(objectName(id), size)
}

func (a *Area) openStaged(name string, size int64) (*Staged, error) {
	if a.stage == nil {
		return nil, errDryRun
	}
	s := &Staged{a: a, name: name, size: size}
	f, info, err := a.reopen(name)
	switch {
	case err == nil && info.Size > size:
		err = f.Truncate(size)
	case fsys.IsNotExist(err):
		f, err = a.d.create(a.stage, name, 0o600)
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		return nil, wrap(err, "", "cannot stage a file")
	}
	s.f, s.old = f, info.Size > 0
	return s, nil
}

// reopen opens a staged file of an earlier run for writing, whatever mode it
// was given.
func (a *Area) reopen(name string) (*os.File, fsys.Info, error) {
	info, err := a.stage.Lstat(name)
	if err != nil {
		return nil, info, err
	}
	f, err := a.stage.OpenFileRW(name)
	if errors.Is(err, fs.ErrPermission) {
		mode := uint32(0o600)
		if cerr := a.d.setAttr(a.stage, name, fsys.Attr{Mode: &mode}); cerr == nil {
			f, err = a.stage.OpenFileRW(name)
		}
	}
	if errors.Is(err, fsys.ErrNotRegular) { // nobody but us writes here
		if err := a.d.remove(a.stage, name); err != nil {
			return nil, info, err
		}
		return nil, fsys.Info{}, fs.ErrNotExist
	}
	return f, info, err
}

// WriteAt implements io.WriterAt. It fails with fault.Limit when the disk or
// the quota is full.
func (s *Staged) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.f.WriteAt(p, off)
	if err != nil {
		err = wrap(err, "", "cannot write a staged file")
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

// Ranges calls fn for each range of bytes that an earlier run may have
// written. It is called before the first WriteAt.
func (s *Staged) Ranges(fn func(start, end int64) error) error {
	if !s.old {
		return nil
	}
	return fsys.DataRanges(s.f, func(start, end int64) error {
		if start >= s.size {
			return nil
		}
		return fn(start, min(end, s.size))
	})
}

// Held returns about how many bytes an earlier run has written.
func (s *Staged) Held() (n int64) {
	_ = s.Ranges(func(start, end int64) error {
		n += end - start
		return nil
	})
	return n
}

// Finish gives the file the size and the attributes of e and closes it.
func (s *Staged) Finish(e *manifest.Entry) error {
	err := s.a.finish(s.f, s.name, e)
	if cerr := s.f.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if err == nil && s.done != "" {
		err = s.a.d.rename(s.a.stage, s.name, s.a.stage, s.done)
	}
	if err != nil {
		return wrap(err, "", "cannot finish the staged file for %s", e.Path)
	}
	return nil
}

// Discard closes and removes the file.
func (s *Staged) Discard() error {
	_ = s.f.Close()
	if err := s.a.d.discard(s.a.stage, s.name); err != nil {
		return wrap(err, "", "cannot remove a staged file")
	}
	return nil
}

// Close closes the file and keeps it as it is.
func (s *Staged) Close() error {
	if err := s.f.Close(); err != nil {
		return wrap(err, "", "cannot write a staged file")
	}
	return nil
}

// finish sets the size and attributes of an open staged file.
func (a *Area) finish(f *os.File, name string, e *manifest.Entry) error {
	have, err := a.stage.Lstat(name)
	if err != nil {
		return err
	}
	if have.Size != e.Size {
		a.d.step("truncate")
		if err := f.Truncate(e.Size); err != nil {
			return err
		}
		have.Sec = noTime
	}
	return a.seal(f, e, a.fileMode(e), &have)
}

// seal sets attributes and makes the file durable where that is asked for.
func (a *Area) seal(f *os.File, e *manifest.Entry, mode uint32, have *fsys.Info) error {
	if at := a.at.diff(e, mode, have); !empty(at) {
		err := a.at.apply(at, func(at fsys.Attr) error { return a.d.setFileAttr(f, at) })
		if err != nil {
			return err
		}
	}
	if a.o.Fsync || a.o.Early { // early files are in use before the landing's sync
		return a.d.fsync(f)
	}
	return nil
}

// fileMode returns the mode that the file will have at its destination.
func (a *Area) fileMode(e *manifest.Entry) uint32 {
	if a.at.mask&manifest.Perm != 0 {
		return e.Mode
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	dir, leaf, err := a.look.Parent(e.Path)
	if err == nil {
		if info, err := dir.Lstat(leaf); err == nil && info.Type == manifest.File {
			return a.at.mode(e, &info)
		}
	}
	return a.at.mode(e, nil)
}

// StageBytes stages a whole small file, replacing what was staged for it.
func (a *Area) StageBytes(e *manifest.Entry, data []byte) error {
	if a.stage == nil {
		return errDryRun
	}
	if int64(len(data)) != e.Size {
		return fmt.Errorf("land: %d bytes staged for %q, which has %d", len(data), e.Path, e.Size)
	}
	mode, name := a.fileMode(e), fileName(e.Path)
	f, err := a.d.create(a.stage, name, mode&0o777)
	if errors.Is(err, fs.ErrExist) {
		if err = a.d.remove(a.stage, name); err == nil {
			f, err = a.d.create(a.stage, name, mode&0o777)
		}
	}
	if err != nil {
		return wrap(err, "", "cannot stage %s", e.Path)
	}
	if len(data) > 0 {
		err = a.d.write(f, data)
	}
	if err == nil {
		have := a.at.fresh(mode)
		err = a.seal(f, e, mode, &have)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = a.d.remove(a.stage, name)
		return wrap(err, "", "cannot stage %s", e.Path)
	}
	return nil
}

// StageCopy stages the content of e from the file at from, which the
// destination is thought to hold: by shared blocks where the file system can,
// else by a copy. It returns how many bytes that were. Content that is missing
// or other than e.Digest is ErrMismatch, and nothing is staged.
func (a *Area) StageCopy(ctx context.Context, e *manifest.Entry, from string) (int64, error) {
	if a.stage == nil {
		return 0, errDryRun
	}
	src, info, err := a.openOwn(from)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	defer src.Close()
	if info.Size != e.Size {
		return 0, fmt.Errorf("%w: %s has %d bytes, not %d", ErrMismatch, from, info.Size, e.Size)
	}
	name := fileName(e.Path)
	if err := a.d.discard(a.stage, name); err != nil {
		return 0, wrap(err, "", "cannot stage %s", e.Path)
	}
	dst, err := a.d.create(a.stage, name, 0o600)
	if err != nil {
		return 0, wrap(err, "", "cannot stage %s", e.Path)
	}
	defer dst.Close()
	err = a.d.copyFile(dst, src, e.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %s became shorter", ErrMismatch, from)
	}
	if err == nil {
		err = a.verify(ctx, dst, e)
	}
	if err == nil {
		err = a.finish(dst, name, e)
	}
	if err != nil {
		_ = a.d.remove(a.stage, name)
		if errors.Is(err, ErrMismatch) {
			return 0, err
		}
		return 0, wrap(err, "", "cannot stage %s", e.Path)
	}
	return e.Size, nil
}

// Open opens a file of the destination, as it is before the landing, for
// reading, and returns its size in bytes.
func (a *Area) Open(path string) (*os.File, int64, error) {
	f, info, err := a.openOwn(path)
	return f, info.Size, err
}

// openOwn opens a file of the destination for reading.
func (a *Area) openOwn(path string) (*os.File, fsys.Info, error) {
	if path == "" {
		return nil, fsys.Info{}, fsys.ErrNotRegular
	}
	if err := checkPath(path); err != nil {
		return nil, fsys.Info{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	dir, leaf, err := a.look.Parent(path)
	if err != nil {
		return nil, fsys.Info{}, err
	}
	return dir.OpenFile(leaf)
}

// StagedComplete reports whether an earlier run has staged the whole content
// of e, which it reads to know, and then gives it the attributes of e.
func (a *Area) StagedComplete(ctx context.Context, e *manifest.Entry) bool {
	if a.stage == nil || !a.leftover {
		return false
	}
	name := fileName(e.Path)
	if info, err := a.stage.Lstat(name); err != nil || info.Type != manifest.File || info.Size != e.Size {
		return false
	}
	f, _, err := a.reopen(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return a.verify(ctx, f, e) == nil && a.finish(f, name, e) == nil
}

// verify reads all of f and compares it with the digest of e.
func (a *Area) verify(ctx context.Context, f *os.File, e *manifest.Entry) error {
	buf, ok := a.bufs.Get().(*[]byte)
	if !ok {
		b := make([]byte, 2*digest.BlockSize)
		buf = &b
	}
	defer a.bufs.Put(buf)
	sum, size, err := digest.SumReader(&ctxReader{ctx, io.NewSectionReader(f, 0, e.Size+1)}, *buf)
	if err != nil {
		return err
	}
	if size != e.Size || sum != e.Digest {
		return fmt.Errorf("%w: not the content of %s", ErrMismatch, e.Path)
	}
	return nil
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
