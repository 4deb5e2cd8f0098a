package fetch

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// watch calls f with the pool's mutex held, every so often, until the returned
// function is called.
func (b *bench) watch(every time.Duration, f func(p *Pool)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(every):
			}
			b.pool.mu.Lock()
			f(b.pool)
			b.pool.unlock()
		}
	}()
	return func() { close(end); <-ended }
}

// TestNeverIdle checks, on links of all kinds and at random moments, that no
// lane could be given a request which it was not given.
func TestNeverIdle(t *testing.T) {
	runs := uint64(40)
	if testing.Short() {
		runs = 10
	}
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			n := newNetwork(time.Duration(1+r.IntN(300))*ms, 1e6*float64(1+r.IntN(20)))
			n.path = PathInfo{Control: []string{"", "bbr", "cubic"}[r.IntN(3)], Measured: r.IntN(2) == 0, Loss: r.Float64() / 5}
			of := rand.New(rand.NewPCG(seed, 4)) // the lanes are made by others
			n.onLane = func(_ int, l *fakeLane) {
				if of.IntN(3) == 0 {
					l.rate = 30e3 * float64(1+of.IntN(100))
				}
				if of.IntN(4) == 0 {
					l.resetAt = 1 + of.IntN(200)
				}
			}
			b := newBench(t, n, Config{Lanes: 1 + r.IntN(maxLanes), MaxOutstanding: 1 << (20 + r.IntN(7))})
			stop := b.watch(time.Duration(5+r.IntN(50))*ms, func(p *Pool) {
				for _, l := range p.lanes {
					if p.pull(l) {
						t.Errorf("seed %d: lane %d stood idle: owes %d of %d, %d bytes wait", seed, l.id, l.out, l.allowed(p.ahead()), p.queued)
					}
				}
			})
			for range 20 {
				b.add(1 + r.IntN(4<<20))
			}
			b.finish()
			stop()
		})
	}
}

// TestRequestsAreBounded checks what many small objects over many lanes cost.
func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(200*ms, 0)
		n.path = PathInfo{Control: "cubic", Measured: true, Loss: .2}
		b := newBench(t, n, Config{Lanes: maxLanes})
		most := 0
		stop := b.watch(10*ms, func(p *Pool) { most = max(most, p.requests) })
		for range 8000 {
			b.add(500)
		}
		b.finish()
		stop()
		if most > maxRequests || most < maxRequests/2 {
			t.Errorf("%d requests at a time", most)
		}
	})
}

// TestRecyclingIsPaced checks that many slow lanes are not replaced all at once.
func TestRecyclingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 8e6)
		n.path = PathInfo{Control: "bbr", Measured: true, Loss: .13}
		n.onLane = func(k int, l *fakeLane) {
			if k%3 == 0 {
				l.rate = 70e3
			}
		}
		var at []time.Time
		b := newBench(t, n, Config{Lanes: maxLanes, Events: func(e event.Event) {
			if l, ok := e.(event.Lane); ok && l.Cause == errStraggle.Error() {
				at = append(at, time.Now())
			}
		}})
		for range 400 {
			b.add(1 << 20)
		}
		b.finish()
		if len(at) < 4 {
			t.Errorf("%d lanes were replaced", len(at))
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < recycleEvery {
				t.Errorf("two lanes were replaced within %v", d)
			}
		}
	})
}

// TestLanesFollowTheWork checks how many lanes jobs of several sizes open.
func TestLanesFollowTheWork(t *testing.T) {
	lossy := PathInfo{Control: "bbr", Measured: true, Loss: .13}
	for _, c := range []struct {
		name        string
		size        int
		rtt         time.Duration
		path        PathInfo
		least, most int
	}{
		{"one small file", 10e3, 40 * ms, lossy, 1, 1},
		{"200 kB", 200e3, 40 * ms, lossy, 1, 1},
		{"1 MB", 1e6, 40 * ms, lossy, 4, 4},
		{"5 MB", 5e6, 40 * ms, lossy, 8, 8},
		{"60 MB", 60e6, 40 * ms, lossy, 16, 16},
		{"60 MB, far", 60e6, 100 * ms, lossy, 24, 32},
		{"60 MB, far, clean", 60e6, 100 * ms, PathInfo{Control: "bbr"}, 16, 16},
		{"60 MB, clean", 60e6, 40 * ms, PathInfo{Control: "bbr"}, 8, 12},
		{"60 MB, near", 60e6, ms, PathInfo{}, 4, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(c.rtt, 12e6)
				n.path = c.path
				b := newBench(t, n, Config{Lanes: maxLanes})
				if err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { return nil }); err != nil {
					t.Error(err)
				}
				b.add(c.size)
				b.finish()
				if d := len(n.all()); d < c.least || d > c.most {
					t.Errorf("%d lanes", d)
				}
			})
		})
	}
}

// TestLanesComeSoon checks how long a large job waits for its lanes, once it is
// known what the link is like.
func TestLanesComeSoon(t *testing.T) {
	for _, rtt := range []time.Duration{40 * ms, 100 * ms} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(rtt, 12e6)
			b := newBench(t, n, Config{Lanes: maxLanes})
			for range 4 {
				b.add(15e6)
			}
			time.Sleep(2*rtt + 50*ms)
			if d := len(n.up()); d < lanesStart {
				t.Errorf("RTT %v: %d lanes after two round trips", rtt, d)
			}
			n.mu.Lock()
			n.path = PathInfo{Control: "bbr", Measured: true, Loss: .13}
			n.mu.Unlock()
			time.Sleep(2*rtt + 150*ms)
			if d := len(n.up()); rtt >= farRTT && d < lanesFar {
				t.Errorf("RTT %v: %d lanes", rtt, d)
			}
			b.finish()
		})
	}
}
