package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a fake link and the server behind it, in virtual time.
type network struct {
	mu      sync.Mutex
	rtt     time.Duration
	rate    float64 // bytes per second, shared by all lanes; 0 is unlimited
	free    time.Time
	down    bool // dials get no answer
	lanes   []*fakeLane
	dials   int
	content map[digest.Digest][]byte
	served  map[digest.Digest]map[int]int // blocks sent
	asked   int                           // requests
	weight  float64                       // wire bytes per byte

	onDial func(n int) error        // n from 1
	onLane func(n int, l *fakeLane) // shapes the n-th lane
	onGet  func(l *fakeLane, r Request) error
	noRTT  bool
}

func newNetwork(rtt time.Duration, rate float64) *network {
	return &network{rtt: rtt, rate: rate, weight: 1, content: map[digest.Digest][]byte{}, served: map[digest.Digest]map[int]int{}}
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
	silent   bool    // yields nothing, does not end
	blocks   int     // sent on it
	maxRun   int     // most requests at a time
	rate     float64 // of its own, in bytes per second
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
	rate, now := n.rate, time.Now()
	if l.rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(size / l.rate * float64(time.Second)))
		return l.free.Sub(now)
	}
	if rate == 0 {
		return 0
	}
	if n.free.Before(now) {
		n.free = now
	}
	n.free = n.free.Add(time.Duration(size / rate * float64(time.Second)))
	return n.free.Sub(now)
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
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return l.err
	}
	l.mu.Lock()
	silent := l.silent || l.dripping
	l.mu.Unlock()
	if silent {
		select {
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
	data := l.net.content[r.Object.ID]
	hook := l.net.onGet
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

func (l *fakeLane) RTT() time.Duration {
	if l.net.noRTT {
		return 0
	}
	return l.net.rtt
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

// bench is a pool on a fake network with a record of what came of each task.
type bench struct {
	t      *testing.T
	net    *network
	pool   *Pool
	cancel context.CancelFunc
	ran    chan error

	mu     sync.Mutex
	tasks  []*result
	links  []event.Link
	events []event.Event
	first  time.Time // first verified block after mark
	rnd    *rand.Rand
	slow   time.Duration // a Write takes so long
	werr   error
}

type result struct {
	obj     digest.Object
	data    []byte
	have    []bool
	writes  []int
	done    int
	err     error
	writing bool
}

func newBench(t *testing.T, n *network, cfg Config) *bench {
	b := &bench{t: t, net: n, ran: make(chan error, 1), rnd: newBenchRand()}
	next := cfg.Events
	cfg.Events = func(e event.Event) {
		b.mu.Lock()
		if l, ok := e.(event.Link); ok {
			b.links = append(b.links, l)
		}
		b.events = append(b.events, e)
		b.mu.Unlock()
		if next != nil {
			next(e)
		}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(3, 4))
	}
	b.pool = New(cfg, n)
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.ran <- b.pool.Run(ctx) }()
	return b
}

func newBenchRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// object makes content that the server has.
func (b *bench) object(size int) ([]byte, digest.Object) {
	data := make([]byte, size)
	for i := 0; i < len(data); i += 512 { // enough to make blocks differ
		data[i] = byte(b.rnd.Uint32())
		if i+8 < len(data) {
			u := b.rnd.Uint64()
			for k := range 8 {
				data[i+k] = byte(u >> (8 * k))
			}
		}
	}
	o := digest.NewObject(data)
	b.net.mu.Lock()
	b.net.content[o.ID] = data
	b.net.mu.Unlock()
	return data, o
}

func (b *bench) linked() []event.Link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.links)
}

func (b *bench) said() []event.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

func (b *bench) task(data []byte, o digest.Object, have []bool) Task {
	r := &result{obj: o, data: data, have: have, writes: make([]int, o.NumBlocks())}
	b.mu.Lock()
	b.tasks = append(b.tasks, r)
	b.mu.Unlock()
	return Task{
		Object: o, Locator: "loc", Have: have, Weight: b.net.weight,
		Write: func(i int, p []byte) error {
			b.mu.Lock()
			if r.writing || r.done > 0 {
				b.t.Errorf("Write of block %d while writing=%v, done=%d", i, r.writing, r.done)
			}
			r.writing = true
			slow := b.slow
			b.mu.Unlock()
			if slow > 0 {
				time.Sleep(slow)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			r.writing = false
			if b.werr != nil {
				return b.werr
			}
			r.writes[i]++
			if !o.VerifyBlock(i, p) {
				b.t.Errorf("block %d was written unverified", i)
			}
			if b.first.IsZero() {
				b.first = time.Now()
			}
			return nil
		},
		Done: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			r.done++
			r.err = err
		},
	}
}

func (b *bench) add(size int) {
	b.t.Helper()
	data, o := b.object(size)
	if err := b.pool.Add(context.Background(), b.task(data, o, nil)); err != nil {
		b.t.Fatalf("Add: %v", err)
	}
}

// mark forgets the first block and returns the time.
func (b *bench) mark() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first = time.Time{}
	return time.Now()
}

func (b *bench) firstAfter() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first
}

// finish waits for all tasks, which must succeed, and ends the pool.
func (b *bench) finish() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	if err := b.pool.Idle(ctx); err != nil {
		b.t.Errorf("Idle: %v", err)
	}
	b.stop()
	for i, r := range b.tasks {
		if r.err != nil {
			b.t.Errorf("task %d: %v", i, r.err)
		}
	}
	b.check(true)
}

func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	if err := <-b.ran; err != nil {
		b.t.Errorf("Run: %v", err)
	}
	b.ended()
}

// ends waits for the pool to end by itself and returns its error.
func (b *bench) ends() error {
	err := <-b.ran
	b.cancel()
	b.ended()
	b.check(false)
	return err
}

func (b *bench) ended() {
	b.t.Helper()
	if ls := b.net.up(); len(ls) > 0 {
		b.t.Errorf("%d lanes are left open", len(ls))
	}
}

// check verifies that every block was written once, no block twice, and Done
// was called once.
func (b *bench) check(all bool) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, r := range b.tasks {
		if r.done != 1 {
			b.t.Errorf("task %d: Done was called %d times", k, r.done)
		}
		for i, n := range r.writes {
			held := r.have != nil && r.have[i]
			if n > 1 || held && n > 0 || (all || r.err == nil) && !held && n != 1 {
				b.t.Errorf("task %d, block %d: written %d times (err %v)", k, i, n, r.err)
				return
			}
		}
	}
}

// resent returns how many blocks were sent more than once.
func (n *network) resent() (twice int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.served {
		for _, c := range m {
			twice += c - 1
		}
	}
	return twice
}
