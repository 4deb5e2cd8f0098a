package link

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// talk is a TCP connection whose hosts' segments a test makes by hand.
type talk struct {
	t    *testing.T
	p    *Path
	now  time.Duration
	a, b netip.AddrPort
	next [2]uint32 // sequence numbers that a and b send next
	got  []arrival
}

// connect makes a connection over p. Then 1000 bytes of each host arrived, the
// first number is 101 of a and 501 of b.
func connect(t *testing.T, p *Path, a, b netip.AddrPort) *talk {
	c := &talk{t: t, p: p, now: p.now, a: a, b: b, next: [2]uint32{100, 500}}
	c.send(AB, flagSYN, nil)
	c.send(BA, flagSYN|flagACK, nil)
	c.send(AB, flagACK, make([]byte, 1000))
	c.send(BA, flagACK, make([]byte, 1000))
	c.send(AB, flagACK, nil)
	if n := len(c.run(0)); n != 5 {
		t.Fatalf("%d of 5 segments arrive", n)
	}
	return c
}

// send sends the next segment of a direction, which acknowledges all that the
// other host sent.
func (c *talk) send(d Direction, flags uint8, data []byte) {
	i := d.index()
	from, to := c.a, c.b
	if d == BA {
		from, to = c.b, c.a
	}
	ack := c.next[1-i]
	if flags&flagACK == 0 {
		ack = 0
	}
	c.p.Offer(c.now, d, tcpPacket(from, to, flags, c.next[i], ack, data))
	c.next[i] += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		c.next[i]++
	}
	c.got = append(c.got, drain(c.p, c.now)...)
}

// run lets d pass and returns what arrived since the last run.
func (c *talk) run(d time.Duration) []arrival {
	c.now += d
	got := append(c.got, drain(c.p, c.now)...)
	c.got = nil
	return got
}

// wantRST checks that x is a true RST for the host that d leads to.
func (c *talk) wantRST(x arrival, d Direction) {
	c.t.Helper()
	h, ok := parse(x.buf)
	from, to := c.a, c.b
	if d == BA {
		from, to = c.b, c.a
	}
	switch {
	case !ok || !sound(x.buf) || x.dir != d || h.flags&flagRST == 0:
		c.t.Errorf("%s %x is no RST, want one %s", x.dir, x.buf, d)
	case h.seq != c.next[d.index()] || h.sport != from.Port() || h.dport != to.Port():
		c.t.Errorf("RST %s %d from %d to %d, want %d from %s to %s", d, h.seq, h.sport, h.dport, c.next[d.index()], from, to)
	}
}

// silent checks that nothing passes in the directions of the connection.
func (c *talk) silent(dirs ...Direction) {
	c.t.Helper()
	for _, d := range []Direction{AB, BA} {
		dead := false
		for _, x := range dirs {
			dead = dead || x == d
		}
		next := c.next
		c.send(d, flagACK, make([]byte, 10))
		c.next = next
		want := 1
		if dead {
			want = 0
		}
		if got := len(c.run(time.Second)); got != want {
			c.t.Errorf("%s: %d of 1 segments pass, want %d", d, got, want)
		}
	}
}

func TestForget(t *testing.T) {
	p := one(Params{}, 1)
	c := connect(t, p, hostA, hostB)
	p.Apply(c.now, Event{Do: Forget})
	c.silent(AB, BA)
	connect(t, p, hostA, hostB).silent() // a new one on the same ports
	one := connect(t, p, hostA6, hostB6)
	p.Apply(one.now, Event{Do: Forget, Dir: BA})
	one.silent(BA)
	if n := p.Counters(); n.Flows != 3 || n.FlowsCut != 3 || n.AB.LostDead != 1 || n.BA.LostDead != 2 || n.RSTs != 0 {
		t.Errorf("%+v", n)
	}
}

func TestForgetAnswered(t *testing.T) {
	p := one(Params{}, 1)
	c := connect(t, p, hostA6, hostB6)
	p.Apply(c.now, Event{Do: Forget, RST: true})
	for _, d := range []Direction{AB, BA} {
		c.p.Offer(c.now, d, map[Direction][]byte{
			AB: tcpPacket(hostA6, hostB6, flagACK, c.next[0], c.next[1], nil),
			BA: tcpPacket(hostB6, hostA6, flagACK, c.next[1], c.next[0], nil),
		}[d])
		got := c.run(0)
		if len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		c.wantRST(got[0], d.Reverse())
	}
}

