package fetch

import "time"

// controller decides how many lanes there should be. The pool asks it at every
// tick and tells it what it measures.
type controller interface {
	// lanes returns the number of lanes that are right at the given time, at
	// least 1.
	lanes(now time.Duration) int
	// overloaded reports that the server asked to be left alone.
	overloaded(now time.Duration)
}

// regrow is how long a server must have been content before it is given one
// more lane.
const regrow = 10 * time.Second

// fixed wants a constant number of lanes, halved when the server is overloaded
// and then raised one at a time.
type fixed struct {
	most, n int
	halved  time.Duration
	changed time.Duration // grown, or overloaded
}

func newFixed(n int) *fixed { return &fixed{most: n, n: n} }

func (f *fixed) lanes(now time.Duration) int {
	if f.n < f.most && now-f.changed >= regrow {
		f.n++
		f.changed = now
	}
	return f.n
}

func (f *fixed) overloaded(now time.Duration) {
	// A burst of refusals is one event.
	if f.halved == 0 || now-f.halved >= time.Second {
		f.n = max(1, f.n/2)
		f.halved = max(now, 1)
	}
	f.changed = now
}

// bucket is a token bucket.
type bucket struct {
	tokens, burst, rate float64 // rate in tokens per second
	at                  time.Time
}

func (b *bucket) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.tokens += now.Sub(b.at).Seconds() * b.rate
	}
	b.at = now
	b.tokens = min(b.tokens, b.burst)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// throttle keeps what is received under a rate by asking for no more than may
// arrive. It compares real counters, so that a wrong guess of a request's wire
// size corrects itself.
type throttle struct {
	rate   int64 // bytes per second; 0 is no limit
	credit float64
	at     time.Time
}

// allow reports whether a request of n bytes may be made, when used bytes have
// arrived or are on their way.
func (t *throttle) allow(now time.Time, used, n int64) bool {
	if t.rate <= 0 {
		return true
	}
	if t.at.IsZero() {
		t.credit = float64(used + n)
	} else {
		t.credit += now.Sub(t.at).Seconds() * float64(t.rate)
	}
	t.at = now
	// What was not used is not saved up beyond a quarter of a second.
	t.credit = min(t.credit, float64(used)+max(float64(t.rate)/4, float64(n)))
	return float64(used+n) <= t.credit
}
