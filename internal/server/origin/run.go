package origin

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// planRun is one plan under way or done, for all jobs of a scan whose clients
// hold the same.
type planRun struct {
	o      *Origin
	tour   *tour
	id     digest.Digest // of view, base and what else the plan depends on
	base   *wire.Base
	pace   pace
	client string // the first that wanted it
	held   int64  // bytes that the base takes of Limits.held
	cancel context.CancelFunc
	model  *planRun // an older plan that may do, nil: none

	jobs int       // that use it; guarded by the origin's mutex
	used time.Time // guarded by the origin's mutex

	mu      sync.Mutex // guards the rest
	file    *planFile  // segments, one after the other
	ends    []int64    // where each segment ends in file; shared, appended only
	packs   []digest.Digest
	work    wire.Work
	warns   []wire.Warn
	ending  wire.Kind // 0 while it runs
	payload []byte
	end     wire.End
	wake    chan struct{} // closed and replaced when something is new
	closed  bool
}

// pace is what a plan depends on that is the client's and not its tree's.
type pace struct {
	fast  bool
	patch wire.Patching
	rate  int64 // bytes per second, 0: unknown; a power of two, so that plans are shared
}

func paceOf(req *wire.PlanRequest) pace {
	p := pace{fast: req.Fast, patch: req.Patch}
	if req.Whole {
		p.patch = wire.PatchNever
	}
	if p.patch == wire.PatchPays && req.Rate > 0 {
		p.rate = 1 << (bits.Len64(uint64(req.Rate)) - 1)
	}
	return p
}

// runID names a plan by what it depends on beside the tree.
func runID(v *view, b *wire.Base, p pace) digest.Digest {
	h := append([]byte(nil), v.id[:]...)
	h = append(h, flag(p.fast), byte(p.patch))
	h = binary.AppendUvarint(h, uint64(p.rate))
	h = append(h, b.Tree[:]...)
	h = binary.AppendUvarint(h, uint64(len(b.Uploads)))
	for _, d := range b.Uploads {
		h = append(h, d[:]...)
	}
	return digest.Sum(append(h, b.Changes...))
}

// runFor returns the plan for a base on a scan, and starts it if it is not
// there. It takes over the job's interest in the scan, and held. Called with
// the mutex held.
func (o *Origin) runFor(t *tour, b *wire.Base, p pace, client string, held int64) (*planRun, error) {
	id := runID(t.view, b, p)
	if same := t.runs[id]; same != nil && same.alive() {
		o.limits.held.Release(held)
		t.scan.Leave()
		same.jobs++
		o.counts.plansShared.Add(1)
		return same, nil
	}
	old := o.runs[id]
	file, err := o.temp()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(o.ctx)
	r := &planRun{
		o: o, tour: t, id: id, base: b, pace: p, client: client, held: held, cancel: cancel, file: file, jobs: 1,
		wake: make(chan struct{}), used: time.Now(),
	}
	if old != nil && old.reusable() {
		r.model = old
	}
	o.runs[id], t.runs[id] = r, r
	o.all[r] = struct{}{}
	o.wg.Go(func() { r.run(ctx) })
	return r, nil
}

// leave ends a job's use of the plan. Called with the origin's mutex held.
func (r *planRun) leave() {
	r.used = time.Now()
	if r.jobs--; r.jobs == 0 && !r.done() {
		r.cancel()
	}
}

// free closes the plan's file, which is to be used no more. Called with the
// origin's mutex held.
func (r *planRun) free() {
	delete(r.o.all, r)
	if r.o.runs[r.id] == r {
		delete(r.o.runs, r.id)
	}
	if r.tour.runs[r.id] == r {
		delete(r.tour.runs, r.id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		if r.file.refs--; r.file.refs == 0 {
			_ = r.file.f.Close()
		}
	}
}

func (r *planRun) done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ending != 0
}

// alive reports whether jobs may join the plan.
func (r *planRun) alive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && (r.ending == 0 && r.jobs > 0 || r.ending == wire.KindEnd || r.ending == wire.KindUnchanged)
}

