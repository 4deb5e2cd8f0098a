package fetch

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

const (
	tick     = 100 * time.Millisecond
	tailTick = 25 * time.Millisecond // while the last blocks are on their way

	// A lane below slowShare of the median for slowFor is replaced.
	slowShare = .15
	slowFor   = 10 * time.Second
	slowLanes = 3 // fewer lanes have no median to speak of
	// recycleEvery is the least time between two lanes that are replaced for
	// being slow: where many are, others will not be better.
	recycleEvery = 5 * time.Second

	keptFlows = 2
)

var (
	errSilent   = errors.New("no answer")
	errTooSlow  = errors.New("bytes arrive too slowly")
	errStraggle = errors.New("far slower than the other lanes")
	errIdle     = errors.New("idle")
	errFewer    = errors.New("fewer lanes are wanted")
	errUnneeded = errors.New("no longer needed")
	errSlept    = errors.New("the machine was asleep")
)

// supervise is the one owner of all timers of the pool. It returns when the
// pool has ended.
func (p *Pool) supervise() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := time.Now()
	var last time.Time // of the last tick; zero when none was due
	for {
		p.mu.Lock()
		now := time.Now()
		if !last.IsZero() {
			if slept, counted := gap(last, now); slept > 0 {
				p.woke(counted)
			}
		}
		wait := p.step(start)
		events := p.takeEvents(false)
		over := p.err != nil
		p.unlock()
		p.say(events)
		if over {
			return
		}
		last = time.Time{}
		if wait <= maxTick {
			last = now
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		}
	}
}

// step looks at everything once and returns when to look again. Called with
// the mutex held.
func (p *Pool) step(start time.Time) time.Duration {
	if p.err != nil {
		return 0
	}
	wait := time.Duration(1<<62 - 1)
	if d := p.cfg.Deadline; d > 0 {
		wait = d - time.Since(start)
		if wait <= 0 {
			p.fail(p.endsAtDeadline())
			return 0
		}
	}
	now := p.clock.now()
	p.watchLanes(now)
	p.watchExchanges(now)
	p.watchLink(now)
	if p.ends(now); p.err != nil {
		return 0
	}
	p.measure()
	p.dialMore(now)
	p.takeOver = true // looking for work to take over is too dear to be done for every block
	p.fillAll()
	p.takeOver = false
	p.report.stuck(p)
	p.limits.look(p.situation(now))
	p.bell.ring()
	switch {
	case !p.wanted() && len(p.lanes) == 0:
		return wait
	case p.queued == 0 && p.out > 0, p.throttled():
		return min(wait, tailTick)
	}
	return min(wait, tick)
}

// progressed notes that something of use has arrived. Called with the mutex
// held.
func (p *Pool) progressed(s *source, now time.Duration) {
	p.good, p.goodAt = now, time.Now()
	s.streak = 0
	if p.dark {
		p.kick()
	}
}

// watchLanes finds the lanes that are silent, slow, idle or too many. Called
// with the mutex held.
func (p *Pool) watchLanes(now time.Duration) {
	at := time.Now()
	for _, l := range p.lanes {
		l.sample()
		l.meter.tick(at, l.rtt, len(l.reqs) > 0)
		if l.rtt > 0 {
			p.rtt = l.rtt
		}
	}
	median := p.median()
	for _, l := range slices.Clone(p.lanes) {
		switch {
		case len(l.reqs) > 0 || l.suspect:
			p.watchLane(l, now, median)
		case l.owes():
		case l.drain:
			p.closeLane(l, errFewer, false)
		case now-l.idle >= p.cfg.IdleClose && (len(p.exchanges) == 0 || len(p.lanes) > 1):
			p.closeLane(l, errIdle, false)
		}
	}
}

// watchLane watches a lane that owes blocks. Called with the mutex held.
func (p *Pool) watchLane(l *lane, now time.Duration, median float64) {
	if l.meter.rate < slowShare*median {
		if l.below < 0 {
			l.below = now
		}
		if now-l.below >= slowFor && now-p.recycled >= recycleEvery && !p.dark {
			p.recycled = now
			p.closeLane(l, errStraggle, true)
			return
		}
	} else {
		l.below = -1
	}
	quiet := now - l.good
	if quiet >= l.soft() {
		l.suspect = true
	}
	if quiet < l.hard() {
		return
	}
	reading := l.reading()
	switch {
	case reading && quiet < p.patience:
		// A large block on a thin link, perhaps. If nothing else moves either,
		// less at a time brings the first block sooner.
		if now-p.good >= l.hard() && !p.narrow {
			p.goNarrow(l)
		}
	case p.dark && l.kept:
	case reading:
		if now-p.good >= p.patience {
			p.patience = min(2*p.patience, time.Hour)
		}
		p.closeLane(l, errTooSlow, true)
	default:
		p.closeLane(l, errSilent, true)
	}
}

