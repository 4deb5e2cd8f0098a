package fetch

import (
	"math"
	"slices"
	"time"
)

// measure brings up to date what is known of the link as a whole, and all that
// follows from it: how many lanes there should be, and how fast a job that
// gives way may be. Called with the mutex held.
func (p *Pool) measure() {
	now := time.Since(p.made)
	var paths []PathInfo
	for _, l := range p.lanes {
		paths = append(paths, l.path)
	}
	if len(paths) > 0 {
		p.path = joinPaths(paths)
	}
	p.speed.tick(now, p.crossed)
	p.measureSources()
	p.hold.tick(now, p.clock.total())
	p.ctl.look(view{
		now: now, bytes: p.crossed, up: len(p.lanes), most: p.grantable(), path: p.path,
		busy: p.queued > 0 && !p.dark && !p.narrow && !p.throttled() && p.hold.share < heldMuch && p.useful() >= p.ctl.lanes(),
	})
	if p.nice != nil {
		p.throttle.yield(p.nice.look(now, p.path, p.speed.rate))
	}
}

// grantable returns how many lanes the budgets let the pool have at most.
// Called with the mutex held.
func (p *Pool) grantable() (n int) {
	for _, s := range p.sources {
		if s.dead == nil {
			n += s.Budget.could(s)
		}
	}
	return n
}

// throttled reports whether a rate held requests back a moment ago. Called with
// the mutex held.
func (p *Pool) throttled() bool {
	return !p.throttle.held.IsZero() && time.Since(p.throttle.held) < time.Second
}

// speedometer is the speed of a counter, smoothed over half a second.
type speedometer struct {
	rate float64 // per second
	at   time.Duration
	was  int64
}

func (s *speedometer) tick(now time.Duration, count int64) {
	dt := (now - s.at).Seconds()
	if dt < tailTick.Seconds() {
		return
	}
	s.rate += (float64(count-s.was)/dt - s.rate) * (1 - math.Exp(-2*dt))
	s.at, s.was = now, count
}

// holdShare is the share of the last second or so in which this side was the
// slow one.
type holdShare struct {
	share float64
	at    time.Duration
	held  time.Duration
}

// heldMuch is the share from which on this side is taken for the limit: writes
// that keep up with the link overlap with what it brings, others never end.
const heldMuch = .8

func (h *holdShare) tick(now, held time.Duration) {
	dt := now - h.at
	if dt <= 0 {
		return
	}
	h.share += (float64(held-h.held)/float64(dt) - h.share) * (1 - math.Exp(-dt.Seconds()))
	h.at, h.held = now, held
}

// yielder finds the rate at which a job leaves the link's queue short, so that
// others hardly notice it: a delay-based scavenger in the manner of LEDBAT
// (RFC 6817), applied where the requests are made.
type yielder struct {
	rate   float64 // bytes per second
	at     time.Duration
	fast   bool                        // no queue was seen yet
	recent [yieldSamples]time.Duration // round trips
	n      int
	low    int // samples since the rate was lowered
}

const (
	yieldQueue = 10 * time.Millisecond // a queue longer than this, and an eighth of the round trip, is too long
	yieldFirst = 128 << 10
	yieldLeast = 16 << 10
	yieldEvery = 100 * time.Millisecond // or a round trip
	// yieldSamples are looked at together, and the least of them counts: the
	// others are bursts. (RFC 6817, CURRENT_FILTER)
	yieldSamples = 4
)

func newYielder() *yielder { return &yielder{rate: yieldFirst, fast: true} }

// look returns the rate to keep, in bytes per second; 0 where the round trip is
// not known, and there is nothing to go by. got is what arrives at the time.
func (y *yielder) look(now time.Duration, p PathInfo, got float64) int64 {
	if p.MinRTT <= 0 || p.RTT <= 0 {
		return 0
	}
	if now-y.at < max(yieldEvery, p.RTT) {
		return int64(y.rate)
	}
	y.at = now
	y.recent[y.n%yieldSamples] = p.RTT
	y.n++
	y.low++
	queue := slices.Min(y.recent[:min(y.n, yieldSamples)]) - p.MinRTT
	switch most := yieldQueue + p.MinRTT/8; {
	case queue > most && y.low < yieldSamples: // what was done has yet to show
	case queue > most:
		y.fast, y.low = false, 0
		y.rate *= min(max(float64(most)/float64(queue), .5), .9)
	case queue > most/2: // as it should be
	case y.fast:
		y.rate *= 1.5
	default:
		y.rate *= 1.04
	}
	// What is not used says nothing about the queue.
	y.rate = max(min(y.rate, 2*got+yieldFirst), yieldLeast)
	return int64(y.rate)
}
