package fetch

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	b := NewBudget(16)
	x, y, z := &source{}, &source{}, &source{}
	for _, step := range []struct {
		s          *source
		wish, want int
	}{
		{x, 40, 16}, {y, 4, 4}, {x, 40, 12}, {z, 40, 6}, {x, 40, 6}, {y, 4, 4}, {y, 1, 1}, {x, 8, 7}, {z, 5, 5}, {x, 40, 10}, {z, 0, 0}, {x, 40, 15},
	} {
		if n := b.share(step.s, step.wish); n != step.want {
			t.Errorf("wish of %d: %d, not %d", step.wish, n, step.want)
		}
	}
	b.Grant(1)
	for _, s := range []*source{x, y, z} { // nobody starves
		if n := b.share(s, 5); n != 1 {
			t.Errorf("%d lanes of 1 granted", n)
		}
	}
	b.Grant(-3)
	if n := b.could(x); n != 6 {
		t.Errorf("could have %d", n)
	}
	b.leave(y)
	b.leave(z)
	if n := b.share(x, 1000); n != 16 {
		t.Errorf("alone: %d", n)
	}
}

func TestBudgetIsFair(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := NewBudget(1 + r.IntN(maxLanes))
		b.Grant(r.IntN(20))
		wishes := map[*source]int{}
		for range 1 + r.IntN(12) {
			s := &source{}
			wishes[s] = 1 + r.IntN(20)
			b.share(s, wishes[s])
		}
		sum, least := 0, maxLanes
		got := map[*source]int{}
		for s, w := range wishes {
			n := b.share(s, w)
			if n < 1 || n > w {
				t.Fatalf("seed %d: %d of a wish for %d", seed, n, w)
			}
			if n < w {
				least = min(least, n)
			}
			got[s] = n
			sum += n
		}
		if sum > max(b.total(), len(wishes)) {
			t.Fatalf("seed %d: %d lanes of %d for %d", seed, sum, b.total(), len(wishes))
		}
		for s, n := range got { // who was cut has no less than anybody else, but for a remainder
			if n > least && least < maxLanes {
				t.Fatalf("seed %d: one has %d of %d, another was cut to %d", seed, n, wishes[s], least)
			}
		}
	}
}

// TestPoolsShareABudget checks that two pools together keep to what the server
// grants, and that one takes what the other leaves.
func TestPoolsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newNetwork(40*ms, 2e6), newNetwork(40*ms, 2e6)
		budget := NewBudget(12)
		a := newBench(t, n, Config{Lanes: maxLanes}, Source{Dialer: n, Budget: budget})
		b := newBench(t, m, Config{Lanes: maxLanes}, Source{Dialer: m, Budget: budget})
		most := func(d time.Duration) (top int) {
			for range d / (50 * ms) {
				time.Sleep(50 * ms)
				top = max(top, len(n.up())+len(m.up()))
			}
			return top
		}
		var adders sync.WaitGroup
		for _, p := range []*bench{a, b} {
			adders.Go(func() {
				for range 40 {
					p.add(1 << 20)
				}
			})
			time.Sleep(2 * time.Second)
		}
		time.Sleep(3 * time.Second) // for the first to let go of some
		if top := most(2 * time.Second); top > 12 || top < 11 {
			t.Errorf("%d lanes of 12", top)
		}
		if x, y := a.pool.Stats().Lanes, b.pool.Stats().Lanes; x < 5 || y < 5 {
			t.Errorf("%d and %d lanes", x, y)
		}
		budget.Grant(4)
		time.Sleep(3 * time.Second)
		if top := most(time.Second); top != 4 {
			t.Errorf("%d lanes of 4 granted", top)
		}
		budget.Grant(1)
		time.Sleep(3 * time.Second)
		if top := most(time.Second); top != 2 {
			t.Errorf("%d lanes of 1 granted to two jobs", top)
		}
		budget.Grant(0)
		time.Sleep(3 * time.Second)
		if top := most(time.Second); top < 11 {
			t.Errorf("%d lanes when the grant was lifted", top)
		}
		adders.Wait()
		b.finish()
		a.finish()
	})
}
