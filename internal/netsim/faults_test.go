package netsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// trickle sends a byte every 100 ms, for ever.
func trickle(c *Conn) {
	for {
		if _, err := c.Write([]byte{1}); err != nil {
			return
		}
		time.Sleep(100 * ms)
	}
}

func TestBlackoutDelaysOldFlowsAsLongAgain(t *testing.T) {
	// What Linux did at 30 ms in the laboratory, in seconds from the start of the
	// outage: 17.5, 36, 70, 139.5, 261.5.
	for outage, back := range map[time.Duration]time.Duration{
		10 * time.Second:  17010 * ms,
		30 * time.Second:  34290 * ms,
		59 * time.Second:  68850 * ms,
		70 * time.Second:  137970 * ms,
		200 * time.Second: 257970 * ms,
	} {
		t.Run(fmt.Sprint(outage), func(t *testing.T) {
			p := Params{Delay: 15 * ms, Rate: 8e6}
			bubble(t, p, p, func(t *testing.T, l *Link) {
				ln, err := l.Listen("far:80")
				must(t, err)
				conn, err := l.DialContext(t.Context(), "tcp", "far:80")
				must(t, err)
				a, err := ln.Accept()
				must(t, err)
				var wg sync.WaitGroup
				wg.Go(func() { trickle(a.(*Conn)) })
				time.Sleep(time.Second)
				l.Schedule(Event{Do: BlackoutStart, For: outage})
				var late, fresh time.Duration
				start := time.Now()
				wg.Go(func() {
					time.Sleep(outage + time.Millisecond)
					c, err := l.DialContext(t.Context(), "tcp", "far:80")
					must(t, err)
					fresh = time.Since(start)
					must(t, c.Close())
				})
				for n := 0; ; n++ {
					if _, err := conn.Read(make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
					if d := time.Since(start); d > outage {
						late = d
						break
					}
				}
				_, _, _ = conn.Close(), a.Close(), ln.Close()
				wg.Wait()
				if fresh != outage+31*ms {
					t.Errorf("a new connection took %v", fresh)
				}
				// The first byte waited since 0 to 100 ms after the outage's start.
				if late < back-100*ms || late > back+200*ms {
					t.Errorf("the old connection went on after %v, want %v", late, back)
				}
			})
		})
	}
}

func TestIdleFlowsSurviveABlackout(t *testing.T) {
	p := Params{Delay: 10 * ms}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		l.Blackout(Both, true)
		time.Sleep(time.Hour)
		l.Blackout(Both, false)
		since := watch(t)
		send(t, d, 1)
		receive(t, a, 1)
		since(10*ms, "a byte")
		_, _ = d.Close(), a.Close()
	})
}

func TestOneWayBlackout(t *testing.T) {
	p := Params{Delay: 10 * ms, Window: 50_000}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		l.Blackout(Up, true)
		since := watch(t)
		go send(t, a, 100_000)
		receive(t, d, 50_000) // a window without an acknowledgement
		since(10*ms, "a window")
		must(t, d.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := d.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		must(t, d.SetReadDeadline(time.Time{}))
		l.Blackout(Up, false)
		receive(t, d, 50_000)
		since(20*ms+backoff(time.Minute, 260*ms), "the rest")
		_, _ = d.Close(), a.Close()
	})
}

func TestSenderGivesUp(t *testing.T) {
	p := Params{Delay: 10 * ms}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		l.ForgetFlows()
		send(t, d, 1)
		_, err := d.Read(make([]byte, 1))
		wantErr(t, err, syscall.ETIMEDOUT)
		since(giveUp, "given up")
		must(t, a.SetReadDeadline(time.Now().Add(24*time.Hour))) // the receiver never learns
		_, err = a.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		_, _ = d.Close(), a.Close()
		e, b := pair(t, l) // new ones work
		send(t, e, 1)
		receive(t, b, 1)
		_, _ = e.Close(), b.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		if st := l.Stats(); st.Killed != 1 || st.Resets != 0 || l.alive() != 0 {
			t.Errorf("%+v, %d flows", st, l.alive())
		}
	})
}

