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
		n := 300_000
		got := float64(n-len(flood(p, n, 100, time.Microsecond))) / float64(n)
		within(t, "loss", got, loss, 4*math.Sqrt(loss/float64(n)))
	}
}

func TestBurstLoss(t *testing.T) {
	const n = 300_000
	for _, c := range []struct{ loss, length float64 }{{.08, 4}, {.01, 10}, {.3, 1.5}} {
		p := one(Params{Burst: c.loss, BurstLen: c.length}, 3)
		lost, bursts, last := 0, 0, -1
		for _, x := range append(flood(p, n, 100, time.Microsecond), arrival{buf: blob(8, n)}) {
			tag := int(tagOf(x.buf))
			if gap := tag - last - 1; gap > 0 {
				lost += gap
				bursts++
			}
			last = tag
		}
		few := 4 / math.Sqrt(float64(bursts)) // so many that 4 deviations of the mean are a small part
		within(t, "burst loss", float64(lost)/n, c.loss, 1.4*few*c.loss)
		within(t, "burst length", float64(lost)/float64(bursts), c.length, few*c.length)
	}
}

func TestRate(t *testing.T) {
	for _, rate := range []int64{1e6, 100e6, 1e9} {
		p := one(Params{Rate: rate, Delay: 10 * ms, Queue: 1 << 30}, 1)
		const n, size = 10_000, 1500
		all := flood(p, n, size, 0)
		if len(all) != n {
			t.Fatalf("%d of %d arrive", len(all), n)
		}
		took := (all[n-1].at - 10*ms).Seconds()
		within(t, "rate", n*size*8/took, float64(rate), 1e-4*float64(rate))
	}
}

func TestRateChanges(t *testing.T) {
	p := one(Params{Rate: 100 * mbit, Queue: 1 << 30}, 1)
	p.Schedule(0, Event{At: 100 * ms, Do: Set, Params: "rate=10Mbit", For: 900 * ms})
	all := flood(p, 40_000, 1250, 100*time.Microsecond) // just what 100 Mbit/s carry, for 4 s
	in := func(from, to time.Duration) (n float64) {
		for _, x := range all {
			if x.at > from && x.at <= to {
				n += 1250 * 8 / (to - from).Seconds()
			}
		}
		return n
	}
	within(t, "before", in(0, 100*ms), 100e6, 1e6)
	within(t, "while", in(120*ms, 1000*ms), 10e6, .1e6)
	within(t, "after", in(1020*ms, 4000*ms), 100e6, 1e6)
}

func TestQueueDropsAtTheTail(t *testing.T) {
	for _, c := range []struct {
		p    Params
		want int // bytes that fit
	}{
		{Params{Rate: 100 * mbit, Queue: 30_000}, 30_000},
		{Params{Rate: 100 * mbit, QueueTime: 10 * ms}, 125_000},
		{Params{Rate: 100 * mbit}, 625_000},
		{Params{Rate: mbit}, 64 << 10},
	} {
		p := one(c.p, 1)
		all := flood(p, 1000, 1000, 0) // at once
		if got := len(all) * 1000; got > c.want || got <= c.want-1000 {
			t.Errorf("%v: %d bytes fit, want %d", c.p, got, c.want)
		}
		for i, x := range all {
			if tagOf(x.buf) != uint32(i) {
				t.Fatalf("%v: not the tail is dropped", c.p)
			}
		}
		if n := p.Counters().AB; n.LostQueue != int64(1000-len(all)) || n.MaxQueueBytes > int64(c.want) || n.MaxQueueBytes <= int64(c.want)-1000 {
			t.Errorf("%v: %+v", c.p, n)
		}
	}
}

func TestLossTakesRate(t *testing.T) {
	// A packet that is lost on the way has had its turn on the link.
	p := one(Params{Rate: 100 * mbit, Loss: .2}, 1)
	all := flood(p, 100_000, 1250, 50*time.Microsecond) // twice the rate, for 5 s
	within(t, "goodput", float64(len(all))*1250*8/5.05, 80e6, 1e6)
}

func TestJitterKeepsOrder(t *testing.T) {
	p := one(Params{Delay: 20 * ms, Jitter: 10 * ms}, 5)
	const n = 200_000
	var sum, least, most float64
	least = 1
	for i, x := range flood(p, n, 100, 50*time.Microsecond) {
		if int(tagOf(x.buf)) != i {
			t.Fatalf("packet %d comes as number %d", tagOf(x.buf), i)
		}
		late := (x.at - time.Duration(i)*50*time.Microsecond - 20*ms).Seconds()
		sum, least, most = sum+late, min(least, late), max(most, late)
	}
	within(t, "mean jitter", sum/n, .005, .0005)
	within(t, "least jitter", least, .0003, .0003)
	within(t, "most jitter", most, .0097, .0003)
}

