package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

const (
	dialTimeout  = 3 * time.Second
	dialPatient  = 15 * time.Second // every fifth attempt, for links on which 3 s are too few
	maxDialing   = 8
	jitterBase   = 100 * time.Millisecond
	jitterMax    = 5 * time.Second
	darkInterval = time.Second
)

// dialState is what the pool knows of its attempts to connect.
type dialState struct {
	running  int
	count    int
	streak   int // failures since a lane has last proved its worth
	answered bool
	since    time.Duration // since when a lane is wanted
	after    time.Time     // back-off
	honour   time.Time     // the server asked to be left alone until then
	dark     time.Time     // next attempt of a blackout
	bucket   bucket
}

// jitter returns a random wait after the n-th failure in a row, n from 1.
// Called with the mutex held.
func (p *Pool) jitter(n int) time.Duration {
	most := jitterMax
	if n < 7 {
		most = min(most, jitterBase<<max(n, 0))
	}
	return time.Duration(p.cfg.Rand.Int64N(int64(most)))
}

// dialMore starts the connections that are missing. Called with the mutex
// held.
func (p *Pool) dialMore(now time.Duration) {
	target := p.ctl.lanes(now)
	healthy := 0
	for _, l := range p.lanes {
		if !l.suspect {
			healthy++
		}
		l.drain = healthy > target
	}
	if !p.wanted() || p.err != nil || p.dial.running >= maxDialing {
		return
	}
	at := time.Now()
	if at.Before(p.dial.honour) {
		return
	}
	if p.dark {
		if at.Before(p.dial.dark) || p.anyLive(now) {
			return
		}
		p.dial.dark = at.Add(p.darkWait())
		p.dialOne()
		return
	}
	if n := (p.queued + p.out + p.cfg.SecondLaneAt - 1) / p.cfg.SecondLaneAt; n < int64(target) {
		target = max(1, int(n))
	}
	if p.narrow {
		target = 1
	}
	for n := target - len(p.lanes) - p.dial.running; n > 0; n-- {
		if at.Before(p.dial.after) || !p.dial.bucket.take(at) {
			return
		}
		p.dialOne()
	}
}

// darkWait returns a second, more or less.
func (p *Pool) darkWait() time.Duration {
	return darkInterval*7/10 + time.Duration(p.cfg.Rand.Int64N(int64(darkInterval*6/10)))
}

// anyLive reports whether a lane does what can be expected of it.
func (p *Pool) anyLive(now time.Duration) bool {
	return slices.ContainsFunc(p.lanes, func(l *lane) bool { return l.live(now, p.patience) })
}

func (p *Pool) dialOne() {
	p.dial.running++
	p.dial.count++
	limit := max(dialTimeout, 10*p.rtt)
	if p.dial.count%5 == 0 {
		limit = max(limit, dialPatient)
	}
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, limit)
		defer cancel()
		conn, err := p.dialer.Dial(ctx)
		p.dialed(conn, err, limit)
	})
}

func (p *Pool) dialed(conn Lane, err error, limit time.Duration) {
	p.mu.Lock()
	defer p.unlock()
	p.dial.running--
	p.kick()
	if err == nil && conn == nil {
		err = errors.New("the dialer returned no lane")
	}
	if p.err != nil {
		if err == nil {
			p.wg.Go(func() { conn.Close(errUnneeded) })
		}
		return
	}
	var busy RetryAfter
	switch {
	case err == nil:
		p.dial.answered = true
		p.open(conn)
	case retryAfter(err, &busy):
		p.dial.answered = true
		p.overloaded(busy)
		p.dial.honour = time.Now().Add(busy.After)
	case permanent(err):
		p.fail(err)
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", limit)
		}
		p.failedDial(err)
	}
}

// failedDial notes one more attempt that came to nothing. Called with the
// mutex held.
func (p *Pool) failedDial(err error) {
	p.cause = err
	p.dial.streak++
	p.dial.after = time.Now().Add(p.jitter(p.dial.streak))
}

// overloaded notes that the server asked to be left alone. Called with the
// mutex held.
func (p *Pool) overloaded(busy RetryAfter) {
	p.cause = busy
	p.retries++
	p.ctl.overloaded(p.clock.now())
	p.report.warn(p, busy.Error())
}

// open takes a new lane in. Called with the mutex held.
func (p *Pool) open(conn Lane) {
	p.nextID++
	l := newLane(conn, p.nextID, p.clock.now())
	p.lanes = append(p.lanes, l)
	p.emit(event.Lane{ID: l.id, Open: true})
	p.wg.Go(func() {
		select {
		case <-conn.Done():
			p.mu.Lock()
			defer p.unlock()
			err := conn.Err()
			if err == nil {
				err = errors.New("the connection ended")
			}
			if slices.Contains(p.lanes, l) {
				p.lost(l, err)
			}
			p.dialMore(p.clock.now())
			p.fillAll()
		case <-l.gone:
		}
	})
	p.fill(l)
	p.bell.ring()
}

// lost handles a lane that ended by itself. Called with the mutex held.
func (p *Pool) lost(l *lane, err error) {
	var busy RetryAfter
	switch {
	case permanent(err):
		p.fail(err)
	case retryAfter(err, &busy):
		p.overloaded(busy)
		p.dial.honour = time.Now().Add(busy.After)
	}
	p.closeLane(l, err, true)
}

// closeLane drops a lane and gives its work back. fault is whether the lane
// failed, rather than was no longer needed. Called with the mutex held.
func (p *Pool) closeLane(l *lane, cause error, fault bool) {
	at := slices.Index(p.lanes, l)
	if at < 0 {
		return
	}
	p.lanes = slices.Delete(p.lanes, at, at+1)
	p.closing[l] = struct{}{}
	for r := range l.reqs {
		p.drop(r)
	}
	for x := range l.xs {
		x.cancel(laneError{cause})
	}
	close(l.gone)
	if fault && p.err == nil {
		p.retries++
		p.cause = cause
		if !l.proven {
			p.failedDial(cause)
		}
	}
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	p.emit(event.Lane{ID: l.id, Cause: text})
	p.wg.Go(func() {
		l.conn.Close(cause) // may wait for the socket
		in, out := l.conn.Counters()
		p.mu.Lock()
		defer p.unlock()
		p.inClosed += in
		p.outClosed += out
		delete(p.closing, l)
	})
	p.bell.ring()
}

// rest notes when a lane owes nothing any more. Called with the mutex held.
func (p *Pool) rest(l *lane) {
	if !l.owes() {
		l.idle = p.clock.now()
	}
}

// laneError is the end of a lane, as an exchange on it sees it.
type laneError struct{ error }

func (e laneError) Unwrap() error { return e.error }
