package job

import (
	"bytes"
	"context"
	"math"
	"os"
	"time"

	"github.com/ropeway/ropeway/internal/delta/twolevel"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/wire"
)

// A file of which the destination has an older version is made of that and of
// the difference to it, when the sender has seen only the older one's digest.
// What a difference yields is verified block by block like all content: the
// blocks that are not right, or all when no difference can be had, are asked
// for as ever.

const (
	// maxDiffs bounds the differences under way.
	maxDiffs = 4
	// minDiff is the size from which content is worth an exchange, in bytes.
	minDiff = 64 << 10
	// maxDiff bounds the files that wait for a difference: 32 MiB of digests.
	maxDiff = 64 << 30
	// maxOldPack bounds the older versions of a pack's files, in bytes.
	maxOldPack = 8 << 20
	// fastLink is the round trip below which a difference takes longer than what
	// it saves.
	fastLink = 2 * time.Millisecond
)

// compares reports whether differences are wanted.
func (c *content) compares() bool {
	o := &c.j.o
	switch {
	case o.Whole:
		return false
	case o.NoWhole:
		return true
	}
	return !c.j.fast()
}

// fast reports whether the link is so fast that the processor is what counts.
func (j *job) fast() bool {
	rtt := time.Duration(j.rtt.Load())
	return j.o.Local || rtt > 0 && rtt < fastLink
}

// older opens what the destination has at path.
func (c *content) older(path string) (*os.File, int64, error) {
	if manifest.InState(path) {
		return nil, 0, os.ErrNotExist
	}
	return c.j.area.Open(path)
}

// compare begins to get the difference to what the destination has of the
// file, if that may pay. Its spans then wait.
func (f *spanFile) compare(n *plan.SpanNote) {
	c := f.c
	if !c.compares() || f.size < minDiff || f.staged.Held() > f.size/4*3 {
		return
	}
	old, size, err := c.older(f.path)
	if err != nil {
		return
	}
	if size < max(minDiff, f.size/10) || twolevel.First(size) == 0 || f.size > twolevel.MaxSize || c.behind.Add(f.size) > maxDiff {
		_ = old.Close()
		return
	}
	f.waiting = true
	f.add(1)
	d := &difference{
		c: c, old: old, oldSize: size, size: f.size, block: twolevel.First(size), odds: twolevel.OddsFirst,
		weight: float64(n.Weight) / 100, write: f.draft,
	}
	d.ref.Span = wire.SpanRef{Path: c.j.inModule(f.path), Tag: n.Tag, Tagged: true}
	c.diffs.Go(func() {
		defer func() { _ = old.Close() }()
		if err := d.get(c.ctx); err != nil {
			c.j.o.Log("no difference for %s: %v", f.path, err)
		}
		f.compared(d)
	})
}

// draft writes what a difference yields. It is verified later.
func (f *spanFile) draft(p []byte, off int64) error {
	f.writes.RLock()
	defer f.writes.RUnlock()
	if f.drop {
		return nil
	}
	_, err := f.staged.WriteAt(p, off)
	return err
}

// wait keeps t until the difference has come, and reports whether.
func (f *spanFile) wait(t spanTask) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting {
		f.pending = append(f.pending, t)
	}
	return f.waiting
}

// compared asks for the spans that have waited, as far as the difference did
// not make them.
func (f *spanFile) compared(d *difference) {
	f.c.behind.Add(-f.size)
	f.made, f.fresh = d.wrote, d.literal
	if !f.made {
		f.seed()
	}
	var failed error
	for {
		f.mu.Lock()
		todo := f.pending
		f.pending = nil
		f.waiting = len(todo) > 0
		f.mu.Unlock()
		if len(todo) == 0 {
			f.done(failed)
			return
		}
		for _, t := range todo {
			if failed == nil {
				failed = f.ask(f.c.ctx, t)
			}
		}
	}
}

// holds verifies what is staged of a span.
func (f *spanFile) holds(o *digest.Object) (have []bool, held int64, err error) {
	if !f.made {
		have, held, err = present(f.staged, o, o.Offset)
		if err != nil || f.old == nil || held == o.Size {
			return have, held, err
		}
		return f.sow(o, have, held)
	}
	have = make([]bool, o.NumBlocks())
	buf := make([]byte, digest.BlockSize)
	for i := range have {
		b := buf[:o.BlockLen(i)]
		if _, err := f.staged.ReadAt(b, o.Offset+int64(i)*digest.BlockSize); err != nil {
			continue // behind what was written
		}
		if have[i] = o.VerifyBlock(i, b); have[i] {
			held += int64(len(b))
		}
	}
	return have, held, nil
}

// comparable reports whether the difference to older versions of a pack's files
// may pay.
func (c *content) comparable(p *pack) bool {
	return c.compares() && p.note.Raw >= minDiff && p.bytes >= p.note.Raw/10*7
}

// remake makes a pack's files of their older versions and the difference,
// which is to the older versions one after the other. It reports false when
// that cannot be done; the pack must then be fetched.
func (c *content) remake(p *pack) bool {
	d := &difference{c: c, size: p.note.Raw, weight: float64(p.note.Object.Size) / float64(p.note.Raw), odds: twolevel.OddsSecond}
	if !d.begin(c.ctx) {
		return false
	}
	defer d.end()
	old := c.olderMembers(p)
	if int64(len(old)) < p.note.Raw/2 {
		return false
	}
	// One change in each file is the guess for which the blocks are best.
	mean := float64(p.bytes) / float64(len(p.members))
	d.block = int(min(1400, max(256, math.Sqrt(5*mean/max(d.weight, .05)))))
	raw := make([]byte, p.note.Raw)
	d.old, d.oldSize = bytes.NewReader(old), int64(len(old))
	d.write = func(b []byte, off int64) error { copy(raw[off:], b); return nil }
	d.ref.Pack = p.note.Object.ID
	err := d.exchange(c.ctx)
	if err != nil {
		c.j.o.Log("no difference for a pack: %v", err)
	}
	if err != nil || !d.wrote {
		return false
	}
	for i := range p.members {
		m := &p.members[i]
		if m.offset > p.note.Raw-m.entry.Size || digest.Sum(raw[m.offset:m.offset+m.entry.Size]) != m.entry.Digest {
			c.j.o.Log("the difference for a pack does not make %s", m.entry.Path)
			return false
		}
	}
	defer c.wg.Done()
	defer func() { <-c.open }()
	if err := c.members(p, bytes.NewReader(raw), d.literal); err != nil {
		_ = p.staged.Close()
		c.fail(err)
		return true
	}
	_ = p.staged.Discard()
	return true
}

// olderMembers returns what the destination has of a pack's files, one after
// the other.
func (c *content) olderMembers(p *pack) []byte {
	var all []byte
	for i := range p.members {
		f, size, err := c.older(p.members[i].entry.Path)
		if err != nil {
			continue
		}
		if at := len(all); size <= 2*plan.PackMax && int64(at)+size <= maxOldPack {
			all = append(all, make([]byte, size)...)
			if _, err := f.ReadAt(all[at:], 0); err != nil {
				all = all[:at]
			}
		}
		_ = f.Close()
	}
	return all
}

func (d *difference) begin(ctx context.Context) bool {
	select {
	case d.c.differ <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *difference) end() { <-d.c.differ }
