package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

func TestResetOfOneLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 12.5e6)
		b := newBench(t, n, Config{})
		for range 20 {
			b.add(1 << 20)
		}
		time.Sleep(500 * ms)
		victim := n.up()[1]
		b.pool.mu.Lock()
		var owed int64
		for _, l := range b.pool.lanes {
			if l.conn == Lane(victim) {
				owed = l.out
			}
		}
		b.pool.mu.Unlock()
		dials := n.dialled()
		victim.Close(errReset)
		time.Sleep(3*40*ms + 250*ms)
		if n.dialled() != dials+1 || len(n.up()) != 4 {
			t.Errorf("%d new dials, %d lanes up", n.dialled()-dials, len(n.up()))
		}
		b.finish()
		// What had left the server before the reset was sent in vain; the rest of
		// the duplicates is the tail's.
		if twice := n.resent(); int64(twice)*digest.BlockSize > owed+tailMin {
			t.Errorf("%d blocks were sent twice, %d bytes were owed", twice, owed)
		}
		if len(b.linked()) != 0 {
			t.Errorf("links: %v", b.linked())
		}
	})
}

func TestEveryLaneIsResetOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 12.5e6)
		n.onLane = func(_ int, l *fakeLane) { l.resetAt = 5 << 20 / digest.BlockSize }
		b := newBench(t, n, Config{})
		start := time.Now()
		for range 100 {
			b.add(1 << 20)
		}
		b.finish()
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		if s := b.pool.Stats(); s.Retries == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAllLanesAreForgotten(t *testing.T) {
	for _, rtt := range []time.Duration{5 * ms, 40 * ms, 250 * ms} {
		for _, lanes := range []int{1, 4, 16} {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(rtt, 12.5e6)
				b := newBench(t, n, Config{Lanes: lanes})
				for range 60 {
					b.add(1 << 20)
				}
				time.Sleep(3 * time.Second)
				n.drop()
				at := b.mark()
				b.finish()
				if d := b.firstAfter().Sub(at); d > 4*time.Second {
					t.Errorf("RTT %v, %d lanes: first byte after %v", rtt, lanes, d)
				}
			})
		}
	}
}

func TestBlackout(t *testing.T) {
	for _, long := range []time.Duration{5, 20, 70, 300} {
		for _, rtt := range []time.Duration{10 * ms, 100 * ms, 300 * ms} {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(rtt, 5e6)
				b := newBench(t, n, Config{Timeout: 15 * time.Minute})
				for range 40 {
					b.add(1 << 20)
				}
				time.Sleep(4 * time.Second)
				n.setDown(true)
				went := time.Now()
				dials := n.dialled()
				time.Sleep(long * time.Second)
				tried := n.dialled() - dials
				n.setDown(false)
				at := b.mark()
				b.finish()
				if d := b.firstAfter().Sub(at); d > 2*time.Second+3*rtt {
					t.Errorf("%d s, RTT %v: first byte after %v", long, rtt, d)
				}
				if tried > int(long)*13/10+4 {
					t.Errorf("%d s: %d dials", long, tried)
				}
				if len(b.linked()) != 2 || b.linked()[0].Up || !b.linked()[1].Up || b.linked()[1].Resumed == 0 {
					t.Fatalf("links: %+v", b.linked())
				}
				if d := b.linked()[0].GiveUp.Sub(b.linked()[0].Since); d != 15*time.Minute {
					t.Errorf("gives up %v after the link went down", d)
				}
				if d := went.Sub(b.linked()[0].Since).Abs(); d > time.Second {
					t.Errorf("the link is said to be down since %v off", d)
				}
				down := b.pool.Stats().LinkDown
				if want := long * time.Second; down < want || down > want+4*time.Second+3*rtt {
					t.Errorf("%d s: LinkDown %v", long, down)
				}
			})
		}
	}
}

func TestServerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 5e6)
		b := newBench(t, n, Config{Timeout: time.Hour})
		for range 40 {
			b.add(1 << 20)
		}
		time.Sleep(2 * time.Second)
		back := time.Now().Add(40 * time.Second)
		n.mu.Lock()
		n.onDial = func(int) error {
			if time.Now().Before(back) {
				return errors.New("connection refused")
			}
			return nil
		}
		n.mu.Unlock()
		for _, l := range n.up() {
			l.Close(errReset)
		}
		dials := n.dialled()
		time.Sleep(time.Until(back))
		if d := n.dialled() - dials; d > 80 {
			t.Errorf("%d dials in 40 s", d)
		}
		at := b.mark()
		b.finish()
		if d := b.firstAfter().Sub(at); d > 3*time.Second {
			t.Errorf("first byte after %v", d)
		}
		if len(b.linked()) != 2 || !strings.Contains(b.linked()[0].Cause, "refused") {
			t.Errorf("links: %+v", b.linked())
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 1e6)
		b := newBench(t, n, Config{Timeout: 15 * time.Minute, ConnectTimeout: time.Minute})
		b.add(10 << 20)
		time.Sleep(5 * time.Second)
		n.setDown(true)
		start := time.Now()
		err := b.ends()
		if fault.ClassOf(err) != fault.Network {
			t.Fatalf("ended with %v", err)
		}
		for _, want := range []string{"no verified byte for 15m0s: no answer", fmt.Sprintf("%d verified bytes are kept", b.pool.Stats().Verified)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		if h := fault.HintOf(err); !strings.Contains(h, "run the same command again") {
			t.Errorf("hint %q", h)
		}
		if d := time.Since(start); d < 15*time.Minute || d > 15*time.Minute+time.Second {
			t.Errorf("ended after %v", d)
		}
		if len(b.linked()) != 1 || time.Until(b.linked()[0].GiveUp).Abs() > time.Second {
			t.Errorf("links %+v, ended %v", b.linked(), time.Now())
		}
		if err := b.pool.Do(t.Context(), "x", nil); fault.ClassOf(err) != fault.Network {
			t.Errorf("Do after the end: %v", err)
		}
		if err := b.pool.Idle(t.Context()); fault.ClassOf(err) != fault.Network {
			t.Errorf("Idle after the end: %v", err)
		}
	})
}

func TestForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 1e6)
		b := newBench(t, n, Config{})
		b.add(5 << 20)
		time.Sleep(2 * time.Second)
		n.setDown(true)
		time.Sleep(3 * time.Hour)
		n.setDown(false)
		b.finish()
		if !b.linked()[0].GiveUp.IsZero() {
			t.Errorf("gives up at %v", b.linked()[0].GiveUp)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	for name, refused := range map[string]bool{"silence": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(20*ms, 1e6)
				n.down = true
				if refused {
					n.onDial = func(int) error { return errors.New("connection refused") }
				}
				b := newBench(t, n, Config{Timeout: 15 * time.Minute, ConnectTimeout: time.Minute})
				start := time.Now()
				err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { return nil })
				if fault.ClassOf(err) != fault.Network || !strings.Contains(err.Error(), "no connection to the server within 1m0s") {
					t.Errorf("Do: %v", err)
				}
				if refused != strings.Contains(err.Error(), "refused") {
					t.Errorf("cause: %v", err)
				}
				if d := time.Since(start); d < time.Minute || d > 61*time.Second {
					t.Errorf("ended after %v", d)
				}
				if err2 := b.ends(); !errors.Is(err2, err) {
					t.Errorf("Run: %v", err2)
				}
				if len(b.linked()) != 1 || n.dialled() > 90 || n.dialled() < 40 {
					t.Errorf("%d dials, links %+v", n.dialled(), b.linked())
				}
			})
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(20*ms, 1e5), Config{Deadline: time.Minute})
		defer b.pool.Hold("a hold does not stop the deadline")()
		b.add(50 << 20)
		start := time.Now()
		err := b.ends()
		if fault.ClassOf(err) != fault.Limit || time.Since(start) != time.Minute {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) { // nothing is wanted, nothing ticks
		b := newBench(t, newNetwork(20*ms, 1e5), Config{Deadline: time.Hour})
		if err := b.ends(); fault.ClassOf(err) != fault.Limit {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestSilentLane checks the soft and the hard limit of one lane among others.
func TestSilentLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 2e6)
		n.onLane = func(k int, l *fakeLane) {
			if k == 2 {
				l.silentAt = 10
			}
		}
		b := newBench(t, n, Config{})
		start := time.Now()
		for range 6 {
			b.add(1 << 20)
		}
		_ = b.pool.Idle(t.Context())
		if took := time.Since(start); took > 7*time.Second {
			t.Errorf("the work of a silent lane was not stolen: %v", took)
		}
		for range 30 {
			b.add(1 << 20)
		}
		b.finish()
		silent := 0
		for _, e := range b.said() {
			if l, ok := e.(event.Lane); ok && !l.Open && l.Cause == errSilent.Error() {
				silent++
			}
		}
		if silent != 1 || len(n.all()) < 5 {
			t.Errorf("%d lanes were closed for silence, %d in all", silent, len(n.all()))
		}
		if len(b.linked()) != 0 {
			t.Errorf("links: %v", b.linked())
		}
	})
}

func TestStragglerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 4e6)
		n.onLane = func(k int, l *fakeLane) {
			if k == 3 {
				l.rate = 70e3 // a block a second: never silent
			}
		}
		b := newBench(t, n, Config{})
		for range 100 {
			b.add(1 << 20)
		}
		time.Sleep(18 * time.Second)
		if !isDone(n.all()[2]) || len(n.up()) != 4 {
			t.Errorf("the slow lane is still up, or was not replaced: %d up", len(n.up()))
		}
		b.finish()
	})
}

func TestHalfSpeedLaneIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 4e6)
		n.onLane = func(k int, l *fakeLane) {
			if k == 3 {
				l.rate = 500e3
			}
		}
		b := newBench(t, n, Config{})
		for range 100 {
			b.add(1 << 20)
		}
		b.finish()
		if len(n.all()) != 4 {
			t.Errorf("%d lanes were dialled", len(n.all()))
		}
	})
}

func TestThinLinkMakesProgress(t *testing.T) {
	for _, rate := range []float64{30e3, 6e3, 1e3} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(600*ms, rate)
			b := newBench(t, n, Config{Timeout: 15 * time.Minute})
			const size = 1 << 20
			start := time.Now()
			b.add(size)
			b.finish()
			ideal := time.Duration(size / rate * float64(time.Second))
			if took := time.Since(start); took > ideal*3/2+10*time.Minute {
				t.Errorf("%.0f B/s: took %v, ideal %v", rate, took, ideal)
			}
		})
	}
}

func TestDrippingLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // one of four
		n := newNetwork(40*ms, 1e6)
		n.onLane = func(k int, l *fakeLane) { l.dripping = k == 1 }
		b := newBench(t, n, Config{})
		start := time.Now()
		for range 60 {
			b.add(1 << 20)
		}
		time.Sleep(patienceMin + 2*time.Second)
		if !isDone(n.all()[0]) {
			t.Error("the dripping lane is still up")
		}
		b.finish()
		if d := time.Since(start); d > 75*time.Second {
			t.Errorf("took %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) { // all: the timeout ends it
		n := newNetwork(40*ms, 1e6)
		n.onLane = func(_ int, l *fakeLane) { l.dripping = true }
		b := newBench(t, n, Config{Timeout: 15 * time.Minute, ConnectTimeout: time.Minute})
		start := time.Now()
		b.add(1 << 20)
		if err := b.ends(); fault.ClassOf(err) != fault.Network || !strings.Contains(err.Error(), "15m0s") {
			t.Errorf("ended with %v", err)
		}
		if d := time.Since(start); d > 15*time.Minute+time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestLyingLanes(t *testing.T) {
	for name, shape := range map[string]func(l *fakeLane){
		"wrong":   func(l *fakeLane) { l.wrong = true },
		"extra":   func(l *fakeLane) { l.extra = true },
		"short":   func(l *fakeLane) { l.short = true },
		"reorder": func(l *fakeLane) { l.reorder = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // one lane lies
				n := newNetwork(40*ms, 2e6)
				n.onLane = func(k int, l *fakeLane) {
					if k == 2 {
						shape(l)
					}
				}
				b := newBench(t, n, Config{Timeout: time.Hour})
				for range 5 {
					b.add(3 << 20)
				}
				b.finish()
			})
		})
	}
}

func TestWrongTwiceIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 2e6)
		n.onLane = func(_ int, l *fakeLane) { l.wrong = true }
		b := newBench(t, n, Config{Timeout: time.Hour})
		b.add(3 << 20)
		err := b.ends()
		if fault.ClassOf(err) != fault.Integrity || !strings.Contains(err.Error(), b.tasks[0].obj.ID.String()) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestEmptyAnswers checks that a server that answers with nothing, at once, is
// not asked in a tight loop, and that the timeout ends it.
func TestEmptyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(0, 0)
		n.onGet = func(*fakeLane, Request) error { return errors.New("500") }
		b := newBench(t, n, Config{Timeout: 15 * time.Minute})
		b.add(3 << 20)
		if err := b.ends(); fault.ClassOf(err) != fault.Network || !strings.Contains(err.Error(), "500") {
			t.Errorf("ended with %v", err)
		}
		if n.asked > 20_000 || n.dialled() > 2_000 {
			t.Errorf("%d requests, %d dials in 15 minutes", n.asked, n.dialled())
		}
	})
}
