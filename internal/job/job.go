package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// Meta bits of an index.
const (
	metaMaskBits = 0xff
	metaOmitRoot = 1 << 8
	metaExtras   = 1 << 9
	// metaMask covers what must agree for an index to count.
	metaMask = metaMaskBits | metaOmitRoot
)

// firstContact is what a destination without anything surely wants, in bytes:
// a few lanes are dialled while the plan is asked for.
const firstContact = 1 << 20

// rounds is how often a tree that changes while it is read is planned again.
const rounds = 4

type job struct {
	o       Options
	area    *land.Area
	pool    *fetch.Pool
	held    *held
	stop    context.CancelCauseFunc // ends the pool
	book    book
	source  atomic.Int32 // index of the sender that gave the plan
	pace    pace
	full    bool         // tell the sender everything: the base did not hold
	rtt     atomic.Int64 // of the lane that carried the plan, nanoseconds; 0: not known
	mu      sync.Mutex
	content *content // of the attempt under way; guarded by mu
	partial bool     // guarded by mu
	failed  int64    // guarded by mu

	unpatched atomic.Bool // a patch did not apply: ask for none
}

// Run syncs once and returns the summary of what landed. With an error of
// class Partial or Limit the rest has landed. The events are Work, Progress,
// Link, Lane, Warn and Item; Start, Summary and Exit are the caller's.
func Run(ctx context.Context, o Options) (*event.Summary, error) {
	if o.Events == nil {
		o.Events = event.Discard
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	began := time.Now()
	j := &job{o: o}
	if err := j.open(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if j.area != nil { // or it could not be opened again
			_ = j.area.Close()
		}
	}()
	if to := j.area.Resolved(); to != "" {
		j.warn("", "the destination is a symlink to "+to, false)
	}
	if j.area.Recovered() != nil {
		j.warn("", "finished the landing that an earlier run had begun", false)
	}
	if o.Rate != nil {
		o.BwLimit = o.Rate(began)
	}
	senders := j.senders()
	expect := int64(0)
	// With mirrors it is the first source that is to be asked for the plan.
	if j.area.First() && !o.DryRun && len(senders) == 1 {
		expect = firstContact
	}
	j.pool = fetch.New(fetch.Config{
		Expect: expect,
		Lanes:  o.Lanes, Timeout: o.Timeout, ConnectTimeout: o.ConnectTimeout, Deadline: o.Deadline,
		BwLimit: o.BwLimit, Nice: o.Nice, Events: o.Events, Snapshot: j.snapshot,
	}, senders...)
	ctx, cancel := context.WithCancelCause(ctx)
	j.stop = cancel
	stopped := j.keepRate(o.BwLimit)
	defer stopped()
	ended := make(chan error, 1)
	go func() {
		err := j.pool.Run(ctx)
		if err != nil {
			cancel(err)
		}
		ended <- err
	}()
	sum, err := j.run(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	if perr := <-ended; perr != nil && err != nil {
		err = perr
	} else if err != nil && errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	err = j.shortage(err)
	if sum != nil {
		st := j.pool.Stats()
		sum.WireIn, sum.WireOut, sum.Retries, sum.LinkDown = st.WireIn, st.WireOut, st.Retries, st.LinkDown
		sum.Limit, sum.LimitDetail = st.Mostly, st.MostlyDetail
		j.book.complete(sum)
		sum.Elapsed = time.Since(began)
	}
	return sum, err
}

// shortage tells, of a disk that filled up, how much is needed and how much
// there is.
func (j *job) shortage(err error) error {
	j.mu.Lock()
	c := j.content
	j.mu.Unlock()
	if c == nil || !fsys.IsFull(err) {
		return err
	}
	if short := c.preflight(); fault.ClassOf(short) == fault.Limit {
		return short
	}
	return err
}

// open takes the destination.
func (j *job) open(ctx context.Context) (err error) {
	o := &j.o
	j.area, err = land.Open(ctx, land.Options{
		Dest: o.Dest, TempDir: o.TempDir, Mask: o.Mask, OmitRootAttrs: o.OmitRoot, NumericIDs: o.NumericIDs, Atomic: o.Atomic,
		Early: o.Early, Fsync: o.Fsync, DryRun: o.DryRun, Holder: o.Holder, Events: o.Events,
	})
	return err
}

// reopen drops the operations of an attempt that led nowhere; what it staged
// is kept.
func (j *job) reopen(ctx context.Context) error {
	j.forget()
	if err := j.area.Close(); err != nil {
		return err
	}
	return j.open(ctx)
}

func (j *job) emit(e event.Event) { j.o.Events(e) }

// warn tells of a path; partial makes the sync end with exit code 3.
func (j *job) warn(p, text string, partial bool) {
	j.mu.Lock()
	j.partial = j.partial || partial
	if partial {
		j.failed++
	}
	j.mu.Unlock()
	j.emit(event.Warn{Path: p, Text: text, Partial: partial})
}

func (j *job) snapshot(p *event.Progress) {
	j.mu.Lock()
	c := j.content
	j.mu.Unlock()
	j.pace.lanes.Store(int64(p.Lanes))
	if c != nil {
		c.snapshot(p)
	}
}

func (j *job) meta() uint64 {
	m := uint64(j.o.Mask)
	if j.o.OmitRoot {
		m |= metaOmitRoot
	}
	return m
}

func (j *job) oneFile() string {
	if !j.o.One {
		return ""
	}
	return path.Base(j.o.Path)
}

// outside reports whether a path of the destination is none of this sync's
// business.
func (j *job) outside(p string) bool {
	return j.o.One && !manifest.Within(p, j.oneFile())
}

// inModule turns a path of the tree into one of the module.
func (j *job) inModule(p string) string {
	root := j.o.Path
	if j.o.One {
		root = manifest.Parent(root)
	}
	return path.Join(root, p)
}

// temp makes a file for lists that do not fit into memory.
func (j *job) temp() (*os.File, error) {
	if j.o.DryRun {
		dir, err := fsys.OpenDir(os.TempDir())
		if err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }()
		return dir.Temp()
	}
	dir, err := j.area.Root().Child(manifest.StateDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Temp()
}

// run plans and fetches until the tree holds still, then lands.
func (j *job) run(ctx context.Context) (*event.Summary, error) {
	defer func() {
		if j.held != nil {
			j.held.close()
		}
	}()
	restarts := 0
	for round := 1; ; round++ {
		a, x, err := j.attempt(ctx)
		switch {
		case err == nil:
		case errors.Is(err, errRestart):
			// A server that restarts says nothing of the tree. The pool ends what
			// comes to nothing for too long.
			round--
			if err := pause(ctx, time.Duration(min(restarts, 5))*time.Second); err != nil {
				return nil, err
			}
			restarts++
			if err := j.reopen(ctx); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, errBase) && !j.full:
			j.full = true
			if err := j.reopen(ctx); err != nil {
				return nil, err
			}
			continue
		case errors.Is(err, errBase):
			return nil, fault.Wrap(fault.Integrity, err, "remove .ropeway/index in the destination and run again", "plan")
		default:
			return nil, err
		}
		gone, err := a.content.wait()
		if err == nil && len(gone) > 0 && round < rounds {
			a.close()
			j.emit(event.Work{Stage: "plan"})
			if err := j.reopen(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			a.close()
			return nil, err
		}
		for _, p := range gone {
			j.warn(p, "keeps changing at the source; the old version is kept", true)
		}
		sum, err := j.land(ctx, a, x)
		a.close()
		return sum, err
	}
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget makes the next attempt look again.
func (j *job) forget() {
	if j.held != nil {
		j.held.close()
		j.held = nil
	}
}

// attempt gets one plan and everything that it names.
func (j *job) attempt(ctx context.Context) (*applier, *exchange, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := j.newContent(ctx, cancel)
	j.mu.Lock()
	j.content = c
	j.mu.Unlock()
	ready := make(chan struct{})
	x := &exchange{
		j: j, id: newID(), ready: ready, segments: make(chan []byte, 64),
		request: wire.PlanRequest{
			Path: j.o.Path, One: j.o.One, Mask: uint8(j.o.Mask), Recursive: j.o.Recursive,
			OmitRoot: j.o.OmitRoot, Fresh: j.o.Checksum, Whole: j.o.Whole, Filter: j.o.Filter.AppendText(nil),
			Patch: j.patching(), Rate: j.o.BwLimit,
		},
	}
	var a *applier
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.run(gctx) })
	g.Go(func() error {
		if j.held == nil {
			h, err := j.look(gctx)
			if err != nil {
				return err
			}
			j.held = h
		}
		base, ok := j.held.base()
		if !ok || j.full {
			if err := x.upload(gctx, &wire.Need{Base: true}); err != nil {
				return err
			}
		} else {
			x.base = &base
		}
		close(ready)
		var err error
		if a, err = j.newApplier(c); err != nil {
			return err
		}
		return a.run(gctx, x.segments)
	})
	err := g.Wait()
	c.planned.Store(err == nil)
	c.end()
	c.diffs.Wait() // they ask for more
	if err == nil && !x.same {
		err = j.pool.Idle(ctx)
	}
	switch {
	case err != nil:
	case x.same && j.still() && len(a.missing) == 0: // no list has to be read to see that nothing is to do
		a.tree, a.sum = j.held.tree, j.held.sum
	default:
		err = a.finish()
	}
	switch {
	case err != nil:
	case a.tree.IsZero():
		err = fault.New(fault.Integrity, "", "the plan leaves nothing, not even a directory")
	case a.tree != x.end.Tree:
		err = errBase
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			err = cause
		}
		cancel(err)
		c.giveUp()
		if !errors.Is(err, errRestart) && !errors.Is(err, errBase) {
			j.stop(err) // or all that was asked for would be waited for
		}
		c.wg.Wait()
		if a != nil {
			a.close()
		}
		return nil, nil, err
	}
	return a, x, nil
}

