package netsim

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Link joins two hosts: one dials, the other listens. All methods are safe
// for concurrent use. A Link needs no closing: it owns no goroutine, and
// nothing that is left behind keeps one.
type Link struct {
	mu    sync.Mutex
	line  timeline
	seed  uint64
	paths [2]path // up, down

	flows []*flow // by rising id
	ids   uint64  // of flows, given to dials

	listeners map[string]*listener
	ports     int
	dialing   Action // how dials are answered: DialRefuse, DialDrop, else accepted

	killBytes   int64
	killTime    time.Duration
	killGen     int  // changes with killTime
	bytesSilent bool // how killBytes ends flows
	timeSilent  bool // how killTime does

	triggers []*trigger
	stats    Stats
}

// path is one direction of a link.
type path struct {
	Params
	index  int
	window int64 // bytes, for each flow
	size   int64 // the quantum

	dark  int           // blackouts that are on
	free  time.Duration // when the last byte sent will have left
	last  uint64        // id of the flow that was served last
	wake  time.Duration // when the pump runs next
	armed bool          // whether it does
}

// Stats counts what went over a link since it was made.
type Stats struct {
	Up, Down DirectionStats
	Opened   int // connections that dialers got
	Killed   int // connections ended or forgotten by a fault
	Resets   int // ends that were told of a reset
	Refused  int // dials refused
}

// DirectionStats counts what went over one direction.
type DirectionStats struct {
	Sent      int64 // bytes, those that were lost and sent again included
	Delivered int64 // bytes
	Lost      int64 // segments
	Corrupted int64 // segments
}

// New returns a link. The seed decides everything random about it.
func New(up, down Params, seed uint64) *Link {
	l := &Link{seed: seed, listeners: make(map[string]*listener)}
	l.line.start = time.Now()
	l.line.armed = -1
	l.paths[0].index, l.paths[1].index = 0, 1
	l.paths[0].Params, l.paths[1].Params = up.possible(), down.possible()
	l.derive()
	return l
}

// derive recomputes what follows from both directions' parameters.
func (l *Link) derive() {
	for i := range l.paths {
		p := &l.paths[i]
		p.window = p.Params.window(l.rtt())
		p.size = p.quantum()
	}
}

// rtt returns the time to the other side and back, without jitter or queues.
func (l *Link) rtt() time.Duration { return l.paths[0].Delay + l.paths[1].Delay }

// rto returns the first retransmission timeout: Linux's minimum of 200 ms and
// the delayed acknowledgement on top of the round trip.
func (l *Link) rto() time.Duration { return l.rtt() + 240*time.Millisecond }

const maxRTO = 120 * time.Second

// Stats returns the counters of now.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

func (l *Link) count(index int) *DirectionStats {
	if index == 0 {
		return &l.stats.Up
	}
	return &l.stats.Down
}

// random returns a generator that depends on the seed, the flow and what it is
// used for, not on the order in which things happen.
func (l *Link) random(id uint64, use uint64) *rand.Rand {
	return rand.New(rand.NewPCG(l.seed, id<<2|use))
}

// selected calls fn for each path that dir names.
func (l *Link) selected(dir Direction, fn func(p *path)) {
	if dir&Both == 0 {
		dir = Both
	}
	for i := range l.paths {
		if dir&(1<<i) != 0 {
			fn(&l.paths[i])
		}
	}
}
