package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// OpenBase opens the list of what the receiver holds, in canonical order; a
// nil Source means nothing. It may be called twice. It blocks until the
// receiver has said what it holds.
type OpenBase func(ctx context.Context) (src manifest.Source, done func(), err error)

// Sender makes one plan. All callbacks are called from one goroutine at a time.
type Sender struct {
	// Scan is read from its start; an interest in it passes to the sender.
	Scan *Scan
	Base OpenBase
	// HeldTree is the tree that the base is, zero if not known. If the scan's
	// index lists it, nothing has to be compared as long as the walk finds
	// nothing new.
	HeldTree digest.Digest

	// Patcher, if set, makes the plan's patch. Base may set it when it is first
	// called.
	Patcher Patcher

	OmitRoot bool // the root's own attributes do not matter
	Fast     bool // the link outruns compression: little of it

	// Lists is called before the first entry that the scan's index does not
	// have as it is: nothing has to be written of a tree that is as listed.
	// list receives every entry of the tree, for later use as a base; index
	// every entry with its Stat, for the next scan, zero Stat when the digest
	// must not be trusted, and records set aside. Either may be nil.
	Lists func() (list, index func(*manifest.Record) error, err error)
	// Digests remembers what files were found to hold; nil: nothing does.
	Digests *Digests
	// Store keeps a derived object, durably, before it is announced.
	Store func(ctx context.Context, id digest.Digest, data []byte) error
	// Emit sends a compressed segment.
	Emit func(body []byte) error
	// Work reports rising counters of what is being done.
	Work func(stage string, files, bytes int64)
	// Warn tells the receiver of a path that is left as it holds it.
	Warn func(path, text string)
}

// keepFor bounds how long a record waits in an unfinished segment.
const keepFor = 250 * time.Millisecond

type sender struct {
	*Sender
	from    *Tree
	mask    manifest.Mask
	tree    *fsys.Tree
	base    *manifest.Cursor
	trail   trail
	enc     manifest.Encoder
	comp    *manifest.Compressor
	copies  *copies
	packs   packs
	end     wire.End
	partial bool
	fine    bool
	flushed time.Time
	pending int64 // bytes of content announced since the last flush
	cut     string
	cutting bool
	files   int64
	read    int64
	buf     []byte
	quiet   bool  // everything found so far is as the receiver holds it
	calm    int64 // how many that is

	patching patching
}

// Result is what came of a plan.
type Result struct {
	wire.End
	// Same says that the tree is as the scan's index lists it: Lists was not
	// called.
	Same bool
}

// Run makes the plan and returns its end. Nothing is deleted on the word of a
// plan whose End says Partial.
func (p *Sender) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	walk := p.Scan.read()
	defer walk.close()
	from, err := p.Scan.opened(ctx)
	if err != nil {
		return Result{}, err
	}
	s := &sender{
		Sender: p, from: from, mask: from.Mask, tree: fsys.NewTree(from.Root),
		comp: manifest.NewCompressor(), fine: from.Root.FineTimes(), flushed: time.Now(),
		quiet: from.Listed != nil && !p.HeldTree.IsZero() && p.HeldTree == from.Listed.Tree,
	}
	defer s.tree.Close()
	s.trail.init(p, from)
	src, done, err := p.Base(ctx)
	if err != nil {
		return Result{}, err
	}
	defer done()
	s.base = manifest.NewCursor(src)
	s.packs.init(ctx, p.Store)
	s.patching.Patcher = p.Patcher
	if p.Fast {
		s.packs.level = zstd.SpeedFastest
		s.comp = manifest.NewFastCompressor()
	}
	defer s.packs.stop()
	if err := s.run(ctx, walk); err != nil {
		return Result{}, err
	}
	if s.quiet {
		s.trail.calm = s.calm
	}
	same, err := s.trail.finish(&s.end)
	if err != nil {
		return Result{}, err
	}
	s.end.Partial = s.partial
	s.end.Skipped = p.Scan.skippedCount()
	return Result{s.end, same}, nil
}

