//go:build linux

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/ropeway/ropeway/internal/link"
)

// The tests here hold the link against what it was asked to be, through real
// sockets. docs/design/004-lab.md has their figures. LAB_VALIDATE=1 makes them
// longer, and their tolerances those that the note states; without it they are
// wide, for machines that do other things as well.

// long reports whether there is time.
func long() bool { return os.Getenv("LAB_VALIDATE") != "" }

// tolerance is the strict one where there is time, the wide one elsewhere.
func tolerance(strict, wide float64) float64 {
	if long() {
		return strict
	}
	return wide
}

func pick(short, full time.Duration) time.Duration {
	if long() {
		return full
	}
	return short
}

// punctual skips the rest of a test when the machine was not able to be the link:
// when more than 1 % of the packets were more than 5 ms late, or the kernel
// dropped any. What the test would measure then is the machine.
func punctual(t *testing.T, l *Lab) {
	t.Helper()
	m := l.Machine()
	t.Logf("%d packets, %d late, at worst %s, %d dropped by the kernel", m.Forwarded, m.Late, m.WorstLate, m.Dropped)
	if m.Late*100 > m.Forwarded || m.Dropped+m.Refused > 0 {
		t.Skipf("this machine was too busy to be a link: %+v", m)
	}
}

// miss fails the test, but skips it when twice as many processes want to run as
// there are cores: the link is served first then, and the hosts are late.
func miss(t *testing.T, format string, args ...any) {
	t.Helper()
	var load float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load)
	}
	if load > 2*float64(runtime.NumCPU()) {
		t.Skipf(format+fmt.Sprintf("; but the load is %.1f on %d cores", load, runtime.NumCPU()), args...)
	}
	t.Errorf(format, args...)
}

// pause waits in real time, which is what is measured here.
func pause(d time.Duration) { <-time.After(d) }

func TestDelay(t *testing.T) {
	for _, rtt := range []time.Duration{time.Millisecond, 30 * time.Millisecond, 150 * time.Millisecond} {
		l := open(t, Config{Profile: both(link.Params{Delay: rtt / 2})})
		var took []time.Duration
		n := max(10, int(min(200, pick(time.Second, 4*time.Second)/rtt)))
		c := pinger(t, l.Host(1))
		for range n {
			took = append(took, ping(t, c, l.Host(0)))
			pause(time.Millisecond)
		}
		slices.Sort(took)
		median := took[len(took)/2]
		t.Logf("asked %s: least %s, median %s, p95 %s of %d", rtt, took[0], median, took[len(took)*95/100], n)
		punctual(t, l)
		if took[0] < rtt || float64(median-rtt) > tolerance(.25e6, 2e6) {
			miss(t, "asked %s: median %s", rtt, median)
		}
	}
}

