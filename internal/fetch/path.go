package fetch

import (
	"math"
	"time"
)

// PathInfo is what is known of the way from the sender to here. Zero values
// mean that a thing is not known; shares are from 0 to 1.
type PathInfo struct {
	RTT    time.Duration // smoothed round-trip time
	MinRTT time.Duration // least round-trip time: what is above it is a queue

	Control string // the sender's congestion control, such as "bbr" or "cubic"

	// The shares are those of the last second or so, and mean something only
	// if Measured is set.
	Measured bool
	Loss     float64 // of the sent bytes, those that were sent again
	Window   float64 // of the sender's busy time, that in which the receive window held it
	Buffer   float64 // of the sender's busy time, that in which its send buffer held it
	// Starved is the share of the time in which requests stood at the sender
	// and its connection had nothing to send: its disk or processor.
	Starved float64
}

// rttMax bounds what a lane can claim: limits of the watchdog follow from it.
const rttMax = 10 * time.Second

// clean returns p with impossible values replaced.
func (p PathInfo) clean() PathInfo {
	p.RTT = min(max(p.RTT, 0), rttMax)
	p.MinRTT = min(max(p.MinRTT, 0), rttMax)
	if p.RTT > 0 && p.MinRTT > p.RTT {
		p.MinRTT = p.RTT
	}
	for _, s := range []*float64{&p.Loss, &p.Window, &p.Buffer, &p.Starved} {
		if !p.Measured || !(*s > 0) { // NaN too
			*s = 0
		}
		*s = min(*s, 1)
	}
	return p
}

// bbr reports whether the sender is known to keep its rate under loss.
func (p PathInfo) bbr() bool { return p.Control == "bbr" }

// queued reports whether the round trip has grown to by times its least.
func (p PathInfo) queued(by float64) bool {
	// Schedulers and coalescing add some milliseconds to short round trips.
	return p.MinRTT > 0 && p.RTT-p.MinRTT > 3*time.Millisecond && float64(p.RTT) >= by*float64(p.MinRTT)
}

// confined returns the share of its busy time in which buffers held the sender.
func (p PathInfo) confined() float64 { return min(p.Window+p.Buffer, 1) }

// joinPaths sums up the paths of several lanes.
func joinPaths(paths []PathInfo) (sum PathInfo) {
	var rtts, measured int
	for _, p := range paths {
		if p.RTT > 0 {
			rtts++
			sum.RTT += p.RTT
		}
		if p.MinRTT > 0 && (sum.MinRTT == 0 || p.MinRTT < sum.MinRTT) {
			sum.MinRTT = p.MinRTT
		}
		// One sender that is not known to stand loss makes the lanes many.
		if sum.Control == "" || sum.bbr() && p.Control != "" {
			sum.Control = p.Control
		}
		if p.Measured {
			measured++
			sum.Loss += p.Loss
			sum.Window += p.Window
			sum.Buffer += p.Buffer
			sum.Starved += p.Starved
		}
	}
	if rtts > 0 {
		sum.RTT /= time.Duration(rtts)
	}
	if measured > 0 {
		sum.Measured = true
		n := float64(measured)
		sum.Loss, sum.Window, sum.Buffer, sum.Starved = sum.Loss/n, sum.Window/n, sum.Buffer/n, sum.Starved/n
	}
	return sum
}

// LossFromDisorder estimates the share of packets that are lost from what a
// receiver sees without the sender's help: the share of segments that arrived
// while an earlier one was missing. A hole stands for a round trip, so that a
// segment finds none with probability (1-p)^w, w being the segments that
// arrive in a round trip. Reordering counts as loss. It returns 0 where
// nothing can be said.
func LossFromDisorder(disordered, segments, perRTT float64) float64 {
	if !(segments > 0) || !(disordered > 0) || !(perRTT > 0) {
		return 0
	}
	q := min(disordered/segments, .99)
	return 1 - math.Pow(1-q, 1/max(perRTT, 1))
}
