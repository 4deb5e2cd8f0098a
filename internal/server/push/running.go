package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// running is a job that runs or has ended. It runs once, whoever follows it.
type running struct {
	Job
	s      *Server
	post   post
	ticket string
	ctx    context.Context
	cancel context.CancelCauseFunc
	lanes  *lanes
	done   chan struct{} // closed when it has ended
	rate   atomic.Int64  // that the client wishes, bytes per second; 0: no limit

	mu    sync.Mutex // guards all below
	ring  ring
	hello *hello        // nil until it is known
	wake  chan struct{} // closed and replaced when something is new
	seen  time.Time     // the last sign of life of a client
	end   time.Time     // zero while it runs
	over  *fault.Error  // superseded: it must not be started again
	lost  bool          // it ended undecided, and may be started again
	res   *result       // nil while it runs, and when lost
}

func newRunning(s *Server, p *post, id Job) *running {
	j := &running{
		Job: id, s: s, post: *p, ticket: newTicket(), done: make(chan struct{}),
		ring: ring{first: max(p.Seq, 1)}, wake: make(chan struct{}), seen: id.Since,
	}
	j.ctx, j.cancel = context.WithCancelCause(context.Background())
	j.rate.Store(p.BwLimit)
	j.lanes = &lanes{done: j.done, wake: j.notify}
	return j
}

func (j *running) notify() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changed()
}

// changed is notify with the mutex held.
func (j *running) changed() {
	close(j.wake)
	j.wake = make(chan struct{})
}

// touch notes that a client lives.
func (j *running) touch() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = time.Now()
}

// followed reports whether a client has shown signs of life of late.
func (j *running) followed(now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return now.Sub(j.seen) < silence
}

func (j *running) endedAt() (at time.Time, ended bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.end, !j.end.IsZero()
}

// again reports whether the job ended undecided, so that it can be started
// again.
func (j *running) again() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}

// supersede ends the job for good: its client must not start it again.
func (j *running) supersede(cause *fault.Error) {
	j.mu.Lock()
	j.over = cause
	if j.lost {
		j.lost, j.res = false, newResult(nil, cause)
	}
	j.mu.Unlock()
	j.cancel(cause)
}

// run waits for the jobs before it, runs, and keeps the result.
func (j *running) run(o job.Options, before []*running) {
	go j.watch()
	sum, err := j.perform(o, before)
	if cause := context.Cause(j.ctx); err != nil && sum == nil && cause != nil {
		err = cause
	}
	j.mu.Lock()
	j.end = time.Now()
	switch undecided := errors.Is(err, errStopping) || errors.Is(err, errAbandoned); {
	case !undecided:
		j.res = newResult(sum, err)
	case j.over != nil:
		j.res = newResult(nil, j.over)
	default:
		j.lost = true
	}
	j.changed()
	j.mu.Unlock()
	j.cancel(nil)
	close(j.done)
	if err != nil {
		j.s.cfg.Log("push to /%s by %s: %v", j.Path, j.Who, err)
	}
}

// watch ends a job that nobody follows.
func (j *running) watch() {
	for {
		j.mu.Lock()
		left := j.s.cfg.Abandon - time.Since(j.seen)
		j.mu.Unlock()
		if left <= 0 {
			j.cancel(errAbandoned)
			return
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-j.done:
			t.Stop()
			return
		}
	}
}

func (j *running) perform(o job.Options, before []*running) (*event.Summary, error) {
	for _, b := range before {
		select {
		case <-b.done:
		case <-j.ctx.Done():
			return nil, context.Cause(j.ctx)
		}
	}
	cfg := &j.s.cfg
	dest, err := destination(cfg.Root, j.Path)
	if err != nil {
		return nil, err
	}
	o.Dest = dest
	o.Holder = fmt.Sprintf("a push from %s, since %s", j.Who, j.Since.UTC().Format(time.RFC3339))
	gen, err := generation(j.ctx, &o)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.hello = &hello{Ticket: j.ticket, Generation: gen}
	j.changed()
	j.mu.Unlock()
	if want := j.post.Expect; want != nil && *want != gen {
		return nil, fault.New(fault.Busy, "look at what is there now, and run it again",
			"/%s in module %s is no longer what this push set out from: another run has landed there, or this one had and its answer was lost", j.Path, cfg.Module)
	}
	o.Dial, o.Module, o.Events = j.lanes.dial, cfg.Module, j.event
	o.Rate = func(time.Time) int64 { return j.rate.Load() }
	if cfg.Timeout > 0 && (o.Timeout == 0 || o.Timeout > cfg.Timeout) {
		o.Timeout = cfg.Timeout
	}
	if cfg.Harden == nil {
		if o.Mask&manifest.Perm != 0 {
			j.event(event.Warn{Text: "the server does not take permissions from clients"})
		}
		o.Mask &^= manifest.Perm
	} else {
		cfg.Harden(&o)
	}
	return cfg.Run(j.ctx, o)
}

// event passes on what the job reports.
func (j *running) event(e event.Event) {
	j.s.cfg.Events(j.Job, e)
	if _, ok := e.(event.Item); ok && !j.post.Items {
		return
	}
	b, err := wire.MarshalEvent(e)
	if err != nil {
		j.s.cfg.Log("push: event: %v", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ring.add(b)
	j.changed()
}

// batch is how many events are written at once.
const batch = 256

// news returns the lines for a client that has seen the events before next
// and been asked for the lanes up to lane. wake is closed when there are more,
// nil when there are more now. last says that the stream ends.
func (j *running) news(p *place) (lines []line, wake <-chan struct{}, last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.hello != nil && !p.greeted {
		p.greeted = true
		lines = append(lines, line{Hello: j.hello})
	}
	if p.greeted {
		for _, n := range j.lanes.wanted(p.lane) {
			lines = append(lines, line{Lane: n})
			p.lane = n
		}
	}
	items, first, dropped := j.ring.from(p.next, batch)
	if dropped > 0 {
		text := fmt.Sprintf("%d reports were lost while the server could not be reached", dropped)
		if b, err := wire.MarshalEvent(event.Warn{Text: text}); err == nil {
			lines = append(lines, line{Seq: first - 1, Event: b})
		}
	}
	for i, b := range items {
		lines = append(lines, line{Seq: first + int64(i), Event: b})
	}
	p.next = first + int64(len(items))
	switch {
	case p.next < j.ring.next():
		return lines, nil, false
	case j.end.IsZero():
		return lines, j.wake, false
	case j.res != nil:
		lines = append(lines, line{Result: j.res})
	}
	return lines, nil, true
}

// place is how far a stream has come.
type place struct {
	greeted bool
	lane    int64
	next    int64
}

// encode returns lines as they travel.
func encode(b []byte, lines []line) []byte {
	for i := range lines {
		l, err := json.Marshal(&lines[i])
		if err != nil {
			continue // only for events that are no JSON, which ours are
		}
		b = append(append(b, l...), '\n')
	}
	return b
}