// pinger makes a socket for pings, as unprivileged programs have it.
func pinger(t *testing.T, h *Host) (c *icmp.PacketConn) {
	t.Helper()
	err := h.Do(func() (err error) {
		c, err = icmp.ListenPacket("udp4", "0.0.0.0")
		return err
	})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ping returns the time until the kernel of a host has answered.
func ping(t *testing.T, c *icmp.PacketConn, to *Host) time.Duration {
	t.Helper()
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{Data: make([]byte, 56)}}
	b, err := m.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	start := time.Now()
	if _, err := c.WriteTo(b, &net.UDPAddr{IP: to.Addr().AsSlice()}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// flood sends numbered datagrams from a to b and returns which arrived, and how
// often, in which order.
func flood(t *testing.T, l *Lab, n int) (order []int) {
	t.Helper()
	p, err := l.Host(1).ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_ = p.(*net.UDPConn).SetReadBuffer(4 << 20)
	c := dial(t, l.Host(0), "udp", l.Host(1).Addr().String(), p.LocalAddr().(*net.UDPAddr).Port, time.Minute)
	got := make(chan []int)
	go func() {
		var order []int
		b := make([]byte, 2000)
		for {
			if _, _, err := p.ReadFrom(b); err != nil {
				got <- order
				return
			}
			order = append(order, int(binary.BigEndian.Uint32(b)))
		}
	}()
	b := make([]byte, 200)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if i%20 == 0 {
			<-tick.C
		}
		binary.BigEndian.PutUint32(b, uint32(i))
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	pause(200 * time.Millisecond)
	_ = p.SetReadDeadline(time.Now())
	order = <-got
	if w := l.Counters().AB; w.Delivered != int64(len(order)) {
		t.Skipf("the receiver's socket overflowed: %d delivered, %d received", w.Delivered, len(order))
	}
	return order
}

// near wants a share that was measured n times to be what was asked for, within
// four standard deviations and, for events that come in bursts, that of the
// bursts.
func near(t *testing.T, what string, got, want, n, burst float64) {
	t.Helper()
	sigma := math.Sqrt(want * (1 - want) / n * max(1, 2*burst-1))
	t.Logf("%s: asked %.3f %%, got %.3f %% (one standard deviation is %.3f %%)", what, 100*want, 100*got, 100*sigma)
	if math.Abs(got-want) > 4*sigma {
		t.Errorf("%s: asked %.3f %%, got %.3f %%", what, 100*want, 100*got)
	}
}

func TestLoss(t *testing.T) {
	n := 20000
	if long() {
		n = 100000
	}
	for _, p := range []link.Params{{Loss: .01}, {Loss: .1}, {Burst: .08, BurstLen: 4}} {
		l := open(t, Config{Profile: link.Profile{AB: p}, Seed: 7})
		order := flood(t, l, n)
		seen := make([]bool, n)
		for _, i := range order {
			seen[i] = true
		}
		lost, bursts := 0, 0
		for i, ok := range seen {
			if !ok {
				lost++
				if i == 0 || seen[i-1] {
					bursts++
				}
			}
		}
		near(t, p.String(), float64(lost)/float64(n), p.Loss+p.Burst, float64(n), max(1, p.BurstLen))
		if p.Burst > 0 {
			mean := float64(lost) / float64(bursts)
			t.Logf("mean burst: asked %.1f, got %.2f (%d bursts)", p.BurstLen, mean, bursts)
			if math.Abs(mean-p.BurstLen) > 4*p.BurstLen/math.Sqrt(float64(bursts)) {
				t.Errorf("mean burst: asked %.1f, got %.2f", p.BurstLen, mean)
			}
		}
	}
}

func TestReorderAndDuplicate(t *testing.T) {
	n := 20000
	p := link.Params{Delay: 5 * time.Millisecond, Reorder: .05, ReorderBy: 5 * time.Millisecond, Duplicate: .02}
	l := open(t, Config{Profile: link.Profile{AB: p}, Seed: 7})
	order := flood(t, l, n)
	passed, most := 0, -1
	for _, i := range order {
		if i < most {
			passed++
		}
		most = max(most, i)
	}
	near(t, "duplicates", float64(len(order)-n)/float64(n), p.Duplicate, float64(n), 1)
	c := l.Counters().AB
	near(t, "held back", float64(c.Reordered)/float64(n), p.Reorder, float64(n), 1)
	// 20 packets leave each millisecond: all but those held back for less than
	// the time to the next one are passed.
	share := float64(passed) / float64(c.Reordered)
	t.Logf("passed: %.0f %% of those held back", 100*share)
	if share < .7 || share > 1.2 {
		miss(t, "passed: %.0f %% of those held back", 100*share)
	}
}

// stream sends from a to b on n connections for a time and returns the bits per
// second that arrived after a warm-up.
func stream(t *testing.T, l *Lab, n int, warm, d time.Duration) float64 {
	t.Helper()
	var bytes atomic.Int64
	port := serve(t, l.Host(1), "tcp", func(c net.Conn) {
		b := make([]byte, 256<<10)
		for {
			k, err := c.Read(b)
			bytes.Add(int64(k))
			if err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, n)
	for range n {
		c := dial(t, l.Host(0), "tcp", l.Host(1).Addr().String(), port, time.Minute)
		context.AfterFunc(ctx, func() { c.Close() })
		go func() {
			b := make([]byte, 256<<10)
			for {
				if _, err := c.Write(b); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	pause(warm)
	before, start := bytes.Load(), time.Now()
	pause(d)
	got, took := bytes.Load()-before, time.Since(start)
	cancel()
	for range n {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	return float64(got) * 8 / took.Seconds()
}

const payload = 1448. / 1500 // TCP payload in a packet, with timestamps

func TestRate(t *testing.T) {
	for _, mbit := range []int64{100, 400, 800} {
		if mbit > 400 && !long() {
			continue
		}
		l := open(t, Config{CC: "cubic", Profile: both(link.Params{Rate: mbit * 1e6, Delay: 5 * time.Millisecond})})
		got := stream(t, l, 1, pick(time.Second/2, time.Second), pick(2*time.Second, 6*time.Second))
		share := got / (float64(mbit) * 1e6 * payload)
		t.Logf("asked %d Mbit/s: %.1f of payload, %.3f of the limit", mbit, got/1e6, share)
		punctual(t, l)
		if share > 1.02 || share < 1-tolerance(.03, .1) {
			miss(t, "asked %d Mbit/s: %.3f of the limit", mbit, share)
		}
	}
}

// TestUnimpaired wants 400 Mbit/s without a rate limit.
func TestUnimpaired(t *testing.T) {
	l := open(t, Config{CC: "cubic"})
	got := stream(t, l, 1, pick(time.Second/2, time.Second), pick(time.Second, 5*time.Second))
	t.Logf("%.0f Mbit/s", got/1e6)
	punctual(t, l)
	if got < 400e6 {
		miss(t, "%.0f Mbit/s", got/1e6)
	}
}

// TestReno holds TCP Reno against its law (Mathis et al., 1997), with the
// constant for a receiver that acknowledges every packet, as Linux does in loss
// recovery and slow start, so that what is between 0.6 and 1.2 of it is right.
func TestReno(t *testing.T) {
	for _, p := range []float64{.005, .01, .02} {
		if p != .01 && !long() {
			continue
		}
		const rtt, flows = 40 * time.Millisecond, 8
		l := open(t, Config{CC: "reno", Profile: link.Profile{AB: link.Params{Delay: rtt / 2, Loss: p}, BA: link.Params{Delay: rtt / 2}}, Seed: 3})
		got := stream(t, l, flows, pick(2*time.Second, 3*time.Second), pick(6*time.Second, 15*time.Second)) / flows
		law := 1448 * 8 / rtt.Seconds() * math.Sqrt(1.5/p)
		t.Logf("loss %g %%: %.2f Mbit/s a flow, Mathis %.2f, ratio %.2f", 100*p, got/1e6, law/1e6, got/law)
		punctual(t, l)
		if r := got / law; r < .6 || r > 1.2 {
			miss(t, "loss %g %%: %.2f of what Mathis says", 100*p, r)
		}
	}
}

// TestQueue wants a full queue to add its time to the delay, and no more.
func TestQueue(t *testing.T) {
	l := open(t, Config{CC: "cubic", Profile: both(link.Params{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 100 * time.Millisecond})})
	port := echo(t, l.Host(1), "udp")
	c := dial(t, l.Host(0), "udp", l.Host(1).Addr().String(), port, time.Minute)
	worst := make(chan time.Duration)
	stop := make(chan struct{})
	go func() {
		var most time.Duration
		for {
			select {
			case <-stop:
				worst <- most
				return
			case <-time.After(10 * time.Millisecond):
			}
			start := time.Now()
			_ = c.SetDeadline(start.Add(time.Second))
			if ask(c, "ping") == nil {
				most = max(most, time.Since(start))
			}
		}
	}()
	stream(t, l, 2, time.Second, pick(time.Second, 5*time.Second))
	close(stop)
	got := <-worst
	t.Logf("worst round trip %s, of at most 120 ms", got)
	punctual(t, l)
	if got > 125*time.Millisecond || got < 90*time.Millisecond {
		miss(t, "worst round trip %s, want 20 ms and up to 100 ms of queue", got)
	}
}