// reusable reports whether the plan holds for as long as its tree does.
func (r *planRun) reusable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && r.ending == wire.KindEnd && !r.end.Partial && len(r.warns) == 0
}

// run makes the plan.
func (r *planRun) run(ctx context.Context) {
	end, err := r.make(ctx)
	r.o.limits.held.Release(r.held)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = end
	switch {
	case err != nil:
		if ctx.Err() == nil {
			r.o.cfg.Log("plan of /%s: %v", r.tour.path, err)
		}
		f := wire.Fail{Class: fsys.Class(err).String(), Text: err.Error(), Hint: fault.HintOf(err)}
		r.ending, r.payload = wire.KindFail, f.Marshal()
	case end.Segments == 0:
		r.ending, r.payload = wire.KindUnchanged, end.Marshal()
	default:
		r.ending, r.payload = wire.KindEnd, end.Marshal()
	}
	r.base = nil
	r.notify()
}

func (r *planRun) make(ctx context.Context) (wire.End, error) {
	o, t := r.o, r.tour
	if r.model != nil {
		trailer, err := t.scan.Quiet(ctx)
		if err == nil && trailer != nil && r.adopt(r.model, trailer.Tree) {
			t.scan.Leave()
			o.counts.plansShared.Add(1)
			return r.end, nil
		}
		r.model = nil
	}
	r.working(queued, 0, 0)
	if err := o.limits.plans.take(ctx, r.client); err != nil {
		t.scan.Leave()
		return wire.End{}, err
	}
	defer o.limits.plans.give()
	o.counts.plans.Add(1)
	return r.send(ctx)
}

// adopt takes over the segments of an older plan if they are of this tree and
// all that they name is still there.
func (r *planRun) adopt(m *planRun, tree digest.Digest) bool {
	m.mu.Lock()
	end, packs, ends, file, payload := m.end, m.packs, m.ends, m.file, m.payload
	m.mu.Unlock()
	if end.Tree != tree {
		return false
	}
	for _, id := range packs {
		f, err := r.o.cfg.Store.Objects().Open(r.o.cfg.Module, id)
		if err != nil {
			return false
		}
		_ = f.Close()
	}
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	if !m.reusable() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	file.refs++
	if r.file.refs--; r.file.refs == 0 {
		_ = r.file.f.Close()
	}
	r.file, r.ends, r.packs, r.end, r.payload = file, ends, packs, end, payload
	return true
}

// send makes the plan anew.
func (r *planRun) send(ctx context.Context) (wire.End, error) {
	o, t := r.o, r.tour
	st, mod := o.cfg.Store, o.cfg.Module
	k := keeper{o: o, t: t}
	defer k.cancel()
	var worked int64
	s := plan.Sender{
		Scan: t.scan, OmitRoot: t.omitRoot, Fast: r.pace.fast, Lists: k.open,
		Store: func(_ context.Context, id digest.Digest, data []byte) error {
			batch := st.Objects().Begin(mod, "")
			defer batch.Cancel()
			r.mu.Lock()
			r.packs = append(r.packs, id)
			r.mu.Unlock()
			return errors.Join(batch.Put(id, data), batch.Sync())
		},
		Emit: r.segment, Warn: r.warn,
		Work: func(stage string, files, bytes int64) {
			o.limits.work.Add(files + bytes - worked)
			worked = files + bytes
			r.working(stage, files, bytes)
		},
	}
	if b := r.base; len(b.Uploads) == 0 && len(b.Changes) == 0 {
		s.HeldTree = b.Tree
	}
	if !t.fresh {
		s.Digests = o.digests
	}
	p := r.offerPatch(&s)
	res, err := s.Run(ctx)
	if err != nil {
		return res.End, err
	}
	if err := k.commit(&res); err != nil {
		return res.End, err
	}
	if c := o.capture; c != nil {
		c.add(listed{view: t.view, tree: res.Tree})
		if b := r.base; p.declined() && len(b.Uploads) == 0 && len(b.Changes) == 0 {
			c.ahead(wanted{t.view, b.Tree})
		}
	}
	return res.End, nil
}

