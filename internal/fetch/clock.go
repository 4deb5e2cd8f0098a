package fetch

import "time"

// clock measures the time for which the link or the peer is waited for. It
// stands still while this side is the one that is slow (holds), and leaps over
// the time for which the machine slept. The pool's mutex guards it.
type clock struct {
	start    time.Time
	lost     time.Duration // ended holds and gaps
	since    time.Time     // when the present holds began
	released time.Time     // when a hold last ended
	held     time.Duration // ended holds
	holds    map[int]string
	next     int
}

func newClock() clock {
	return clock{start: time.Now(), holds: map[int]string{}}
}

// now returns the time that counts since the start.
func (c *clock) now() time.Duration {
	t := time.Since(c.start) - c.lost
	if len(c.holds) > 0 {
		t -= time.Since(c.since)
	}
	return t
}

// hold stops the clock until release of the returned number.
func (c *clock) hold(reason string) int {
	if len(c.holds) == 0 {
		c.since = time.Now()
	}
	c.next++
	c.holds[c.next] = reason
	return c.next
}

func (c *clock) release(id int) {
	if _, ok := c.holds[id]; !ok {
		return
	}
	delete(c.holds, id)
	c.released = time.Now()
	if len(c.holds) == 0 {
		c.lost += time.Since(c.since)
		c.held += time.Since(c.since)
	}
}

// total returns for how long there was a hold.
func (c *clock) total() time.Duration {
	if len(c.holds) > 0 {
		return c.held + time.Since(c.since)
	}
	return c.held
}

// skip takes d out of the time that counts.
func (c *clock) skip(d time.Duration) {
	if len(c.holds) == 0 { // a hold covers it already
		c.lost += d
	}
}

// stuck returns the reason of a hold and since when no hold has ended.
func (c *clock) stuck() (reason string, since time.Time) {
	if len(c.holds) == 0 {
		return "", time.Time{}
	}
	first := c.next + 1
	for id, r := range c.holds {
		if id < first {
			first, reason = id, r
		}
	}
	if c.released.After(c.since) {
		return reason, c.released
	}
	return reason, c.since
}

// Bounds on the time that the process can have been stopped.
const (
	// gapAfter is how far a tick must be late before the machine is taken to
	// have slept.
	gapAfter = 10 * time.Second
	maxTick  = time.Second
)

// gap returns by how much the machine slept between two readings of the clock,
// 0 when it did not, and how much of it the monotonic clock has counted. On
// some systems that clock stands still during a suspend, on others it does not;
// the wall clock tells in either case.
func gap(prev, now time.Time) (slept, counted time.Duration) {
	mono := now.Sub(prev) - maxTick
	wall := now.Round(0).Sub(prev.Round(0)) - maxTick
	if mono < gapAfter && wall < gapAfter {
		return 0, 0
	}
	return max(mono, wall), max(mono, 0)
}
