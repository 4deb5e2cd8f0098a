package fetch

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

const ms = time.Millisecond

func TestFillsTheLink(t *testing.T) {
	for _, rtt := range []time.Duration{5 * ms, 40 * ms, 300 * ms} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, newNetwork(rtt, 12.5e6), Config{Lanes: 8})
			start := time.Now()
			const size = 60 << 20
			for range 30 {
				b.add(size / 30)
			}
			b.finish()
			took := time.Since(start)
			ideal := time.Duration(size/12.5e6*float64(time.Second)) + 6*rtt
			if took > ideal*110/100 {
				t.Errorf("RTT %v: took %v, ideal %v", rtt, took, ideal)
			}
			s := b.pool.Stats()
			if s.Verified != size || s.WireIn < size || s.WireIn > size+size/20 {
				t.Errorf("RTT %v: %+v", rtt, s)
			}
			if s.Retries != 0 || len(b.linked()) != 0 {
				t.Errorf("RTT %v: retries %d, links %v on a clean link", rtt, s.Retries, b.linked())
			}
		})
	}
}

func TestManySmallObjectsArePipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 12.5e6)
		b := newBench(t, n, Config{})
		start := time.Now()
		count := 100_000
		if testing.Short() {
			count = 10_000
		}
		data := make([]byte, 300)
		for i := range count {
			data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
			o := digest.NewObject(data)
			c := append([]byte(nil), data...)
			n.content.put(o.ID, c)
			if err := b.pool.Add(t.Context(), b.task(c, o, nil)); err != nil {
				t.Fatal(err)
			}
		}
		b.finish()
		// 4 lanes of 128 requests: 12,800 a second at most.
		if took := time.Since(start); took > time.Duration(count)*time.Second/8000 {
			t.Errorf("%d objects took %v", count, took)
		}
		if r := n.resent(); r > count/50 {
			t.Errorf("%d blocks were sent twice", r)
		}
	})
}

func TestLanesAreDialledLazily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		b := newBench(t, n, Config{})
		synctest.Wait()
		time.Sleep(time.Minute)
		if n.dialled() != 0 {
			t.Errorf("%d dials before anything was wanted", n.dialled())
		}
		if err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { return nil }); err != nil {
			t.Error(err)
		}
		b.add(200 << 10)
		_ = b.pool.Idle(t.Context())
		if n.dialled() != 1 {
			t.Errorf("%d dials for a small job", n.dialled())
		}
		b.add(10 << 20)
		_ = b.pool.Idle(t.Context())
		if n.dialled() != 4 {
			t.Errorf("%d dials for a large job", n.dialled())
		}
		time.Sleep(6 * time.Second)
		if ls := n.up(); len(ls) != 0 {
			t.Errorf("%d idle lanes are still up", len(ls))
		}
		b.finish()
	})
}

func TestHaveIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10*ms, 1e6)
		b := newBench(t, n, Config{})
		data, o := b.object(10*digest.BlockSize + 5)
		have := make([]bool, o.NumBlocks())
		have[0], have[4], have[5], have[10] = true, true, true, true
		if err := b.pool.Add(t.Context(), b.task(data, o, have)); err != nil {
			t.Fatal(err)
		}
		all := make([]bool, o.NumBlocks())
		for i := range all {
			all[i] = true
		}
		if err := b.pool.Add(t.Context(), b.task(data, o, all)); err != nil {
			t.Fatal(err)
		}
		b.finish()
		if got := len(n.served[o.ID]); got != 7 {
			t.Errorf("%d blocks were sent", got)
		}
	})
}

func TestAddRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(ms, 0), Config{})
		_, o := b.object(3 * digest.BlockSize)
		bad := o
		bad.Size++
		if err := b.pool.Add(t.Context(), Task{Object: bad}); fault.ClassOf(err) != fault.Integrity {
			t.Errorf("inconsistent object: %v", err)
		}
		if err := b.pool.Add(t.Context(), Task{Object: o, Have: make([]bool, 2)}); err == nil {
			t.Error("wrong Have was accepted")
		}
		b.stop()
		if err := b.pool.Add(t.Context(), Task{Object: o}); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
		if err := b.pool.Run(t.Context()); err == nil {
			t.Error("a pool ran twice")
		}
	})
}

func TestAddWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10*ms, 1e6)
		n.down = true
		b := newBench(t, n, Config{MaxQueued: 3})
		for range 3 {
			b.add(1000)
		}
		data, o := b.object(1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.pool.Add(ctx, b.task(data, o, nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a fourth task: %v", err)
		}
		b.tasks = b.tasks[:3]
		time.AfterFunc(5*time.Second, func() { n.setDown(false) })
		b.add(1000)
		b.finish()
	})
}

func TestOutstandingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(200*ms, 50e6)
		b := newBench(t, n, Config{MaxOutstanding: 2 << 20, Lanes: 8})
		var most int64
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(7 * ms):
				}
				b.pool.mu.Lock()
				most = max(most, b.pool.out)
				b.pool.mu.Unlock()
			}
		}()
		for range 20 {
			b.add(2 << 20)
		}
		_ = b.pool.Idle(t.Context())
		close(stop)
		b.finish()
		if most > 2<<20+minRequest {
			t.Errorf("%d bytes were outstanding", most)
		}
	})
}

func TestWriteErrorEndsThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(10*ms, 1e6), Config{})
		b.werr = fault.New(fault.Limit, "", "disk full")
		b.add(5 << 20)
		b.add(5 << 20)
		if err := b.ends(); fault.ClassOf(err) != fault.Limit {
			t.Errorf("ended with %v", err)
		}
		for _, r := range b.tasks {
			if fault.ClassOf(r.err) != fault.Limit {
				t.Errorf("a task ended with %v", r.err)
			}
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10*ms, 1e6)
		b := newBench(t, n, Config{})
		data, o := b.object(5 << 20)
		n.onGet = func(l *fakeLane, r Request) error {
			if r.Object.ID == o.ID && r.From >= 40 {
				return errors.Join(errors.New("410"), ErrGone)
			}
			return nil
		}
		if err := b.pool.Add(t.Context(), b.task(data, o, nil)); err != nil {
			t.Fatal(err)
		}
		b.add(1 << 20)
		_ = b.pool.Idle(t.Context())
		b.stop()
		if !errors.Is(b.tasks[0].err, ErrGone) || b.tasks[1].err != nil {
			t.Errorf("%v, %v", b.tasks[0].err, b.tasks[1].err)
		}
		b.check(false)
		if b.pool.queued != 0 || b.pool.out != 0 || b.pool.requests != 0 {
			t.Errorf("left: queued %d, out %d, requests %d", b.pool.queued, b.pool.out, b.pool.requests)
		}
	})
}

