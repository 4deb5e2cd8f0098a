package link

import (
	"math"
	"testing"
	"time"
)

// blob is a packet of no flow.
func blob(n int, tag uint32) []byte {
	b := make([]byte, max(n, 8))
	b[4], b[5], b[6], b[7] = byte(tag>>24), byte(tag>>16), byte(tag>>8), byte(tag)
	return b
}

func tagOf(b []byte) uint32 {
	return uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7])
}

// arrival is a packet that came out.
type arrival struct {
	at  time.Duration
	dir Direction
	buf []byte
}

// drain runs a path until nothing is left to happen before the end.
func drain(p *Path, until time.Duration) (all []arrival) {
	for {
		at, ok := p.Next()
		if !ok || at > until {
			return all
		}
		p.Take(at, func(d Direction, b []byte) { all = append(all, arrival{at, d, append([]byte(nil), b...)}) })
	}
}

// flood offers n packets of size bytes at even intervals from a to b and
// returns what arrives.
func flood(p *Path, n, size int, every time.Duration) (all []arrival) {
	for i := range n {
		now := time.Duration(i) * every
		all = append(all, drain(p, now)...)
		p.Offer(now, AB, blob(size, uint32(i)))
	}
	return append(all, drain(p, math.MaxInt64)...)
}

// within fails unless got is in want ± tolerance.
func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s: %.6g, want %.6g ± %.3g", what, got, want, tolerance)
	}
}

func one(p Params, seed uint64) *Path { return NewPath(Profile{AB: p, BA: p}, seed) }

func TestDelayIsExact(t *testing.T) {
	p := one(Params{Delay: 15 * ms}, 1)
	for i, x := range flood(p, 100, 1500, time.Millisecond) {
		if want := time.Duration(i)*time.Millisecond + 15*ms; x.at != want || x.dir != AB || len(x.buf) != 1500 || tagOf(x.buf) != uint32(i) {
			t.Fatalf("packet %d: %d bytes %s at %s, want %s", i, len(x.buf), x.dir, x.at, want)
		}
	}
	if c := p.Counters().AB; c.Offered != 100 || c.Delivered != 100 || c.Lost() != 0 || c.Held != 0 || c.DeliveredBytes != 150000 {
		t.Errorf("%+v", c)
	}
}

func TestRandomLoss(t *testing.T) {
	for _, loss := range []float64{.001, .01, .1} {
		p := one(Params{Loss: loss}, 7)
		n := 500_000
		got := float64(n-len(flood(p, n, 100, time.Microsecond))) / float64(n)
		within(t, "loss", got, loss, 4*math.Sqrt(loss/float64(n)))
	}
}
