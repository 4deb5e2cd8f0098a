package netsim

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestRandomFaults does everything at random to links and checks that what
// anybody reads is a prefix of what was written, that every connection ends,
// and that the link forgets it.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		params := func() Params {
			return Params{
				Delay: time.Duration(r.IntN(3)*r.IntN(100)) * ms, Jitter: time.Duration(r.IntN(2)*r.IntN(30)) * ms,
				Rate: int64(r.IntN(2)) * int64(1e6+r.IntN(1e8)), Loss: float64(r.IntN(3)) * .04,
				Queue: r.IntN(3) * 5000, Window: r.IntN(3) * 7000,
			}
		}
		var events []Event
		for range r.IntN(12) {
			ev := Event{
				At: time.Duration(r.IntN(20_000)) * ms, Do: Action(1 + r.IntN(int(DialAccept))), Dir: Direction(r.IntN(4)),
				Side: Side(r.IntN(4)), Params: params(), Count: r.IntN(4), Bytes: int64(r.IntN(1e6)),
				For: time.Duration(r.IntN(20_000)) * ms,
			}
			if r.IntN(3) == 0 {
				ev.AfterBytes = int64(r.IntN(1e6))
			}
			events = append(events, ev)
		}
		up, down := params(), params()
		bubble(t, up, down, func(t *testing.T, l *Link) {
			ln, err := l.Listen("far:80")
			must(t, err)
			l.Schedule(events...)
			var wg sync.WaitGroup
			exchange := func(c net.Conn, out, in byte) {
				defer c.Close()
				must(t, c.SetDeadline(time.Now().Add(time.Hour)))
				wg.Go(func() {
					b := make([]byte, 200_000)
					for i := range b {
						b[i] = out + byte(i*7>>3)
					}
					if _, err := c.Write(b); err == nil {
						_ = c.(*Conn).CloseWrite()
					}
				})
				b, _ := io.ReadAll(c)
				for i, x := range b {
					if x != in+byte(i*7>>3) {
						t.Errorf("seed %d: byte %d is wrong", seed, i)
						return
					}
				}
			}
			wg.Go(func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					wg.Go(func() { exchange(c, 3, 5) })
				}
			})
			var dials sync.WaitGroup
			for range 6 {
				time.Sleep(time.Second)
				dials.Go(func() {
					if c, err := l.DialContext(t.Context(), "tcp", "far:80"); err == nil {
						exchange(c, 5, 3)
					}
				})
			}
			dials.Wait()
			must(t, ln.Close())
			wg.Wait()
			l.Blackout(Both, false)
			time.Sleep(2 * giveUp)
			if n := l.alive(); n != 0 {
				t.Errorf("seed %d: %d flows are left", seed, n)
			}
		})
	}
}
