package netsim

import (
	"slices"
	"syscall"
	"time"
)

// trigger is an Event that waits for bytes.
type trigger struct {
	ev    Event
	bytes int64 // of the counters of ev.Of, in all
}

// Schedule arranges for things to happen to the link.
func (l *Link) Schedule(events ...Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.time()
	for _, ev := range events {
		if ev.AfterBytes > 0 {
			if ev.Of == 0 {
				ev.Of = ev.Dir
			}
			l.triggers = append(l.triggers, &trigger{ev, l.passed(ev.Of) + ev.AfterBytes})
			continue
		}
		l.at(now+max(0, ev.At), keyFault, func() { l.apply(ev) })
	}
}

// passed returns the bytes delivered in dir since the link was made.
func (l *Link) passed(dir Direction) (n int64) {
	l.selected(dir, func(p *path) { n += l.count(p.index).Delivered })
	return n
}

// delivered counts n bytes and sets off what waited for them.
func (l *Link) delivered(index int, n int64) {
	l.count(index).Delivered += n
	l.triggers = slices.DeleteFunc(l.triggers, func(t *trigger) bool {
		if l.passed(t.ev.Of) < t.bytes {
			return false
		}
		l.at(l.time()+max(0, t.ev.At), keyFault, func() { l.apply(t.ev) })
		return true
	})
}

func (l *Link) do(ev Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apply(ev)
}

// apply does what ev says. The caller holds l.mu.
func (l *Link) apply(ev Event) {
	switch ev.Do {
	case ChangeParams:
		l.selected(ev.Dir, func(p *path) { p.Params = ev.Params.possible() })
		l.derive()
		for _, f := range l.flows {
			for _, h := range f.halves {
				h.toLoss = -1
				h.writable.Broadcast()
			}
		}
		l.selected(Both, func(p *path) { l.wakePump(p, l.time()) })
	case BlackoutStart:
		l.selected(ev.Dir, l.darken)
		if ev.For > 0 {
			l.at(l.time()+ev.For, keyFault, func() { l.apply(Event{Do: BlackoutEnd, Dir: ev.Dir}) })
		}
	case BlackoutEnd:
		l.selected(ev.Dir, func(p *path) { p.dark = max(0, p.dark-1) })
		l.reviveAll()
	case Forget:
		for _, f := range slices.Clone(l.flows) {
			if !f.lost {
				l.stats.Killed++
				l.forget(f)
			}
		}
	case Reset:
		l.oldest(ev.Count, func(f *flow) { l.kill(f, ev.Side) })
	case Stall:
		l.oldest(ev.Count, func(f *flow) { l.stallFlow(f, ev.For) })
	case KillBytes:
		l.killBytes, l.bytesSilent = max(0, ev.Bytes), ev.Silent
	case KillTime:
		l.killTime, l.timeSilent = max(0, ev.For), ev.Silent
		l.killGen++
		if l.killTime > 0 {
			for _, f := range l.flows {
				l.armKill(f)
			}
		}
	case DialRefuse, DialDrop, DialAccept:
		l.dialing = ev.Do
		if ev.For > 0 && ev.Do != DialAccept {
			l.at(l.time()+ev.For, keyFault, func() { l.apply(Event{Do: DialAccept}) })
		}
	}
}

func (l *Link) darken(p *path) {
	if p.dark++; p.dark > 1 {
		return
	}
	for _, f := range l.flows {
		h := f.halves[p.index]
		h.lose()
		h.noteTrouble()
		h.peer().noteTrouble()
	}
}

func (l *Link) reviveAll() {
	for _, f := range l.flows {
		for _, h := range f.halves {
			h.revive()
		}
	}
}

func (l *Link) forget(f *flow) {
	f.lost = true
	for _, h := range f.halves {
		h.lose()
	}
	for _, h := range f.halves {
		h.noteTrouble()
	}
	l.drop(f)
}

