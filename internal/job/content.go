package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/wire"
)

// content makes the files of one attempt: it asks for objects, and stages what
// they yield.
type content struct {
	j      *job
	packs  map[uint64]*pack // announced by records, not yet by a note; applier only
	cur    *spanFile        // whose spans are being announced; applier only
	open   chan struct{}    // bounds the staged files that are open
	unpack chan struct{}    // bounds the packs that are taken apart at once
	differ chan struct{}    // bounds the differences under way
	wg     sync.WaitGroup
	diffs  sync.WaitGroup  // differences under way: they may ask for more objects
	ctx    context.Context // of the attempt, which outlives the plan
	behind atomic.Int64    // bytes of the files whose spans wait for a difference

	total, done, literal, reused, moved atomic.Int64
	files, filesDone                    atomic.Int64
	need                                atomic.Int64 // bytes of disk still to be taken
	planned                             atomic.Bool  // the plan is whole: total is final

	patched patched

	mu   sync.Mutex // guards below
	gone []string   // paths whose objects the sender no longer had
	err  error      // first error of this side
	stop context.CancelCauseFunc
}

const (
	maxOpen   = 128
	maxUnpack = 2
	// maxGone bounds the remembered paths; more are only counted as one.
	maxGone = 10000
)

func (j *job) newContent(ctx context.Context, stop context.CancelCauseFunc) *content {
	return &content{
		j: j, packs: map[uint64]*pack{}, ctx: ctx, stop: stop,
		open: make(chan struct{}, maxOpen), unpack: make(chan struct{}, maxUnpack), differ: make(chan struct{}, maxDiffs),
	}
}

// fail ends the attempt with an error of this side.
func (c *content) fail(err error) {
	if fault.ClassOf(err) == fault.Other {
		err = fault.Wrap(fault.Other, err, "", "destination")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.stop(err)
	}
}

// lost notes a file whose content cannot be had; nothing of it may land.
func (c *content) lost(path string) {
	if err := c.j.area.Unstage(path); err != nil {
		c.fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gone) < maxGone {
		c.gone = append(c.gone, path)
	}
}

// wait returns once everything asked for is staged or lost.
func (c *content) wait() ([]string, error) {
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone, c.err
}

// preflight ends the job before the disk is full rather than after.
func (c *content) preflight() error {
	if c.j.o.DryRun {
		return nil
	}
	return c.j.area.Preflight(c.need.Load(), c.files.Load()-c.filesDone.Load())
}

// snapshot fills the counters of a progress event.
func (c *content) snapshot(p *event.Progress) {
	p.Total, p.Done = c.total.Load(), c.done.Load()
	p.FilesTotal, p.Files = c.files.Load(), c.filesDone.Load()
	p.Reused = c.reused.Load()
	p.Complete = c.planned.Load()
}

func (c *content) wrote(n int64) {
	c.done.Add(n)
	c.need.Add(-n)
}

// file makes the content of one file as the plan says.
// ready is called once it is staged.
func (c *content) file(ctx context.Context, e *manifest.Entry, how *plan.Content, ready func() error) error {
	if how.Way == plan.Spans { // counted when its first spans were announced
		f := c.cur
		if f == nil || f.path != e.Path {
			return fmt.Errorf("%q has no spans", e.Path)
		}
		c.cur = nil
		f.complete(e, ready)
		return nil
	}
	c.expect(e.Size)
	whole := func() {
		c.wrote(e.Size)
		c.filesDone.Add(1)
	}
	area := c.j.area
	if area.StagedComplete(ctx, e) {
		c.reused.Add(e.Size)
		whole()
		return ready()
	}
	switch how.Way {
	case plan.Inline:
		c.literal.Add(e.Size)
		if err := area.StageBytes(e, how.Data); err != nil {
			return err
		}
		whole()
		return ready()
	case plan.Copy:
		if _, err := area.StageCopy(ctx, e, how.From); err != nil {
			if errors.Is(err, land.ErrMismatch) {
				return errBase
			}
			return err
		}
		c.reused.Add(e.Size)
		c.moved.Add(1)
		whole()
		return ready()
	case plan.Packed:
		p := c.packs[how.Pack]
		if p == nil {
			p = &pack{}
			c.packs[how.Pack] = p
		}
		p.members = append(p.members, member{*e, how.Offset, ready})
		p.bytes += e.Size
	case plan.Patch:
		if c.j.patching() == wire.PatchNever {
			return fmt.Errorf("%q is in a patch that nobody asked for", e.Path)
		}
		c.patched.members = append(c.patched.members, member{*e, 0, ready})
		c.patched.bytes += e.Size
	}
	return nil
}