func TestReset(t *testing.T) {
	for _, e := range []struct {
		text string
		rsts []Direction
		dead []Direction
	}{
		{"reset:a", []Direction{BA}, []Direction{AB, BA}},
		{"reset:b", []Direction{AB}, []Direction{AB, BA}},
		{"reset", []Direction{BA, AB}, []Direction{AB, BA}},
	} {
		t.Run(e.text, func(t *testing.T) {
			p := one(Params{}, 1)
			c := connect(t, p, hostA, hostB)
			ev, err := ParseEvent(e.text)
			if err != nil {
				t.Fatal(err)
			}
			p.Apply(c.now, ev)
			got := c.run(0)
			if len(got) != len(e.rsts) {
				t.Fatalf("%d RSTs", len(got))
			}
			for i, d := range e.rsts {
				c.wantRST(got[i], d)
			}
			for _, d := range []Direction{AB, BA} {
				c.send(d, flagRST, nil)
				if len(c.run(0)) != 0 {
					t.Error("the rest is not silent")
				}
			}
		})
	}
}

func TestResetIntact(t *testing.T) {
	p := one(Params{}, 1)
	c := connect(t, p, hostA, hostB)
	p.Apply(c.now, Event{Do: Reset, Side: B, Intact: true})
	got := c.run(0)
	if len(got) != 1 {
		t.Fatalf("%d RSTs", len(got))
	}
	c.wantRST(got[0], AB)
	c.send(AB, flagACK, make([]byte, 10))
	c.send(BA, flagRST, nil) // b knows of no connection
	if n := len(c.run(0)); n != 2 {
		t.Errorf("%d of 2 segments pass", n)
	}
}

// TestResetHitsMidStream resets while segments of a are under way, some of
// them lost: the number must be what b expects, or be it after b's challenge.
func TestResetHitsMidStream(t *testing.T) {
	p := one(Params{Delay: 10 * ms}, 1)
	c := &talk{t: t, p: p, a: hostA, b: hostB, next: [2]uint32{1<<32 - 500, 500}} // wraps around
	for _, s := range []struct {
		d     Direction
		flags uint8
	}{{AB, flagSYN}, {BA, flagSYN | flagACK}, {AB, flagACK}} {
		c.send(s.d, s.flags, nil)
		c.run(10 * ms)
	}
	c.send(AB, flagACK, make([]byte, 1000)) // arrives
	c.run(5 * ms)
	expected := c.next[0]
	c.send(AB, flagACK, make([]byte, 1000)) // does not
	c.run(5 * ms)
	p.Apply(c.now, Event{Do: Reset, Side: B})
	got := c.run(10 * ms)
	sent := c.next[0]
	c.next[0] = expected
	if len(got) != 1 {
		t.Fatalf("%d arrive", len(got))
	}
	c.wantRST(got[0], AB)
	// b had got more than the link knew, and challenges the RST.
	c.next[0] = sent
	c.send(BA, flagACK, nil)
	if got = c.run(0); len(got) != 1 {
		t.Fatalf("%d answers to the challenge", len(got))
	}
	c.wantRST(got[0], AB)
}

func TestAge(t *testing.T) {
	for _, reset := range []bool{false, true} {
		p := NewPath(Profile{FlowAge: 10 * time.Second, FlowReset: reset}, 1)
		c := connect(t, p, hostA, hostB)
		if got := c.run(10*time.Second - 1); len(got) != 0 {
			t.Fatal("too early")
		}
		got := c.run(1)
		if reset {
			if len(got) != 2 {
				t.Fatalf("%d RSTs", len(got))
			}
			c.wantRST(got[0], BA)
			c.wantRST(got[1], AB)
		} else {
			c.silent(AB, BA)
		}
		p.Apply(c.now, Event{Do: Age}) // off
		c = connect(t, p, hostB, hostA)
		c.run(time.Hour)
		c.silent()
		p.Apply(c.now, Event{Do: Age, For: time.Minute, RST: reset}) // it is older
		if n := len(c.run(0)); n != map[bool]int{true: 2}[reset] {
			t.Errorf("%d RSTs", n)
		}
	}
}

func TestAgeInBytes(t *testing.T) {
	p := NewPath(Profile{FlowBytes: 10_000}, 1)
	c := connect(t, p, hostA, hostB) // 2200 bytes with headers
	for range 20 {
		c.send(AB, flagACK, make([]byte, 1000))
	}
	if n := len(c.run(0)); n != 8 { // the eighth makes 10520
		t.Errorf("%d segments pass", n)
	}
}

