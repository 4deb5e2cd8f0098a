// Package netsim simulates a network link between two hosts, for tests and
// demonstrations: a [Link] for connections, and [Packets] for datagrams. Both
// can be made from a link.Profile.
//
// A [Link] joins a dialing and a listening host. Its connections satisfy
// net.Conn, its listeners net.Listener, and while they run the link can be
// made slow, lossy, black, forgetful or hostile. Nothing here touches a real
// socket except [Proxy], which puts real programs on the two sides of a link.
//
// The model of a Link is one of connections: each is a reliable ordered stream
// with delay, a window and a fair share of the link's rate; a lost segment costs
// its flow a round trip or a retransmission timeout. There is no congestion
// window and no slow start. That of Packets is link.Path.
//
// Time is the time package's, so that in a testing/synctest bubble a Link runs
// in virtual time; it must then be made inside the bubble. With a rate or a
// delay it is deterministic there: its random numbers come from the seed, per
// flow, and flows that send at one instant are served in the order in which
// they were dialed. (Goroutines that dial at one instant are numbered as the
// scheduler runs them.)
package netsim

import "time"

// Direction names one or both directions of a link.
type Direction uint8

// The directions. The zero value means Both wherever a Direction is taken.
const (
	Up   Direction = 1 // from the dialing host to the listening one
	Down Direction = 2 // from the listening host to the dialing one
	Both Direction = Up | Down
)

// Side names one or both ends of a connection.
type Side uint8

// The sides. The zero value means BothSides wherever a Side is taken.
const (
	Dialer    Side = 1
	Listener  Side = 2
	BothSides Side = Dialer | Listener
)

// Params describes one direction of a link. The zero value is a perfect one.
// Impossible values are taken as the nearest possible.
type Params struct {
	// Delay is the one-way latency, Jitter the most that is added to it at
	// random. Bytes never overtake each other.
	Delay, Jitter time.Duration
	// Rate is what all flows of the direction share, in bits of payload per
	// second; 0 is unlimited.
	Rate int64
	// Loss is the probability, from 0 to 0.9, that a segment of 1448 bytes is
	// lost. It stalls its flow for a round trip, or for a retransmission timeout
	// when nothing follows it or when it is lost again.
	Loss float64
	// Corrupt is the probability that a segment arrives with one bit flipped,
	// which nothing below the application notices.
	Corrupt float64
	// Queue is how many bytes a flow can have waiting to be sent before its
	// writer blocks; 0 means 128 KiB, or what the link sends in 2 ms if that is
	// more.
	Queue int
	// Window is how many bytes a flow can have sent and, as far as the sender
	// knows, not read by the receiver. 0 means 128 KiB and what fits the link
	// for a round trip (for which an unlimited rate counts as 10 Gbit/s), at
	// most 16 MiB.
	Window int
}

const (
	segment      = 1448      // bytes
	maxLoss      = 0.9       // more would only make the simulation crawl
	defaultQueue = 128 << 10 // bytes
	defaultSlack = 128 << 10 // bytes of window beyond the bandwidth-delay product
	maxWindow    = 64 << 20  // bytes, on request
	autoWindow   = 16 << 20  // bytes, otherwise
	maxQueue     = 64 << 20  // bytes
	maxQuantum   = 64 << 10  // bytes served to a flow in its turn, at most
	minRate      = 100       // bits per second; slower takes longer than durations can say
	maxRate      = 1 << 40
	maxDelay     = time.Hour
)

// possible returns p with values that the model can run.
func (p Params) possible() Params {
	p.Delay = min(max(p.Delay, 0), maxDelay)
	p.Jitter = min(max(p.Jitter, 0), maxDelay)
	if p.Rate = max(p.Rate, 0); p.Rate > 0 {
		p.Rate = min(max(p.Rate, minRate), maxRate)
	}
	p.Loss = probability(p.Loss, maxLoss)
	p.Corrupt = probability(p.Corrupt, 1)
	if p.Queue <= 0 {
		p.Queue = max(defaultQueue, int(min(p.Rate/8/500, maxQueue)))
	}
	p.Queue = min(p.Queue, maxQueue)
	p.Window = min(max(p.Window, 0), maxWindow)
	return p
}

func probability(x, most float64) float64 {
	if !(x > 0) { // false for NaN too
		return 0
	}
	return min(x, most)
}

// perfect reports whether bytes arrive the moment that they are sent.
func (p *Params) perfect() bool {
	return p.Delay == 0 && p.Jitter == 0 && p.Rate == 0 && p.Loss == 0 && p.Corrupt == 0
}

// window returns the bytes that a flow may have under way when a round trip
// takes rtt.
func (p *Params) window(rtt time.Duration) int64 {
	if p.Window > 0 {
		return int64(p.Window)
	}
	rate := float64(p.Rate)
	if rate == 0 {
		rate = 10e9
	}
	return int64(min(defaultSlack+rate/8*rtt.Seconds(), autoWindow))
}

// quantum returns how many bytes a flow may send in its turn: a millisecond's
// worth, in whole segments.
func (p *Params) quantum() int64 {
	if p.Rate == 0 {
		return maxQuantum
	}
	n := p.Rate / 8 / 1000 / segment * segment
	return min(max(n, segment), maxQuantum)
}

// transmit returns how long n bytes, at most maxQuantum, occupy the link.
func (p *Params) transmit(n int64) time.Duration {
	if p.Rate == 0 {
		return 0
	}
	return time.Duration(n * 8 * int64(time.Second) / p.Rate)
}

// Action is what an Event does.
type Action uint8

// The actions and the fields of Event that they use.
const (
	ChangeParams  Action = iota + 1 // Dir, Params
	BlackoutStart                   // Dir, For (0: until BlackoutEnd)
	BlackoutEnd                     // Dir
	Forget                          // none
	Reset                           // Count, Side
	Stall                           // Count, For (0: for ever)
	KillBytes                       // Bytes, Silent
	KillTime                        // For, Silent
	DialRefuse                      // For (0: until DialAccept)
	DialDrop                        // For (0: until DialAccept)
	DialAccept                      // none
)

// Event is something that happens to a link. The methods of Link that bear
// similar names say what each does.
type Event struct {
	// At is when it happens, counted from the call of Schedule, unless
	// AfterBytes is set: then it happens when so many bytes were delivered in
	// direction Of (0: Dir) since the call, and At after that.
	At         time.Duration
	AfterBytes int64
	Of         Direction

	Do     Action
	Dir    Direction
	Side   Side
	Params Params
	Count  int   // flows, the oldest first; 0 is all
	Bytes  int64 // per flow
	For    time.Duration
	Silent bool // connections end without a RST
}
