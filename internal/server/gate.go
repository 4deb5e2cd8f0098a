package server

import (
	"sync"
	"time"
)

// gate counts what runs, so that nothing is closed under it, and bounds it.
type gate struct {
	most int

	mu   sync.Mutex // guards the rest
	n    int
	shut bool
	idle chan struct{} // closed once it is shut and nothing runs
}

func newGate(most int) *gate { return &gate{most: most, idle: make(chan struct{})} }

// enter reports whether one more may run, which then must leave. An urgent one
// may as long as the gate is not shut.
func (g *gate) enter(urgent bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || g.n >= g.most && !urgent {
		return false
	}
	g.n++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.shut && g.n == 0 {
		close(g.idle)
	}
}

// close lets nothing in any more, and waits up to limit until nothing runs. It
// reports whether that is so, and is called once.
func (g *gate) close(limit time.Duration) bool {
	g.mu.Lock()
	g.shut = true
	if g.n == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-g.idle:
		return true
	case <-t.C:
		return false
	}
}