func TestResetFlows(t *testing.T) {
	p := Params{Delay: 10 * ms}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d1, a1 := pair(t, l)
		d2, a2 := pair(t, l)
		l.ResetFlows(1, Dialer)
		_, err := d1.Read(make([]byte, 1))
		wantErr(t, err, syscall.ECONNRESET)
		must(t, a1.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = a1.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		send(t, d2, 1)
		receive(t, a2, 1)
		l.ResetFlows(0, BothSides)
		_, err = d2.Read(make([]byte, 1))
		wantErr(t, err, syscall.ECONNRESET)
		_, err = a2.Write(make([]byte, 1))
		wantErr(t, err, syscall.ECONNRESET)
		if st := l.Stats(); st.Killed != 2 || st.Resets != 3 {
			t.Errorf("%+v", st)
		}
		_, _, _, _ = d1.Close(), a1.Close(), d2.Close(), a2.Close()
		if l.alive() != 0 {
			t.Errorf("%d flows", l.alive())
		}
	})
}

func TestStallFlows(t *testing.T) {
	p := Params{Delay: 10 * ms}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d1, a1 := pair(t, l)
		d2, a2 := pair(t, l)
		since := watch(t)
		l.StallFlows(1, 5*time.Second)
		send(t, d1, 1)
		send(t, d2, 1)
		receive(t, a2, 1)
		since(10*ms, "not stalled")
		receive(t, a1, 1)
		since(5*time.Second+10*ms, "stalled")
		l.StallFlows(0, 0)
		send(t, a2, 1)
		must(t, d2.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := d2.Read(make([]byte, 1))
		wantErr(t, err, os.ErrDeadlineExceeded)
		_, _, _, _ = d1.Close(), a1.Close(), d2.Close(), a2.Close()
	})
}

func TestKillEveryIsExact(t *testing.T) {
	for _, p := range []Params{{}, {Delay: 5 * ms, Rate: 80e6}} {
		bubble(t, p, p, func(t *testing.T, l *Link) {
			l.KillEvery(1_000_000)
			for range 3 {
				d, a := pair(t, l)
				send(t, d, 1000)
				receive(t, a, 1000)
				go func() { _, _ = a.Write(make([]byte, 2_000_000)) }()
				n, err := io.Copy(io.Discard, d)
				if n != 999_000 || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%d bytes, %v", n, err)
				}
				_, _ = d.Close(), a.Close()
			}
			if st := l.Stats(); st.Killed != 3 || st.Resets < 3 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestKillAfter(t *testing.T) {
	p := Params{Delay: 5 * ms}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d1, a1 := pair(t, l)
		time.Sleep(3 * time.Second)
		l.KillAfter(10 * time.Second)
		d2, a2 := pair(t, l)
		since := watch(t)
		_, err := d1.Read(make([]byte, 1))
		wantErr(t, err, syscall.ECONNRESET)
		since(7*time.Second-20*ms, "the first") // opened 5 ms before its pair returned, as the second
		_, err = d2.Read(make([]byte, 1))
		wantErr(t, err, syscall.ECONNRESET)
		since(10*time.Second-5*ms, "the second")
		_, _, _, _ = d1.Close(), a1.Close(), d2.Close(), a2.Close()
	})
}

func TestScheduleByBytes(t *testing.T) {
	p := Params{Delay: 5 * ms, Rate: 8e6}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		l.Schedule(
			Event{AfterBytes: 100_000, Dir: Down, Do: Reset, Side: Dialer},
			Event{AfterBytes: 100_000, Dir: Down, At: time.Second, Do: DialRefuse, For: time.Second},
		)
		go func() { _, _ = a.Write(make([]byte, 1e6)) }()
		n, err := io.Copy(io.Discard, d)
		wantErr(t, err, syscall.ECONNRESET)
		if n < 100_000 || n > 100_000+segment {
			t.Errorf("reset after %d bytes", n)
		}
		time.Sleep(1500 * ms)
		_, err = l.DialContext(t.Context(), "tcp", "far:1")
		wantErr(t, err, syscall.ECONNREFUSED)
		if l.Stats().Refused != 1 {
			t.Error("refused for another reason")
		}
		_, _ = d.Close(), a.Close()
	})
}

func TestLoss(t *testing.T) {
	const size = 20e6
	p := Params{Delay: 20 * ms, Rate: 100e6}
	lossy := p
	lossy.Loss = 0.01
	var times []time.Duration
	for range 2 {
		bubble(t, lossy, lossy, func(t *testing.T, l *Link) {
			d, a := pair(t, l)
			start := time.Now()
			go send(t, a, size)
			receive(t, d, size)
			times = append(times, time.Since(start))
			st := l.Stats().Down
			if rate := float64(st.Lost) / (size / segment); math.Abs(rate-.01) > .002 {
				t.Errorf("%.4f of the segments were lost", rate)
			}
			if st.Sent != st.Delivered+st.Lost*segment {
				t.Errorf("%+v", st)
			}
			_, _ = d.Close(), a.Close()
		})
	}
	// A segment in 100 costs 40 ms and 99 take 11.5 ms.
	if want := size / segment / 100 * 51.5; math.Abs(times[0].Seconds()*1000/want-1) > .2 {
		t.Errorf("took %v, want about %.0f ms", times[0], want)
	}
	if times[0] != times[1] {
		t.Errorf("%v and %v with the same seed", times[0], times[1])
	}
}

