package cli

import (
	"io"
	"sync/atomic"
	"time"
)

// gate is a writer that can be shut: afterwards writes vanish. It lets Run
// return while goroutines that it left behind still print. Safe for
// concurrent use.
type gate struct {
	turn chan struct{} // holds one token; who has taken it writes
	w    io.Writer
	dead atomic.Bool
}

func newGate(w io.Writer) *gate {
	if w == nil {
		w = io.Discard
	}
	g := &gate{turn: make(chan struct{}, 1), w: w}
	g.turn <- struct{}{}
	return g
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.turn
	defer func() { g.turn <- struct{}{} }()
	if g.dead.Load() {
		return len(p), nil
	}
	return g.w.Write(p)
}

// shut writes last and closes the gate. It takes no longer than a second: the
// other end of a pipe may never read again.
func (g *gate) shut(last string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-g.turn
		if !g.dead.Swap(true) && last != "" {
			_, _ = io.WriteString(g.w, last)
		}
		g.turn <- struct{}{}
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.dead.Store(true)
	}
}
