package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"
)

// reno is a bulk sender with TCP Reno's congestion avoidance (RFC 5681), slow
// start, and retransmission timers (RFC 6298, 200 ms at least), and a receiver
// that acknowledges every segment. Losses are recovered with selective
// acknowledgements (RFC 6675): three segments that arrived above a hole mark
// it as lost, and the window is halved once per window. Segments are counted
// from 0. It is as much TCP as the formula of Mathis et al. assumes.
type reno struct {
	p        *Path
	size     int // bytes of a segment, headers included
	now      time.Duration
	cwnd     float64
	ssthresh float64

	next    int              // never sent before
	una     int              // all below are acknowledged
	sent    map[int]*segment // not acknowledged
	order   []*segment       // in the order of sending, for finding losses
	lost    []int            // to be sent again
	count   int              // of all that were sent
	recover int              // halved for losses below that

	rtt, dev, rto time.Duration
	timer         time.Duration

	expect   int // by the receiver
	received map[int]bool
}

type segment struct {
	n    int
	at   time.Duration
	nth  int // of all that were sent
	lost bool
}

func newReno(p *Path) *reno {
	return &reno{
		p: p, size: 1500, cwnd: 10, ssthresh: 1e9, rto: time.Second, timer: time.Second,
		sent: map[int]*segment{}, received: map[int]bool{},
	}
}

// run transfers for d and returns the segments that the receiver has in order.
func (r *reno) run(d time.Duration) int {
	buf := make([]byte, r.size)
	for {
		r.fill(buf)
		next := r.timer
		if at, ok := r.p.Next(); ok {
			next = min(next, at)
		}
		if next > d {
			return r.expect
		}
		r.now = next
		if r.now >= r.timer {
			r.timeout()
		}
		r.p.Take(r.now, func(d Direction, b []byte) {
			if d == AB {
				r.arrive(int(binary.BigEndian.Uint32(b[4:])))
			} else {
				r.acked(int(binary.BigEndian.Uint32(b[4:])), int(binary.BigEndian.Uint32(b[8:])))
			}
		})
	}
}

// fill sends what the window allows, first what was lost.
func (r *reno) fill(buf []byte) {
	for float64(r.pipe()) < r.cwnd {
		n := r.next
		if len(r.lost) > 0 {
			n = r.lost[0]
			r.lost = r.lost[1:]
			if r.sent[n] == nil {
				continue // acknowledged meanwhile
			}
		} else {
			r.next++
		}
		s := &segment{n: n, at: r.now, nth: r.count}
		r.count++
		r.sent[n] = s
		r.order = append(r.order, s)
		binary.BigEndian.PutUint32(buf[4:], uint32(n))
		r.p.Offer(r.now, AB, buf)
	}
}

// pipe returns how many segments are believed to be under way.
func (r *reno) pipe() int { return len(r.sent) - len(r.lost) }

func (r *reno) timeout() {
	r.ssthresh = max(2, float64(r.pipe())/2)
	r.cwnd = 1
	r.lost = r.lost[:0]
	for n := r.una; n < r.next; n++ {
		if s := r.sent[n]; s != nil {
			s.lost = true
			r.lost = append(r.lost, n)
		}
	}
	r.order = r.order[:0]
	r.recover = r.next
	r.rto = min(2*r.rto, 120*time.Second)
	r.timer = r.now + r.rto
}

func (r *reno) arrive(n int) {
	r.received[n] = true
	for r.received[r.expect] {
		delete(r.received, r.expect)
		r.expect++
	}
	var ack [40]byte // which segment, and all below which
	binary.BigEndian.PutUint32(ack[4:], uint32(n))
	binary.BigEndian.PutUint32(ack[8:], uint32(r.expect))
	r.p.Offer(r.now, BA, ack[:])
}

func (r *reno) acked(n, upTo int) {
	s := r.sent[n]
	if s == nil && upTo <= r.una {
		return
	}
	if s != nil && !s.lost {
		r.measure(r.now - s.at)
		r.findLosses(s.nth)
	}
	delete(r.sent, n)
	for ; r.una < upTo; r.una++ {
		delete(r.sent, r.una)
	}
	keep := r.lost[:0]
	for _, n := range r.lost {
		if r.sent[n] != nil {
			keep = append(keep, n)
		}
	}
	r.lost = keep
	if r.una >= r.recover {
		if r.cwnd < r.ssthresh {
			r.cwnd++
		} else {
			r.cwnd += 1 / r.cwnd
		}
	}
	r.timer = r.now + r.rto
}

// findLosses marks what was sent three segments before the one that arrived.
func (r *reno) findLosses(nth int) {
	for len(r.order) > 0 && r.order[0].nth+3 <= nth {
		s := r.order[0]
		r.order = r.order[1:]
		if r.sent[s.n] != s || s.lost {
			continue
		}
		s.lost = true
		r.lost = append(r.lost, s.n)
		if s.n >= r.recover {
			r.ssthresh = max(2, r.cwnd/2)
			r.cwnd = r.ssthresh
			r.recover = r.next
		}
	}
}

// measure keeps the retransmission timeout.
func (r *reno) measure(rtt time.Duration) {
	if r.rtt == 0 {
		r.rtt, r.dev = rtt, rtt/2
	} else {
		r.dev += ((rtt - r.rtt).Abs() - r.dev) / 4
		r.rtt += (rtt - r.rtt) / 8
	}
	r.rto = r.rtt + max(200*ms, 4*r.dev)
}

// TestRenoMeetsMathis holds a Reno flow over the model against
//
//	rate = MSS / RTT × C / √p
//
// of Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP
// congestion avoidance algorithm" (1997), for one acknowledgement per segment:
// C is √(3/2) = 1.22 for losses at even intervals, and 1.31 for independent ones
// (Ott, Kemperman and Mathis, 1996). At 5 % timeouts begin to count.
func TestRenoMeetsMathis(t *testing.T) {
	for _, c := range []struct{ loss, least, most float64 }{{.001, .94, 1.06}, {.005, .96, 1.04}, {.01, .96, 1.04}, {.02, .95, 1.04}, {.05, .85, 1.02}} {
		t.Run(fmt.Sprint(c.loss), func(t *testing.T) {
			p := NewPath(Profile{AB: Params{Delay: 20 * ms, Loss: c.loss}, BA: Params{Delay: 20 * ms}}, 1)
			const d = 400 * time.Second
			n := float64(newReno(p).run(d))
			mathis := d.Seconds() / .040 * 1.31 / math.Sqrt(c.loss)
			t.Logf("loss %.1f %%: %.2f Mbit/s, %.3f of Mathis", c.loss*100, n*1448*8/d.Seconds()/1e6, n/mathis)
			if f := n / mathis; f < c.least || f > c.most {
				t.Errorf("%.3f of Mathis, want %.2f to %.2f", f, c.least, c.most)
			}
		})
	}
}

// TestRenoFillsTheLink wants one flow without loss but in its own queue to
// have all of the rate.
func TestRenoFillsTheLink(t *testing.T) {
	p := NewPath(Profile{AB: Params{Rate: 100 * mbit, Delay: 15 * ms}, BA: Params{Rate: 100 * mbit, Delay: 15 * ms}}, 1)
	n := newReno(p).run(60 * time.Second)
	within(t, "goodput", float64(n)*1500*8/60, 100e6, 2e6)
	if c := p.Counters().AB; c.LostQueue == 0 || c.MaxQueueBytes > 625_000 || c.MaxQueueBytes < 620_000 {
		t.Errorf("%+v", c)
	}
}