func TestUDPDiesToo(t *testing.T) {
	p := one(Params{}, 1)
	pkt := udpPacket(hostA, hostB, []byte("x"))
	p.Offer(0, AB, pkt)
	p.Apply(0, Event{Do: Forget})
	p.Offer(0, AB, pkt)
	p.Offer(0, AB, udpPacket(netip.AddrPortFrom(hostA.Addr(), 40001), hostB, []byte("x")))
	if n := len(drain(p, 0)); n != 2 {
		t.Errorf("%d of 2 arrive", n)
	}
}

func TestAddressChange(t *testing.T) {
	for _, side := range []Side{A, B, BothSides} {
		p := one(Params{}, 1)
		tcp := connect(t, p, hostA, hostB)
		// ask sends a question from a and returns where b sees it from and
		// where to it believes to be sent.
		pass := func(d Direction, from, to netip.AddrPort) (seen [2]uint16) {
			p.Offer(0, d, udpPacket(from, to, []byte("hello")))
			for _, x := range drain(p, p.now) {
				h, ok := parse(x.buf)
				if !ok || !sound(x.buf) || x.dir != d {
					t.Fatalf("%x", x.buf)
				}
				seen = [2]uint16{h.sport, h.dport}
			}
			return seen
		}
		if seen := pass(AB, hostA, hostB); seen != [2]uint16{40000, 873} {
			t.Fatalf("%v", seen)
		}
		for range 3 { // again and again
			oldA, oldB := hostA, hostB // how they are known
			p.Apply(0, Event{Do: Address, Side: side})
			tcp.silent(AB, BA)
			var seen [2]uint16
			if side.has(0) {
				seen = pass(AB, hostA, hostB) // b has not moved, or a's packet goes astray
				if side == A && (seen[0] == oldA.Port() || seen[1] != 873) {
					t.Fatalf("b sees %v", seen)
				}
			}
			if side == A {
				if back := pass(BA, hostB, netip.AddrPortFrom(hostA.Addr(), seen[0])); back != [2]uint16{873, 40000} {
					t.Fatalf("a gets %v", back)
				}
				if back := pass(BA, hostB, oldA); back != [2]uint16{} {
					t.Fatalf("the old port still works: %v", back)
				}
			}
			if side == B {
				seen = pass(BA, hostB, hostA)
				if seen[0] == oldB.Port() || seen[1] != 40000 {
					t.Fatalf("a sees %v", seen)
				}
				if there := pass(AB, hostA, netip.AddrPortFrom(hostB.Addr(), seen[0])); there != [2]uint16{40000, 873} {
					t.Fatalf("b gets %v", there)
				}
			}
			if side == BothSides && seen != [2]uint16{} {
				t.Fatalf("both moved, and a still finds b: %v", seen)
			}
		}
	}
}

func TestTableIsBounded(t *testing.T) {
	p := one(Params{}, 1)
	var last netip.AddrPort
	for i := range 2*maxFlows + 10 {
		last = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(i%256+1))
		now := time.Duration(i)
		p.Offer(now, AB, tcpPacket(last, hostB, flagSYN, 1, 0, nil))
		p.Take(now, func(Direction, []byte) {})
	}
	if n := len(p.flows.byKey); n > maxFlows || n < maxFlows/2 {
		t.Errorf("%d flows are remembered", n)
	}
	if n := len(p.flows.order); n > 2*maxFlows+64 {
		t.Errorf("%d flows are listed", n)
	}
	if n := p.Counters().Flows; n != 2*maxFlows+10 {
		t.Errorf("%d flows are counted", n)
	}
	for range 2 { // the newest are still there
		p.Offer(1<<40, AB, tcpPacket(last, hostB, flagACK, 2, 1, nil))
	}
	if n := p.Counters().Flows; n != 2*maxFlows+10 {
		t.Errorf("the last was forgotten")
	}
}

func ExamplePath() {
	p := NewPath(Profile{AB: Params{Delay: 15 * time.Millisecond}}, 1)
	p.Offer(0, AB, []byte("hello"))
	at, _ := p.Next()
	p.Take(at, func(d Direction, b []byte) { fmt.Printf("%s %s %q\n", at, d, b) })
	// Output: 15ms ab "hello"
}
