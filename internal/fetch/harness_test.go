package fetch

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
)

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

func newBench(t *testing.T, n *network, cfg Config, sources ...Source) *bench {
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
	if cfg.Lanes == 0 {
		cfg.Lanes = 4
	}
	if len(sources) == 0 {
		sources = []Source{{Dialer: n}}
	}
	b.pool = New(cfg, sources...)
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
	b.net.content.put(o.ID, data)
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
