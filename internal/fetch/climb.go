package fetch

import (
	"time"
)

// How many lanes there are to begin with, and at most.
const (
	lanesNear  = 4  // within a building: the link is short, and TLS costs
	lanesStart = 8  // everywhere else
	lanesLossy = 16 // many packets are lost, or the round trip is long
	lanesFar   = 24 // both
	lanesBBR   = 16 // a sender that stands loss needs no more in general,
	lanesMany  = 32 // but under a heavy loss, small buffers, or when it is not known
	lanesNice  = 2  // of a job that gives way

	nearRTT = 2 * time.Millisecond
	wideRTT = 15 * time.Millisecond
	farRTT  = 80 * time.Millisecond

	lossSome  = .12
	lossHeavy = .09
	// What a sender that stands loss loses before is mostly of its own making: it
	// finds out what the link carries by sending too much.
	lossSure = 2 * time.Second
)

// The pace of the climb.
const (
	slowSpan  = 3 * time.Second // or 20 round trips
	fastSpan  = time.Second     // or 10 round trips
	keepGain  = 1.05            // a step up is kept if it brings so much
	fastGain  = 1.3             // and the next is as large if it brought so much
	restAfter = 30 * time.Second
	firstTry  = 10 * time.Second // a trial costs a sender that stands loss more than it brings to a short job
	fullRTT   = 1.3              // the link is full when its round trip has grown so much
	heldShare = .1               // buffers hold the sender for more than this share
	raiseMin  = 500 * time.Millisecond
	arriveMax = 5 * time.Second // lanes that take longer to come are not waited for
	regrow    = 10 * time.Second
)

// view is what a climber sees of the pool.
type view struct {
	now   time.Duration // real time
	bytes int64         // verified so far, as they crossed the wire
	up    int           // lanes
	most  int           // lanes that may be had at this time
	busy  bool          // there is work for all lanes, and nothing on this side holds it up
	path  PathInfo
}

// climber decides how many lanes there should be: it starts with what the
// path suggests, tries more, and keeps what brings more goodput. It is the hill
// climbing of Falcon (SC'21) without its term for loss, which on the links that
// need many lanes has nothing to do with them.
type climber struct {
	most    int // as configured
	n       int
	fast    bool // still looking for the order of magnitude
	changed time.Duration

	// The window that is measured.
	from    time.Duration // it began; negative before
	settled bool          // its first third, which does not count, is over
	at      time.Duration
	bytes   int64

	trial bool // n is being tried
	old   int  // lanes before the trial
	base  float64
	rest  time.Duration // no trial before

	granted int // at this time, by the server and by the other jobs; 0: not known
	ceiling int // after an overload of the server; 0: none
	halved  time.Duration
	grown   time.Duration
}

func newClimber(most int) *climber {
	return &climber{most: most, n: min(most, lanesStart), fast: true, from: -1, halved: -1}
}

// lanes returns how many lanes there should be.
func (c *climber) lanes() int {
	n := c.n
	if c.ceiling > 0 {
		n = min(n, c.ceiling)
	}
	if c.granted > 0 {
		n = min(n, c.granted)
	}
	return n
}

// overloaded notes that the server asked to be left alone: half as many lanes
// at once, and one more every ten seconds from then on.
func (c *climber) overloaded(now time.Duration) {
	// A burst of refusals is one event.
	if c.halved < 0 || now-c.halved >= time.Second {
		c.ceiling = max(1, c.lanes()/2)
		c.halved = now
	}
	c.grown = now
	c.restart(now)
}

// look brings the number of lanes up to date.
func (c *climber) look(v view) {
	if c.ceiling > 0 && v.now-c.grown >= regrow {
		c.grown = v.now
		if c.ceiling++; c.ceiling >= c.most {
			c.ceiling = 0
		}
	}
	c.granted = max(v.most, 1)
	most := min(c.most, c.granted)
	if c.ceiling > 0 {
		most = min(most, c.ceiling)
	}
	if c.changed == 0 && v.path.RTT > 0 && v.path.RTT < nearRTT {
		c.n = min(c.n, lanesNear)
	}
	if n := min(floor(v), most); c.n < n && (c.changed == 0 || !v.path.queued(fullRTT)) {
		c.leap(v, n)
	}
	most = min(most, limit(v.path)) // of what is tried: what has proved good stays
	switch {
	case c.from < 0, !v.busy, c.n > c.lanes(), v.up < c.lanes() && v.now-c.changed < arriveMax:
		c.restart(v.now)
		return
	case v.path.confined() > heldShare && c.n < most && v.now-c.changed >= max(raiseMin, 4*v.path.RTT):
		c.leap(v, min(c.n+(c.n+1)/2, most))
		return
	}
	span := max(slowSpan, 20*v.path.RTT)
	if c.fast {
		span = max(fastSpan, 10*v.path.RTT)
	}
	switch {
	case v.now-c.from < span/3:
	case !c.settled:
		c.settled, c.at, c.bytes = true, v.now, v.bytes
	case v.now-c.from >= span && v.now > c.at:
		c.judge(v, float64(v.bytes-c.bytes)/(v.now-c.at).Seconds(), most)
	}
}

// limit returns the most lanes that are worth a trial on a path.
func limit(p PathInfo) int {
	switch {
	case p.bbr() && p.confined() <= heldShare && (p.RTT < farRTT || p.Loss < lossSome):
		return lanesBBR
	case p.bbr(), p.Control == "":
		return lanesMany
	}
	return maxLanes
}

// floor returns how many lanes a path needs before anything was tried. More
// lanes are sooner at speed, and ride out losses better while windows are
// small. It counts while the link is not full: a full one loses packets because
// of the lanes.
func floor(v view) int {
	p, some := v.path, lossSome
	if p.Control != "" && !p.bbr() {
		some = lossFelt
	}
	switch {
	case p.MinRTT >= farRTT && p.Measured && p.Loss >= lossHeavy && !p.queued(fullRTT):
		return lanesFar
	case p.MinRTT >= farRTT:
		return lanesLossy
	case p.bbr() && (v.now < lossSure || p.queued(fullRTT)): // its loss is its own
	case p.RTT >= wideRTT && p.Measured && p.Loss >= some:
		return lanesLossy
	}
	return 0
}

// judge decides what follows from the goodput of a window.
func (c *climber) judge(v view, rate float64, most int) {
	defer c.restart(v.now)
	if c.trial {
		c.trial = false
		gain := rate / max(c.base, 1)
		c.fast = c.fast && gain >= fastGain
		if gain < keepGain {
			c.set(v, c.old)
			c.rest = v.now + restAfter
			return
		}
	}
	// A full link has nothing to give: more lanes make its queue overflow.
	if c.n >= most || v.now < c.rest || v.path.bbr() && v.now < firstTry || v.path.queued(fullRTT) {
		c.fast = c.fast && c.n < most && !v.path.queued(fullRTT)
		return
	}
	// What stands loss has no order of magnitude to find.
	c.fast = c.fast && !v.path.bbr()
	c.trial, c.old, c.base = true, c.n, rate
	next := c.n + (c.n+1)/2
	if c.fast {
		next = 2 * c.n
	}
	c.set(v, min(next, most))
}

func (c *climber) set(v view, n int) {
	c.n, c.changed = n, max(v.now, 1)
	c.restart(v.now)
}

// leap sets the number of lanes without a trial.
func (c *climber) leap(v view, n int) {
	c.trial = false
	c.set(v, n)
}

// restart begins a new window.
func (c *climber) restart(now time.Duration) { c.from, c.settled = now, false }
