package link

import (
	"math/rand/v2"
	"time"
)

// maxHeld bounds the bytes under way; what comes on top is lost as if a queue
// were full.
const maxHeld = 256 << 20

// Path carries IP packets between the two hosts of a link. Times are counted
// from the making of the Path and never go back: a time before that of an
// earlier call is taken as that. The same calls with the same seed have the
// same results. A Path starts nothing and is not safe for concurrent use.
//
// The model: a packet joins the queue of its direction or is dropped, leaves it
// at the link's rate, may then be lost, damaged, doubled or held back, and
// arrives after the delay. Packets under way are lost when a blackout begins or
// their flow is cut. Each packet counts with its length at the IP layer.
type Path struct {
	now  time.Duration
	ways [2]*way
	c    Counters

	flows     flows
	age       time.Duration
	ageBytes  int64
	ageReset  bool
	ageGen    int
	agenda    agenda
	triggers  []trigger
	ready     ring[ready]
	pool      pool
	heldBytes int64
	rnd       *rand.Rand // for ports
}

// ready is a packet that has arrived.
type ready struct {
	dir Direction
	buf []byte
}

// NewPath returns a link as p says, whose events count from now on. The seed
// decides everything random about it.
func NewPath(p Profile, seed uint64) *Path {
	x := &Path{flows: newFlows(), rnd: rand.New(rand.NewPCG(seed, 1<<32))}
	x.ways[0] = newWay(p.AB, 0, seed, &x.c.AB)
	x.ways[1] = newWay(p.BA, 1, seed, &x.c.BA)
	x.setAge(p.FlowAge, p.FlowBytes, p.FlowReset)
	x.Schedule(0, p.Events...)
	return x
}

// index returns the index of a direction, 0 for AB.
func (d Direction) index() int {
	if d == BA {
		return 1
	}
	return 0
}

// Offer sends a packet in direction d, AB or BA. The Path keeps a copy of pkt,
// or drops it, or answers it. It takes any bytes: what is no IP packet is
// carried too, up to 65535 bytes.
func (p *Path) Offer(now time.Duration, d Direction, pkt []byte) {
	p.advance(now)
	now = p.now
	i := d.index()
	w := p.ways[i]
	w.c.Offered++
	w.c.OfferedBytes += int64(len(pkt))
	h, known := parse(pkt)
	var f *flow
	if known && h.ports {
		if f = p.flowOf(&h, i, now); f != nil && p.refuses(f, &h, i) {
			return
		}
	}
	if lost := p.admit(w, now, pkt, &h, known); lost != nil {
		*lost++
		return
	}
	sent, ok := w.enqueue(now, len(pkt))
	if !ok || p.heldBytes+2*int64(len(pkt)) > maxHeld {
		w.c.LostQueue++
		return
	}
	if w.loses() {
		return
	}
	copies := 1
	if w.Duplicate > 0 && w.rndCopy.Float64() < w.Duplicate {
		copies = 2
		w.c.Duplicated++
	}
	for range copies {
		p.send(w, f, sent, pkt, &h, known)
	}
}

// admit returns the counter of what keeps a packet out, nil for nothing.
func (p *Path) admit(w *way, now time.Duration, pkt []byte, h *header, known bool) *int64 {
	switch udp := known && h.proto == protoUDP; {
	case w.dark > 0:
		return &w.c.LostBlackout
	case len(pkt) > maxPacket || w.MTUHole > 0 && len(pkt) > w.MTUHole:
		return &w.c.LostHole
	case w.MTU > 0 && len(pkt) > w.MTU:
		if known && tooBigDue(pkt, h) {
			b := p.pool.get(tooBigLen(h))
			putTooBig(b, pkt[:h.end], h, w.MTU)
			p.answer(1-w.index, b)
			p.c.ICMPs++
		}
		return &w.c.LostMTU
	case udp && (w.UDPBlock || !w.police(now, len(pkt))):
		return &w.c.LostPoliced
	}
	return nil
}

