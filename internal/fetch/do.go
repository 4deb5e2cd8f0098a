package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// exchange is a call of Do. The pool's mutex guards it.
type exchange struct {
	what   string
	lane   *lane // of the attempt that runs
	cancel context.CancelCauseFunc
	seen   time.Duration // last sign of progress
	streak int           // attempts without one
}

// Do runs f, one exchange with the server such as the plan, on a lane that is
// up, dialling by the pool's rules when there is none. After a transport error
// f runs again on another lane, until it returns nil or an error that trying
// again does not cure: one with a fault class other than Network, or ErrGone.
// Errors of this side must therefore carry a class.
//
// f must return soon after its context ends and call alive whenever it sees
// the peer make progress. Silence for Config.Stall ends the attempt, unless
// this side is the slow one: in Add, or under Hold. what names the exchange in
// messages. Run must be running.
func (p *Pool) Do(ctx context.Context, what string, f func(ctx context.Context, l Lane, alive func()) error) error {
	x := &exchange{what: what}
	p.mu.Lock()
	defer p.unlock()
	p.begin()
	p.exchanges[x] = struct{}{}
	defer delete(p.exchanges, x)
	p.kick()
	for {
		l, err := p.laneFor(ctx)
		if err != nil {
			return err
		}
		err = p.attempt(ctx, x, l, f)
		switch {
		case err == nil:
			p.home = l.src
			return nil
		case p.err != nil:
			return p.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		var busy RetryAfter
		var wait time.Duration
		switch {
		case retryAfter(err, &busy):
			p.overloaded(busy)
			wait = busy.After
		case permanent(err), errors.Is(err, ErrGone):
			return err
		default:
			p.cause = err
			p.closeLane(l, err, true)
			if x.streak > 0 {
				wait = p.jitter(x.streak)
			}
			x.streak++
		}
		if err := p.pauseFor(ctx, wait); err != nil {
			return err
		}
	}
}

// pauseFor waits for d, or less when ctx or the pool ends. Called with the mutex
// held, which it releases meanwhile.
func (p *Pool) pauseFor(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); p.err == nil; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if err := p.sleep(ctx, left); err != nil {
			return err
		}
	}
	return p.err
}

// homeWait is how long an exchange waits for the source that the last one went
// to, which knows the job, before it takes any.
const homeWait = 4 * time.Second

// laneFor waits for a lane that is fit for an exchange: of those, the one that
// owes least. Called with the mutex held, which it releases meanwhile.
func (p *Pool) laneFor(ctx context.Context) (*lane, error) {
	for since := time.Now(); p.err == nil; {
		var best *lane
		now := p.clock.now()
		settled := p.home == nil || p.home.dead != nil || time.Since(since) >= homeWait
		for _, l := range p.lanes {
			if l.drain || l.kept || !l.live(now, p.patience) || isDone(l.conn) || !settled && l.src != p.home {
				continue
			}
			if best == nil || l.out < best.out {
				best = l
			}
		}
		if best != nil {
			return best, nil
		}
		if err := p.sleep(ctx, 0); err != nil {
			return nil, err
		}
	}
	return nil, p.err
}

// attempt runs f once. Called with the mutex held, which it releases
// meanwhile.
func (p *Pool) attempt(ctx context.Context, x *exchange, l *lane, f func(context.Context, Lane, func()) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.lane, x.cancel = l, cancel
	x.seen = p.clock.now()
	l.alive = x.seen
	l.xs[x] = struct{}{}
	p.unlock()

	stop := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
	err := f(ctx, l.conn, func() { p.alive(x, l) })
	stop()

	p.mu.Lock()
	x.lane, x.cancel = nil, nil
	delete(l.xs, x)
	p.rest(l)
	if cause := context.Cause(ctx); err != nil && cause != nil && !permanent(err) {
		err = cause
	}
	return err
}

// alive notes progress of an exchange.
func (p *Pool) alive(x *exchange, l *lane) {
	p.mu.Lock()
	defer p.unlock()
	if x.lane != l {
		return // an attempt that was given up
	}
	now := p.clock.now()
	x.seen, l.alive = now, now
	x.streak = 0
	l.proven = true
	p.progressed(l.src, now)
}

// watchExchanges ends attempts that have been silent for too long. Called with
// the mutex held.
func (p *Pool) watchExchanges(now time.Duration) {
	for x := range p.exchanges {
		l := x.lane
		if l == nil {
			continue
		}
		if p.adding > 0 { // we are the slow side
			x.seen, l.alive = now, now
			continue
		}
		limit := max(p.cfg.Stall, 8*l.rtt)
		if l.reading() {
			limit = max(limit, p.patience)
		}
		if quiet := now - x.seen; quiet >= limit {
			p.closeLane(l, fmt.Errorf("%s: no progress for %v", x.what, quiet.Round(time.Second/10)), true)
		}
	}
}
