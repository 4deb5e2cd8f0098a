package fetch

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

func TestHoldStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{Timeout: time.Minute})
		b.add(5 << 20)
		time.Sleep(2 * time.Second)
		n.drop()
		release := b.pool.Hold("hashing old.bin")
		second := b.pool.Hold("hashing new.bin")
		time.Sleep(10 * time.Minute)
		if len(b.linked()) != 0 || len(n.up()) != 4 {
			t.Errorf("links %v, %d lanes up during a hold", b.linked(), len(n.up()))
		}
		said := false
		for _, e := range b.said() {
			w, ok := e.(event.Warn)
			said = said || ok && strings.Contains(w.Text, "hashing old.bin")
		}
		if !said {
			t.Error("the hold was not named")
		}
		release()
		release()
		second()
		at := b.mark()
		b.finish()
		if d := b.firstAfter().Sub(at); d > 4*time.Second {
			t.Errorf("first byte %v after the hold", d)
		}
	})
}

func TestSlowDiskIsNotASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 10e6)
		b := newBench(t, n, Config{Timeout: 10 * time.Second})
		b.slow = 15 * time.Second // longer than any limit
		for range 3 {
			b.add(1 << 20)
		}
		b.finish()
		if len(n.all()) != 4 || len(b.linked()) != 0 {
			t.Errorf("%d lanes, links %v", len(n.all()), b.linked())
		}
	})
}

func TestClockGap(t *testing.T) {
	base := time.Now()
	for _, c := range []struct{ late, want, counted time.Duration }{
		{100 * ms, 0, 0}, {10 * time.Second, 0, 0}, {time.Hour, time.Hour - maxTick, time.Hour - maxTick},
	} {
		if s, k := gap(base, base.Add(c.late)); s != c.want || k != c.counted {
			t.Errorf("%v late: gap %v, counted %v", c.late, s, k)
		}
	}
	// The monotonic clock stood still.
	if s, k := gap(base.Round(0), base.Add(time.Hour)); s == 0 || k == 0 {
		t.Errorf("wall clock alone: %v, %v", s, k)
	}

	// A subscriber that blocks the supervisor for an hour stands for a machine
	// that sleeps.
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		slept := false
		var b *bench
		var woke time.Time
		b = newBench(t, n, Config{Timeout: 15 * time.Minute, Events: func(e event.Event) {
			if p, ok := e.(event.Progress); ok && p.Done > 1<<20 && !slept {
				slept = true
				n.drop()
				time.Sleep(time.Hour)
				woke = b.mark()
			}
		}})
		b.add(5 << 20)
		b.finish()
		if d := b.firstAfter().Sub(woke); !slept || d > 4*time.Second {
			t.Errorf("first byte %v after the machine woke", d)
		}
	})
}
