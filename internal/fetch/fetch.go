// Package fetch gets the blocks of immutable objects over several disposable
// connections, called lanes, and survives whatever the link does to them.
//
// A Pool owns the lanes, the queue of blocks that are wanted, and every timer.
// It trusts nothing but verified bytes: a lane that yields none is robbed of
// its work, then replaced; when no lane yields any, the link is said to be down
// and one fresh connection a second looks for its return. A pool ends only when
// its caller ends it, when an error cannot be cured by trying again, or at a
// time that was known from the start.
//
// How lanes are made and what they speak is the business of others: see Lane
// and Dialer.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
)

// ErrGone says that the server no longer has an object. A lane returns an
// error that wraps it, and the task's Done receives that error.
var ErrGone = errors.New("the object is gone")

// RetryAfter is the error of a server that is alive but overloaded. Dialers,
// lanes and exchanges return it, wrapped or not.
type RetryAfter struct {
	After time.Duration // how long the server asks to be left alone
}

func (e RetryAfter) Error() string {
	return fmt.Sprintf("the server is overloaded and asks to wait %v", e.After)
}

// Request asks for the blocks [From, To) of an object. The object must not be
// changed.
type Request struct {
	Object   *digest.Object
	Locator  string // where the server finds it; opaque here
	From, To int
}

// Lane is one connection. It remembers nothing worth saving. All methods are
// safe for concurrent use.
type Lane interface {
	// Get streams the blocks of r in order and calls block once for each, with
	// data that is valid only during the call and not verified. It ends soon,
	// with an error, when ctx ends, the lane is closed, or block fails (then
	// with block's error). Several may run at once.
	Get(ctx context.Context, r Request, block func(i int, data []byte) error) error
	// Counters returns the bytes that the socket has read and written.
	Counters() (in, out int64)
	// LastRead returns when the socket last yielded bytes.
	LastRead() time.Time
	// Path returns what is known of the way. It is called ten times a second.
	Path() PathInfo
	// Close ends the lane. Later calls do nothing.
	Close(cause error)
	// Done is closed when the lane has ended, for whatever reason, and Err then
	// says why.
	Done() <-chan struct{}
	Err() error
}

// Dialer makes lanes to one server. Dial returns soon after ctx ends. An error of a fault
// class other than Network is taken as permanent; RetryAfter is honoured; all
// others are tried again.
type Dialer interface {
	Dial(ctx context.Context) (Lane, error)
}

// Task is one object to get.
type Task struct {
	Object  digest.Object
	Locator string
	// Weight is the expected number of wire bytes per byte of the object: less
	// than 1 where the server compresses. 0 means 1.
	Weight float64
	// Have marks blocks that the caller already holds; nil is none.
	Have []bool
	// Write receives each verified block once, in any order, never two of one
	// task at a time. data is valid only during the call. An error ends the
	// pool: it is the disk's.
	Write func(i int, data []byte) error
	// Done is called once, after the last Write has returned: with nil when all
	// blocks are written, an error that wraps ErrGone when the server no longer
	// has the object, or the error that ended the pool. It must return quickly
	// and must not call Add, Idle or Do.
	Done func(err error)
}

// Config sets the limits of a pool. The zero value of a field means the
// default that is named.
type Config struct {
	Lanes          int           // connections at most; 64. How many are right is found out
	InFlight       int           // requests of 64 KiB and more in flight on a lane; 8
	Timeout        time.Duration // end when no verified byte arrives for so long, holds not counted; 0 is for ever
	ConnectTimeout time.Duration // end when the address has never answered for so long; 0 is for ever
	Deadline       time.Duration // end so long after Run began; 0 is for ever
	Stall          time.Duration // silence that ends an attempt of Do; 3 s
	IdleClose      time.Duration // close a lane that nothing was asked of for so long; 5 s
	MaxOutstanding int64         // wire bytes asked for and not arrived; 64 MiB
	MaxQueued      int           // tasks that are not done; 4096
	SecondLaneAt   int64         // wanted wire bytes per lane before a further lane is dialled; 256 KiB
	Expect         int64         // wire bytes that are wanted for certain, before any task says so; 0 is not known
	BwLimit        int64         // bytes per second to receive; 0 is no limit; see SetBwLimit
	Nice           bool          // give way: two lanes at most, and slower while the link's queue grows
	Events         event.Func    // Link, Lane, Progress and Warn; event.Discard
	// Snapshot completes the counters of a Progress before it is emitted. It
	// may be nil and must return quickly.
	Snapshot func(*event.Progress)
	Rand     *rand.Rand // source of jitter, used by the pool alone; seeded at random
}

func (c Config) withDefaults() Config {
	set := func(v *int, def, most int) {
		if *v <= 0 {
			*v = def
		}
		*v = min(*v, most)
	}
	set(&c.Lanes, maxLanes, maxLanes)
	if c.Nice {
		c.Lanes = min(c.Lanes, lanesNice)
	}
	set(&c.InFlight, 8, 64)
	set(&c.MaxQueued, 4096, 1<<20)
	if c.Stall <= 0 {
		c.Stall = 3 * time.Second
	}
	if c.IdleClose <= 0 {
		c.IdleClose = 5 * time.Second
	}
	if c.MaxOutstanding <= 0 {
		c.MaxOutstanding = 64 << 20
	}
	if c.SecondLaneAt <= 0 {
		c.SecondLaneAt = 256 << 10
	}
	if c.Events == nil {
		c.Events = event.Discard
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return c
}

// Stats is what a pool has done so far. Counters never fall.
type Stats struct {
	Verified  int64         // bytes verified and written
	WireIn    int64         // bytes received on all lanes, closed ones included
	WireOut   int64         // bytes sent
	Lanes     int           // lanes that are up
	Retries   int64         // requests given to another lane, exchanges tried again and lanes replaced
	LinkDown  time.Duration // time without a working link
	Hedged    int64         // wire bytes asked for once more while the first request still ran
	Duplicate int64         // bytes that arrived and were held already

	Limit        event.Limit // what limits it at the moment
	LimitDetail  string
	Mostly       event.Limit // what has limited it for most of the time
	MostlyDetail string
}
