package fetch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func TestDoAnswersAndRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(40*ms, 1e6), Config{})
		denied := fault.New(fault.Denied, "", "no")
		for _, want := range []error{nil, denied, ErrGone} {
			calls := 0
			err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { calls++; return want })
			if !errors.Is(err, want) || calls != 1 {
				t.Errorf("want %v, have %v in %d calls", want, err, calls)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.pool.Do(ctx, "plan", func(ctx context.Context, _ Lane, _ func()) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b.stop() // Denied in an exchange is its caller's business
	})
}

func TestDoTriesAgainOnAnotherLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{})
		seen := map[Lane]bool{}
		start := time.Now()
		err := b.pool.Do(t.Context(), "plan", func(_ context.Context, l Lane, _ func()) error {
			if seen[l] {
				t.Error("the same lane again")
			}
			if seen[l] = true; len(seen) < 4 {
				return errors.New("broken pipe")
			}
			return nil
		})
		if err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		b.stop()
	})
}

func TestDoEndsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{})
		calls := 0
		var dropped, again time.Time
		err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, l Lane, alive func()) error {
			calls++
			if calls == 2 {
				again = time.Now()
				return nil
			}
			for range 120 { // a server that hashes for two minutes
				if err := sleepCtx(ctx, time.Second); err != nil {
					t.Errorf("ended although alive: %v", context.Cause(ctx))
					return err
				}
				alive()
			}
			dropped = time.Now()
			<-ctx.Done()
			alive() // too late to count
			return ctx.Err()
		})
		if err != nil || calls != 2 || again.Sub(dropped) > 4*time.Second {
			t.Errorf("%v; %d calls, again after %v", err, calls, again.Sub(dropped))
		}
		b.stop()
	})
}

func TestDoInBlackout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{Timeout: 15 * time.Minute})
		first := true
		var up time.Time
		err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, l Lane, alive func()) error {
			alive()
			if first {
				first = false
				n.setDown(true)
				up = time.Now().Add(100 * time.Second)
				time.AfterFunc(100*time.Second, func() { n.setDown(false) })
				<-ctx.Done()
				return ctx.Err()
			}
			return sleepCtx(ctx, 80*ms)
		})
		if err != nil || up.IsZero() || time.Since(up) > 2*time.Second+5*40*ms {
			t.Errorf("%v, %v after the link's return", err, time.Since(up))
		}
		b.stop()
		if len(b.linked()) < 1 || b.linked()[0].Up {
			t.Errorf("links: %v", b.linked())
		}
	})
}

func TestDoTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{Timeout: 5 * time.Minute})
		start := time.Now()
		err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, _ Lane, _ func()) error { <-ctx.Done(); return ctx.Err() })
		if fault.ClassOf(err) != fault.Network || time.Since(start) > 5*time.Minute+time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if n.dialled() > 320 {
			t.Errorf("%d dials", n.dialled())
		}
		_ = b.ends()
	})
}

// TestPlanWaitsForAdd checks that an exchange that waits in Add is not taken
// for silent.
func TestPlanWaitsForAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 50e3)
		b := newBench(t, n, Config{MaxQueued: 2, Lanes: 2})
		calls := 0
		err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, _ Lane, alive func()) error {
			calls++
			for range 6 {
				alive()
				data, o := b.object(1 << 20)
				if err := b.pool.Add(ctx, b.task(data, o, nil)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
		b.finish()
	})
}

func TestDoHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{Timeout: time.Hour})
		var last time.Time
		err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error {
			if last.IsZero() {
				last = time.Now()
				return RetryAfter{time.Minute}
			}
			if d := time.Since(last); d < time.Minute || d > 61*time.Second {
				t.Errorf("asked again after %v", d)
			}
			return nil
		})
		if err != nil || n.dialled() > 2 {
			t.Errorf("%v, %d dials", err, n.dialled())
		}
		b.stop()
	})
}
