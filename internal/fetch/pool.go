package fetch

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// Pool gets objects over lanes. All methods are safe for concurrent use.
type Pool struct {
	cfg    Config
	made   time.Time
	wake   chan struct{} // the supervisor has something to do
	wg     sync.WaitGroup
	ctx    context.Context // of everything that lanes do
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	err   error // why the pool ended
	begun bool  // Run was called
	post  []func()
	bell  bell
	clock clock

	// Work.
	tasks     *list.List // that are not done, by age
	seq       int64
	queue     queue
	exchanges map[*exchange]struct{}
	adding    int   // calls of Add that wait for room
	queued    int64 // wire bytes of blocks that no request has
	out       int64 // wire bytes of blocks that requests have
	requests  int
	takeOver  bool  // lanes without work may take over that of others
	added     int64 // wire bytes of all tasks

	// Lanes.
	lanes    []*lane // by age
	closing  map[*lane]struct{}
	nextID   int
	sources  []*source
	home     *source // of the last exchange that went well
	ctl      *climber
	nice     *yielder // nil when the job need not give way
	dial     dialState
	path     PathInfo    // of all lanes
	speed    speedometer // of crossed
	crossed  int64       // verified wire bytes
	hold     holdShare
	recycled time.Duration // when a lane was last replaced for being slow
	busyTo   time.Time     // the server asked to be left alone until then
	stage    string        // what the sender said it does
	stageAt  time.Time
	narrow   bool          // the link is so slow that one block at a time is right
	patience time.Duration // how long unverified bytes are taken for life

	// The link.
	good      time.Duration // last progress of any kind
	goodAt    time.Time
	dark      bool
	darkAt    time.Duration
	darkSince time.Time
	rtt       time.Duration // last known
	cause     error         // last trouble

	// Counters and reports.
	throttle                        throttle
	done, hedged, stolen, duplicate int64
	retries                         int64
	down                            time.Duration
	inClosed, outClosed             int64
	events                          []event.Event
	report                          reporter
	limits                          limiter
}

