package patch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sort"

	"github.com/ropeway/ropeway/internal/delta/bytediff"
	"github.com/ropeway/ropeway/internal/delta/container"
	"github.com/ropeway/ropeway/internal/digest"
)

// Applier carries out a patch. Its methods are not safe for concurrent use.
type Applier struct {
	head  *Head
	pool  *pool
	left  *space
	at    []int64   // where each window begins in the fresh stream
	from  []int64   // and each target
	block []byte    // scratch
	bufs  [2][]byte // of the last window: base, content
	last  struct {
		window  int
		content []byte
	}
}

// NewApplier returns an Applier of the patch that h heads. open opens files of
// the old tree, which must not change, and stay, until Close.
func NewApplier(h *Head, open func(path string) (Source, error)) *Applier {
	a := &Applier{head: h, pool: newPool(open), block: make([]byte, digest.BlockSize)}
	a.last.window = -1
	at := int64(0)
	for _, w := range h.Windows {
		a.at = append(a.at, at)
		at += w
	}
	at = 0
	for _, t := range h.Targets {
		a.from = append(a.from, at)
		at += t.Fresh
	}
	return a
}

// Close closes the files that are open.
func (a *Applier) Close() { a.pool.close() }

// leftovers finds out what the old files have left.
func (a *Applier) leftovers(ctx context.Context) error {
	if a.left != nil {
		return nil
	}
	s := &space{}
	for i := range a.head.Origins {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := &a.head.Origins[i]
		r := a.pool.file(o.Path)
		if o.plain {
			s.addPlain(o.Path, r, o.Size)
			continue
		}
		recipe := o.recipe
		if o.user >= 0 {
			recipe = a.head.Targets[o.user].recipe
		}
		l, err := container.Parse(r, o.Size)
		if err != nil {
			return &MismatchError{Window: -1, Path: o.Path, Base: true, Err: err}
		}
		units, err := container.Spare(recipe, l)
		if err != nil {
			return &MismatchError{Window: -1, Path: o.Path, Base: true, Err: err}
		}
		if sizeOf(units) != o.Left {
			return &MismatchError{Window: -1, Path: o.Path, Base: true}
		}
		s.add(o.Path, r, units)
	}
	a.left = s
	return nil
}

// Window returns the content of window i, whose encoding coded is: right, or an
// error. A *MismatchError says which old file is another than it was, if that is
// why. The content is valid until the next call.
func (a *Applier) Window(ctx context.Context, i int, coded []byte) ([]byte, error) {
	if i < 0 || i >= len(a.head.Windows) {
		return nil, ErrFormat
	}
	if err := a.leftovers(ctx); err != nil {
		return nil, err
	}
	a.last.window, a.last.content = -1, nil // its memory is used again
	w, err := parseWindow(coded, a.left.size)
	if err != nil {
		return nil, err
	}
	base, err := a.left.load(ctx, a.bufs[0], w.extents)
	if err != nil {
		var failed *readError
		if errors.As(err, &failed) {
			return nil, &MismatchError{Window: i, Path: failed.path, Base: true, Err: failed.err}
		}
		return nil, err
	}
	a.bufs[0] = base
	if sum := digest.Sum(base); len(w.extents) > 0 && !bytes.Equal(sum[:baseCheck], w.base) {
		return nil, a.blame(ctx, i, w.extents)
	}
	content, err := bytediff.Apply(a.bufs[1], base, w.diff, int(a.head.Windows[i]))
	if err != nil {
		return nil, ErrFormat
	}
	a.bufs[1] = content
	if sum := digest.Sum(content); !bytes.Equal(sum[:contentCheck], w.content) {
		return nil, &MismatchError{Window: i}
	}
	a.last.window, a.last.content = i, content
	return content, nil
}

// blame finds the old file that is not what it was, of those that the extents
// lie in.
func (a *Applier) blame(ctx context.Context, window int, extents []extent) error {
	last := -1
	for _, e := range extents {
		for f := a.left.fileAt(e.off); f <= a.left.fileAt(e.off+e.n-1); f++ {
			if f == last {
				continue
			}
			last = f
			o := &a.head.Origins[f]
			if err := ctx.Err(); err != nil {
				return err
			}
			d, n, err := digest.SumReader(io.NewSectionReader(a.pool.file(o.Path), 0, o.Size+1), nil)
			if err != nil || n != o.Size || !bytes.Equal(d[:originCheck], o.check[:originCheck]) {
				return &MismatchError{Window: window, Path: o.Path, Base: true, Err: err}
			}
		}
	}
	return &MismatchError{Window: window, Base: true}
}

// Windows yields the encoding of window i, which is asked for in ascending
// order, some more than once and some not at all.
type Windows func(ctx context.Context, i int) ([]byte, error)

