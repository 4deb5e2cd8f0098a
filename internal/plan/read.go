package plan

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
)

// Tag condenses the state of a file into the number that span requests carry:
// a sender that finds another tag no longer has the span.
func Tag(s manifest.Stat) uint64 {
	var b [48]byte
	for i, v := range []uint64{uint64(s.Size), uint64(s.Sec), uint64(s.Nsec), uint64(s.CSec), uint64(s.CNsec), s.Ino} {
		binary.BigEndian.PutUint64(b[8*i:], v)
	}
	d := digest.Sum(b[:])
	return binary.BigEndian.Uint64(d[:])
}

// open opens f's file and checks that it is the one that was found.
func (s *sender) open(f *found) (*os.File, error) {
	dir, leaf, err := s.tree.Parent(f.Path)
	if err != nil {
		return nil, err
	}
	file, info, err := dir.OpenFile(leaf)
	if err != nil {
		return nil, err
	}
	if scan.StatOf(info) != f.Stat {
		_ = file.Close()
		return nil, errChanged
	}
	return file, nil
}

// same reports whether the file at f's path still is as it was found.
func (s *sender) same(f *found) error {
	dir, leaf, err := s.tree.Parent(f.Path)
	if err != nil {
		return err
	}
	info, err := dir.Lstat(leaf)
	if err != nil {
		return err
	}
	if scan.StatOf(info) != f.Stat {
		return errChanged
	}
	return nil
}

// restat takes the file's present state as the one to send.
func (s *sender) restat(f *found, rec *manifest.Record) bool {
	dir, leaf, err := s.tree.Parent(f.Path)
	if err != nil {
		return false
	}
	info, err := dir.Lstat(leaf)
	if err != nil || info.Type != manifest.File {
		return false
	}
	f.Stat, f.Known, f.calm, f.trust = scan.StatOf(info), false, false, false
	rec.Size, rec.Sec, rec.Nsec, rec.Mode = info.Size, info.Sec, info.Nsec, info.Mode
	rec.UID, rec.GID = info.UID, info.GID
	return true
}

// read1 reads the file once and decides how its content is made.
func (s *sender) read1(ctx context.Context, f *found, rec *manifest.Record, old *manifest.Entry) (Content, error) {
	began := time.Now()
	if rec.Size <= PackMax {
		c, err := s.small(ctx, f, rec, old)
		if err == nil {
			s.trusts(f, rec, began)
		}
		return c, err
	}
	file, err := s.open(f)
	if err != nil {
		return Content{}, err
	}
	defer func() { _ = file.Close() }()
	c, err := s.large(ctx, f, rec, old, file)
	if err == nil {
		s.trusts(f, rec, began)
	}
	return c, err
}

// trusts notes whether what was read from began on may be remembered.
func (s *sender) trusts(f *found, rec *manifest.Record, began time.Time) {
	if f.trust = !scan.Trust(f.Stat, began, s.fine).IsZero(); f.trust {
		s.Digests.note(f.Stat, rec.Digest)
	}
}

func (s *sender) small(ctx context.Context, f *found, rec *manifest.Record, old *manifest.Entry) (Content, error) {
	if cap(s.buf) < digest.SpanSize {
		s.buf = make([]byte, digest.SpanSize)
	}
	dir, leaf, err := s.tree.Parent(f.Path)
	if err != nil {
		return Content{}, err
	}
	data := s.buf[:rec.Size]
	n, info, err := dir.ReadSmall(leaf, data)
	switch {
	case err != nil:
		return Content{}, err
	case n != len(data) || scan.StatOf(info) != f.Stat:
		return Content{}, errChanged
	}
	s.read += rec.Size
	if !f.Known { // otherwise its Stat, which it still has, stands for its content
		rec.Digest = digest.Sum(data)
	}
	if old != nil && manifest.SameContent(old, &rec.Entry) {
		return Content{}, nil
	}
	if len(data) <= inlineMax {
		return Content{Way: Inline, Data: data}, nil
	}
	if from, ok := s.lookUp(ctx, rec.Digest, rec.Size); ok {
		return Content{Way: Copy, From: from}, nil
	}
	if s.patched(ctx, old, rec.Size) {
		return s.later(f, rec), nil
	}
	seq, off, err := s.packs.add(ctx, f.Path, data)
	return Content{Way: Packed, Pack: seq, Offset: off}, fatal(err)
}

