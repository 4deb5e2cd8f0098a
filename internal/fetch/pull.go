package fetch

import (
	"slices"
	"time"
)

const (
	maxCopies = 3 // requests for one block at the same time
	// tail is the part of the job, in wire bytes, that is hedged.
	tailMin   = 2 << 20
	tailShare = 50 // one in 50 of the job

	aheadMost  = 500 * time.Millisecond
	aheadLeast = 100 * time.Millisecond

	// maxRequests bounds what requests cost in memory: a block each.
	maxRequests = 512
)

// fill gives lane l as much work as it may have. Called with the mutex held.
func (p *Pool) fill(l *lane) {
	for p.pull(l) {
	}
}

// fillAll gives all lanes work, a request at a time so that they share it.
// Called with the mutex held.
func (p *Pool) fillAll() {
	for again := true; again; {
		again = false
		for _, l := range p.lanes {
			again = p.pull(l) || again
		}
	}
}

// pull gives lane l one request, and reports whether it did. Called with the
// mutex held.
func (p *Pool) pull(l *lane) bool {
	switch {
	case p.err != nil, l.suspect, l.drain, len(p.queue) == 0 && p.requests == 0:
		return false
	case p.requests >= maxRequests, p.narrow && p.anyBusy(), l.slots > (p.cfg.InFlight-1)*slot:
		return false
	case !l.pause.IsZero() && time.Now().Before(l.pause):
		return false
	}
	free := p.cfg.MaxOutstanding - p.owed()
	if free <= 0 {
		return false
	}
	room := min(l.allowed(p.ahead())-l.out, free)
	if room <= 0 {
		return false
	}
	size := p.size(l, room)
	if !p.throttle.allow(time.Now(), p.received()+p.out, size) {
		return false
	}
	if t := p.next(l.src); t != nil {
		from, to := t.run(size)
		p.start(l, t, from, to)
		return true
	}
	return p.takeOver && (p.steal(l, size) || p.hedge(l, size))
}

// next returns the oldest task with a waiting block that s may have, nil for
// none. Called with the mutex held.
func (p *Pool) next(s *source) (best *task) {
	for i, t := range p.queue {
		if t.lacks[s] {
			continue
		}
		if i == 0 {
			return t
		}
		if best == nil || t.seq < best.seq {
			best = t
		}
	}
	return best
}

// ahead returns for how long a lane is given work in advance: half a second,
// and less towards the end, where what a slow lane owes keeps the others idle.
// Called with the mutex held.
func (p *Pool) ahead() time.Duration {
	if p.speed.rate <= 0 {
		return aheadMost
	}
	left := float64(p.queued+p.out) / p.speed.rate
	return time.Duration(min(max(left/4, aheadLeast.Seconds()), aheadMost.Seconds()) * float64(time.Second))
}

// owed returns the wire bytes that are on their way, but for those that silent
// lanes owe: a lane that does not answer must not keep the others from work.
func (p *Pool) owed() int64 {
	n := p.out
	for _, l := range p.lanes {
		if l.suspect {
			n -= l.out
		}
	}
	return n
}

// anyBusy reports whether a lane that lives owes blocks.
func (p *Pool) anyBusy() bool {
	now := p.clock.now()
	return slices.ContainsFunc(p.lanes, func(l *lane) bool { return len(l.reqs) > 0 && l.live(now, p.patience) })
}

// size returns the wire bytes of the next request: a fair part of what is
// left, so that all lanes end together.
func (p *Pool) size(l *lane, room int64) int64 {
	if p.narrow {
		return 1 // one block
	}
	s := (p.queued + p.out) / int64(3*max(1, len(p.lanes))*p.cfg.InFlight)
	// On a long way few lanes cannot fill it with small requests.
	s = max(s, int64(l.meter.peak*l.rtt.Seconds())/4)
	s = min(s, room, l.window/4)
	if p.throttle.rate > 0 {
		s = min(s, p.throttle.rate/8)
	}
	if s < minRequest {
		s = min(minRequest, max(1, p.queued+p.out))
	}
	return min(s, maxRequest)
}

// received returns the bytes that have arrived, where a limit needs it.
func (p *Pool) received() int64 {
	if p.throttle.rate <= 0 {
		return 0
	}
	in, _ := p.wire()
	return in
}

// holds reports whether l has block i of t outstanding.
func (l *lane) holds(t *task, i int) bool {
	for r := range t.reqs {
		if r.l == l && i >= r.next && i < r.to {
			return true
		}
	}
	return false
}

// spare returns the first run of blocks in [from, r.to) that l may ask for
// although r has them outstanding.
func (l *lane) spare(r *request, from int, size int64) (a, b int, wire int64) {
	t := r.t
	ok := func(i int) bool {
		return t.state[i] < maxCopies && !l.holds(t, i)
	}
	for a = from; a < r.to && !ok(a); a++ {
	}
	for b = a; b < r.to && (b == a || wire+t.wire(b) <= size) && ok(b); b++ {
		wire += t.wire(b)
	}
	return a, b, wire
}

// steal takes over work of a lane that is silent. Called with the mutex held.
func (p *Pool) steal(l *lane, size int64) bool {
	var best *request
	var from, to int
	var wire int64
	for _, m := range p.lanes {
		if m == l || !m.suspect {
			continue
		}
		for r := range m.reqs {
			if best != nil && r.began >= best.began || r.t.lacks[l.src] {
				continue
			}
			if a, b, w := l.spare(r, r.next, size); b > a {
				best, from, to, wire = r, a, b, w
			}
		}
	}
	if best == nil {
		return false
	}
	p.stolen += wire
	p.start(l, best.t, from, to)
	return true
}

// hedge asks for the last blocks of a job once more where they take longer
// than lane l would need. Called with the mutex held.
func (p *Pool) hedge(l *lane, size int64) bool {
	limit := max(tailMin, p.added/tailShare)
	if p.dark || p.out > limit || p.queued > 0 {
		return false
	}
	now := p.clock.now()
	var best *request
	var from, to int
	var wire int64
	for _, m := range p.lanes {
		if m == l {
			continue
		}
		for r := range m.reqs {
			if best != nil && r.began >= best.began || r.t.lacks[l.src] {
				continue
			}
			// The back half: the other lane goes on with the front.
			a, b, w := l.spare(r, r.next+(r.to-r.next)/2, size)
			if b == a || p.hedged+w > limit {
				continue
			}
			copies := time.Duration(r.t.state[a])
			if now-max(r.began, m.good) >= copies*l.eta(w) {
				best, from, to, wire = r, a, b, w
			}
		}
	}
	if best == nil {
		return false
	}
	p.hedged += wire
	p.start(l, best.t, from, to)
	return true
}
