package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

var (
	errDropped = errors.New("the request was given up")
	errShort   = errors.New("the answer ended early")
)

// request is a run of blocks that a lane was asked for. The pool's mutex
// guards it.
type request struct {
	t              *task
	l              *lane
	from, next, to int // blocks before next have arrived
	slots          int
	began          time.Duration
	dead           bool // the blocks from next on are no longer its business
	cancel         context.CancelFunc
}

// start asks lane l for a run of blocks. Called with the mutex held.
func (p *Pool) start(l *lane, t *task, from, to int) {
	ctx, cancel := context.WithCancel(p.ctx)
	now := p.clock.now()
	r := &request{t: t, l: l, from: from, next: from, to: to, began: now, cancel: cancel}
	var size int64
	for i := from; i < to; i++ {
		w := t.wire(i)
		size += w
		if t.state[i] == 0 {
			t.waiting--
			p.queued -= w
		}
		t.state[i]++
	}
	r.slots = int(min(max(size*slot/minRequest, 1), slot))
	if len(l.reqs) == 0 {
		l.good = now
		l.meter.tick(time.Now(), l.rtt, false)
	}
	l.reqs[r] = struct{}{}
	t.reqs[r] = struct{}{}
	l.out += size
	l.slots += r.slots
	p.out += size
	p.requests++
	p.queue.settle(t)
	p.wg.Go(func() {
		defer cancel()
		err := l.conn.Get(ctx, Request{&t.Object, t.Locator, from, to}, func(i int, data []byte) error {
			return p.block(r, i, data)
		})
		p.ended(r, err)
	})
}

// drop ends a request; what has not arrived waits again. Called with the mutex
// held.
func (p *Pool) drop(r *request) {
	if r.dead {
		return
	}
	r.dead = true
	r.cancel()
	for i := r.next; i < r.to; i++ {
		w := r.t.wire(i)
		r.l.out -= w
		p.out -= w
		p.unref(r.t, i)
	}
	r.l.slots -= r.slots
	p.requests--
	delete(r.l.reqs, r)
	delete(r.t.reqs, r)
	p.rest(r.l)
	p.queue.settle(r.t)
}

// unref takes one request from block i. Called with the mutex held; the caller
// settles the task.
func (p *Pool) unref(t *task, i int) {
	if t.closed || t.state[i] == written {
		return
	}
	if t.state[i]--; t.state[i] == 0 {
		t.waiting++
		t.cursor = min(t.cursor, i)
		p.queued += t.wire(i)
	}
}

// block takes one raw block from a lane.
func (p *Pool) block(r *request, i int, data []byte) error {
	t, l := r.t, r.l
	p.mu.Lock()
	if r.dead {
		p.unlock()
		return errDropped
	}
	if i != r.next || i >= r.to {
		err := fmt.Errorf("the server sent block %d where %d of [%d, %d) was due", i, r.next, r.from, r.to)
		p.closeLane(l, err, true)
		p.unlock()
		return err
	}
	r.next++
	w := t.wire(i)
	l.out -= w
	p.out -= w
	p.unlock()

	ok := t.Object.VerifyBlock(i, data)

	p.mu.Lock()
	if !ok {
		err := p.wrong(r, i)
		p.unlock()
		return err
	}
	p.verified(r, i, w)
	if t.closed || t.state[i] == written {
		p.duplicate += int64(len(data))
		p.fill(l)
		p.unlock()
		return nil
	}
	t.state[i] = written
	t.writing++
	p.dropCopies(t, i)
	p.fill(l)
	hold := p.clock.hold("writing to the disk")
	p.unlock()

	t.write <- struct{}{}
	err := t.Write(i, data)
	<-t.write

	p.mu.Lock()
	defer p.unlock()
	p.clock.release(hold)
	t.writing--
	switch {
	case err != nil:
		p.fail(err)
	default:
		t.left--
		p.done += int64(len(data))
	}
	if t.left == 0 || t.closed && t.writing == 0 {
		p.finish(t, t.err)
	}
	p.fillAll()
	return err
}