func (s *sender) large(ctx context.Context, f *found, rec *manifest.Record, old *manifest.Entry, file *os.File) (Content, error) {
	// A file of a size that the receiver has is read first: it may be there
	// already, changed in nothing but its times or name.
	wait := s.patched(ctx, old, rec.Size)
	if !f.Known && (wait || old != nil && old.Size == rec.Size || s.copiesOf(ctx).hasSize(rec.Size)) {
		sum, err := s.hash(ctx, f, file)
		if err != nil {
			return Content{}, err
		}
		rec.Digest = sum
		if old != nil && manifest.SameContent(old, &rec.Entry) {
			return Content{}, nil
		}
		if from, ok := s.lookUp(ctx, sum, rec.Size); ok {
			return Content{Way: Copy, From: from}, nil
		}
		if wait {
			return s.later(f, rec), nil
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return Content{}, err
		}
	}
	return s.spans(ctx, f, rec, file)
}

// progress is called while a large file is read, so that the receiver sees
// counters rise and gets segments in time.
func (s *sender) progress(ctx context.Context, n int) error {
	s.read += int64(n)
	if err := ctx.Err(); err != nil {
		return err
	}
	return fatal(s.turn())
}

func (s *sender) hash(ctx context.Context, f *found, file *os.File) (digest.Digest, error) {
	sum, n, err := digest.SumReader(&watched{s: s, ctx: ctx, r: file}, nil)
	if err != nil {
		return sum, err
	}
	if n != f.Stat.Size {
		return sum, errChanged
	}
	return sum, s.same(f)
}

type watched struct {
	s   *sender
	ctx context.Context
	r   io.Reader
	n   int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.n += n; w.n >= digest.SpanSize {
		if err := w.s.progress(w.ctx, w.n); err != nil {
			return n, err
		}
		w.n = 0
	}
	return n, err
}

// spans announces the file span by span as it is read.
func (s *sender) spans(ctx context.Context, f *found, rec *manifest.Record, file *os.File) (Content, error) {
	if cap(s.buf) < digest.SpanSize {
		s.buf = make([]byte, digest.SpanSize)
	}
	var (
		tree   digest.Tree
		only   digest.Digest
		note   SpanNote
		single = rec.Size <= digest.SpanSize
	)
	send := func() {
		if len(note.Objects) > 0 {
			s.enc.Append(&manifest.Record{Op: manifest.Note, Entry: manifest.Entry{Path: f.Path}, Ext: note.marshal()})
		}
		note = SpanNote{Path: f.Path, Size: rec.Size, Tag: Tag(f.Stat)}
	}
	send()
	for off := int64(0); off < rec.Size; off += digest.SpanSize {
		data := s.buf[:min(digest.SpanSize, rec.Size-off)]
		if _, err := io.ReadFull(file, data); err != nil {
			return Content{}, errChanged
		}
		// What is announced must be what the tag stands for.
		if err := s.same(f); err != nil {
			return Content{}, err
		}
		o := digest.NewSpan(data, off, single)
		if len(note.Objects) == 0 {
			note.Weight = s.weigh(data)
		}
		note.Objects = append(note.Objects, o)
		tree.PushSpan(o.ID, o.NumBlocks())
		only = o.ID
		s.pending += o.Size
		if len(note.Objects) == spansPerNote || s.pending >= 4<<20 || off+digest.SpanSize >= rec.Size {
			send()
		}
		if err := s.progress(ctx, len(data)); err != nil {
			return Content{}, err
		}
	}
	rec.Digest = only
	if !single {
		rec.Digest = tree.Root()
	}
	return Content{Way: Spans}, nil
}

// weigh estimates the wire bytes that 100 bytes of data will cost.
func (s *sender) weigh(data []byte) uint8 {
	sample := data[:min(len(data), 64<<10)]
	out := s.packs.sample().EncodeAll(sample, nil)
	return uint8(min(100, max(1, 100*len(out)/len(sample))))
}