func TestCorruption(t *testing.T) {
	bubble(t, Params{}, Params{Corrupt: 0.1}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		const size = 100 * segment
		go send(t, a, size)
		b := make([]byte, size)
		_, err := io.ReadFull(d, b)
		must(t, err)
		bad := 0
		for _, x := range b {
			if x != 0 {
				bad++
			}
		}
		if n := l.Stats().Down.Corrupted; bad != int(n) || bad < 3 || bad > 30 {
			t.Errorf("%d bytes are wrong, %d were made so", bad, n)
		}
		_, _ = d.Close(), a.Close()
	})
}

func TestSetParams(t *testing.T) {
	p := Params{Delay: 10 * ms, Rate: 8e6}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		l.Schedule(Event{At: 100 * ms, Do: ChangeParams, Dir: Down, Params: Params{Rate: 80e6, Delay: 10 * ms}})
		go send(t, a, 1_100_000)
		receive(t, d, 1_100_000)
		// 70 segments at the old rate, the last of which is on the wire at 100 ms.
		since((70*1448+99864+10000)*time.Microsecond, "ten times as fast")
		_, _ = d.Close(), a.Close()
	})
}

func TestJitterKeepsOrder(t *testing.T) {
	p := Params{Delay: 10 * ms, Jitter: 30 * ms, Rate: 8e6}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		want := make([]byte, 200_000)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		go func() {
			_, _ = a.Write(want)
			_ = a.Close()
		}()
		got, err := io.ReadAll(d)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		_ = d.Close()
	})
}

// TestDeterminism runs many flows under many faults twice and compares every
// chunk that anybody read.
func TestDeterminism(t *testing.T) {
	run := func() (log []string, st Stats) {
		p := Params{Delay: 15 * ms, Jitter: 10 * ms, Rate: 50e6, Loss: .02}
		bubble(t, p, p, func(t *testing.T, l *Link) {
			ln, err := l.Listen("far:80")
			must(t, err)
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = c.Write(make([]byte, 500_000))
						_ = c.Close()
					}()
				}
			}()
			l.Schedule(
				Event{At: 200 * ms, Do: BlackoutStart, For: 2 * time.Second},
				Event{At: 4 * time.Second, Do: Reset, Count: 2},
				Event{AfterBytes: 2e6, Do: Stall, Count: 1, For: time.Second},
			)
			logs := make([][]string, 8)
			start := time.Now()
			var wg sync.WaitGroup
			for i := range logs {
				time.Sleep(ms)
				wg.Go(func() {
					c, err := l.DialContext(t.Context(), "tcp", "far:80")
					must(t, err)
					buf := make([]byte, 1<<20)
					for {
						n, err := c.Read(buf)
						logs[i] = append(logs[i], fmt.Sprint(i, time.Since(start), n, err))
						if err != nil {
							break
						}
					}
					_ = c.Close()
				})
			}
			wg.Wait()
			must(t, ln.Close())
			log, st = slices.Concat(logs...), l.Stats()
		})
		return log, st
	}
	log, st := run()
	if st.Down.Lost == 0 || st.Killed != 2 {
		t.Errorf("%+v", st)
	}
	for range 3 {
		again, stAgain := run()
		if !slices.Equal(log, again) || st != stAgain {
			t.Fatal("two runs differ")
		}
	}
}

func TestHTTPOverTheLink(t *testing.T) {
	p := Params{Delay: 25 * ms, Rate: 8e6}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		ln, err := l.Listen("far:80")
		must(t, err)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 100_000))
		})}
		go func() { _ = srv.Serve(ln) }()
		tr := &http.Transport{DialContext: l.DialContext}
		start := time.Now()
		resp, err := (&http.Client{Transport: tr}).Get("http://far:80/")
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		if len(b) != 100_000 || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		// Two round trips, 100 ms of content and less than 1 ms of headers.
		if d := time.Since(start); d < 200*ms || d > 201*ms {
			t.Errorf("an answer after %v", d)
		}
		tr.CloseIdleConnections()
		must(t, srv.Close())
	})
}
