package job

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/plan"
)

// remakeAll makes the files of a patch that has arrived.
func (c *content) remakeAll(r io.ReaderAt, size int64) {
	defer c.wg.Done()
	c.unpack <- struct{}{}
	defer func() { <-c.unpack }()
	m := remaker{c: c, literal: size}
	switch err := m.run(r, size); {
	case m.disk != nil:
		c.fail(m.disk)
	case err != nil && c.ctx.Err() == nil:
		c.unpatch(err)
	}
}

// remaker makes files by a patch.
type remaker struct {
	c       *content
	head    *patch.Head
	windows []window
	r       io.ReaderAt
	applier *patch.Applier
	literal int64 // bytes of the patch that are not yet counted
	disk    error // of this side, which ends the attempt
}

// window is where the encoding of one stands in a patch.
type window struct{ off, size int64 }

func (m *remaker) run(r io.ReaderAt, size int64) error {
	m.r = r
	if err := m.open(size); err != nil {
		return err
	}
	c := m.c
	m.applier = patch.NewApplier(m.head, func(path string) (patch.Source, error) {
		f, _, err := c.older(path)
		return f, err
	})
	defer m.applier.Close()
	p := &c.patched
	byPath := make(map[string]*member, len(p.members))
	for i := range p.members {
		byPath[p.members[i].entry.Path] = &p.members[i]
	}
	made := map[digest.Digest]int{}
	for i := range m.head.Targets {
		f := byPath[m.head.Targets[i].Path]
		if f == nil {
			continue // it was staged before
		}
		if err := m.make(c.ctx, i, f); err != nil {
			return err
		}
		made[f.entry.Digest] = i
	}
	// What is in the new tree twice is in the patch once.
	for i := range p.members {
		f := &p.members[i]
		if f.ready == nil {
			continue
		}
		at, ok := made[f.entry.Digest]
		if !ok {
			return fmt.Errorf("it does not make %s", f.entry.Path)
		}
		if err := m.make(c.ctx, at, f); err != nil {
			return err
		}
	}
	c.wrote(p.bytes - p.counted)
	return nil
}

// open reads the patch's table of contents.
func (m *remaker) open(size int64) error {
	at := int64(0)
	length := func(most int64) (int64, error) {
		var b [binary.MaxVarintLen64]byte
		n, err := m.r.ReadAt(b[:min(int64(len(b)), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		v, k := binary.Uvarint(b[:n])
		if k <= 0 || v > uint64(most) || int64(v) > size-at-int64(k) {
			return 0, patch.ErrFormat
		}
		at += int64(k)
		return int64(v), nil
	}
	n, err := length(patch.MaxHead)
	if err != nil {
		return err
	}
	head := make([]byte, n)
	if _, err := m.r.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	at += n
	if m.head, err = patch.ParseHead(head); err != nil {
		return err
	}
	for range m.head.Windows {
		if n, err = length(patch.MaxCoded); err != nil {
			return err
		}
		m.windows = append(m.windows, window{at, n})
		at += n
	}
	if at != size {
		return patch.ErrFormat
	}
	return nil
}

func (m *remaker) window(_ context.Context, i int) ([]byte, error) {
	w := m.windows[i]
	b := make([]byte, w.size)
	if _, err := m.r.ReadAt(b, w.off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// make makes the file f, which is target i.
func (m *remaker) make(ctx context.Context, i int, f *member) error {
	e, area := &f.entry, m.c.j.area
	if m.head.Targets[i].Size != e.Size {
		return fmt.Errorf("it makes another %s", e.Path)
	}
	if e.Size <= plan.PackMax {
		var buf bytes.Buffer
		if err := m.target(ctx, i, f, &buf); err != nil {
			return err
		}
		return m.done(f, area.StageBytes(e, buf.Bytes()))
	}
	staged, err := area.Stage(e.Path, e.Size)
	if err != nil {
		return m.done(f, err)
	}
	w := &stagedWriter{s: staged}
	if err := m.target(ctx, i, f, w); err != nil {
		_ = staged.Close()
		m.disk = w.err
		return err
	}
	return m.done(f, staged.Finish(e))
}

// target writes what f should be.
func (m *remaker) target(ctx context.Context, i int, f *member, w io.Writer) error {
	d, err := m.applier.Target(ctx, i, m.window, w)
	if err == nil && d != f.entry.Digest {
		err = fmt.Errorf("it makes another %s", f.entry.Path)
	}
	return err
}

// done counts a file that was staged.
func (m *remaker) done(f *member, err error) error {
	if err == nil {
		err = f.ready()
	}
	if err != nil {
		m.disk = err
		return err
	}
	f.ready = nil
	c := m.c
	crossed := min(f.entry.Size, m.literal)
	m.literal -= crossed
	c.literal.Add(crossed)
	c.reused.Add(f.entry.Size - crossed)
	c.filesDone.Add(1)
	return nil
}

// stagedWriter writes a staged file from its beginning.
type stagedWriter struct {
	s   *land.Staged
	at  int64
	err error
}

func (w *stagedWriter) Write(b []byte) (int, error) {
	n, err := w.s.WriteAt(b, w.at)
	w.at += int64(n)
	w.err = err
	return n, err
}