func TestPermanentErrorsEndAtOnce(t *testing.T) {
	denied := fault.New(fault.Denied, "", "token refused")
	for name, shape := range map[string]func(*network){
		"dial": func(n *network) { n.onDial = func(int) error { return denied } },
		"get":  func(n *network) { n.onGet = func(*fakeLane, Request) error { return denied } },
		"lane": func(n *network) {
			n.onLane = func(_ int, l *fakeLane) { time.AfterFunc(100*ms, func() { l.Close(denied) }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(10*ms, 1e5)
				shape(n)
				b := newBench(t, n, Config{})
				start := time.Now()
				b.add(5 << 20)
				if err := b.ends(); !errors.Is(err, denied) {
					t.Errorf("ended with %v", err)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("ended after %v", d)
				}
				if err := b.tasks[0].err; !errors.Is(err, denied) {
					t.Errorf("the task ended with %v", err)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(10*ms, 1e6)
		var refused time.Time
		n.onDial = func(k int) error {
			if k == 1 {
				refused = time.Now()
				return &RetryAfter{20 * time.Second}
			}
			if d := time.Since(refused); d < 20*time.Second {
				t.Errorf("dialled again after %v", d)
			}
			return nil
		}
		b := newBench(t, n, Config{Lanes: 8})
		b.add(200 << 10)
		_ = b.pool.Idle(t.Context())
		var over atomic.Bool
		n.onGet = func(*fakeLane, Request) error {
			if over.CompareAndSwap(false, true) {
				return RetryAfter{time.Second}
			}
			return nil
		}
		for range 30 {
			b.add(1 << 20)
		}
		time.Sleep(4 * time.Second)
		if ls := n.up(); len(ls) > 5 {
			t.Errorf("%d lanes after an overload", len(ls))
		}
		b.finish()
		warned := 0
		for _, e := range b.said() {
			if w, ok := e.(event.Warn); ok && strings.Contains(w.Text, "overloaded") {
				warned++
			}
		}
		if warned == 0 {
			t.Error("nothing was said about the overload")
		}
	})
}

func TestBandwidthLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 12.5e6)
		n.weight = .5 // half of what the pool believes must not matter
		b := newBench(t, n, Config{BwLimit: 500_000})
		n.weight = 1
		start := time.Now()
		b.add(10 << 20)
		b.finish()
		rate := float64(b.pool.Stats().WireIn) / time.Since(start).Seconds()
		if rate > 550_000 || rate < 400_000 {
			t.Errorf("%.0f bytes per second", rate)
		}
		if len(b.linked()) != 0 {
			t.Errorf("links: %v", b.linked())
		}
	})
}

func TestCompressedObjectsAreAskedForWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 1e6)
		n.weight = 1.0 / 64
		b := newBench(t, n, Config{})
		b.add(4 << 20)
		b.finish()
		if n.asked != 1 {
			t.Errorf("%d requests", n.asked)
		}
	})
}

func TestProgressIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(40*ms, 1e6), Config{Snapshot: func(p *event.Progress) { p.Total = 99 }})
		start := time.Now()
		b.add(10 << 20)
		b.finish()
		count, last := 0, event.Progress{}
		for _, e := range b.said() {
			if p, ok := e.(event.Progress); ok {
				count++
				if p.WireIn < last.WireIn || p.Done < last.Done || p.Total != 99 {
					t.Errorf("%+v after %+v", p, last)
				}
				last = p
			}
		}
		if most := int(time.Since(start)/reportEvery) + 2; count > most || count < most/2 {
			t.Errorf("%d reports in %v", count, time.Since(start))
		}
		if last.Done != 10<<20 {
			t.Errorf("last report: %+v", last)
		}
	})
}

func TestThrottleDoesNotSaveUp(t *testing.T) {
	now := time.Unix(1, 0)
	th := throttle{rate: 1000}
	if !th.allow(now, 0, 500) || th.allow(now, 500, 500) {
		t.Error("burst")
	}
	now = now.Add(time.Hour)
	used := int64(500)
	for range 100 {
		if th.allow(now, used, 100) {
			used += 100
		}
	}
	if used > 800 {
		t.Errorf("%d bytes were let through at once", used-500)
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	var q queue
	r := rand.New(rand.NewPCG(1, 1))
	o := digest.NewObject(make([]byte, 5*digest.BlockSize))
	var ts []*task
	for i := range 100 {
		t := newTask(Task{Object: o})
		t.seq = int64(i)
		ts = append(ts, t)
	}
	r.Shuffle(len(ts), func(i, j int) { ts[i], ts[j] = ts[j], ts[i] })
	for _, t := range ts {
		q.settle(t)
		q.settle(t)
	}
	for i := range 100 {
		front := q[0]
		if front.seq != int64(i) {
			t.Fatalf("task %d came as %d", front.seq, i)
		}
		front.waiting = 0
		q.settle(front)
		q.settle(front)
	}
}