// kill resets f at the given sides and forgets it.
func (l *Link) kill(f *flow, side Side) {
	if side&BothSides == 0 {
		side = BothSides
	}
	l.stats.Killed++
	for _, c := range f.ends {
		if c.side&side != 0 {
			c.fail(syscall.ECONNRESET)
		}
	}
	l.forget(f)
}

// oldest calls fn for the count oldest flows that live, or all if it is 0.
func (l *Link) oldest(count int, fn func(*flow)) {
	n := 0
	for _, f := range slices.Clone(l.flows) {
		if f.lost || f.held {
			continue
		}
		fn(f)
		if n++; n == count {
			return
		}
	}
}

func (l *Link) stallFlow(f *flow, d time.Duration) {
	if d <= 0 {
		f.held = true
		for _, h := range f.halves {
			h.lose()
		}
		for _, h := range f.halves {
			h.noteTrouble()
		}
		return
	}
	until := l.time() + d
	for _, h := range f.halves {
		h.resume = max(h.resume, until)
	}
}

// armKill has f end when it is old enough.
func (l *Link) armKill(f *flow) {
	gen := l.killGen
	l.at(max(l.time(), f.opened+l.killTime), f.id<<1, func() {
		if l.killGen == gen && !f.lost && slices.Contains(l.flows, f) {
			l.end(f, l.timeSilent)
		}
	})
}

// end cuts f off because it is too old, or has carried too much.
func (l *Link) end(f *flow, silent bool) {
	if !silent {
		l.kill(f, BothSides)
		return
	}
	l.stats.Killed++
	l.forget(f)
}

// SetParams changes one or both directions. What is in flight arrives as it
// would have.
func (l *Link) SetParams(dir Direction, p Params) {
	l.do(Event{Do: ChangeParams, Dir: dir, Params: p})
}

// Blackout begins or ends an outage. While it lasts nothing is delivered in
// dir. Data wait as they do in TCP: a connection that had something to send
// goes on at its next retransmission after the outage, which can be as long
// again as the outage was, and fails with ETIMEDOUT after 15 minutes; a new
// connection gets through at once. Outages nest.
func (l *Link) Blackout(dir Direction, on bool) {
	do := BlackoutEnd
	if on {
		do = BlackoutStart
	}
	l.do(Event{Do: do, Dir: dir})
}

// ForgetFlows has the link forget all connections, as a NAT or a firewall
// does: nothing passes on them any more, and nobody is told. New ones work.
func (l *Link) ForgetFlows() { l.do(Event{Do: Forget}) }

// ResetFlows resets the n oldest connections, or all if n is 0, at the given
// sides. A side that is not told is left with a silent connection.
func (l *Link) ResetFlows(n int, side Side) { l.do(Event{Do: Reset, Count: n, Side: side}) }

// StallFlows stops the n oldest connections, or all if n is 0, for the time d,
// or for ever if that is 0. What is in flight then still arrives, unless it
// is for ever. Other connections go on.
func (l *Link) StallFlows(n int, d time.Duration) { l.do(Event{Do: Stall, Count: n, For: d}) }

// KillEvery resets each connection when it has delivered n bytes in both
// directions together; 0 stops that.
func (l *Link) KillEvery(n int64) { l.do(Event{Do: KillBytes, Bytes: n}) }

// KillAfter resets each connection when it is d old; 0 stops that.
func (l *Link) KillAfter(d time.Duration) { l.do(Event{Do: KillTime, For: d}) }

// RefuseDials has every dial refused, or no longer.
func (l *Link) RefuseDials(on bool) { l.dials(on, DialRefuse) }

// DropDials has every dial go unanswered, or no longer.
func (l *Link) DropDials(on bool) { l.dials(on, DialDrop) }

func (l *Link) dials(on bool, do Action) {
	if !on {
		do = DialAccept
	}
	l.do(Event{Do: do})
}
