package cli

import "time"

// The window over which a rate is measured reaches back until it holds both
// rateSpan and rateBytes, so that the bursts of a bad link even out, and a slow
// link is judged by more than a few blocks; but never further than rateMax.
const (
	rateStep  = 500 * time.Millisecond // samples are at least so far apart
	rateSpan  = 15 * time.Second
	rateBytes = 4 << 20
	rateMax   = 2 * time.Minute
	rateFirst = 2 * time.Second // no rate before
	rateLull  = 3 * time.Second // a pause that does not count
)

// rate estimates bytes per second on a clock that stands while the link is down.
type rate struct {
	samples []rateSample // oldest first, at most rateMax/rateStep + 2
}

type rateSample struct {
	at    time.Duration
	bytes int64
}

// add notes that so many bytes were done in all at a time on the clock.
func (r *rate) add(at time.Duration, bytes int64) {
	s := rateSample{at, bytes}
	n := len(r.samples)
	if n >= 2 && at-r.samples[n-2].at < rateStep {
		r.samples[n-1] = s // the last one floats until it is a step away
	} else {
		r.samples = append(r.samples, s)
	}
	for len(r.samples) > 2 {
		next := r.samples[1]
		enough := at-next.at >= rateSpan && bytes-next.bytes >= rateBytes
		if !enough && at-next.at < rateMax {
			break
		}
		r.samples = r.samples[1:]
	}
}

// perSecond returns the rate as of a time on the clock, and false while there
// is too little to tell.
func (r *rate) perSecond(at time.Duration) (float64, bool) {
	if len(r.samples) < 2 {
		return 0, false
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	// Bytes come in steps: what came is not thought less of at once.
	span := max(last.at, at-rateLull) - first.at
	if span < rateFirst || last.bytes <= first.bytes {
		return 0, false
	}
	return float64(last.bytes-first.bytes) / span.Seconds(), true
}

// eta turns rates into an expected end that moves only when it must: it counts
// down by itself until the estimate is more than a tenth (and 2 s) away.
type eta struct {
	end time.Time
	ok  bool
}

// left returns the time left at now for a rate and the bytes that remain.
func (e *eta) left(now time.Time, remaining int64, perSecond float64) (time.Duration, bool) {
	if perSecond <= 0 || remaining < 0 {
		return 0, false
	}
	seconds := float64(remaining) / perSecond
	if seconds > 365*24*3600 {
		return 0, false
	}
	fresh := time.Duration(seconds * float64(time.Second))
	shown := e.end.Sub(now)
	if off := (fresh - shown).Abs(); !e.ok || off > max(2*time.Second, fresh/10) {
		e.end, e.ok = now.Add(fresh), true
		shown = fresh
	}
	return max(shown, 0), true
}
