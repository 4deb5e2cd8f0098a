package origin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestFairTakesTurnsByClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFair(1)
		ctx := context.Background()
		if err := f.take(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		var got []string
		ask := func(client string) {
			go func() {
				if f.take(ctx, client) == nil {
					got = append(got, client)
					f.give()
				}
			}()
			synctest.Wait()
		}
		for range 64 {
			ask("greedy")
		}
		ask("modest")
		ask("modest")
		if n := f.waiting(); n != 66 {
			t.Fatal(n)
		}
		f.give()
		synctest.Wait()
		if len(got) != 66 || got[1] != "modest" || got[3] != "modest" || f.free != 1 || len(f.queues)+len(f.turn) != 0 {
			t.Errorf("%d served, the modest one not second and fourth: %q; %d free", len(got), got[:5], f.free)
		}
	})
}

func TestFairForgetsWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFair(1)
		_ = f.take(context.Background(), "x")
		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan error, 1)
		go func() { left <- f.take(ctx, "a") }()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) || f.waiting() != 0 {
			t.Error(err, f.waiting())
		}
		f.give()
		if f.free != 1 || len(f.queues) != 0 {
			t.Error("a place is lost")
		}
	})
}
