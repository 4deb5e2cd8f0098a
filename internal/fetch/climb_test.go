package fetch

import (
	"math/rand/v2"
	"testing"
	"time"
)

// hill is a link as a climber sees it: goodput by the number of lanes.
type hill struct {
	lane, link float64 // bytes per second
	path       PathInfo
	queue      time.Duration // that the lanes cause which are too many
	up         int
	bytes      float64
}

// climb runs a climber on the hill and returns how many lanes it wants at the
// ends of the given times.
func (h *hill) climb(c *climber, from time.Duration, at ...time.Duration) (lanes []int) {
	now := from
	for _, end := range at {
		for ; now < end; now += tick {
			p := h.path
			if p.RTT > 0 {
				p.MinRTT = p.RTT
				if float64(h.up)*h.lane > h.link {
					p.RTT += h.queue
				}
			}
			c.look(view{now: now, bytes: int64(h.bytes), up: h.up, most: maxLanes, busy: true, path: p})
			h.bytes += min(float64(h.up)*h.lane, h.link) * tick.Seconds()
			h.up = c.lanes()
		}
		lanes = append(lanes, c.lanes())
	}
	return lanes
}

func TestClimb(t *testing.T) {
	const s = time.Second
	bbr := PathInfo{RTT: 40 * ms, Control: "bbr", Measured: true}
	with := func(p PathInfo, f func(*PathInfo)) PathInfo { f(&p); return p }
	for name, c := range map[string]struct {
		hill hill
		at   []time.Duration
		want []int
	}{
		"clean, bbr": {hill{12e6, 12e6, bbr, 0, 0, 0}, []time.Duration{s / 2, 20 * s, 33 * s}, []int{8, 8, 8}},
		"5 %, bbr": {hill{1e6, 12e6, with(bbr, func(p *PathInfo) { p.Loss = .05 }), 0, 0, 0},
			[]time.Duration{s / 2, 20 * s}, []int{8, 12}},
		"13 %, bbr": {hill{1e6, 12e6, with(bbr, func(p *PathInfo) { p.Loss = .13 }), 0, 0, 0},
			[]time.Duration{s / 2, 3 * s, 60 * s}, []int{8, 16, 16}},
		"10 %, bbr, full": {hill{2e6, 12e6, with(bbr, func(p *PathInfo) { p.Loss = .0 }), 40 * ms, 0, 0},
			[]time.Duration{s / 2, 60 * s}, []int{8, 8}},
		"5 %, bbr, 100 ms": {hill{1e6, 12e6, with(bbr, func(p *PathInfo) { p.RTT, p.Loss = 100*ms, .05 }), 0, 0, 0},
			[]time.Duration{s / 2}, []int{16}},
		"15 %, bbr, 100 ms": {hill{.4e6, 12e6, with(bbr, func(p *PathInfo) { p.RTT, p.Loss = 100*ms, .15 }), 0, 0, 0},
			[]time.Duration{s / 2, 20 * s}, []int{24, 32}},
		"1 %, cubic": {hill{.7e6, 12e6, with(bbr, func(p *PathInfo) { p.Control, p.Loss = "cubic", .01 }), 0, 0, 0},
			[]time.Duration{s / 2, 2 * s, 20 * s}, []int{16, 32, 32}},
		"5 %, cubic": {hill{.14e6, 12e6, with(bbr, func(p *PathInfo) { p.Control, p.Loss = "cubic", .05 }), 0, 0, 0},
			[]time.Duration{s / 2, 4 * s, 200 * s}, []int{16, 64, 64}},
		"nothing known, one lane fills it":  {hill{12e6, 12e6, PathInfo{}, 0, 0, 0}, []time.Duration{s / 2, 10 * s, 30 * s}, []int{8, 8, 8}},
		"nothing known, each lane is small": {hill{.1e6, 12e6, PathInfo{}, 0, 0, 0}, []time.Duration{10 * s}, []int{32}},
		"small buffers": {hill{.3e6, 12e6, with(bbr, func(p *PathInfo) { p.RTT, p.Window = 200*ms, .5 }), 0, 0, 0},
			[]time.Duration{s, 5 * s}, []int{24, 32}},
		"small send buffers": {hill{.3e6, 12e6, with(bbr, func(p *PathInfo) { p.RTT, p.Buffer = 200*ms, .2 }), 0, 0, 0},
			[]time.Duration{s, 5 * s}, []int{24, 32}},
		"next door": {hill{100e6, 100e6, PathInfo{RTT: ms, Control: "bbr"}, 0, 0, 0}, []time.Duration{s, 10 * s}, []int{4, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.hill.climb(newClimber(maxLanes), 0, c.at...)
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%d lanes at %v, not %d", got[i], c.at[i], c.want[i])
				}
			}
		})
	}
}

