package fetch

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// TestRandomFaults checks with all kinds of trouble at random that a pool gets
// everything, writes every block once and leaves nothing behind.
func TestRandomFaults(t *testing.T) {
	runs := 150
	if testing.Short() {
		runs = 30
	}
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			n := newNetwork(time.Duration(r.IntN(300))*ms, float64(20e3*(1+r.IntN(500))))
			n.noRTT = r.IntN(3) == 0
			n.onDial = func(int) error {
				n.mu.Lock()
				defer n.mu.Unlock()
				if r.IntN(4) == 0 {
					return errors.New("connection refused")
				}
				return nil
			}
			n.onLane = func(_ int, l *fakeLane) {
				l.silentAt = r.IntN(2) * r.IntN(100)
				l.resetAt = r.IntN(2) * r.IntN(300)
				switch r.IntN(30) {
				case 0:
					l.wrong = true
				case 1:
					l.extra = true
				case 2:
					l.short = true
				case 3:
					l.reorder = true
				case 4:
					l.dripping = true
				case 5:
					l.silent = true
				case 6, 7:
					l.rate = 2e3 * float64(1+r.IntN(100))
				}
			}
			n.onGet = func(*fakeLane, Request) error {
				n.mu.Lock()
				defer n.mu.Unlock()
				switch r.IntN(200) {
				case 0:
					return errors.New("stream reset")
				case 1:
					return RetryAfter{time.Duration(r.IntN(3000)) * ms}
				}
				return nil
			}
			b := newBench(t, n, Config{
				Lanes: 1 + r.IntN(12), InFlight: 1 + r.IntN(10), MaxOutstanding: 1 << (17 + r.IntN(8)), MaxQueued: 1 + r.IntN(50),
				Timeout: 15 * time.Minute, ConnectTimeout: time.Minute, Deadline: 24 * time.Hour, Rand: rand.New(rand.NewPCG(uint64(seed), 9)),
			})
			stop := make(chan struct{})
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(5+seed) * time.Second):
					}
					n.setDown(true)
					time.Sleep(time.Duration(seed%20) * time.Second)
					n.setDown(false)
				}
			}()
			var err error
			for range 1 + r.IntN(30) {
				n.mu.Lock()
				size := 1 + r.IntN(3<<20)>>r.IntN(12)
				n.mu.Unlock()
				data, o := b.object(size)
				task := b.task(data, o, nil)
				if err = b.pool.Add(t.Context(), task); err != nil {
					b.tasks = b.tasks[:len(b.tasks)-1]
					break
				}
			}
			if err == nil {
				err = b.pool.Idle(t.Context())
			}
			close(stop)
			switch fault.ClassOf(err) {
			case fault.OK:
				b.stop()
				b.check(true)
				if p := b.pool; p.queued != 0 || p.out != 0 || p.requests != 0 || len(p.queue) != 0 || len(p.closing) != 0 {
					t.Errorf("left: queued %d, out %d, requests %d, tasks %d, closing %d", p.queued, p.out, p.requests, len(p.queue), len(p.closing))
				}
			case fault.Integrity: // two lanes lied about the same block
				t.Logf("seed %d: %v", seed, err)
				if got := b.ends(); !errors.Is(got, err) {
					t.Errorf("Run: %v, Idle: %v", got, err)
				}
			default:
				t.Errorf("seed %d: %v", seed, err)
			}
			time.Sleep(time.Minute) // for the goroutine above
		})
	}
}
