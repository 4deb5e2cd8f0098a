package fetch

import (
	"math"
	"time"
)

// The times of the watchdog. Each is a floor; see soft and hard.
const (
	softMin     = 2 * time.Second
	hardMin     = 8 * time.Second
	patienceMin = 30 * time.Second

	startWindow = 256 << 10 // wire bytes that a new lane may owe
	minRequest  = 64 << 10  // wire bytes
	maxRequest  = 1 << 20   // wire bytes
	slot        = 16        // cost of a request of minRequest wire bytes or more; small ones cost less
)

// lane is what the pool knows of a Lane. The pool's mutex guards it. Times are
// the pool's clock unless they are a time.Time.
type lane struct {
	conn Lane
	src  *source
	id   int
	gone chan struct{} // closed when the pool has dropped the lane

	reqs   map[*request]struct{}
	xs     map[*exchange]struct{}
	out    int64 // wire bytes that it owes
	slots  int   // cost of its requests
	window int64 // grows with every verified byte until the rate is known
	meter  meter

	good    time.Duration // last verified byte, or when it began to owe
	alive   time.Duration // last progress of an exchange on it
	idle    time.Duration // since when nothing is asked of it
	below   time.Duration // since when it is far slower than the others; negative when it is not
	pause   time.Time     // no new requests until then
	fails   int           // requests that failed since the last verified byte
	proven  bool          // it has yielded something of use
	suspect bool          // past soft: its work may be stolen, it gets none
	kept    bool          // an old flow that a blackout leaves alone
	drain   bool          // one lane too many

	path    PathInfo      // sampled
	rtt     time.Duration // of path; 0 when unknown
	latency time.Duration // least time from a request to its first block
	read    time.Time     // sampled
}

func newLane(s *source, c Lane, id int, now time.Duration) *lane {
	l := &lane{conn: c, src: s, id: id, gone: make(chan struct{}), reqs: map[*request]struct{}{}, xs: map[*exchange]struct{}{},
		window: startWindow, good: now, alive: now, idle: now, below: -1}
	l.sample()
	return l
}

func (l *lane) sample() {
	l.path = l.conn.Path().clean()
	l.rtt = l.path.RTT
	l.read = l.conn.LastRead()
}

func (l *lane) owes() bool { return len(l.reqs) > 0 || len(l.xs) > 0 }

func (l *lane) soft() time.Duration { return max(softMin, 8*l.rtt) }
func (l *lane) hard() time.Duration { return max(hardMin, 20*l.rtt) }

// reading reports whether the socket yields bytes, verified or not.
func (l *lane) reading() bool { return time.Since(l.read) < l.soft() }

// live reports whether the lane has done what can be expected of it. patience
// is how long bytes of the socket are taken for life when none is verified.
func (l *lane) live(now, patience time.Duration) bool {
	if len(l.xs) > 0 && now-l.alive < l.soft() {
		return true
	}
	last := l.alive
	switch {
	case len(l.reqs) > 0 || l.suspect:
		last = l.good
	case len(l.xs) == 0:
		return true
	}
	return now-last < l.soft() || l.reading() && now-last < patience
}

// allowed returns the wire bytes that the lane may owe: what it gets in 1.5
// round trips and the given time.
func (l *lane) allowed(ahead time.Duration) int64 {
	w := l.window
	if l.meter.full {
		rtt := l.rtt
		if rtt == 0 {
			rtt = l.latency
		}
		w = min(w, int64(l.meter.peak*(1.5*rtt.Seconds()+ahead.Seconds())))
	}
	return max(w, 2*minRequest)
}

// eta returns when the lane would have got n more wire bytes.
func (l *lane) eta(n int64) time.Duration {
	d := max(l.rtt, l.latency)
	if l.meter.rate > 0 {
		return d + time.Duration(min(float64(l.out+n)/l.meter.rate, 60)*float64(time.Second))
	}
	return d + 250*time.Millisecond
}

// meter is the goodput of a lane while it is kept busy.
type meter struct {
	bytes int64
	since time.Time
	busy  bool
	rate  float64 // verified wire bytes per second, smoothed over 2 s once it is full
	peak  float64 // the same, falling slowly
	flat  int     // windows in a row in which it grew little
	full  bool    // it has once ceased to grow: until then it says nothing of what the lane can do
}

const (
	meterWindow = 500 * time.Millisecond
	meterGrowth = 1.25 // less than this in flatFor windows, and the lane is full, as BBR has it
	flatFor     = 2
)

func (m *meter) tick(now time.Time, rtt time.Duration, busy bool) {
	dt := now.Sub(m.since)
	if dt < max(meterWindow, 2*rtt) && m.busy {
		m.busy = busy
		return
	}
	if m.busy && busy {
		s := dt.Seconds()
		r := float64(m.bytes) / s
		if m.flat++; r >= meterGrowth*m.peak {
			m.flat = 0
		}
		m.full = m.full || m.flat >= flatFor
		if m.full {
			m.rate += (r - m.rate) * (1 - math.Exp(-s/2))
			m.peak = max(m.rate, m.peak*math.Exp(-s/10))
		} else {
			m.rate = r
			m.peak = max(m.peak, r)
		}
	}
	m.bytes, m.since, m.busy = 0, now, busy
}