// send puts a copy of a packet on the way, sent being when it leaves the queue.
func (p *Path) send(w *way, f *flow, sent time.Duration, pkt []byte, h *header, known bool) {
	x := parcel{sent: sent, flow: f, buf: p.pool.get(len(pkt))}
	copy(x.buf, pkt)
	if f != nil {
		f.translate(x.buf, h, w.index)
		if h.proto == protoTCP {
			x.mark = mark{seq: h.seq, end: h.seq + h.segmentLen(), tcp: true}
		}
	}
	x.mark.spoiled = w.corrupt(x.buf, h, known)
	x.due = sent + w.Delay + w.wander(sent)
	p.heldBytes += int64(len(x.buf))
	w.c.Held++
	if by := w.heldBack(); by > 0 {
		w.c.Reordered++
		w.seq++
		x.due += by
		x.seq = w.seq
		w.late.push(x)
		return
	}
	if x.due < w.drained { // behind what a stall has held up
		x.due = w.drained
		w.drained += w.transmit(len(pkt))
	}
	x.due = max(x.due, w.lastDue)
	w.lastDue = x.due
	w.line.push(x)
}

// Next returns when Take will have something to do; false means not before
// something else is offered or scheduled.
func (p *Path) Next() (time.Duration, bool) {
	if p.ready.n > 0 {
		return p.now, true
	}
	at, _, ok := p.first()
	return max(at, p.now), ok
}

// first returns what is due first: w's packet, or for nil an item of the agenda.
func (p *Path) first() (at time.Duration, w *way, ok bool) {
	if len(p.agenda.items) > 0 {
		at, ok = p.agenda.items[0].at, true
	}
	for _, x := range p.ways {
		if x.still > 0 {
			continue
		}
		if x.line.n > 0 {
			if due := x.line.at(0).due; !ok || due < at {
				at, w, ok = due, x, true
			}
		}
		if len(x.late) > 0 {
			if due := x.late[0].due; !ok || due < at {
				at, w, ok = due, x, true
			}
		}
	}
	return at, w, ok
}

// Take gives out every packet that has arrived by now, in order; out must not
// keep pkt. The direction tells which host it is for: AB is for b.
func (p *Path) Take(now time.Duration, out func(d Direction, pkt []byte)) {
	p.advance(now)
	for p.ready.n > 0 {
		x := p.ready.pop()
		out(x.dir, x.buf)
		p.pool.put(x.buf)
	}
}

// advance has everything happen, in order, that is due by now.
func (p *Path) advance(now time.Duration) {
	for {
		at, w, ok := p.first()
		if !ok || at > now {
			break
		}
		p.now = max(p.now, at)
		if w == nil {
			p.happen(p.agenda.pop())
			continue
		}
		if w.line.n > 0 && w.line.at(0).due == at {
			p.arrive(w, w.line.pop())
		} else {
			p.arrive(w, w.late.pop())
		}
	}
	p.now = max(p.now, now)
}

// arrive ends the way of a packet.
func (p *Path) arrive(w *way, x parcel) {
	n := int64(len(x.buf))
	w.c.Held--
	p.heldBytes -= n
	switch f := x.flow; {
	case w.dark > 0:
		w.c.LostBlackout++
		p.pool.put(x.buf)
		return
	case f != nil && f.dead[w.index]:
		w.c.LostDead++
		p.pool.put(x.buf)
		return
	case f != nil:
		f.arrived(x.mark, 1-w.index)
		f.bytes += n
	}
	w.c.Delivered++
	w.c.DeliveredBytes += n
	p.ready.push(ready{dir: Direction(1 << w.index), buf: x.buf})
	if f := x.flow; f != nil && p.ageBytes > 0 && f.bytes >= p.ageBytes && f.alive() {
		p.expire(f)
	}
	if len(p.triggers) > 0 {
		p.pull()
	}
}

// answer gives a packet of the link's own to the host that direction i leads
// to.
func (p *Path) answer(i int, b []byte) { p.ready.push(ready{dir: Direction(1 << i), buf: b}) }

// SetProfile changes the link to what prof says; its events are scheduled. What
// has left the queue, and blackouts and stalls that are on, stay as they are.
func (p *Path) SetProfile(now time.Duration, prof Profile) {
	p.advance(now)
	p.ways[0].change(p.now, prof.AB)
	p.ways[1].change(p.now, prof.BA)
	p.setAge(prof.FlowAge, prof.FlowBytes, prof.FlowReset)
	p.Schedule(now, prof.Events...)
}

// Params returns the parameters of direction d, AB or BA, as they are now.
func (p *Path) Params(d Direction) Params { return p.ways[d.index()].Params }

// Counters returns the counts of now.
func (p *Path) Counters() Counters {
	c := p.c
	c.Flows = p.flows.seen
	return c
}
