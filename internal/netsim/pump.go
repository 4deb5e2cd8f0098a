package netsim

import (
	"sort"
	"time"
)

// wakePump has the pump of p run at t.
func (l *Link) wakePump(p *path, t time.Duration) {
	if p.armed && p.wake <= t {
		return
	}
	p.armed, p.wake = true, t
	l.at(t, keyPump-1+uint64(p.index), func() {
		if p.armed && p.wake == t {
			p.armed = false
			l.pump(p)
		}
	})
}

// pump sends for the flows of p in turn until the link is busy or there is
// nothing that may be sent, and sees to it that it is run again.
func (l *Link) pump(p *path) {
	now := l.time()
	for p.dark == 0 {
		if p.free > now {
			l.wakePump(p, p.free)
			return
		}
		h, next := l.pick(p, now)
		if h == nil {
			if next > now {
				l.wakePump(p, next)
			}
			return
		}
		p.last = h.f.id
		h.serve(now)
	}
}

// pick returns the half whose turn it is, or else when one can have it.
func (l *Link) pick(p *path, now time.Duration) (*half, time.Duration) {
	first := sort.Search(len(l.flows), func(i int) bool { return l.flows[i].id > p.last })
	var next time.Duration
	for i := range l.flows {
		h := l.flows[(first+i)%len(l.flows)].halves[p.index]
		switch {
		case h.broken() || !h.wants():
		case h.resume <= now:
			return h, 0
		case next == 0 || h.resume < next:
			next = h.resume
		}
	}
	return nil, next
}

// serve sends as much of h as its turn allows.
func (h *half) serve(now time.Duration) {
	l, p := h.f.l, h.p
	backlog := h.written - h.sent
	n := min(backlog, h.room(), p.size)
	stats := l.count(p.index)
	if p.Loss > 0 {
		if h.toLoss < 0 {
			h.drawLoss()
		}
		if h.toLoss == 0 {
			n = min(n, segment)
			stats.Sent += n
			stats.Lost++
			p.free = now + p.transmit(n)
			h.resume = now + h.stall(backlog)
			h.toLoss = -1
			return
		}
		n = min(n, int64(h.toLoss)*segment)
		h.toLoss -= segments(n)
		h.losses = 0
	}
	if p.Corrupt > 0 {
		for i := range segments(n) {
			if at := int64(i) * segment; at < n && h.rng.Float64() < p.Corrupt {
				at += h.rng.Int64N(min(segment, n-at))
				h.buf.flip(int(h.sent-h.read+at), uint(h.rng.Uint32()))
				stats.Corrupted++
			}
		}
	}
	h.sent += n
	stats.Sent += n
	h.finSent = h.fin && h.sent == h.written
	h.writable.Broadcast()
	h.noteTrouble()

	p.free = now + p.transmit(n)
	due := p.free + p.Delay
	if p.Jitter > 0 {
		due += time.Duration(h.rng.Int64N(int64(p.Jitter) + 1))
	}
	h.lastDue = max(h.lastDue, due)
	fin, epoch := h.finSent, h.epoch
	l.at(h.lastDue, h.key, func() {
		if h.epoch == epoch {
			h.arrive(n, fin)
		}
	})
}

func segments(n int64) int { return int(max(1, (n+segment-1)/segment)) }
