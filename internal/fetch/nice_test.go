package fetch

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestNiceGivesWay checks that a nice job keeps the link's queue short, and
// still uses most of a link that nobody else wants.
func TestNiceGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 4e6)
		n.queues = true
		b := newBench(t, n, Config{Nice: true, Lanes: 16})
		start := time.Now()
		for range 100 {
			b.add(1 << 20)
		}
		time.Sleep(8 * time.Second)
		var sum, worst time.Duration
		const looks = 200
		for range looks {
			time.Sleep(25 * ms)
			n.mu.Lock()
			q := max(time.Until(n.free), 0)
			n.mu.Unlock()
			sum += q
			worst = max(worst, q)
		}
		if mean := sum / looks; mean > 25*ms || worst > 200*ms {
			t.Errorf("the queue was %v long, %v at worst", mean, worst)
		}
		if len(n.up()) > lanesNice {
			t.Errorf("%d lanes", len(n.up()))
		}
		b.finish()
		if took := time.Since(start); took > 50*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestNiceYields checks the rate of a nice job beside others that fill the link.
func TestNiceYields(t *testing.T) {
	y := newYielder()
	p := PathInfo{RTT: 40 * ms, MinRTT: 40 * ms}
	now := time.Duration(0)
	run := func(d time.Duration, queue time.Duration) int64 {
		p.RTT = p.MinRTT + queue
		var r int64
		for end := now + d; now < end; now += tick {
			r = y.look(now, p, min(y.rate, 6e6))
		}
		return r
	}
	if r := run(5*time.Second, 0); r < 6e6 {
		t.Errorf("%d bytes/s on an idle link", r)
	}
	if r := run(10*time.Second, 80*ms); r > 100e3 {
		t.Errorf("%d bytes/s on a full link", r)
	}
	if r := run(time.Minute, 80*ms); r != yieldLeast {
		t.Errorf("%d bytes/s in the end", r)
	}
	low := run(time.Second, 12*ms)
	if r := run(10*time.Second, 12*ms); r != low {
		t.Errorf("%d bytes/s after %d at the right queue", r, low)
	}
	if r := run(20*time.Second, 0); r < 100e3 {
		t.Errorf("%d bytes/s when the link was left", r)
	}
	for range 100 { // what is not used is not saved up
		now += tick
		p.RTT = p.MinRTT
		y.look(now, p, 1000)
	}
	if y.rate > yieldFirst+2000 {
		t.Errorf("%.0f bytes/s that nothing used", y.rate)
	}
	if r := y.look(now, PathInfo{}, 1e6); r != 0 {
		t.Errorf("%d bytes/s without a round trip", r)
	}
}

func TestBwLimitCanChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 12.5e6)
		b := newBench(t, n, Config{BwLimit: 200e3})
		for range 40 {
			b.add(1 << 20)
		}
		rate := func(d time.Duration) float64 {
			was := b.pool.Stats().WireIn
			time.Sleep(d)
			return float64(b.pool.Stats().WireIn-was) / d.Seconds()
		}
		time.Sleep(2 * time.Second)
		for _, want := range []int64{200e3, 1e6, 400e3} {
			b.pool.SetBwLimit(want)
			time.Sleep(3 * time.Second)
			if r := rate(5 * time.Second); r < .85*float64(want) || r > 1.1*float64(want) {
				t.Errorf("%.0f bytes/s instead of %d", r, want)
			}
		}
		start := time.Now()
		b.pool.SetBwLimit(0)
		b.finish()
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("took %v without a limit", took)
		}
	})
}
