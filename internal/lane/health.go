package lane

import (
	"slices"
	"sync"
	"time"
)

// A circuit breaker for each place that can be dialled: one that fails again
// and again is left alone for a while, unless there is no other.
const (
	breakAfter  = 5 // failures within breakWindow
	breakWindow = 30 * time.Second
	breakMin    = 5 * time.Second // how long it is left alone; doubles up to
	breakMax    = 30 * time.Second

	resetAfter  = 4 // connections that were reset within resetWindow
	resetWindow = time.Minute
)

// health is what is known of the places. It is safe for concurrent use.
type health struct {
	mu   sync.Mutex
	by   map[place]*record
	best place // that worked last
}

type record struct {
	fails, resets []time.Time // the latest, oldest first
	until         time.Time   // it is left alone
	rest          time.Duration
}

func (h *health) record(p place) *record {
	if h.by == nil {
		h.by = map[place]*record{}
	}
	r := h.by[p]
	if r == nil {
		if len(h.by) >= 8*maxAddrs { // names whose addresses keep changing
			clear(h.by)
		}
		r = &record{}
		h.by[p] = r
	}
	return r
}

// worked notes that a connection was made.
func (h *health) worked(p place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record(p)
	r.fails, r.until, r.rest = nil, time.Time{}, 0
	h.best = p
}

// failed notes that none was.
func (h *health) failed(p place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	r := h.record(p)
	if h.best == p {
		h.best = place{}
	}
	if r.rest > 0 { // a trial
		h.open(r, now)
		return
	}
	if r.fails = latest(append(r.fails, now), now, breakWindow, breakAfter); len(r.fails) >= breakAfter {
		h.open(r, now)
	}
}

// reset notes that a connection that had been made was reset. Some firewalls
// do so on one port and not on another.
func (h *health) reset(p place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	r := h.record(p)
	if r.resets = latest(append(r.resets, now), now, resetWindow, resetAfter); len(r.resets) >= resetAfter {
		r.resets = nil
		r.rest = breakMax
		h.open(r, now)
	}
}

func (h *health) open(r *record, now time.Time) {
	r.rest = min(max(2*r.rest, breakMin), breakMax)
	r.until = now.Add(r.rest)
}

// latest returns the last n times within the window.
func latest(times []time.Time, now time.Time, window time.Duration, n int) []time.Time {
	times = slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) > window })
	return times[max(0, len(times)-n):]
}

// order returns the targets that should be tried, the best first. It is never
// empty unless all is.
func (h *health) order(all []target) []target {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var good, bad []target
	for _, t := range all {
		switch r := h.by[t.place]; {
		case r != nil && now.Before(r.until):
			bad = append(bad, t)
		case t.place == h.best:
			good = slices.Insert(good, 0, t)
		default:
			good = append(good, t)
		}
	}
	if len(good) == 0 {
		return bad
	}
	return good
}