func (s *sender) run(ctx context.Context, walk *scanReader) error {
	for {
		batch, err := walk.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if s.quiet {
			if s.asRemembered(batch) {
				s.Work("scan", s.files, s.read)
				continue
			}
			if err := s.replay(ctx); err != nil {
				return err
			}
		}
		for _, w := range batch.warns {
			s.partial = s.partial || !w.vanished
			s.Warn(w.path, w.text)
		}
		for i := range batch.found {
			f := batch.found[i] // the batch is not ours alone
			f.calm = batch.calm
			if f.hidden {
				err = s.trail.hidden(&f.Record)
			} else {
				err = s.visit(ctx, &f)
			}
			if err != nil {
				return err
			}
		}
		if err := s.turn(); err != nil {
			return err
		}
	}
	if s.quiet {
		if s.calm == s.from.Listed.Count {
			return nil
		}
		if err := s.replay(ctx); err != nil {
			return err
		}
	}
	// Whatever the receiver holds beyond the last entry is gone.
	for {
		b, err := s.base.Peek()
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		s.gone(b)
		if err := s.turn(); err != nil {
			return err
		}
	}
	if err := s.packs.finish(inlineBudget); err != nil {
		return err
	}
	for {
		n, err := s.packs.wait(ctx)
		if err != nil {
			return err
		}
		if n == nil {
			break
		}
		s.note(n)
	}
	if err := s.patch(ctx); err != nil {
		return err
	}
	return s.flush()
}

// asRemembered counts a batch that brings nothing new.
func (s *sender) asRemembered(b *batch) bool {
	if !b.calm {
		return false
	}
	s.calm += int64(len(b.found))
	s.files += int64(len(b.found))
	for i := range b.found {
		if f := &b.found[i]; f.Type == manifest.File {
			s.end.Files++
			s.end.Bytes += f.Size
		}
	}
	return true
}

// replay takes up the entries that were only counted, now that something is
// not as remembered.
func (s *sender) replay(ctx context.Context) error {
	s.quiet = false
	s.end.Files, s.end.Bytes, s.files = 0, 0, 0
	src, err := s.from.Again()
	if err != nil {
		return err
	}
	for ; s.calm > 0; s.calm-- {
		var f found
		if err := src.Next(&f.Record); err != nil {
			return err
		}
		f.Known, f.calm, f.trust = true, true, true
		if err := s.visit(ctx, &f); err != nil {
			return err
		}
	}
	return nil
}

// turn does what is due between entries: finished packs are announced, a full
// or old segment is sent.
func (s *sender) turn() error {
	if err := s.announce(); err != nil {
		return err
	}
	s.Work("scan", s.files, s.read)
	if s.enc.Len() >= 256<<10 || s.pending >= 4<<20 || s.enc.Count() > 0 && time.Since(s.flushed) >= keepFor {
		return s.flush()
	}
	return nil
}

// announce notes the packs that are ready.
func (s *sender) announce() error {
	for {
		n, err := s.packs.poll()
		if n == nil || err != nil {
			return err
		}
		s.note(n)
	}
}

func (s *sender) flush() error {
	s.flushed, s.pending = time.Now(), 0
	if s.enc.Count() == 0 {
		return nil
	}
	s.end.Segments++
	return s.Emit(s.comp.Pack(nil, s.enc.Take()))
}

func (s *sender) note(n *PackNote) {
	s.enc.Append(&manifest.Record{Op: manifest.Note, Ext: n.marshal()})
	s.pending += n.Object.Size
}

// gone records that b, and what lies below it, is not in the tree.
func (s *sender) gone(b *manifest.Record) {
	if !s.cutting || !manifest.Within(b.Path, s.cut) {
		s.enc.Append(&manifest.Record{Op: manifest.Del, Entry: manifest.Entry{Path: b.Path}})
		s.cut, s.cutting = strings.Clone(b.Path), true
	}
	s.leftover(&b.Entry)
	s.base.Take()
}

// held returns what the receiver has at path, having passed all that comes
// before it.
func (s *sender) held(path string) (*manifest.Record, error) {
	for {
		b, err := s.base.Peek()
		if b == nil || err != nil {
			return nil, err
		}
		switch c := manifest.Compare(b.Path, path); {
		case c > 0:
			return nil, nil
		case c == 0:
			return b, nil
		}
		s.gone(b)
	}
}

