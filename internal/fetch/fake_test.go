package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/digest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// library is content that several servers may have.
type library struct {
	mu sync.Mutex
	m  map[digest.Digest][]byte
}

func (l *library) get(id digest.Digest) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[id]
}

func (l *library) put(id digest.Digest, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.m[id] = data
}

// network is a fake link and the server behind it, in virtual time.
type network struct {
	mu      sync.Mutex
	rtt     time.Duration
	rate    float64 // bytes per second, shared by all lanes; 0 is unlimited
	free    time.Time
	down    bool // dials get no answer
	lanes   []*fakeLane
	dials   int
	content *library
	served  map[digest.Digest]map[int]int // blocks sent
	asked   int                           // requests
	weight  float64                       // wire bytes per byte
	path    PathInfo                      // what lanes say, but for the round trip

	onDial func(n int) error        // n from 1
	onLane func(n int, l *fakeLane) // shapes the n-th lane
	onGet  func(l *fakeLane, r Request) error
	noRTT  bool
	queues bool // the round trip shows what waits for the link
}

func newNetwork(rtt time.Duration, rate float64) *network {
	return &network{rtt: rtt, rate: rate, weight: 1, content: &library{m: map[digest.Digest][]byte{}}, served: map[digest.Digest]map[int]int{}}
}

// fakeLane is one connection; its fields say how it misbehaves.
type fakeLane struct {
	net  *network
	n    int
	done chan struct{}
	once sync.Once
	err  error

	mu       sync.Mutex
	in, out  int64
	active   int
	last     time.Time
	silent   bool          // yields nothing, does not end
	thaw     chan struct{} // ends the silence when it is closed
	blocks   int           // sent on it
	maxRun   int           // most requests at a time
	rate     float64       // of its own, in bytes per second
	free     time.Time
	dripping bool // bytes arrive, blocks never do
	wrong    bool
	extra    bool
	short    bool
	reorder  bool
	silentAt int // goes silent after so many blocks
	resetAt  int // is reset after so many blocks
}

func (n *network) Dial(ctx context.Context) (Lane, error) {
	n.mu.Lock()
	n.dials++
	k := n.dials
	hook := n.onDial
	n.mu.Unlock()
	if hook != nil {
		if err := hook(k); err != nil {
			return nil, err
		}
	}
	for range 2 { // TCP, TLS
		n.mu.Lock()
		down := n.down
		n.mu.Unlock()
		if down {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if err := sleepCtx(ctx, n.rtt); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return nil, ctx.Err()
	}
	l := &fakeLane{net: n, n: len(n.lanes) + 1, done: make(chan struct{}), last: time.Now()}
	n.lanes = append(n.lanes, l)
	if n.onLane != nil {
		n.onLane(l.n, l)
	}
	return l, nil
}

// drop makes all lanes silent for ever, as when a NAT forgets them.
func (n *network) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lanes {
		l.mu.Lock()
		l.silent = true
		l.mu.Unlock()
	}
}

func (n *network) setDown(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
	if down {
		n.drop()
	}
}

func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *network) all() []*fakeLane {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lanes)
}

// up returns the lanes that have not ended.
func (n *network) up() (ls []*fakeLane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lanes {
		if !isDone(l) {
			ls = append(ls, l)
		}
	}
	return ls
}

// reserve returns when n bytes that are sent now have passed the link.
func (n *network) reserve(l *fakeLane, size float64) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	pass := func(free *time.Time, rate float64) time.Duration {
		if rate == 0 {
			return 0
		}
		if free.Before(now) {
			*free = now
		}
		*free = free.Add(time.Duration(size / rate * float64(time.Second)))
		return free.Sub(now)
	}
	return max(pass(&l.free, l.rate), pass(&n.free, n.rate))
}

func sleepCtx(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errReset = errors.New("connection reset by peer")

func (l *fakeLane) wait(ctx context.Context, d time.Duration) error {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			return l.err
		}
	}
	l.mu.Lock()
	silent, thaw := l.silent || l.dripping, l.thaw
	l.mu.Unlock()
	if silent {
		select {
		case <-thaw:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			return l.err
		}
	}
	return nil
}

func (l *fakeLane) Get(ctx context.Context, r Request, block func(int, []byte) error) error {
	l.mu.Lock()
	l.active++
	l.maxRun = max(l.maxRun, l.active)
	l.out += 100
	l.mu.Unlock()
	l.net.mu.Lock()
	l.net.asked++
	hook := l.net.onGet
	data := l.net.content.get(r.Object.ID)
	l.net.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.active--
		l.mu.Unlock()
	}()
	if err := l.wait(ctx, l.net.rtt); err != nil {
		return err
	}
	if hook != nil {
		if err := hook(l, r); err != nil {
			return err
		}
	}
	if data == nil {
		return fmt.Errorf("410: %w", ErrGone)
	}
	for i := r.From; i < r.To; i++ {
		b := data[i*digest.BlockSize:]
		b = b[:min(len(b), digest.BlockSize)]
		wire := float64(len(b)) * l.net.weight
		quantum := wire
		if l.net.rate > 0 && l.net.rate < 100e3 {
			quantum = 4 << 10 // streams share a thin link piece by piece
		}
		for left := wire; left > 0; left -= quantum {
			if err := l.wait(ctx, l.net.reserve(l, min(quantum, left))); err != nil {
				return err
			}
		}
		l.mu.Lock()
		l.in += int64(wire)
		l.last = time.Now()
		l.blocks++
		if l.silentAt > 0 && l.blocks >= l.silentAt {
			l.silent = true
		}
		reset := l.resetAt > 0 && l.blocks >= l.resetAt
		wrong, short, reorder := l.wrong, l.short, l.reorder
		l.mu.Unlock()
		if wrong {
			b = append([]byte(nil), b...)
			b[len(b)/2] ^= 1
		}
		if short && i > r.From {
			return nil
		}
		j := i
		if reorder && r.To-r.From > 1 {
			j = r.To - 1 - (i - r.From)
		}
		l.net.mu.Lock()
		m := l.net.served[r.Object.ID]
		if m == nil {
			m = map[int]int{}
			l.net.served[r.Object.ID] = m
		}
		m[j]++
		l.net.mu.Unlock()
		if err := block(j, b); err != nil {
			return err
		}
		if reset {
			l.Close(errReset)
			return errReset
		}
	}
	if l.extra {
		return block(r.To, make([]byte, digest.BlockSize))
	}
	return nil
}

func (l *fakeLane) Counters() (in, out int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in, l.out
}

func (l *fakeLane) LastRead() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active > 0 && !l.silent && !isDone(l) && l.net.rate > 0 || l.dripping {
		return time.Now()
	}
	return l.last
}

func (l *fakeLane) Path() PathInfo {
	if l.net.noRTT {
		return PathInfo{}
	}
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	p := l.net.path
	p.RTT, p.MinRTT = l.net.rtt, l.net.rtt
	if l.net.queues {
		p.RTT += max(time.Until(l.net.free), 0)
	}
	return p
}

func (l *fakeLane) Close(cause error) {
	l.once.Do(func() {
		l.err = cause
		if l.err == nil {
			l.err = errors.New("closed")
		}
		close(l.done)
	})
}
func (l *fakeLane) Done() <-chan struct{} { return l.done }
func (l *fakeLane) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}
