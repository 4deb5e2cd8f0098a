// Package link describes a network link between two hosts, a and b, and
// models what it does to packets.
//
// A [Profile] says what the link is: [Params] for each direction, and how long
// it remembers flows. An [Event] is something that happens to it. Both have
// one text form, used in files, flags and JSON alike. A [Path] is the model: IP
// packets go in at a time and come out at a later one, or not. It knows neither
// clocks nor goroutines, so the same model runs under simulated time in tests
// and between real hosts.
package link

import (
	"slices"
	"time"
)

// Direction names one or both directions of a link.
type Direction uint8

// The directions. The zero value means Both wherever one or both can be meant.
const (
	AB   Direction = 1 // from host a to host b
	BA   Direction = 2 // from host b to host a
	Both Direction = AB | BA
)

// has reports whether d names the direction of index i, 0 for AB.
func (d Direction) has(i int) bool { return d&Both == 0 || d&(1<<i) != 0 }

// Reverse returns the other direction, Both for both.
func (d Direction) Reverse() Direction {
	switch d {
	case AB:
		return BA
	case BA:
		return AB
	}
	return Both
}

func (d Direction) String() string {
	switch d {
	case AB:
		return "ab"
	case BA:
		return "ba"
	}
	return "both"
}

// Side names one or both hosts.
type Side uint8

// The sides. The zero value means BothSides.
const (
	A         Side = 1
	B         Side = 2
	BothSides Side = A | B
)

// has reports whether s names the host of index i, 0 for a.
func (s Side) has(i int) bool { return s&BothSides == 0 || s&(1<<i) != 0 }

func (s Side) String() string {
	switch s {
	case A:
		return "a"
	case B:
		return "b"
	}
	return "both"
}

// Params describes one direction of a link. The zero value is a perfect one.
// Probabilities are from 0 to 1, per packet, and independent of each other.
type Params struct {
	// Rate is in bits of IP packets per second; 0 is unlimited.
	Rate int64
	// Queue is how many bytes can wait to be sent at Rate before packets are
	// dropped at the tail. QueueTime says the same as time at Rate and counts
	// when Queue is 0. If both are 0 it is 50 ms, at least 64 KiB.
	Queue     int
	QueueTime time.Duration
	// Delay is the one-way latency. Jitter is the most that is added to it; the
	// addition wanders, so that packets are late together and stay in order.
	Delay, Jitter time.Duration
	// Reorder is the probability that a packet is held back while others pass
	// it, for a time drawn uniformly from (0, ReorderBy].
	Reorder   float64
	ReorderBy time.Duration
	// Loss is the probability that a packet is lost on its own.
	Loss float64
	// Burst is the mean loss of a Gilbert-Elliott process that loses BurstLen
	// packets in a row on average (0: 4). It comes on top of Loss.
	Burst    float64
	BurstLen float64
	// Duplicate is the probability that a packet arrives twice.
	Duplicate float64
	// Corrupt is the probability that a bit of a packet is flipped, which its
	// checksum shows. CorruptSilent is the same for a bit of TCP or UDP payload
	// with the checksum made to match, which nothing below the application
	// notices; it applies to packets with payload.
	Corrupt, CorruptSilent float64
	// MTU is the longest packet that is carried, in bytes; the sender of a
	// longer one is told by ICMP, as nothing is fragmented on the way. MTUHole
	// drops longer ones silently. 0 is no limit.
	MTU, MTUHole int
	// UDPRate polices UDP to so many bits per second; what exceeds it is
	// dropped. UDPBlock drops all of it.
	UDPRate  int64
	UDPBlock bool
}

// Profile is a link with a name.
type Profile struct {
	Name  string
	About string // one line

	AB, BA Params

	// Flows are cut when they have existed for FlowAge or when FlowBytes of
	// their packets were delivered in both directions; 0 is never. A cut is
	// silent, or with FlowReset by a RST to both hosts.
	FlowAge   time.Duration
	FlowBytes int64
	FlowReset bool

	// Events happen by themselves, counted from the start.
	Events []Event
}

// Dir returns the parameters of direction d, AB or BA.
func (p *Profile) Dir(d Direction) *Params {
	if d == BA {
		return &p.BA
	}
	return &p.AB
}

// RTT returns the round-trip time of an idle link without jitter.
func (p *Profile) RTT() time.Duration { return p.AB.Delay + p.BA.Delay }

// Clone returns a copy that shares nothing with p.
func (p Profile) Clone() Profile {
	p.Events = slices.Clone(p.Events)
	return p
}

// The limits of what can be asked for.
const (
	minRate     = 1000 // bit/s
	maxRate     = 1 << 40
	maxQueue    = 1 << 30 // bytes
	maxDelay    = time.Hour
	maxDuration = 1000 * time.Hour // of events
	minMTU      = 68               // RFC 791
	maxMTU      = 1 << 16
	maxBurstLen = 1e6
	defBurstLen = 4
	defQueue    = 64 << 10 // bytes, at least
	defQueueFor = 50 * time.Millisecond
)

// limit returns how many bytes can wait to be sent, when there is a Rate.
func (p *Params) limit() int64 {
	switch {
	case p.Queue > 0:
		return int64(p.Queue)
	case p.QueueTime > 0:
		return bytesIn(p.Rate, p.QueueTime)
	}
	return max(defQueue, bytesIn(p.Rate, defQueueFor))
}

// bytesIn returns how many bytes a rate in bit/s sends in d.
func bytesIn(rate int64, d time.Duration) int64 {
	return int64(float64(rate) / 8 * d.Seconds())
}

// possible returns p with every value that is out of range brought to the
// nearest that is possible.
func (p Params) possible() Params {
	if p.Rate = min(max(p.Rate, 0), maxRate); p.Rate > 0 {
		p.Rate = max(p.Rate, minRate)
	}
	if p.UDPRate = min(max(p.UDPRate, 0), maxRate); p.UDPRate > 0 {
		p.UDPRate = max(p.UDPRate, minRate)
	}
	p.Queue = min(max(p.Queue, 0), maxQueue)
	for _, d := range []*time.Duration{&p.QueueTime, &p.Delay, &p.Jitter, &p.ReorderBy} {
		*d = min(max(*d, 0), maxDelay)
	}
	for _, x := range []*float64{&p.Reorder, &p.Loss, &p.Burst, &p.Duplicate, &p.Corrupt, &p.CorruptSilent} {
		if !(*x > 0) { // false for NaN too
			*x = 0
		}
		*x = min(*x, 1)
	}
	switch {
	case !(p.BurstLen > 0):
		p.BurstLen = 0
	default:
		p.BurstLen = min(max(p.BurstLen, 1), maxBurstLen)
	}
	for _, n := range []*int{&p.MTU, &p.MTUHole} {
		if *n = min(max(*n, 0), maxMTU); *n > 0 {
			*n = max(*n, minMTU)
		}
	}
	return p
}
