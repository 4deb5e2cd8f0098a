package fetch

import "time"

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
	user   int64     // as asked for; 0 is no limit
	rate   int64     // in force, bytes per second; 0 is no limit
	held   time.Time // it last said no
	credit float64
	at     time.Time
}

// limit sets the rate, in bytes per second; 0 is no limit.
func (t *throttle) limit(rate int64) {
	t.user = max(rate, 0)
	t.yield(0)
}

// yield puts the lower of the user's rate and this one in force; 0 is none.
func (t *throttle) yield(rate int64) {
	was := t.rate
	t.rate = t.user
	if rate > 0 && (t.user <= 0 || rate < t.user) {
		t.rate = rate
	}
	if was <= 0 && t.rate > 0 {
		t.at = time.Time{} // what was received without a limit does not count
	}
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
	// What was not used is not saved up for long; but what comes between two
	// looks at the clock is.
	save := .25
	if t.rate != t.user {
		save = .05
	}
	t.credit = min(t.credit, float64(used)+max(float64(t.rate)*save, float64(n)+float64(t.rate)*tailTick.Seconds()))
	if float64(used+n) <= t.credit {
		return true
	}
	t.held = now
	return false
}