// expect counts a file that is to be made.
func (c *content) expect(size int64) {
	c.total.Add(size)
	c.need.Add(size)
	c.files.Add(1)
}

// spanFile is a file that is fetched span by span.
type spanFile struct {
	c      *content
	path   string
	size   int64
	staged *land.Staged
	mu     sync.Mutex
	entry  *manifest.Entry // once the record has come
	ready  func() error
	left   int // tasks under way, and one for the record
	lost   bool
	writes sync.RWMutex // held to write, or to set drop
	drop   bool         // nothing of it is written any more

	old  *os.File // the destination's version, to seed from; nil if there is none
	vain int      // its blocks in a row that were of no use; applier only

	waiting bool       // mu: for a difference, which comes before the spans
	pending []spanTask // mu: spans that were announced meanwhile
	made    bool       // a difference was applied; set before waiting is cleared
	fresh   int64      // bytes of it that crossed the link, as far as not counted; whoever asks
}

// spanTask is a span to ask for.
type spanTask struct {
	object  digest.Object
	locator string
	weight  float64
}

// spans asks for the spans of a note.
func (c *content) spans(ctx context.Context, n *plan.SpanNote) error {
	if c.j.o.DryRun {
		return nil
	}
	if n.Objects[0].Offset == 0 {
		if err := c.begin(ctx, n); err != nil {
			return err
		}
	}
	f := c.cur
	for i := range n.Objects {
		t := spanTask{object: n.Objects[i], weight: float64(n.Weight) / 100}
		t.locator = wire.SpanRef{Path: c.j.inModule(n.Path), Offset: t.object.Offset, Tag: n.Tag, Tagged: true}.Query()
		if n.Weight < 90 {
			t.locator = "z&" + t.locator
		} else {
			t.weight = 1
		}
		if f.wait(t) {
			continue
		}
		if err := f.ask(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for what is missing of a span.
func (f *spanFile) ask(ctx context.Context, t spanTask) error {
	c, o := f.c, t.object
	have, held, err := f.holds(&o)
	if err != nil {
		return err
	}
	if held > 0 {
		c.wrote(held)
		crossed := min(held, f.fresh)
		f.fresh -= crossed
		c.literal.Add(crossed)
		c.reused.Add(held - crossed)
	}
	if held == o.Size {
		return nil
	}
	f.add(1)
	err = c.j.pool.Add(ctx, fetch.Task{
		Object: o, Locator: t.locator, Weight: t.weight, Have: have,
		Write: func(b int, data []byte) error { return f.write(data, o.Offset+int64(b)*digest.BlockSize) },
		Done:  f.done,
	})
	if err != nil {
		f.done(err)
	}
	return err
}

// begin opens the staging of a file whose first spans are announced. The
// file's size counts from now on, as its record comes last.
func (c *content) begin(ctx context.Context, n *plan.SpanNote) error {
	if c.cur != nil {
		c.abandon(c.cur.path)
	}
	select {
	case c.open <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	staged, err := c.j.area.Stage(n.Path, n.Size)
	if err != nil {
		<-c.open
		return err
	}
	c.expect(n.Size)
	c.cur = &spanFile{c: c, path: n.Path, size: n.Size, staged: staged, left: 1}
	c.wg.Add(1)
	c.cur.compare(n)
	if !c.cur.waiting && !c.j.o.Whole {
		c.cur.seed()
	}
	return nil
}

// abandon gives up the spans of a file that the sender began anew, or never
// finished: it changed while it was read.
func (c *content) abandon(path string) {
	if f := c.cur; f != nil && f.path == path {
		c.cur = nil
		f.writes.Lock() // another file may be staged under the same path from now on
		f.drop = true
		f.writes.Unlock()
		f.done(nil)
	}
}

// giveUp abandons the file whose spans were being announced when the plan
// ended. The applier has returned.
func (c *content) giveUp() {
	if c.cur != nil {
		c.abandon(c.cur.path)
	}
}

// write stores a verified block.
func (f *spanFile) write(data []byte, off int64) error {
	f.writes.RLock()
	defer f.writes.RUnlock()
	if f.drop {
		return nil
	}
	if _, err := f.staged.WriteAt(data, off); err != nil {
		return err
	}
	f.c.wrote(int64(len(data)))
	f.c.literal.Add(int64(len(data)))
	return nil
}

// end gives up spans whose record will not come any more. The applier has ended.
func (c *content) end() {
	if f := c.cur; f != nil {
		c.abandon(f.path)
	}
}

func (f *spanFile) add(n int) {
	f.mu.Lock()
	f.left += n
	f.mu.Unlock()
}

func (f *spanFile) complete(e *manifest.Entry, ready func() error) {
	c := *e
	f.mu.Lock()
	f.entry, f.ready = &c, ready
	f.mu.Unlock()
	f.done(nil)
}

// done is called when a task ended, and when the record has come.
func (f *spanFile) done(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.lost = true
	}
	if f.left--; f.left > 0 {
		return
	}
	go f.finish()
}

func (f *spanFile) finish() {
	c := f.c
	defer c.wg.Done()
	defer func() { <-c.open }()
	f.reap()
	switch {
	case f.drop:
		_ = f.staged.Close()
	case f.lost || f.entry == nil:
		_ = f.staged.Close()
		c.lost(f.path)
	default:
		if err := f.staged.Finish(f.entry); err != nil {
			c.fail(err)
			return
		}
		if err := f.ready(); err != nil {
			c.fail(err)
			return
		}
		c.filesDone.Add(1)
	}
}

// present verifies the blocks of an object that an earlier run has staged.
func present(s *land.Staged, o *digest.Object, base int64) (have []bool, held int64, err error) {
	buf := []byte(nil)
	err = s.Ranges(func(start, end int64) error {
		start, end = max(start, base)-base, min(end, base+o.Size)-base
		for i := (start + digest.BlockSize - 1) / digest.BlockSize; i*digest.BlockSize < end; i++ {
			n := int64(o.BlockLen(int(i)))
			if i*digest.BlockSize+n > end {
				break
			}
			if buf == nil {
				buf = make([]byte, digest.BlockSize)
				have = make([]bool, o.NumBlocks())
			}
			if _, err := s.ReadAt(buf[:n], base+i*digest.BlockSize); err != nil {
				return err
			}
			if !have[i] && o.VerifyBlock(int(i), buf[:n]) {
				have[i] = true
				held += n
			}
		}
		return nil
	})
	return have, held, err
}

type member struct {
	entry  manifest.Entry
	offset int64
	ready  func() error
}

// pack is a pack and those of its members that are needed.
type pack struct {
	members []member
	bytes   int64
	counted int64
	note    *plan.PackNote
	staged  *land.Staged
}

// pack asks for an announced pack, if a member of it is needed.
func (c *content) pack(ctx context.Context, n *plan.PackNote) error {
	p := c.packs[n.Seq]
	delete(c.packs, n.Seq)
	if p == nil || c.j.o.DryRun {
		return nil
	}
	p.note = n
	if len(n.Data) > 0 {
		return c.take(p, bytes.NewReader(n.Data))
	}
	select {
	case c.open <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var err error
	if p.staged, err = c.j.area.Object(n.Object.ID, n.Object.Size); err != nil {
		<-c.open
		return err
	}
	have, held, err := present(p.staged, &n.Object, 0)
	if err != nil {
		<-c.open
		return err
	}
	c.share(p, held)
	c.wg.Add(1)
	switch {
	case held == n.Object.Size:
		go c.packed(p, nil)
	case held == 0 && c.comparable(p):
		c.diffs.Go(func() {
			if !c.remake(p) {
				_ = c.fetch(c.ctx, p, have)
			}
		})
	default:
		return c.fetch(ctx, p, have)
	}
	return nil
}

// fetch asks for a pack.
func (c *content) fetch(ctx context.Context, p *pack, have []bool) error {
	err := c.j.pool.Add(ctx, fetch.Task{
		Object: p.note.Object, Have: have,
		Write: func(b int, data []byte) error {
			if _, err := p.staged.WriteAt(data, int64(b)*digest.BlockSize); err != nil {
				return err
			}
			c.share(p, int64(len(data)))
			return nil
		},
		Done: func(err error) { go c.packed(p, err) },
	})
	if err != nil {
		go c.packed(p, err)
	}
	return err
}

// share counts n bytes of a pack as so much of its members.
func (c *content) share(p *pack, n int64) {
	part := min(p.bytes*n/p.note.Object.Size, p.bytes-p.counted)
	p.counted += part
	c.wrote(part)
}

// packed takes a pack apart once it has arrived.
func (c *content) packed(p *pack, err error) {
	defer c.wg.Done()
	defer func() { <-c.open }()
	if err != nil {
		_ = p.staged.Close()
		for i := range p.members {
			c.lost(p.members[i].entry.Path)
		}
		return
	}
	c.unpack <- struct{}{}
	defer func() { <-c.unpack }()
	if err := c.take(p, io.NewSectionReader(p.staged, 0, p.note.Object.Size)); err != nil {
		_ = p.staged.Close()
		c.fail(err)
		return
	}
	_ = p.staged.Discard()
}

// take stages the members of a pack in its stored form.
func (c *content) take(p *pack, r io.Reader) error {
	u := plan.NewUnpacker(r)
	defer u.Close()
	return c.members(p, u, p.bytes)
}

// members stages the members of a pack whose content r yields. crossed is how
// many bytes of it came over the link.
func (c *content) members(p *pack, u io.Reader, crossed int64) error {
	sort.Slice(p.members, func(a, b int) bool { return p.members[a].offset < p.members[b].offset })
	buf := make([]byte, plan.PackMax)
	at := int64(0)
	for i := range p.members {
		m := &p.members[i]
		if m.offset < at {
			return fault.New(fault.Integrity, "", "members of a pack overlap at %s", m.entry.Path)
		}
		if _, err := io.CopyN(io.Discard, u, m.offset-at); err != nil {
			return fault.Wrap(fault.Integrity, err, "", "pack")
		}
		data := buf[:m.entry.Size]
		if _, err := io.ReadFull(u, data); err != nil {
			return fault.Wrap(fault.Integrity, err, "", "pack")
		}
		at = m.offset + m.entry.Size
		if digest.Sum(data) != m.entry.Digest {
			return fault.New(fault.Integrity, "", "%s in a pack is not what the plan says", m.entry.Path)
		}
		if err := c.j.area.StageBytes(&m.entry, data); err != nil {
			return err
		}
		if err := m.ready(); err != nil {
			return err
		}
		lit := min(m.entry.Size, crossed)
		crossed -= lit
		c.literal.Add(lit)
		c.reused.Add(m.entry.Size - lit)
		c.filesDone.Add(1)
	}
	c.wrote(p.bytes - p.counted)
	return nil
}
