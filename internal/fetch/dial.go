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
	maxDialing   = 16
	jitterBase   = 100 * time.Millisecond
	jitterMax    = 5 * time.Second
	darkInterval = time.Second
	raceAfter    = 250 * time.Millisecond // RFC 8305
	maxRaced     = 2                      // besides as many as are missing
	// laterLanes is how much more work a lane must have, when there are more
	// than a few, to be worth its handshake.
	laterLanes = 4
)

// dialState is what the pool knows of its attempts to connect.
type dialState struct {
	running  int
	count    int
	answered bool
	since    time.Duration // since when a lane is wanted
	began    time.Time     // the last attempt
	raced    int           // attempts beside others since one came to something
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

// dialMore starts the connections that are missing, and marks those that are
// too many. Called with the mutex held.
func (p *Pool) dialMore(now time.Duration) {
	target := p.ctl.lanes()
	p.drain(target)
	if !p.wanted() || p.err != nil || p.dial.running >= maxDialing {
		return
	}
	at := time.Now()
	if p.dark {
		if s := p.nextDark(at); s != nil && !p.anyLive(now) {
			p.dial.dark = at.Add(p.darkWait())
			p.dialOne(s)
		}
		return
	}
	target = min(target, p.useful())
	if p.narrow {
		target = 1
	}
	missing := min(target-len(p.lanes), maxDialing)
	for n := missing - p.dial.running; n > 0; n-- {
		s := p.choose(at)
		if s == nil || !p.dial.bucket.take(at) {
			return
		}
		p.dialOne(s)
	}
	// Where packets are lost, one that opens a connection costs a second. A
	// connection that takes long is raced by another.
	if missing > 0 && p.dial.running < 2*missing+maxRaced && at.Sub(p.dial.began) >= max(raceAfter, 4*p.rtt)<<p.dial.raced {
		p.race(at)
	}
}

// drain marks the lanes beyond target, the youngest, those beyond the share of a
// budget, and those of mirrors that have nothing of what waits. Called with the
// mutex held.
func (p *Pool) drain(target int) {
	healthy := 0
	for _, l := range p.lanes {
		if !l.owes() && !p.serves(l.src) {
			l.drain = true // it keeps others from being made
			continue
		}
		if !l.suspect {
			healthy++
		}
		l.drain = healthy > target
	}
	for _, s := range p.sources {
		s.Budget.holds(s, p.has(s))
		n := p.lanesOf(s)
		want := n + s.dialing
		if p.wanted() && want == 0 && s.index == 0 {
			want = 1
		}
		over := n - s.Budget.share(s, want)
		for i := len(p.lanes) - 1; i >= 0 && over > 0; i-- {
			if l := p.lanes[i]; l.src == s && !l.drain {
				l.drain = true
				over--
			}
		}
	}
}

// useful returns how many lanes the work that is left can keep busy for longer
// than it takes to make them. Called with the mutex held.
func (p *Pool) useful() int {
	left := p.queued + p.out
	if p.seq == 0 { // lanes that are dialled now are there when the first task is
		left = max(left, p.cfg.Expect)
	}
	n := (left + p.cfg.SecondLaneAt - 1) / p.cfg.SecondLaneAt
	if n > lanesStart {
		n = max(lanesStart, n/laterLanes)
	}
	if float64(left) < p.speed.rate*4*p.path.RTT.Seconds() {
		n = min(n, int64(len(p.lanes)))
	}
	return int(min(max(1, n), maxLanes))
}

// race makes a connection beside one that takes long: to a mirror, if there is
// one that is not being dialled. Called with the mutex held.
func (p *Pool) race(at time.Time) {
	var best *source
	for _, s := range p.sources {
		// A server that counts lanes counts both.
		counted := s.Budget.granted() > 0 && p.has(s) >= s.Budget.granted()
		if s.ready(at) && p.serves(s) && !counted && (best == nil || s.dialing < best.dialing) {
			best = s
		}
	}
	if best != nil && p.dial.bucket.take(at) {
		p.dial.raced = min(p.dial.raced+1, 6)
		p.dialOne(best)
	}
}

// nextDark returns the source whose turn it is in a blackout, nil for none now.
// Called with the mutex held.
func (p *Pool) nextDark(at time.Time) *source {
	if at.Before(p.dial.dark) {
		return nil
	}
	for i := range p.sources {
		s := p.sources[(p.dial.count+i)%len(p.sources)]
		if s.dead == nil && !at.Before(s.honour) && p.serves(s) {
			return s
		}
	}
	return nil
}

// darkWait returns a second, more or less.
func (p *Pool) darkWait() time.Duration {
	return darkInterval*7/10 + time.Duration(p.cfg.Rand.Int64N(int64(darkInterval*6/10)))
}

// anyLive reports whether a lane does what can be expected of it, and something
// can. Called with the mutex held.
func (p *Pool) anyLive(now time.Duration) bool {
	return slices.ContainsFunc(p.lanes, func(l *lane) bool {
		return l.live(now, p.patience) && (l.owes() || p.serves(l.src))
	})
}

func (p *Pool) dialOne(s *source) {
	p.dial.running++
	p.dial.count++
	p.dial.began = time.Now()
	s.dialing++
	s.tried = true
	limit := max(dialTimeout, 10*p.rtt)
	if p.dial.count%5 == 0 {
		limit = max(limit, dialPatient)
	}
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, limit)
		defer cancel()
		conn, err := s.Dialer.Dial(ctx)
		p.dialed(s, conn, err, limit)
	})
}