// New returns a pool that does nothing until Run is called. There must be a
// source; all sources of a pool have the same objects.
func New(cfg Config, sources ...Source) *Pool {
	cfg = cfg.withDefaults()
	p := &Pool{
		cfg: cfg, made: time.Now(), sources: newSources(sources), wake: make(chan struct{}, 1), clock: newClock(), tasks: list.New(),
		exchanges: map[*exchange]struct{}{}, closing: map[*lane]struct{}{}, ctl: newClimber(cfg.Lanes),
		patience: patienceMin, goodAt: time.Now(), recycled: -recycleEvery,
	}
	p.throttle.limit(cfg.BwLimit)
	if cfg.Nice {
		p.nice = newYielder()
	}
	p.dial.bucket = bucket{tokens: float64(16 + cfg.Lanes), burst: float64(16 + cfg.Lanes), rate: 4}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// unlock releases the mutex and then calls back whoever must be.
func (p *Pool) unlock() {
	post := p.post
	p.post = nil
	p.mu.Unlock()
	for _, f := range post {
		f()
	}
}

// kick makes the supervisor look.
func (p *Pool) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// emit leaves an event to the supervisor, which keeps the order. Called with
// the mutex held.
func (p *Pool) emit(e event.Event) {
	p.events = append(p.events, e)
	p.kick()
}

// wanted reports whether anybody waits for the link. Called with the mutex
// held.
func (p *Pool) wanted() bool { return p.tasks.Len() > 0 || len(p.exchanges) > 0 }

// begin starts the pool's clocks if nothing was wanted until now. Called with
// the mutex held, before what is wanted is noted.
func (p *Pool) begin() {
	if !p.wanted() {
		p.good, p.goodAt = p.clock.now(), time.Now()
		p.dial.since = p.good
	}
}

// Add queues a task. It waits while too much is queued, and fails when ctx
// ends, the pool has ended, or the description of the object is inconsistent;
// then Done is not called.
func (p *Pool) Add(ctx context.Context, in Task) error {
	if err := in.Object.Check(); err != nil {
		return fault.Wrap(fault.Integrity, err, "", "the sender described an object wrongly")
	}
	if in.Have != nil && len(in.Have) != in.Object.NumBlocks() {
		return fault.New(fault.Other, "", "fetch: %d blocks are held of an object of %d", len(in.Have), in.Object.NumBlocks())
	}
	t := newTask(in)
	p.mu.Lock()
	defer p.unlock()
	p.adding++
	for p.err == nil && p.full() {
		if err := p.sleep(ctx, 0); err != nil {
			p.adding--
			return err
		}
	}
	p.adding--
	if p.err != nil {
		return p.err
	}
	if t.left == 0 {
		if t.Done != nil {
			p.post = append(p.post, func() { t.Done(nil) })
		}
		return nil
	}
	p.begin()
	p.seq++
	t.seq = p.seq
	t.elem = p.tasks.PushBack(t)
	for i, s := range t.state {
		if s == 0 {
			p.queued += t.wire(i)
			p.added += t.wire(i)
		}
	}
	p.queue.settle(t)
	p.fillAll()
	p.kick()
	return nil
}

func (p *Pool) full() bool {
	return p.tasks.Len() >= p.cfg.MaxQueued || p.tasks.Len() > 0 && p.queued+p.out >= 2*p.cfg.MaxOutstanding
}

// Idle waits until every task that was added before is done.
func (p *Pool) Idle(ctx context.Context) error {
	p.mu.Lock()
	defer p.unlock()
	for last := p.seq; p.err == nil; {
		front := p.tasks.Front()
		if front == nil || front.Value.(*task).seq > last {
			return nil
		}
		if err := p.sleep(ctx, 0); err != nil {
			return err
		}
	}
	return p.err
}

// Hold stops the clocks that wait for the peer while this side is the slow
// one. reason completes "waiting: ...". The returned function may be called
// more than once.
func (p *Pool) Hold(reason string) (release func()) {
	p.mu.Lock()
	defer p.unlock()
	id := p.clock.hold(reason)
	return func() {
		p.mu.Lock()
		defer p.unlock()
		p.clock.release(id)
	}
}

// SetBwLimit bounds from now on what is received, in bytes per second; 0 is no
// limit.
func (p *Pool) SetBwLimit(rate int64) {
	p.mu.Lock()
	defer p.unlock()
	p.throttle.limit(rate)
	p.kick()
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.unlock()
	in, out := p.wire()
	s := Stats{Verified: p.done, WireIn: in, WireOut: out, Lanes: len(p.lanes), Retries: p.retries, LinkDown: p.down,
		Hedged: p.hedged + p.stolen, Duplicate: p.duplicate}
	s.Limit, s.LimitDetail, s.Mostly, s.MostlyDetail = p.limits.now, p.limits.detail, p.limits.mostly, p.limits.mostlyDetail
	if p.dark {
		s.LinkDown += time.Since(p.darkSince)
	}
	return s
}

// wire returns the bytes received and sent. Called with the mutex held.
func (p *Pool) wire() (in, out int64) {
	in, out = p.inClosed, p.outClosed
	add := func(l *lane) {
		i, o := l.conn.Counters()
		in += i
		out += o
	}
	for _, l := range p.lanes {
		add(l)
	}
	for l := range p.closing {
		add(l)
	}
	return in, out
}

// fail ends the pool. Called with the mutex held.
func (p *Pool) fail(err error) {
	if p.err != nil {
		return
	}
	p.err = err
	p.cancel(err)
	p.bell.ring()
	p.kick()
}

// endGrace bounds the wait for lanes and writes when a pool ends.
const endGrace = 10 * time.Second

// Run owns lanes and timers. It returns nil when ctx has ended, otherwise the
// error that ended the pool. When it returns no goroutine of the pool is left
// (unless a lane ignores its Close, or a Write hangs, for 10 s) and every task
// is done. A pool runs once.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.begun {
		p.unlock()
		return errors.New("fetch: a pool runs once")
	}
	p.begun = true
	p.unlock()
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.unlock()
		p.fail(stopped{context.Cause(ctx)})
	})
	defer stop()
	p.supervise()
	return p.close()
}

// stopped is the error of a pool that its caller ended.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// close ends everything that still runs.
func (p *Pool) close() error {
	p.mu.Lock()
	err := p.err
	var s stopped
	ended := errors.As(err, &s)
	cause := err
	if ended {
		cause = errUnneeded
	}
	for len(p.lanes) > 0 {
		p.closeLane(p.lanes[0], cause, false)
	}
	p.unlock()

	gone := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(gone)
	}()
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-gone:
	case <-grace.C:
	}

	p.mu.Lock()
	for e := p.tasks.Front(); e != nil; e = p.tasks.Front() {
		t := p.tasks.Remove(e).(*task)
		t.closed, t.elem = true, nil
		if t.told {
			continue
		}
		t.told = true
		if t.err == nil {
			t.err = err
		}
		if t.Done != nil {
			p.post = append(p.post, func() { t.Done(t.err) })
		}
	}
	for _, s := range p.sources {
		s.Budget.leave(s)
	}
	p.bell.ring()
	events := p.takeEvents(true)
	p.unlock()
	p.say(events)
	if ended {
		return nil
	}
	return err
}

// bell wakes all who wait for a change of the pool.
type bell struct{ ch chan struct{} }

func (b *bell) wait() <-chan struct{} {
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// sleep waits, without the mutex, which must be held, until the bell rings or
// d has passed; 0 is no limit. It fails when ctx has ended.
func (p *Pool) sleep(ctx context.Context, d time.Duration) error {
	ring := p.bell.wait()
	p.unlock()
	defer p.mu.Lock()
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ring:
	case <-after:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
