package push

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/job"
)

func TestWishes(t *testing.T) {
	var rates []int64
	signs := 0
	wishes(strings.NewReader("\n{\"bwlimit\":5}\nwhat\n"+strings.Repeat("x", 3*maxWish)+"\n{}\n{\"bwlimit\":0}"), func(w *wish) {
		if signs++; w != nil {
			rates = append(rates, w.BwLimit)
		}
	})
	if len(rates) != 2 || rates[0] != 5 || rates[1] != 0 || signs < 5 {
		t.Error(rates, signs)
	}
}

func FuzzWishes(f *testing.F) {
	f.Add("\n{\"bwlimit\":5}\n")
	f.Fuzz(func(t *testing.T, s string) { wishes(strings.NewReader(s), func(*wish) {}) })
}

// TestRateChanges has the client's timetable reach the job at the server.
func TestRateChanges(t *testing.T) {
	var first atomic.Int64
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		first.CompareAndSwap(0, o.Rate(time.Now()))
		for o.Rate(time.Now()) != 2000 && ctx.Err() == nil {
			time.Sleep(time.Second)
		}
		return &event.Summary{}, context.Cause(ctx)
	}, func(t *testing.T, s *site) {
		c := s.client()
		start := time.Now()
		c.Rate = func(at time.Time) int64 {
			if at.Sub(start) < 20*time.Second {
				return 1000
			}
			return 2000
		}
		done := c.start(t.Context(), Request{BwLimit: 7})
		if out := <-done; out.err != nil || time.Since(start) < 20*time.Second || time.Since(start) > 25*time.Second {
			t.Error(out.err, time.Since(start))
		}
		if got := first.Load(); got != 1000 {
			t.Error(got)
		}
	})
}
