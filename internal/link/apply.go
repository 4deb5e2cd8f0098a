package link

import "time"

// item is something that will happen at a time.
type item struct {
	at  time.Duration
	seq uint64
	do  task
	ev  *Event
	way *way
	gen int
	old *Params
	f   *flow
}

// task is what an item does.
type task uint8

const (
	doEvent   task = iota // ev
	endDark               // way, gen
	endStill              // way, gen
	restore               // way, old
	expireAge             // f, gen
)

// agenda is a heap of items, the first due on top.
type agenda struct {
	items []item
	seq   uint64
}

func (a *agenda) less(i, j int) bool {
	x, y := &a.items[i], &a.items[j]
	return x.at < y.at || x.at == y.at && x.seq < y.seq
}

func (a *agenda) push(x item) {
	a.seq++
	x.seq = a.seq
	a.items = append(a.items, x)
	for i := len(a.items) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			break
		}
		a.items[i], a.items[up] = a.items[up], a.items[i]
		i = up
	}
}

func (a *agenda) pop() item {
	x, last := a.items[0], len(a.items)-1
	a.items[0] = a.items[last]
	a.items[last] = item{}
	a.items = a.items[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if a.less(c, least) {
				least = c
			}
		}
		if least == i {
			return x
		}
		a.items[i], a.items[least] = a.items[least], a.items[i]
		i = least
	}
}

// trigger is an Event that waits for bytes.
type trigger struct {
	ev    *Event
	bytes int64 // of passed(ev.Of)
}

// Schedule has events happen when they say, counted from now.
func (p *Path) Schedule(now time.Duration, events ...Event) {
	p.advance(now)
	for _, e := range events {
		if e.AfterBytes > 0 {
			p.triggers = append(p.triggers, trigger{&e, p.passed(e.Of) + e.AfterBytes})
			continue
		}
		p.agenda.push(item{at: p.now + max(0, e.At), do: doEvent, ev: &e})
	}
	p.advance(p.now)
}

// passed returns the bytes delivered in the directions that d names.
func (p *Path) passed(d Direction) (n int64) {
	for i, w := range p.ways {
		if d.has(i) {
			n += w.c.DeliveredBytes
		}
	}
	return n
}

// pull has the events happen that have waited for as many bytes as passed.
func (p *Path) pull() {
	for i := 0; i < len(p.triggers); i++ {
		t := p.triggers[i]
		if p.passed(t.ev.Of) < t.bytes {
			continue
		}
		p.triggers = append(p.triggers[:i], p.triggers[i+1:]...)
		i--
		p.agenda.push(item{at: p.now + max(0, t.ev.At), do: doEvent, ev: t.ev})
	}
}

// happen does what is on the agenda.
func (p *Path) happen(x item) {
	switch x.do {
	case doEvent:
		p.apply(x.ev)
	case endDark:
		if x.gen == x.way.darkGen {
			x.way.dark--
		}
	case endStill:
		if x.gen == x.way.stillGen {
			x.way.still--
			p.drain(x.way)
		}
	case restore:
		x.way.change(p.now, *x.old)
	case expireAge:
		if x.gen == p.ageGen && !x.f.gone && x.f.alive() {
			p.expire(x.f)
		}
	}
}

// Apply has e happen now, whatever it says of when.
func (p *Path) Apply(now time.Duration, e Event) {
	p.advance(now)
	p.apply(&e)
}

func (p *Path) apply(e *Event) {
	p.c.Events++
	switch e.Do {
	case Blackout, Stall, Clear, Set:
		for i, w := range p.ways {
			if e.Dir.has(i) {
				p.applyTo(w, e)
			}
		}
	case Forget:
		for _, f := range p.flows.all() {
			p.cut(f, 0, e.Dir, e.RST)
		}
	case Reset:
		for _, f := range p.flows.all() {
			if f.proto == protoTCP {
				p.reset(f, e)
			}
		}
	case Age:
		p.setAge(e.For, e.Bytes, e.RST)
	case Address:
		for _, f := range p.flows.all() {
			if f.proto == protoUDP {
				p.flows.rebind(f, e.Side, p.rnd)
			} else {
				p.cut(f, 0, Both, false)
			}
		}
	}
}

// applyTo does the events that concern one direction at a time.
func (p *Path) applyTo(w *way, e *Event) {
	switch e.Do {
	case Blackout:
		w.dark++
		if e.For > 0 {
			p.agenda.push(item{at: p.now + e.For, do: endDark, way: w, gen: w.darkGen})
		}
	case Stall:
		w.still++
		if e.For > 0 {
			p.agenda.push(item{at: p.now + e.For, do: endStill, way: w, gen: w.stillGen})
		}
	case Clear:
		w.dark = 0
		w.darkGen++
		if w.still > 0 {
			w.still = 0
			w.stillGen++
			p.drain(w)
		}
	case Set:
		old := w.Params
		now := old
		if now.SetAll(e.Params) != nil {
			return // ParseEvent has checked it; by hand it changes nothing
		}
		w.change(p.now, now)
		if e.For > 0 {
			p.agenda.push(item{at: p.now + e.For, do: restore, way: w, old: &old})
		}
	}
}

// drain sends what a stall has held up, at the link's rate.
func (p *Path) drain(w *way) {
	if w.still > 0 {
		return
	}
	at := max(p.now, w.drained)
	for i := range w.line.n {
		x := w.line.at(i)
		if x.due >= at {
			break
		}
		x.due = at
		at += w.transmit(len(x.buf))
	}
	w.drained = at
	if w.line.n > 0 {
		w.lastDue = max(w.lastDue, w.line.at(w.line.n-1).due)
	}
}