// Target writes the content of target i to w: all of it and right, or an
// error. It asks for the windows that it needs, but for the last one that the
// target before needed.
func (a *Applier) Target(ctx context.Context, i int, windows Windows, w io.Writer) (digest.Digest, error) {
	t := &a.head.Targets[i]
	fresh := &freshReader{a: a, ctx: ctx, windows: windows, at: a.from[i], end: a.from[i] + t.Fresh}
	fresh.window = max(0, sort.Search(len(a.at), func(i int) bool { return a.at[i] > fresh.at })-1)
	sum := newSummer(w, t.Size, a.block)
	err := a.rebuild(t, fresh, sum)
	if fresh.err != nil {
		err = fresh.err
	}
	switch {
	case sum.err != nil:
		return digest.Digest{}, sum.err
	case ctx.Err() != nil:
		return digest.Digest{}, ctx.Err()
	case err != nil:
		return digest.Digest{}, a.failed(t, err)
	}
	d := sum.digest()
	if sum.n != t.Size || !t.Check(d) {
		return d, a.failed(t, nil)
	}
	return d, nil
}

// rebuild writes a target's content. What an opened one is made of may be wrong
// in any way.
func (a *Applier) rebuild(t *Target, fresh *freshReader, w io.Writer) error {
	if t.plain {
		_, err := fresh.WriteTo(w)
		return err
	}
	var file io.ReaderAt = empty{}
	size := int64(0)
	if t.base >= 0 {
		o := &a.head.Origins[t.base]
		file, size = a.pool.file(o.Path), o.Size
	}
	old, err := container.Parse(file, size)
	if err != nil {
		return err
	}
	return container.Rebuild(t.recipe, old, fresh, w)
}

// failed says why a target came out wrong: because of its base, if that is
// another than it was.
func (a *Applier) failed(t *Target, err error) error {
	var known *MismatchError
	if errors.As(err, &known) || errors.Is(err, ErrFormat) || errors.Is(err, errSource) {
		return err
	}
	if t.base >= 0 {
		o := &a.head.Origins[t.base]
		d, n, e := digest.SumReader(io.NewSectionReader(a.pool.file(o.Path), 0, o.Size+1), nil)
		if e != nil || n != o.Size || !bytes.Equal(d[:originCheck], o.check[:originCheck]) {
			return &MismatchError{Window: -1, Path: o.Path, Base: true, Err: e}
		}
	}
	return &MismatchError{Window: -1, Path: t.Path, Err: err}
}

// errSource marks errors of getting windows.
var errSource = errors.New("window")

type sourceError struct{ err error }

func (e *sourceError) Error() string        { return e.err.Error() }
func (e *sourceError) Unwrap() error        { return e.err }
func (e *sourceError) Is(target error) bool { return target == errSource }

// freshReader reads a range of the fresh stream, window by window.
type freshReader struct {
	a       *Applier
	ctx     context.Context
	windows Windows
	at, end int64
	window  int
	err     error
}

// next returns what of the range is at hand, io.EOF at its end.
func (r *freshReader) next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.at >= r.end {
		return nil, io.EOF
	}
	a := r.a
	for r.window < len(a.at) && a.at[r.window]+a.head.Windows[r.window] <= r.at {
		r.window++
	}
	if a.last.window != r.window {
		coded, err := r.windows(r.ctx, r.window)
		if err != nil {
			r.err = &sourceError{err}
			return nil, r.err
		}
		if _, r.err = a.Window(r.ctx, r.window, coded); r.err != nil {
			return nil, r.err
		}
	}
	b := a.last.content[r.at-a.at[r.window]:]
	return b[:min(int64(len(b)), r.end-r.at)], nil
}

func (r *freshReader) Read(b []byte) (int, error) {
	have, err := r.next()
	n := copy(b, have)
	r.at += int64(n)
	return n, err
}

// WriteTo writes all of the range, a MiB at most at once.
func (r *freshReader) WriteTo(w io.Writer) (int64, error) {
	sum := int64(0)
	for {
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		n, err := w.Write(b[:min(len(b), 1<<20)])
		r.at, sum = r.at+int64(n), sum+int64(n)
		if err != nil {
			return sum, err
		}
	}
}

// summer writes what is written to it, and no more than it should be, and
// digests it.
type summer struct {
	w      io.Writer
	left   int64
	n      int64
	tree   *digest.Tree
	buf    []byte // of the block under way
	blocks int64  // before it
	err    error  // of w
}

var errTooLong = errors.New("it is longer than it should be")

// newSummer returns a summer for size bytes, with scratch space of a block.
func newSummer(w io.Writer, size int64, buf []byte) *summer {
	return &summer{w: w, left: size, tree: digest.NewTree(), buf: buf[:0]}
}

func (s *summer) Write(b []byte) (int, error) {
	if int64(len(b)) > s.left {
		return 0, errTooLong
	}
	s.left -= int64(len(b))
	for rest := b; len(rest) > 0; {
		if len(s.buf) == cap(s.buf) { // more follows: it is not the only one
			s.push()
		}
		n := copy(s.buf[len(s.buf):cap(s.buf)], rest)
		s.buf, rest = s.buf[:len(s.buf)+n], rest[n:]
	}
	n, err := s.w.Write(b)
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *summer) push() {
	s.tree.PushBlock(digest.BlockCV(s.buf, s.blocks))
	s.buf, s.blocks = s.buf[:0], s.blocks+1
}

func (s *summer) digest() digest.Digest {
	if s.blocks == 0 {
		return digest.Sum(s.buf)
	}
	s.push()
	return s.tree.Root()
}