func (p *Pool) dialed(s *source, conn Lane, err error, limit time.Duration) {
	p.mu.Lock()
	defer p.unlock()
	p.dial.running--
	s.dialing--
	p.kick()
	if err == nil && conn == nil {
		err = errors.New("the dialer returned no lane")
	}
	if p.err != nil || s.dead != nil {
		if err == nil {
			p.wg.Go(func() { conn.Close(errUnneeded) })
		}
		return
	}
	var busy RetryAfter
	switch {
	case err == nil:
		p.dial.answered, p.dial.raced = true, 0
		p.open(s, conn)
	case retryAfter(err, &busy):
		p.dial.answered = true
		p.overloaded(busy)
		s.honour = time.Now().Add(busy.After)
	case permanent(err):
		if !p.retire(s, err) {
			p.fail(err)
		}
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", limit)
		}
		p.failedDial(s, err)
	}
}

// failedDial notes one more attempt that came to nothing. Called with the
// mutex held.
func (p *Pool) failedDial(s *source, err error) {
	p.cause = err
	s.failed()
	s.streak++
	s.after = time.Now().Add(p.jitter(s.streak))
}

// overloaded notes that the server asked to be left alone. Called with the
// mutex held.
func (p *Pool) overloaded(busy RetryAfter) {
	p.cause = busy
	p.retries++
	p.ctl.overloaded(time.Since(p.made))
	if to := time.Now().Add(busy.After); to.After(p.busyTo) {
		p.busyTo = to
	}
	p.report.warn(p, busy.Error())
}

// open takes a new lane in. Called with the mutex held.
func (p *Pool) open(s *source, conn Lane) {
	p.nextID++
	l := newLane(s, conn, p.nextID, p.clock.now())
	l.drain = !p.dark && !p.narrow && p.healthy() >= p.ctl.lanes() // others were faster; it ends when it is looked at
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

// healthy returns how many lanes there are that are not given up. Called with
// the mutex held.
func (p *Pool) healthy() (n int) {
	for _, l := range p.lanes {
		if !l.suspect && !l.drain {
			n++
		}
	}
	return n
}

// lost handles a lane that ended by itself. Called with the mutex held.
func (p *Pool) lost(l *lane, err error) {
	var busy RetryAfter
	switch {
	case permanent(err):
		if !p.retire(l.src, err) {
			p.fail(err)
		}
	case retryAfter(err, &busy):
		p.overloaded(busy)
		l.src.honour = time.Now().Add(busy.After)
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
			p.failedDial(l.src, cause)
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
