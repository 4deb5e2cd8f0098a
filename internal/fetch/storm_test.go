package fetch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
)

// TestDripperAmongTwo checks the limit of patience where there are too few
// lanes to compare.
func TestDripperAmongTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		n.onLane = func(k int, l *fakeLane) { l.dripping = k == 1 }
		b := newBench(t, n, Config{Lanes: 2})
		for range 60 {
			b.add(1 << 20)
		}
		time.Sleep(patienceMin - time.Second)
		if isDone(n.all()[0]) {
			t.Error("the dripping lane was closed early")
		}
		time.Sleep(3 * time.Second)
		if !isDone(n.all()[0]) {
			t.Error("the dripping lane is still up")
		}
		b.finish()
	})
}

// TestOldFlowRevives checks that a blackout leaves old flows alone: they may be
// all there is when new connections are filtered.
func TestOldFlowRevives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		thaw := make(chan struct{})
		n.onLane = func(_ int, l *fakeLane) { l.thaw = thaw }
		b := newBench(t, n, Config{Timeout: 15 * time.Minute})
		for range 10 {
			b.add(1 << 20)
		}
		time.Sleep(2 * time.Second)
		n.setDown(true)
		time.Sleep(time.Minute)
		if ls := n.up(); len(ls) != keptFlows {
			t.Errorf("%d old flows were kept", len(ls))
		}
		for _, l := range n.up() {
			l.mu.Lock()
			l.silent = false
			l.mu.Unlock()
		}
		close(thaw)
		at := b.mark()
		b.finish()
		if d := b.firstAfter().Sub(at); d > time.Second {
			t.Errorf("first byte after %v", d)
		}
		if s := b.linked(); len(s) != 2 || !s[1].Up {
			t.Errorf("links: %v", s)
		}
	})
}

// TestTailIsHedged checks that the last blocks do not wait for a slow lane.
func TestTailIsHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 4e6)
		n.onLane = func(k int, l *fakeLane) {
			if k == 2 {
				l.rate = 40e3 // 1.6 s for a block: never silent, no median
			}
		}
		b := newBench(t, n, Config{Lanes: 2})
		start := time.Now()
		b.add(4 << 20)
		b.finish()
		if took := time.Since(start); took > 1600*ms {
			t.Errorf("took %v", took)
		}
		s := b.pool.Stats()
		if s.Hedged == 0 || s.Hedged > tailMin {
			t.Errorf("%+v", s)
		}
	})
}

// TestNoStorms counts what is asked of a server that misbehaves for 15 minutes.
func TestNoStorms(t *testing.T) {
	for name, c := range map[string]struct {
		shape        func(*network)
		dials, asked int
	}{
		"refuses connections": {func(n *network) { n.onDial = func(int) error { return errors.New("refused") } }, 930, 0},
		"fails requests":      {func(n *network) { n.onGet = func(*fakeLane, Request) error { return errors.New("500") } }, 930, 3700},
		"resets at once": {func(n *network) {
			n.onGet = func(l *fakeLane, _ Request) error { l.Close(errReset); return errReset }
		}, 930, 3700},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(0, 0)
				c.shape(n)
				b := newBench(t, n, Config{Timeout: 15 * time.Minute})
				b.add(3 << 20)
				if err := b.ends(); fault.ClassOf(err) != fault.Network {
					t.Errorf("ended with %v", err)
				}
				t.Logf("%d dials, %d requests", n.dialled(), n.asked)
				if n.dialled() > c.dials || n.asked > c.asked {
					t.Errorf("%d dials, %d requests", n.dialled(), n.asked)
				}
			})
		})
	}
}

// TestFewDialsBeforeBlackout counts the attempts of the first two seconds.
func TestFewDialsBeforeBlackout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(0, 0)
		n.onDial = func(int) error { return errors.New("refused") }
		b := newBench(t, n, Config{Lanes: 1, Timeout: time.Minute})
		b.add(1 << 20)
		time.Sleep(softMin)
		t.Logf("%d dials", n.dialled())
		if d := n.dialled(); d > 8 {
			t.Errorf("%d dials", d)
		}
		_ = b.ends()
	})
}

// TestResetAfterEveryBlock checks that lanes which yield a little and die are
// replaced at a bounded rate.
func TestResetAfterEveryBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(ms, 0)
		n.onLane = func(_ int, l *fakeLane) { l.resetAt = 1 }
		b := newBench(t, n, Config{})
		start := time.Now()
		b.add(200 * digest.BlockSize)
		b.finish()
		s := time.Since(start).Seconds()
		if d := float64(n.dialled()); d > 22+4*s || s > 60 {
			t.Errorf("%.0f dials in %.1f s", d, s)
		}
	})
}

// TestLaneThatFailsRequests checks that a lane on which every request fails is
// replaced, and not asked often.
func TestLaneThatFailsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		failed := 0
		n.onGet = func(l *fakeLane, _ Request) error {
			if l.n != 1 {
				return nil
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			failed++
			return errors.New("500")
		}
		b := newBench(t, n, Config{InFlight: 1})
		for range 5 {
			b.add(1 << 20)
		}
		b.finish()
		if !isDone(n.all()[0]) || failed != 3 {
			t.Errorf("%d requests failed on the lane", failed)
		}
	})
}

// TestObjectThatFails checks that one object which the server cannot read is
// asked for again at a bounded rate while others arrive.
func TestObjectThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(ms, 1e6)
		b := newBench(t, n, Config{Lanes: 1})
		data, o := b.object(1000)
		failed := 0
		n.onGet = func(_ *fakeLane, r Request) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if r.Object.ID == o.ID && failed < 100 {
				failed++
				return errors.New("500")
			}
			return nil
		}
		start := time.Now()
		if err := b.pool.Add(t.Context(), b.task(data, o, nil)); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			b.add(1 << 20)
		}
		b.finish()
		if d := time.Since(start); d < 5*time.Second || d > 4*time.Minute {
			t.Errorf("100 failures in %v", d)
		}
	})
}

// TestDoBacksOff counts the attempts of an exchange that always fails.
func TestDoBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(ms, 0), Config{Timeout: 15 * time.Minute})
		calls := 0
		err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { calls++; return errors.New("500") })
		t.Logf("%d calls", calls)
		if fault.ClassOf(err) != fault.Network || calls > 400 {
			t.Errorf("%v after %d calls", err, calls)
		}
		_ = b.ends()
	})
}