func (s *sender) visit(ctx context.Context, f *found) error {
	s.files++
	old, err := s.held(f.Path)
	if err != nil {
		return err
	}
	if old != nil && s.cutting && manifest.Within(old.Path, s.cut) {
		// Its directory was replaced, so the receiver will not have it any more.
		s.leftover(&old.Entry)
		s.base.Take()
		old = nil
	}
	if f.Path == "" && s.OmitRoot {
		f.Mode, f.Sec, f.Nsec, f.UID, f.GID, f.User, f.Group = 0o755, 0, 0, 0, 0, "", ""
	}
	rec := manifest.Record{Entry: f.Entry}
	var oldEntry *manifest.Entry
	if old != nil {
		e := old.Entry
		oldEntry = &e
		s.base.Take()
	}
	keep := false
	if f.Type == manifest.File {
		var c Content
		c, keep, err = s.file(ctx, f, &rec, oldEntry)
		if err != nil {
			return err
		}
		if keep && oldEntry == nil {
			return nil // it never could be read: there is nothing to say of it
		}
		rec.Ext = c.marshal()
	}
	if keep {
		rec = manifest.Record{Entry: *oldEntry}
	}
	if oldEntry != nil && !manifest.SameContent(oldEntry, &rec.Entry) {
		s.leftover(oldEntry)
	}
	if oldEntry == nil || !manifest.SameContent(oldEntry, &rec.Entry) || !manifest.SameAttrs(oldEntry, &rec.Entry, s.mask) {
		s.enc.Append(&rec)
		if oldEntry != nil && oldEntry.Type == manifest.Dir && rec.Type != manifest.Dir {
			s.cut, s.cutting = rec.Path, true
			if err := s.skipBelow(rec.Path); err != nil {
				return err
			}
		}
	}
	rec.Ext = nil
	// Packs are announced after the last record that names them.
	if err := s.announce(); err != nil {
		return err
	}
	if rec.Type == manifest.File {
		s.end.Files++
		s.end.Bytes += rec.Size
	}
	if f.trust && !keep {
		rec.Stat = f.Stat
	}
	return s.trail.put(&rec, f.calm && !keep)
}

// skipBelow passes what the receiver has below a directory that is replaced.
func (s *sender) skipBelow(path string) error {
	for {
		b, err := s.base.Peek()
		if b == nil || err != nil || !manifest.Within(b.Path, path) {
			return err
		}
		s.leftover(&b.Entry)
		s.base.Take()
	}
}

// file decides how the content of a regular file is made and completes rec.
// keep is set when the file cannot be read as one state: what the receiver has
// then stays.
func (s *sender) file(ctx context.Context, f *found, rec *manifest.Record, old *manifest.Entry) (c Content, keep bool, err error) {
	if !f.Known {
		if d, ok := s.Digests.lookUp(f.Stat); ok {
			f.Known, f.trust, rec.Digest = true, true, d
		}
	}
	if f.Known {
		if old != nil && manifest.SameContent(old, &rec.Entry) {
			return Content{}, false, nil
		}
		if from, ok := s.lookUp(ctx, rec.Digest, rec.Size); ok {
			return Content{Way: Copy, From: from}, false, nil
		}
		if s.patched(ctx, old, rec.Size) {
			return s.later(f, rec), false, nil
		}
	}
	for range 3 {
		c, err = s.read1(ctx, f, rec, old)
		switch {
		case err == nil:
			return c, false, nil
		case !errors.Is(err, errChanged):
			if ctx.Err() != nil || errors.Is(err, errFatal) {
				return Content{}, false, err
			}
			s.partial = s.partial || !errors.Is(err, fs.ErrNotExist)
			s.Warn(f.Path, fsys.Plain(err))
			return Content{}, true, nil
		}
		if !s.restat(f, rec) {
			break
		}
	}
	s.Warn(f.Path, "changes while it is read; the old version is kept")
	return Content{}, true, nil
}

var (
	errChanged = errors.New("file changed while it was read")
	errFatal   = errors.New("plan cannot go on")
)

// fatal marks an error that is not about one file.
func fatal(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errFatal, err)
}