// median returns the median rate of the lanes that are at work; 0 when they
// are too few to compare.
func (p *Pool) median() float64 {
	var rates []float64
	for _, l := range p.lanes {
		if len(l.reqs) > 0 {
			rates = append(rates, l.meter.rate)
		}
	}
	if len(rates) < slowLanes {
		return 0
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// goNarrow gives up all requests but the oldest of lane l, so that the link
// carries one block at a time. Called with the mutex held.
func (p *Pool) goNarrow(l *lane) {
	p.narrow = true
	var oldest *request
	for r := range l.reqs {
		if oldest == nil || r.began < oldest.began || r.began == oldest.began && r.t.seq < oldest.t.seq {
			oldest = r
		}
	}
	for _, m := range p.lanes {
		for r := range m.reqs {
			if r != oldest {
				p.drop(r)
			}
		}
	}
}

// watchLink enters blackout mode when no lane does what can be expected of it,
// and leaves it when one does. Called with the mutex held.
func (p *Pool) watchLink(now time.Duration) {
	switch {
	case p.dark && (p.good > p.darkAt || !p.wanted()):
		p.dark = false
		p.down += time.Since(p.darkSince)
		for _, s := range p.sources {
			s.after = time.Time{}
		}
		for _, l := range p.lanes {
			l.kept = false
		}
		if p.wanted() {
			p.emit(event.Link{Up: true, Since: p.goodAt, Resumed: p.done})
		}
	case p.dark || !p.wanted() || now-p.good < max(softMin, 8*p.rtt) || p.anyLive(now):
	default:
		p.dark, p.darkAt, p.darkSince = true, p.good, p.goodAt
		p.dial.dark = time.Time{}
		p.keepTwo()
		cause := "no answer"
		if p.cause != nil {
			cause = p.cause.Error()
		}
		p.emit(event.Link{Since: p.darkSince, GiveUp: p.giveUp(now), Cause: cause})
	}
}

// keepTwo closes all lanes but the two that yielded bytes last: the kernel
// wakes an old flow late after an outage, fresh ones are there before. Called
// with the mutex held.
func (p *Pool) keepTwo() {
	old := slices.Clone(p.lanes)
	slices.SortStableFunc(old, func(a, b *lane) int { return b.read.Compare(a.read) })
	for i, l := range old {
		if i < keptFlows {
			l.kept = true
		} else {
			p.closeLane(l, errSilent, true)
		}
	}
}

// woke handles the end of a sleep of the whole machine. Lanes have a second to
// prove that they live. Called with the mutex held.
func (p *Pool) woke(counted time.Duration) {
	p.clock.skip(counted)
	now := p.clock.now()
	back := func(v *time.Duration, limit time.Duration) { *v = min(*v, now-limit+time.Second) }
	for _, l := range slices.Clone(p.lanes) {
		if !l.owes() {
			p.closeLane(l, errSlept, false)
			continue
		}
		l.good = min(l.good, now)
		back(&l.good, l.soft())
		back(&l.alive, l.soft())
		for x := range l.xs {
			back(&x.seen, max(p.cfg.Stall, 8*l.rtt))
		}
	}
	p.good = min(p.good, now)
	back(&p.good, softMin)
}

// ends ends the pool when one of its times has come. Called with the mutex
// held.
func (p *Pool) ends(now time.Duration) {
	if !p.wanted() {
		return
	}
	kept := fmt.Sprintf("%d verified bytes are kept", p.done)
	cause := "no answer"
	if p.cause != nil {
		cause = p.cause.Error()
	}
	if d := p.cfg.ConnectTimeout; d > 0 && !p.dial.answered && now-p.dial.since >= d {
		p.fail(fault.New(fault.Network, "check the address, the port and the firewalls between",
			"no connection to the server within %v: %s", d, cause))
		return
	}
	if d := p.cfg.Timeout; d > 0 && now-p.good >= d {
		p.fail(fault.New(fault.Network, hintAgain, "no verified byte for %v: %s; %s", d, cause, kept))
	}
}

const hintAgain = "run the same command again: it continues from what is kept"

func (p *Pool) endsAtDeadline() error {
	return fault.New(fault.Limit, hintAgain, "the job did not end within %v; %d verified bytes are kept", p.cfg.Deadline, p.done)
}

// giveUp returns when the pool ends if nothing changes; zero for never.
func (p *Pool) giveUp(now time.Duration) time.Time {
	var left time.Duration
	if p.cfg.Timeout > 0 {
		left = p.cfg.Timeout - (now - p.good)
	}
	if d := p.cfg.ConnectTimeout; d > 0 && !p.dial.answered {
		if c := d - (now - p.dial.since); left == 0 || c < left {
			left = c
		}
	}
	if left <= 0 {
		return time.Time{}
	}
	return time.Now().Add(left)
}