// keeper keeps the lists of a tree, unless they are there already.
type keeper struct {
	o           *Origin
	t           *tour
	list, index interface {
		Commit(tree digest.Digest, meta uint64) error
		Cancel()
	}
}

// open implements plan.Sender.Lists. What the index is written for is a list
// of the tree as well.
func (k *keeper) open() (list, index func(*manifest.Record) error, err error) {
	if k.t.scan.Claim() {
		x, err := k.o.cfg.Store.Indexes().Create(k.t.name)
		if err != nil {
			return nil, nil, err
		}
		k.index = x
		return nil, x.Put, nil
	}
	m, err := k.o.cfg.Store.Manifests().Create(k.o.cfg.Module)
	if err != nil {
		return nil, nil, err
	}
	k.list = m
	return m.Put, nil, nil
}

func (k *keeper) cancel() {
	if k.list != nil {
		k.list.Cancel()
	}
	if k.index != nil {
		k.index.Cancel()
	}
}

func (k *keeper) commit(res *plan.Result) error {
	manifests := k.o.cfg.Store.Manifests()
	if res.Same {
		if manifests.Has(k.o.cfg.Module, res.Tree) {
			return nil
		}
		return k.copy(res.Tree)
	}
	has := manifests.Has(k.o.cfg.Module, res.Tree)
	if k.index == nil {
		if has {
			return nil
		}
		return k.list.Commit(res.Tree, 0)
	}
	if err := k.index.Commit(res.Tree, k.t.meta); err != nil || has {
		return err
	}
	if manifests.Adopt(k.o.cfg.Module, res.Tree, k.o.cfg.Store.Indexes(), k.t.name) == nil {
		return nil
	}
	return k.copy(res.Tree)
}

// copy makes the list of a tree, which is gone, from the index.
func (k *keeper) copy(tree digest.Digest) error {
	x, err := k.o.cfg.Store.Indexes().Open(k.t.name)
	if err != nil {
		return nil // another plan has put its own in place, and its list beside it
	}
	defer func() { _ = x.Close() }()
	if x.Trailer().Tree != tree {
		return nil
	}
	m, err := k.o.cfg.Store.Manifests().Create(k.o.cfg.Module)
	if err != nil {
		return err
	}
	defer m.Cancel()
	var r manifest.Record
	for n := x.Trailer().Count; n > 0; n-- {
		if err := x.Next(&r); err != nil {
			return err
		}
		if string(r.Ext) == store.Aside {
			continue
		}
		if err := m.Put(&manifest.Record{Entry: r.Entry}); err != nil {
			return err
		}
	}
	return m.Commit(tree, 0)
}

func (r *planRun) notify() {
	close(r.wake)
	r.wake = make(chan struct{})
}

func (r *planRun) segment(body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := int64(0)
	if n := len(r.ends); n > 0 {
		at = r.ends[n-1]
	}
	if r.closed {
		return context.Canceled
	}
	if _, err := r.file.WriteAt(body, at); err != nil {
		return err
	}
	r.ends = append(r.ends, at+int64(len(body)))
	r.notify()
	return nil
}

func (r *planRun) working(stage string, files, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.work = wire.Work{Stage: stage, Files: files, Bytes: bytes}
}

// maxWarns bounds the remarks of one plan.
const maxWarns = 1000

func (r *planRun) warn(path, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.warns) < maxWarns {
		r.warns = append(r.warns, wire.Warn{Path: path, Text: text})
	}
}

// keptRuns bounds the plans that are kept for others to come.
const keptRuns = 64

// sweepRuns drops plans that nobody uses. Called with the mutex held.
func (o *Origin) sweepRuns(now time.Time) {
	var idle []*planRun
	for r := range o.all {
		if r.jobs == 0 && r.done() {
			idle = append(idle, r)
		}
	}
	slices.SortFunc(idle, func(a, b *planRun) int { return b.used.Compare(a.used) })
	for i, r := range idle {
		if i >= keptRuns || now.Sub(r.used) > jobIdle || !r.reusable() || o.runs[r.id] != r {
			r.free()
		}
	}
}
