package fetch

import (
	"slices"
	"time"
)

// Source is a server that has the objects. Several sources of one pool have the
// same content under the same locators: mirrors.
type Source struct {
	Dialer Dialer
	Budget *Budget // shared with other pools; nil for one of its own
	Name   string  // in messages; no secrets
}

// source is what the pool knows of a Source. The pool's mutex guards it.
type source struct {
	Source
	index   int
	dialing int
	streak  int       // failures since a lane of it has last proved its worth
	after   time.Time // back-off
	honour  time.Time // it asked to be left alone until then
	tried   bool
	dead    error // it can be of no use any more

	success float64 // share of what was tried that went well, the latest most
	goodput float64 // of one lane, in bytes per second; 0 before it is known
	wrong   int     // blocks that arrived wrong

	up time.Time // it had a lane last
}

const (
	exploreOneIn = 20 // dials that go to a source which is not the best
)

func newSources(in []Source) []*source {
	var all []*source
	for i, s := range in {
		if s.Budget == nil {
			s.Budget = NewBudget(0)
		}
		all = append(all, &source{Source: s, index: i, success: 1, up: time.Now()})
	}
	return all
}

func (s *source) succeeded() { s.success += (1 - s.success) / 8 }
func (s *source) failed()    { s.success *= .5 }

// ready reports whether s may be dialled.
func (s *source) ready(at time.Time) bool {
	return s.dead == nil && !at.Before(s.after) && !at.Before(s.honour)
}

// score says how much another lane to s promises; what was not tried promises
// most.
func (s *source) score() float64 {
	if !s.tried {
		return 1e18
	}
	return (s.goodput + 1) * s.success
}

// lanesOf returns how many lanes a source has, those that drain left out.
// Called with the mutex held.
func (p *Pool) lanesOf(s *source) (n int) {
	for _, l := range p.lanes {
		if l.src == s && !l.drain {
			n++
		}
	}
	return n
}

// has returns how many lanes a source has or is about to have. Called with the
// mutex held.
func (p *Pool) has(s *source) int {
	n := s.dialing
	for _, l := range p.lanes {
		if l.src == s {
			n++
		}
	}
	return n
}

// choose returns the source that gets the next lane, nil for none now. Called
// with the mutex held.
func (p *Pool) choose(at time.Time) *source {
	var open []*source
	for _, s := range p.sources {
		if s.ready(at) && p.serves(s) && s.Budget.room(s, p.has(s)) {
			open = append(open, s)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if h := p.home; h != nil && len(p.exchanges) > 0 && slices.Contains(open, h) && p.lanesOf(h)+h.dialing == 0 {
		return h // exchanges wait for it
	}
	if len(open) > 1 && p.cfg.Rand.IntN(exploreOneIn) == 0 {
		return open[p.cfg.Rand.IntN(len(open))]
	}
	best := open[0]
	for _, s := range open[1:] {
		if s.score() > best.score() {
			best = s
		}
	}
	return best
}

// serves reports whether s may have something that is waited for. Called with
// the mutex held.
func (p *Pool) serves(s *source) bool {
	return len(p.exchanges) > 0 || len(p.queue) == 0 || p.next(s) != nil
}

// gone notes that a source has an object no more; when none has it the task
// ends. Called with the mutex held.
func (p *Pool) gone(t *task, s *source, err error) {
	if t.lacks == nil {
		t.lacks = map[*source]bool{}
	}
	t.lacks[s] = true
	if slices.ContainsFunc(p.sources, func(o *source) bool { return o.dead == nil && !t.lacks[o] }) {
		for r := range t.reqs {
			if r.l.src == s {
				p.drop(r)
			}
		}
		return
	}
	p.finish(t, err)
}

// measureSources brings the goodput of all sources up to date. Called with the
// mutex held.
func (p *Pool) measureSources() {
	for _, s := range p.sources {
		var sum float64
		n := 0
		for _, l := range p.lanes {
			if l.src == s && l.meter.rate > 0 {
				sum += l.meter.rate
				n++
			}
		}
		if n > 0 {
			s.goodput += (sum/float64(n) - s.goodput) / 4
		}
		if p.lanesOf(s) > 0 {
			s.up = time.Now()
		}
	}
	p.strand()
}

// awayAfter is how long a source cannot be reached before what it alone has is
// given up, if another one can be reached.
const awayAfter = 10 * time.Second

// strand ends the tasks whose objects only sources that are away may have: who
// waits for them can plan anew with a source that answers. Called with the
// mutex held.
func (p *Pool) strand() {
	away := func(s *source) bool { return s.dead != nil || time.Since(s.up) >= awayAfter }
	if len(p.sources) == 1 || !slices.ContainsFunc(p.sources, func(s *source) bool { return !away(s) }) || !slices.ContainsFunc(p.sources, away) {
		return
	}
	for e := p.tasks.Front(); e != nil; {
		t := e.Value.(*task)
		e = e.Next()
		if len(t.lacks) > 0 && !slices.ContainsFunc(p.sources, func(s *source) bool { return !t.lacks[s] && !away(s) }) {
			p.finish(t, ErrGone)
		}
	}
}

// retire gives a source up for good, if there is another. It reports whether it
// did. Called with the mutex held.
func (p *Pool) retire(s *source, cause error) bool {
	if s.dead != nil {
		return true
	}
	if !slices.ContainsFunc(p.sources, func(o *source) bool { return o != s && o.dead == nil }) {
		return false
	}
	s.dead = cause
	s.Budget.leave(s)
	for e := p.tasks.Front(); e != nil; {
		t := e.Value.(*task)
		e = e.Next()
		if len(t.lacks) > 0 { // the last that might have had it
			p.gone(t, s, ErrGone)
		}
	}
	p.report.kind(p, "mirror "+s.Name, "no longer asking "+s.Name+": "+cause.Error())
	for _, l := range slices.Clone(p.lanes) {
		if l.src == s {
			p.closeLane(l, cause, false)
		}
	}
	return true
}
