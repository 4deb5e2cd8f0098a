package scan

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	// window bounds the entries that wait for their turn behind one that is
	// still being read.
	window = 1024
	// tries is how often a file that changes while it is read is read again.
	tries = 3
)

// HashOptions says how Changes reads files.
type HashOptions struct {
	Workers int // files read at once; 0: as many as there are processors
	// Progress is told the files and bytes read so far, on the terms of
	// Options.Progress.
	Progress func(files, bytes int64)
}

// ChangeStats counts what Changes saw and did.
type ChangeStats struct {
	Stats
	Puts, Dels, Refreshed int64
	Hashed                int64 // files read
	HashedBytes           int64
}

// Changes walks a destination and calls put, in canonical order, for each
// entry that differs from o.Index in content or in the attributes of the mask:
// a Put with its digest and Stat, or a Del of a path that is gone with all
// below it. Applied to the index they give what a fresh walk would. What
// cannot be read is reported by o.Warn and yields a Del, as content of which
// nothing is known; a Put of something other than a directory covers what the
// index had below it.
//
// Stat is zero where it cannot be trusted yet. put, o.Refresh and o.Gone are
// called on the caller's goroutine, the other callbacks on others, each not
// concurrently with itself. Memory and open files are bounded by the workers,
// whatever the size of the tree.
func Changes(ctx context.Context, o Options, hash HashOptions, put func(r *manifest.Record) error) (ChangeStats, error) {
	return newChanger(ctx, o, hash).run(put)
}

type changer struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	o       Options
	user    Options // as given
	began   time.Time
	workers int
	hasher  Hasher
	meter   *meter
	queue   chan *item // in canonical order
	jobs    chan *item // those of them whose file must be read
	warning sync.Mutex
	out     ChangeStats
	unread  int64 // entries left out by give

	hashed, hashedBytes atomic.Int64
}

// item is an entry that waits to be delivered.
type item struct {
	rec  manifest.Record // as it is now; a Del if gone
	old  *manifest.Record
	fine bool
	file *os.File      // to be read by a worker, who closes it
	done chan struct{} // closed when read; nil for what needs no reading
	err  error
}

func newChanger(ctx context.Context, o Options, hash HashOptions) *changer {
	if hash.Workers <= 0 {
		hash.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Names == nil {
		o.Names = NewNames()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &changer{
		ctx: ctx, cancel: cancel, o: o, user: o, began: time.Now(), workers: hash.Workers,
		meter: newMeter(hash.Progress), queue: make(chan *item, window), jobs: make(chan *item),
	}
	c.hasher.Progress = func(n int64) {
		c.hashedBytes.Add(n)
		c.meter.add(0, n)
	}
	c.o.Warn = c.warn
	c.o.Gone = func(r *manifest.Record) error {
		it := &item{}
		it.rec.Op, it.rec.Path = manifest.Del, r.Path
		it.old = clone(r)
		return c.enqueue(it)
	}
	return c
}

func (c *changer) run(put func(r *manifest.Record) error) (ChangeStats, error) {
	defer c.cancel(nil)
	var wg sync.WaitGroup
	for range c.workers {
		wg.Go(c.work)
	}
	var stats Stats
	var failed error
	wg.Go(func() {
		defer close(c.queue)
		defer close(c.jobs)
		if stats, failed = c.walk(); failed != nil {
			c.cancel(failed)
		}
	})
	err := c.deliver(put)
	if err != nil {
		c.cancel(err)
	}
	wg.Wait()
	c.meter.flush()
	if err == nil {
		err = failed
	}
	stats.Warned += c.unread
	c.out.Stats = stats
	c.out.Hashed, c.out.HashedBytes = c.hashed.Load(), c.hashedBytes.Load()
	return c.out, err
}

func clone(r *manifest.Record) *manifest.Record {
	if r == nil {
		return nil
	}
	out := *r
	out.Ext = bytes.Clone(r.Ext)
	return &out
}

func (c *changer) warn(path string, err error) {
	if c.user.Warn == nil {
		return
	}
	c.warning.Lock()
	defer c.warning.Unlock()
	c.user.Warn(path, err)
}

func (c *changer) walk() (Stats, error) {
	w := newWalker(c.ctx, c.o)
	defer w.close()
	w.visit = func(f *Found) error { return c.look(w, f) }
	err := w.run()
	return w.stats, err
}

// look decides what must be known of an entry.
func (c *changer) look(w *walker, f *Found) error {
	if f.Known {
		return nil
	}
	it := &item{rec: f.Record, old: clone(f.Old), fine: f.Fine}
	if f.Type != manifest.File {
		it.rec.Stat = Trust(f.Stat, c.began, it.fine)
		return c.enqueue(it)
	}
	file, info, err := w.openAny()
	if err != nil {
		it.err = err
		return c.enqueue(it)
	}
	fill(&it.rec, info, c.o.Mask, c.o.Names)
	it.file, it.done = file, make(chan struct{})
	if err := c.enqueue(it); err != nil {
		_ = file.Close()
		return err
	}
	select {
	case c.jobs <- it:
		return nil
	case <-c.ctx.Done():
		_ = file.Close()
		return context.Cause(c.ctx)
	}
}

func (c *changer) enqueue(it *item) error {
	select {
	case c.queue <- it:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// work reads files until there are no more.
func (c *changer) work() {
	for it := range c.jobs {
		it.err = c.read(it)
		_ = it.file.Close()
		c.hashed.Add(1)
		c.meter.add(1, 0)
		close(it.done)
	}
}

func (c *changer) read(it *item) error {
	for n := 1; ; n++ {
		began := time.Now()
		d, err := c.hasher.File(c.ctx, it.file, it.rec.Stat)
		if err == nil {
			it.rec.Digest = d
			it.rec.Stat = Trust(it.rec.Stat, began, it.fine)
			return nil
		}
		if !errors.Is(err, ErrChanged) || n == tries {
			return err
		}
		info, ierr := fileInfo(it.file)
		if ierr != nil {
			return ierr
		}
		fill(&it.rec, info, c.o.Mask, c.o.Names)
	}
}

// deliver hands out the entries in order, each when it has been read.
func (c *changer) deliver(put func(r *manifest.Record) error) error {
	for it := range c.queue {
		if it.done != nil {
			select {
			case <-it.done:
			case <-c.ctx.Done():
				return context.Cause(c.ctx)
			}
		}
		if err := c.give(it, put); err != nil {
			return err
		}
	}
	return nil
}

func (c *changer) give(it *item, put func(r *manifest.Record) error) error {
	if it.err != nil {
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		c.unread++
		c.warn(it.rec.Path, it.err)
		it.rec = manifest.Record{Op: manifest.Del, Entry: manifest.Entry{Path: it.rec.Path}}
		if it.old == nil {
			return nil
		}
	}
	if it.rec.Op == manifest.Del {
		c.out.Dels++
		if c.user.Gone != nil {
			if err := c.user.Gone(it.old); err != nil {
				return err
			}
		}
		return put(&it.rec)
	}
	if old := it.old; old != nil && manifest.SameContent(&old.Entry, &it.rec.Entry) && manifest.SameAttrs(&old.Entry, &it.rec.Entry, c.o.Mask) {
		c.out.Refreshed++
		if c.o.Refresh == nil {
			return nil
		}
		old.Stat = it.rec.Stat
		return c.o.Refresh(old)
	}
	c.out.Puts++
	return put(&it.rec)
}
