package origin

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/ropeway/ropeway/internal/plan"
)

// Limits bound what the modules of one server do at once, together. They are
// safe for concurrent use.
type Limits struct {
	memory *plan.Memory
	// plans are made and trees walked by so many at once: a plan takes some 30
	// MiB and one processor.
	plans *fair
	walks chan struct{}
	// reads bounds the parts of answers that are read or compressed at once.
	reads *fair
	// held bounds the bytes of long messages that clients have sent.
	held *semaphore.Weighted
	// encoders compress answers, one for each of reads; room is what these may hold.
	encoders chan *encoder
	room     room
	// work rises with whatever is done for somebody.
	work atomic.Int64
}

const (
	maxWalks = 4
	// maxHeld bounds Limits.held, in bytes; messages up to smallMessage are free.
	maxHeld      = 64 << 20
	smallMessage = 16 << 10
)

// NewLimits returns limits that suit this machine.
func NewLimits() *Limits {
	n := min(max(runtime.GOMAXPROCS(0), 2), 8)
	l := &Limits{
		memory: plan.NewMemory(), plans: newFair(n), reads: newFair(2 * n), walks: make(chan struct{}, maxWalks),
		held: semaphore.NewWeighted(maxHeld), encoders: make(chan *encoder, 2*n),
	}
	for range 2 * n {
		l.encoders <- &encoder{}
	}
	return l
}

// LimitStats is what happens now.
type LimitStats struct {
	Reads, Plans int64 // that wait for their turn
	Held         int64 // bytes of memory that answers hold
}

// Stats returns what happens now.
func (l *Limits) Stats() LimitStats {
	return LimitStats{Reads: int64(l.reads.waiting()), Plans: int64(l.plans.waiting()), Held: l.room.used.Load()}
}