// verified notes that a lane has proved its worth. Called with the mutex held.
func (p *Pool) verified(r *request, i int, w int64) {
	l, now := r.l, p.clock.now()
	took := now - max(r.began, l.good)
	if i == r.from {
		if d := now - r.began; l.latency == 0 || d < l.latency {
			l.latency = d
		}
	}
	if p.narrow {
		p.patience = max(patienceMin, 3*took)
		p.narrow = took >= softMin
	} else {
		p.patience = patienceMin
	}
	l.good = now
	l.suspect = false
	l.proven = true
	l.fails = 0
	l.meter.bytes += w
	l.window = min(l.window+w, p.cfg.MaxOutstanding)
	p.crossed += w
	p.progressed(l.src, now)
}

// wrong handles a block that does not match its digest. Called with the mutex
// held.
func (p *Pool) wrong(r *request, i int) error {
	t, src := r.t, r.l.src
	err := fmt.Errorf("block %d of object %s arrived wrong", i, t.Object.ID)
	src.wrong++
	if !t.closed && t.state[i] != written {
		first, twice := t.bad[i]
		switch {
		case !twice:
			if t.bad == nil {
				t.bad = map[int]*source{}
			}
			t.bad[i] = src
		case first == src && p.retire(src, err): // a mirror that is not one
		default:
			p.fail(fault.New(fault.Integrity, "the source may be damaged or tampered with: verify it at the sender",
				"block %d of object %s (%s) arrived wrong twice, over two connections", i, t.Object.ID, t.Locator))
		}
	}
	p.unref(t, i)
	p.queue.settle(t)
	p.closeLane(r.l, err, true)
	p.fillAll()
	return err
}

// dropCopies cancels the requests that only block i kept going. Called with
// the mutex held.
func (p *Pool) dropCopies(t *task, i int) {
	for r := range t.reqs {
		if i < r.next || i >= r.to {
			continue
		}
		need := false
		for j := r.next; j < r.to && !need; j++ {
			need = t.state[j] != written
		}
		if !need {
			p.drop(r)
		}
	}
}

// ended handles the end of a Get.
func (p *Pool) ended(r *request, err error) {
	p.mu.Lock()
	defer p.unlock()
	if r.dead || p.err != nil {
		return
	}
	t, l := r.t, r.l
	all := r.next == r.to
	p.drop(r)
	if err == nil && !all {
		err = errShort
	}
	var busy RetryAfter
	switch {
	case all:
		l.src.succeeded()
		p.fill(l)
		return
	case errors.Is(err, ErrGone):
		p.gone(t, l.src, err)
	case retryAfter(err, &busy):
		p.overloaded(busy)
		l.pause = time.Now().Add(busy.After)
	case permanent(err):
		if !p.retire(l.src, err) {
			p.fail(err)
		}
	default:
		p.retries++
		p.cause = err
		l.fails++
		l.pause = time.Now().Add(p.jitter(l.fails))
		if isDone(l.conn) || l.fails >= 3 {
			p.closeLane(l, err, true)
		}
	}
	p.fillAll()
}

// finish ends a task once none of its blocks is being written. Called with the
// mutex held.
func (p *Pool) finish(t *task, err error) {
	if !t.closed {
		t.closed, t.err = true, err
		if t.waiting > 0 {
			for i := range t.state {
				if t.state[i] == 0 {
					p.queued -= t.wire(i)
				}
			}
		}
		for r := range t.reqs {
			p.drop(r)
		}
		p.queue.settle(t)
	}
	if t.writing > 0 || t.told {
		return
	}
	t.told = true
	p.post = append(p.post, func() {
		if t.Done != nil {
			t.Done(t.err)
		}
		p.mu.Lock()
		defer p.unlock()
		if t.elem != nil {
			p.tasks.Remove(t.elem)
			t.elem = nil
		}
		p.bell.ring()
	})
}

// permanent reports whether err is not cured by trying again: it has a class,
// and that is not Network.
func permanent(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Class != fault.Network
}

// maxRetryAfter bounds what a server can ask for.
const maxRetryAfter = time.Hour

func retryAfter(err error, into *RetryAfter) bool {
	if !errors.As(err, into) {
		var ptr *RetryAfter
		if !errors.As(err, &ptr) || ptr == nil {
			return false
		}
		*into = *ptr
	}
	into.After = min(max(into.After, 100*time.Millisecond), maxRetryAfter)
	return true
}

func isDone(l Lane) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}
