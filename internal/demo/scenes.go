package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/netsim"
)

// at returns a share of the archive in bytes.
func (d *demo) at(share float64) int64 { return int64(share * float64(d.o.Size)) }

// now makes a step of what cannot fail.
func now(f func()) func(context.Context) error {
	return func(context.Context) error {
		f()
		return nil
	}
}

// firstScript is for the transfer of everything.
func (d *demo) firstScript() []step {
	steps := []step{
		d.resetAll(.08),
		d.forgetAll(.25),
		d.stallTwo(.5),
	}
	if d.o.Cut > 0 {
		steps = append(steps, step{
			after: d.at(.65), kind: blackout, lasts: d.o.Cut,
			text: fmt.Sprintf("is dead: nothing passes for %s", brief(d.o.Cut)),
			do:   now(func() { d.link.Blackout(netsim.Both, true) }),
			undo: func() { d.link.Blackout(netsim.Both, false) },
		})
	}
	const pause = 500 * time.Millisecond
	return append(steps, step{
		after: d.at(.85), kind: restart, text: "works, but the server is killed and started again",
		do: func(ctx context.Context) error { return d.site.restart(ctx, pause) },
	})
}

// secondScript is for an upgrade, of which little has to be sent: it hits what
// there is.
func (d *demo) secondScript() []step {
	s := d.forgetAll(0)
	s.after = 1 << 10
	return []step{s}
}

func (d *demo) resetAll(share float64) step {
	return step{
		after: d.at(share), kind: reset, text: "resets all connections",
		do: now(func() { d.link.ResetFlows(0, netsim.BothSides) }),
	}
}

func (d *demo) forgetAll(share float64) step {
	return step{
		after: d.at(share), kind: forget, text: "forgets all connections, as a NAT or firewall does: silence, and nobody is told",
		do: now(d.link.ForgetFlows),
	}
}

func (d *demo) stallTwo(share float64) step {
	lasts := 5 * time.Second
	if d.o.Quick {
		lasts = 2 * time.Second
	}
	return step{
		after: d.at(share), kind: stall, text: fmt.Sprintf("holds two connections up for %s", brief(lasts)),
		do: now(func() { d.link.StallFlows(2, lasts) }),
	}
}
