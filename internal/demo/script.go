package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/netsim"
)

// step is something that happens once so many bytes have come down the link
// since the script began.
type step struct {
	after int64
	kind  kind
	text  string
	do    func(context.Context) error
	lasts time.Duration // then undo is called, if it is set
	undo  func()
}

// kind groups steps for the table at the end.
type kind int

const (
	reset kind = iota
	forget
	stall
	blackout
	restart
	kinds
)

// tally counts what happened.
type tally struct {
	count [kinds]int
	one   int           // connections that were reset by themselves, not by a step
	dark  time.Duration // of blackouts
	worst time.Duration // until bytes came again, after the cause had ended
}

const (
	look = 25 * time.Millisecond
	// flows is how many bytes prove that more comes than handshakes.
	flows = 64 << 10
)

// director plays scripts to a link and tells what happens. It decides by bytes
// rather than by the clock, so that machines of every speed show the same.
type director struct {
	link *netsim.Link
	say  func(who, text string)
	tally

	cur   *step
	until time.Time // when cur's cause ends, or has ended
	from  int64     // bytes that had come by then
	seen  int       // connections that were killed and told of
}

// play runs until ctx ends or a step fails. Steps come one after the other: one
// that is due while another is under way comes after it.
func (d *director) play(ctx context.Context, steps []step) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	st := d.link.Stats()
	start := st.Down.Delivered
	d.cur, d.seen = nil, st.Killed
	for {
		select {
		case <-ctx.Done():
			d.end()
			return nil
		case <-tick.C:
		}
		st := d.link.Stats()
		if one := st.Killed - d.seen; one > 0 {
			d.seen = st.Killed
			d.one += one
			d.say("link", fmt.Sprintf("resets a connection (%d so far)", d.one))
		}
		if d.cur != nil {
			d.watch(st.Down.Delivered)
		} else if len(steps) > 0 && st.Down.Delivered-start >= steps[0].after {
			if err := d.begin(ctx, steps[0]); err != nil {
				return err
			}
			steps = steps[1:]
		}
	}
}

func (d *director) begin(ctx context.Context, s step) error {
	d.say("link", s.text)
	d.count[s.kind]++
	if s.kind == blackout {
		d.dark += s.lasts
	}
	began := time.Now()
	if err := s.do(ctx); err != nil {
		return err
	}
	st := d.link.Stats()
	d.seen, d.from = st.Killed, st.Down.Delivered
	d.until = began.Add(s.lasts)
	if s.kind == restart {
		d.until = time.Now() // it has lasted
	}
	if s.kind != stall { // of which the others make good, so that there is nothing to see
		d.cur = &s
	}
	return nil
}

// watch follows the step under way until bytes come again.
func (d *director) watch(bytes int64) {
	now := time.Now()
	switch {
	case now.Before(d.until):
	case d.cur.undo != nil:
		d.end()
		d.cur = &step{kind: d.cur.kind}
		d.from, d.until = bytes, now
		d.say("link", "works again")
	case bytes-d.from >= flows:
		back := now.Sub(d.until)
		d.worst = max(d.worst, back)
		d.cur = nil
		d.say("ropeway", fmt.Sprintf("goes on after %s", brief(back)))
	}
}

// end undoes what the step under way did.
func (d *director) end() {
	if d.cur != nil && d.cur.undo != nil {
		d.cur.undo()
	}
}