// TestClimbRests checks how often a link that needs no more lanes is asked
// whether it does.
func TestClimbRests(t *testing.T) {
	for _, queue := range []time.Duration{0, 60 * ms} {
		h := hill{lane: 2e6, link: 12e6, path: PathInfo{RTT: 40 * ms, Control: "bbr", Measured: true}, queue: queue}
		c := newClimber(maxLanes)
		trials := 0
		for s := range 3000 { // five minutes
			was := c.n
			h.climb(c, time.Duration(s)*tick, time.Duration(s+1)*tick)
			if c.n > was {
				trials++
			}
		}
		if want := 5 * 60 / 33; queue == 0 && (trials > want+1 || trials < want-2) {
			t.Errorf("%d trials in five minutes, not about %d", trials, want)
		}
		if queue > 0 && trials > 0 { // the round trip has grown
			t.Errorf("%d trials on a link that is full", trials)
		}
		if queue > 0 { // another path, with room
			h.lane, h.link, h.queue = .5e6, 24e6, 0
			if n := h.climb(c, 300*time.Second, 350*time.Second)[0]; n <= lanesStart {
				t.Errorf("%d lanes after the path has changed", n)
			}
		}
	}
}

// TestClimbWaits checks that nothing is concluded from times in which the lanes
// were not the limit.
func TestClimbWaits(t *testing.T) {
	c := newClimber(maxLanes)
	v := view{up: 8, most: maxLanes, path: PathInfo{RTT: 40 * ms}}
	for v.now = 0; v.now < time.Minute; v.now += tick {
		v.bytes += 1000
		c.look(v)
	}
	if c.lanes() != lanesStart {
		t.Errorf("%d lanes without work for them", c.lanes())
	}
	v.busy, v.up = true, 2 // lanes that do not come are waited for, but not for ever
	began := v.now
	c.changed = v.now
	for ; c.lanes() == lanesStart && v.now < 2*time.Minute; v.now += tick {
		v.bytes += 1000
		c.look(v)
	}
	if d := v.now - began; d < arriveMax || d > arriveMax+2*time.Second {
		t.Errorf("moved on after %v", d)
	}
}

func TestClimbObeys(t *testing.T) {
	h := hill{lane: .5e6, link: 40e6, path: PathInfo{RTT: 40 * ms}}
	c := newClimber(maxLanes)
	h.climb(c, 0, 15*time.Second)
	was := c.lanes()
	if was < 16 {
		t.Fatalf("%d lanes", was)
	}
	now := 15 * time.Second
	c.overloaded(now)
	c.overloaded(now + 10*ms) // of the same burst
	if c.lanes() != was/2 {
		t.Errorf("%d lanes after a refusal of %d", c.lanes(), was)
	}
	if n := h.climb(c, now, now+19*time.Second)[0]; n != was/2+1 {
		t.Errorf("%d lanes 19 s later", n)
	}
	c.overloaded(now + 19*time.Second)
	if n := c.lanes(); n != (was/2+1)/2 {
		t.Errorf("%d lanes after another refusal", n)
	}
	if n := h.climb(c, now+19*time.Second, now+20*time.Minute)[0]; n < was {
		t.Errorf("%d lanes after a long time", n)
	}
	// The server grants four, then one, then as many as one likes.
	v := view{now: 30 * time.Minute, most: 4, up: was, busy: true, path: h.path}
	c.look(v)
	if c.lanes() != 4 {
		t.Errorf("%d lanes of 4 granted", c.lanes())
	}
	v.most, v.path.Measured, v.path.Loss = 1, true, .2
	c.look(v)
	if c.lanes() != 1 {
		t.Errorf("%d lanes of 1 granted", c.lanes())
	}
	h.path = v.path
	if n := h.climb(c, v.now, v.now+time.Second)[0]; n < lanesLossy {
		t.Errorf("%d lanes when the server is content", n)
	}
	if n := newClimber(3).lanes(); n != 3 {
		t.Errorf("%d lanes of 3 configured", n)
	}
}

// TestClimbBounds runs climbers on random hills that change at random.
func TestClimbBounds(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		most := 1 + r.IntN(maxLanes)
		c := newClimber(most)
		v := view{}
		for range 3000 {
			v.now += time.Duration(r.IntN(300)) * ms
			v.bytes += int64(r.IntN(1e6))
			v.up, v.most, v.busy = r.IntN(maxLanes), r.IntN(maxLanes+2), r.IntN(10) > 0
			if r.IntN(50) == 0 {
				v.path = PathInfo{RTT: time.Duration(r.IntN(400)) * ms, MinRTT: time.Duration(r.IntN(400)) * ms,
					Control: []string{"", "bbr", "cubic"}[r.IntN(3)], Measured: r.IntN(2) == 0,
					Loss: r.Float64(), Window: r.Float64(), Buffer: r.Float64()}.clean()
			}
			if r.IntN(500) == 0 {
				c.overloaded(v.now)
			}
			c.look(v)
			if n := c.lanes(); n < 1 || n > most || v.most > 0 && n > v.most {
				t.Fatalf("seed %d: %d lanes of %d, %d granted", seed, n, most, v.most)
			}
		}
	}
}
