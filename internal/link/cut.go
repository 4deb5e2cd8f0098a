package link

import "time"

// flowOf returns the flow of a packet of direction i.
func (p *Path) flowOf(h *header, i int, now time.Duration) *flow {
	f, isNew := p.flows.find(h, i, now)
	if isNew && p.age > 0 {
		p.agenda.push(item{at: now + p.age, do: expireAge, f: f, gen: p.ageGen})
	}
	f.note(h, i)
	return f
}

// refuses drops a packet of a flow that is dead in direction i, and answers it
// if that is asked for.
func (p *Path) refuses(f *flow, h *header, i int) bool {
	w := p.ways[i]
	if f.insist[i] && h.flags&(flagRST|flagACK) == flagACK {
		// A host that was sent a RST and goes on did not believe it: its
		// challenge says which number it wants (RFC 5961).
		p.sendRST(f, i)
	}
	if !f.dead[i] && !f.stale(h, i) {
		return false
	}
	w.c.LostDead++
	if f.answer && f.proto == protoTCP && h.flags&flagRST == 0 {
		p.answerRST(h, i)
	}
	return true
}

// cut ends f: its packets in dir vanish, and the hosts at side get a RST.
func (p *Path) cut(f *flow, side Side, dir Direction, answer bool) {
	if f.alive() {
		p.c.FlowsCut++
		f.answer = answer
		if side != 0 && f.proto == protoTCP {
			p.resetEnds(f, side)
		}
	}
	for i := range f.dead {
		f.dead[i] = f.dead[i] || dir.has(i)
	}
}

// expire ends a flow that is too old.
func (p *Path) expire(f *flow) {
	side := Side(0)
	if p.ageReset {
		side = BothSides
	}
	p.cut(f, side, Both, p.ageReset)
}

// setAge has flows end after a time or a number of bytes; flows that are older
// already end at once.
func (p *Path) setAge(age time.Duration, bytes int64, reset bool) {
	p.age, p.ageBytes, p.ageReset = max(0, age), max(0, bytes), reset
	p.ageGen++
	for _, f := range p.flows.all() {
		switch {
		case !f.alive():
		case p.ageBytes > 0 && f.bytes >= p.ageBytes:
			p.expire(f)
		case p.age > 0:
			p.agenda.push(item{at: max(p.now, f.born+p.age), do: expireAge, f: f, gen: p.ageGen})
		}
	}
}

// reset does a Reset event to a TCP flow.
func (p *Path) reset(f *flow, e *Event) {
	if e.Intact {
		if !f.alive() {
			return
		}
		p.c.FlowsCut++
		p.resetEnds(f, e.Side)
		return
	}
	side := e.Side
	if side&BothSides == 0 {
		side = BothSides
	}
	p.cut(f, side, Both, false)
}

// resetEnds sends a RST to the hosts at side.
func (p *Path) resetEnds(f *flow, side Side) {
	for i := range 2 {
		if side.has(i) {
			f.insist[i] = true
			p.sendRST(f, i)
		}
	}
}

// sendRST sends a RST to host i in the name of the other.
func (p *Path) sendRST(f *flow, i int) {
	b := p.pool.get(ipLen(f.v6) + 20)
	src, dst, sport, dport := f.b, f.a, f.bport, f.aport
	if i == 1 {
		src, dst, sport, dport = f.a, f.b, f.aport, f.bport
	}
	switch {
	case f.known[i]:
		putRST(b, f.v6, &src, &dst, sport, dport, f.next[i], 0, 0)
	default: // it has sent its SYN, and nothing came back
		putRST(b, f.v6, &src, &dst, sport, dport, 0, f.isn[i]+1, flagACK)
	}
	p.answer(1-i, b)
	p.c.RSTs++
}

// answerRST answers a segment of host i as RFC 9293 has it for a connection
// that does not exist.
func (p *Path) answerRST(h *header, i int) {
	b := p.pool.get(ipLen(h.v6) + 20)
	if h.flags&flagACK != 0 {
		putRST(b, h.v6, &h.dst, &h.src, h.dport, h.sport, h.ack, 0, 0)
	} else {
		putRST(b, h.v6, &h.dst, &h.src, h.dport, h.sport, 0, h.seq+h.segmentLen(), flagACK)
	}
	p.answer(1-i, b)
	p.c.RSTs++
}
