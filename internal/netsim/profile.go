package netsim

import (
	"fmt"

	"github.com/ropeway/ropeway/internal/link"
)

// FromProfile returns what a link that is described by its packets is for
// connections. Host a listens and host b dials, so Up is from b to a.
//
// The rate is that of the payload of full packets. A burst of losses counts
// once, as a connection repairs it at once; what a checksum finds is lost.
// Reordering, duplicates, the queue and whatever concerns UDP or the length of
// packets have no effect on connections in this model: for those there is
// Packets.
func FromProfile(p link.Profile) (up, down Params) {
	return fromParams(p.BA), fromParams(p.AB)
}

func fromParams(p link.Params) Params {
	bursts := p.Burst
	if p.BurstLen > 1 {
		bursts /= p.BurstLen
	} else if p.BurstLen == 0 {
		bursts /= 4 // link's default
	}
	return Params{
		Rate:    int64(float64(p.Rate) * segment / (segment + 52)), // headers of IP and TCP, with time stamps
		Delay:   p.Delay,
		Jitter:  p.Jitter,
		Loss:    1 - (1-p.Loss)*(1-bursts)*(1-p.Corrupt),
		Corrupt: p.CorruptSilent,
	}
}

// FromEvents returns what events of a link as p describes it are for
// connections. Bytes are those of payload. A stall of one direction stalls
// both, an endless one is a blackout; an address change is a Forget.
func FromEvents(p link.Profile, events ...link.Event) (all []Event, err error) {
	for _, e := range events {
		ev := Event{At: e.At, AfterBytes: e.AfterBytes, Of: fromDirection(e.Of), Dir: fromDirection(e.Dir), For: e.For}
		switch e.Do {
		case link.Blackout:
			ev.Do = BlackoutStart
		case link.Clear:
			ev.Do = BlackoutEnd
		case link.Stall:
			if ev.Do = Stall; e.For == 0 {
				ev.Do = BlackoutStart
			}
		case link.Forget:
			if ev.Do = Forget; e.RST {
				ev.Do = Reset
			}
		case link.Address:
			ev.Do = Forget
		case link.Reset:
			ev.Do, ev.Side = Reset, fromSide(e.Side)
			if e.Intact {
				ev.Side = BothSides // the other host learns of it when it sends
			}
		case link.Age:
			ev.Silent = !e.RST
			ev.Do, ev.Bytes = KillTime, e.Bytes
			all = append(all, ev)
			ev.Do = KillBytes
		case link.Set:
			changes, err := changeParams(&p, e, ev)
			if err != nil {
				return nil, err
			}
			all = append(all, changes...)
			continue
		default:
			return nil, fmt.Errorf("no such event: %s", e.Do)
		}
		all = append(all, ev)
	}
	return all, nil
}

// changeParams translates a Set, and changes p as it does.
func changeParams(p *link.Profile, e link.Event, ev Event) (all []Event, err error) {
	ev.Do = ChangeParams
	for _, d := range []link.Direction{link.AB, link.BA} {
		if e.Dir != 0 && e.Dir&d == 0 {
			continue
		}
		params := p.Dir(d)
		old := *params
		if err := params.SetAll(e.Params); err != nil {
			return nil, fmt.Errorf("event %s: %w", e, err)
		}
		ev.Dir, ev.Params = fromDirection(d), fromParams(*params)
		all = append(all, ev)
		if e.For > 0 {
			back := ev
			back.At += e.For
			back.Params = fromParams(old)
			all = append(all, back)
			*params = old
		}
	}
	return all, nil
}

// NewProfile returns a link as p describes it, with its events scheduled.
func NewProfile(p link.Profile, seed uint64) (*Link, error) {
	events, err := FromEvents(p, p.Events...)
	if err != nil {
		return nil, err
	}
	up, down := FromProfile(p)
	l := New(up, down, seed)
	for _, e := range []Event{{Do: KillTime, For: max(0, p.FlowAge)}, {Do: KillBytes, Bytes: p.FlowBytes}} {
		e.Silent = !p.FlowReset
		l.do(e)
	}
	l.Schedule(events...)
	return l, nil
}

func fromDirection(d link.Direction) Direction {
	switch d {
	case link.AB:
		return Down
	case link.BA:
		return Up
	}
	return Both
}

func fromSide(s link.Side) Side {
	switch s {
	case link.A:
		return Listener
	case link.B:
		return Dialer
	}
	return BothSides
}