func TestReorder(t *testing.T) {
	p := one(Params{Delay: 20 * ms, Reorder: .02, ReorderBy: 5 * ms}, 5)
	const n = 200_000
	var held, passed, sum, most float64
	top := uint32(0)
	for _, x := range flood(p, n, 100, 100*time.Microsecond) {
		late := (x.at - time.Duration(tagOf(x.buf))*100*time.Microsecond - 20*ms).Seconds()
		if late > 0 {
			held, sum, most = held+1, sum+late, max(most, late)
		}
		if tagOf(x.buf) < top {
			passed++
		}
		top = max(top, tagOf(x.buf))
	}
	within(t, "held back", held/n, .02, .001)
	within(t, "passed by others", passed/n, .02*.98, .001) // up to 0.1 ms of 5 nobody passes
	within(t, "mean time", sum/held, .0025, .0001)
	within(t, "longest time", most, .005, .0001)
	if c := p.Counters().AB.Reordered; c != int64(held) {
		t.Errorf("%d counted, %v seen", c, held)
	}
}

func TestDuplicate(t *testing.T) {
	p := one(Params{Duplicate: .01}, 5)
	const n = 200_000
	all := flood(p, n, 100, time.Microsecond)
	within(t, "duplicates", float64(len(all)-n)/n, .01, .001)
	if c := p.Counters().AB; c.Duplicated != int64(len(all)-n) || c.Delivered != int64(len(all)) {
		t.Errorf("%+v", c)
	}
}

// everything is a link with all that can be wrong.
var everything = Params{
	Rate: 20 * mbit, QueueTime: 20 * ms, Delay: 10 * ms, Jitter: 5 * ms, Reorder: .05, ReorderBy: 8 * ms, Loss: .02, Burst: .03,
	BurstLen: 3, Duplicate: .02, Corrupt: .02, CorruptSilent: .02,
}

func TestSameSeedSameFate(t *testing.T) {
	run := func(seed uint64) ([]arrival, Counters) {
		p := one(everything, seed)
		p.Schedule(0, Event{At: time.Second, Do: Blackout, For: 200 * ms}, Event{AfterBytes: 1e6, Do: Stall, For: 300 * ms})
		all := flood(p, 20_000, 500, 150*time.Microsecond)
		return all, p.Counters()
	}
	x, cx := run(1)
	y, cy := run(1)
	_, cz := run(2)
	if cx != cy || len(x) != len(y) {
		t.Fatalf("%+v\n%+v", cx, cy)
	}
	for i := range x {
		if x[i].at != y[i].at || string(x[i].buf) != string(y[i].buf) {
			t.Fatalf("packet %d differs", i)
		}
	}
	if cx == cz {
		t.Error("another seed makes no difference")
	}
	if c := cx.AB; c.Offered+c.Duplicated != c.Delivered+c.Lost()+c.Held || c.Held != 0 {
		t.Errorf("packets went astray: %+v", c)
	}
}

func TestImpairmentsAreIndependent(t *testing.T) {
	lost := func(p Params) string {
		x := one(p, 9)
		got := make([]byte, 50_000)
		for _, a := range flood(x, len(got), 100, 10*time.Microsecond) {
			got[tagOf(a.buf)] = 1
		}
		return string(got)
	}
	if lost(Params{Loss: .05}) != lost(Params{Loss: .05, Reorder: .1, ReorderBy: ms, Duplicate: .1, Jitter: 3 * ms}) {
		t.Error("reordering changes which packets are lost")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := one(Params{Delay: time.Hour}, 1)
	big := make([]byte, maxPacket)
	for range 2 * maxHeld / maxPacket {
		p.Offer(0, AB, big)
	}
	if c := p.Counters().AB; c.Held*maxPacket > maxHeld || c.LostQueue != c.Offered-c.Held || c.LostQueue == 0 {
		t.Errorf("%+v", c)
	}
	p.Offer(0, AB, make([]byte, maxPacket+1))
	if c := p.Counters().AB; c.LostHole != 1 {
		t.Errorf("%+v", c)
	}
}

func TestTimeDoesNotGoBack(t *testing.T) {
	p := one(Params{Delay: ms}, 1)
	p.Take(time.Second, nil)
	p.Offer(0, AB, blob(100, 1))
	if at, ok := p.Next(); !ok || at != time.Second+ms {
		t.Errorf("%s %t", at, ok)
	}
}

// BenchmarkPath carries data one way and acknowledgements back.
func BenchmarkPath(b *testing.B) {
	for _, c := range []struct {
		name string
		p    Params
	}{
		{"clean", Params{Rate: 1000 * mbit, Delay: 10 * ms}},
		{"everything", everything},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := one(c.p, 1)
			data := tcpPacket(hostA, hostB, flagACK, 1, 1, make([]byte, 1448))
			ack := tcpPacket(hostB, hostA, flagACK, 1, 1, nil)
			b.ReportAllocs()
			b.SetBytes(1500)
			now := time.Duration(0)
			for b.Loop() {
				now += 12 * time.Microsecond
				p.Offer(now, AB, data)
				p.Offer(now, BA, ack)
				p.Take(now, func(Direction, []byte) {})
				p.Next()
			}
		})
	}
}