// still reports whether the destination is as it was landed, with nothing to
// delete.
func (j *job) still() bool {
	h := j.held
	return h.quiet() && !h.extras && !h.tree.IsZero()
}

// land makes the destination what the plan says.
func (j *job) land(ctx context.Context, a *applier, x *exchange) (*event.Summary, error) {
	c := a.content
	sum := &event.Summary{
		DryRun: j.o.DryRun, Files: a.sum.files, Dirs: a.sum.dirs, Symlinks: a.sum.symlinks, Bytes: a.sum.bytes,
		Transferred: a.sum.transferred, Created: a.sum.created, Literal: c.literal.Load(), Reused: c.reused.Load(),
		Moved: c.moved.Load(), Tree: a.tree.String(), Skipped: a.sum.skipped + x.end.Skipped,
	}
	for _, p := range unlisted(j.o.Filter, a.missing) {
		j.warn(p, "is on the list, but the source does not have it or cannot send it", true)
	}
	skipDeletes := x.end.Partial && j.o.Delete
	if skipDeletes {
		j.warn("", "the source could not be read whole, so nothing is deleted", false)
	}
	if err := a.doom(!skipDeletes); err != nil {
		return nil, err
	}
	switch {
	case j.o.DryRun:
		sum.Deleted = a.deletes
	case x.same && j.held.quiet() && a.deletes == 0:
		sum.Unchanged = true
	default:
		meta := j.meta()
		if a.extras {
			meta |= metaExtras
		}
		res, err := j.area.Land(ctx, nil, a.tree, meta)
		if err != nil {
			return nil, err
		}
		sum.Unchanged = x.same && a.deletes == 0
		sum.Deleted = res.Deleted
		if res.Failed > 0 {
			j.partial = true
			j.failed += res.Failed
		}
		if n := res.OwnerSkipped; n > 0 {
			j.warn("", fmt.Sprintf("the owner of %d entries was not set: only root may give files away", n), false)
		}
	}
	sum.Failed = j.failed
	switch {
	case a.limited > 0:
		return sum, fault.New(fault.Limit, "raise --max-delete", "--max-delete left %d entries undeleted", a.limited)
	case j.partial:
		return sum, fault.New(fault.Partial, "", "some entries were not synced: see the warnings")
	}
	return sum, nil
}
