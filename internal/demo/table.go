package demo

import (
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// table tells what moved, what broke, and what rsync would have made of it.
func (d *demo) table(c changes) {
	row := func(name string, cell func(r *round) string) {
		line := fmt.Sprintf("%-34s", name)
		for i := range d.rounds {
			line += fmt.Sprintf("%12s", cell(&d.rounds[i]))
		}
		d.note("%s", line)
	}
	bytes := func(name string, n func(r *round) int64) {
		row(name, func(r *round) string { return amount(n(r)) })
	}
	d.note("")
	row("", func(r *round) string { return r.name })
	row("files new, changed or moved", func(r *round) string { return commas(r.sum.Transferred + r.sum.Moved) })
	bytes("their content, fetched", func(r *round) int64 { return r.sum.Literal })
	bytes("their content, reused", func(r *round) int64 { return r.sum.Reused })
	bytes("had to come: packed, with plan", func(r *round) int64 { return r.need })
	bytes("came", func(r *round) int64 { return r.sum.WireIn })
	bytes("  encryption, headers, sent again", func(r *round) int64 { return max(0, r.sum.WireIn-r.need) })
	bytes("went the other way", func(r *round) int64 { return r.sum.WireOut })
	row("connections made", func(r *round) string { return commas(int64(r.lanes)) })
	row("time without a link", func(r *round) string { return brief(r.sum.LinkDown) })
	row("time", func(r *round) string { return brief(r.sum.Elapsed) })

	if len(d.rounds) > 1 {
		v2 := &d.rounds[1]
		d.note("")
		d.note("Version 2: a release of %s, and %s crossed the link.", amount(v2.sum.Bytes), amount(v2.sum.WireIn))
	}
	st, t, cut := d.link.Stats(), &d.director.tally, 0
	for i := range d.rounds {
		cut += d.rounds[i].cut
	}
	d.note("")
	d.note("%d connections broke, in the middle of %d answers, and %s packets were lost.", st.Killed, cut, commas(st.Down.Lost+st.Up.Lost))
	if t.worst > 0 {
		d.note("Whatever it was, bytes came again at most %s after it.", brief(t.worst))
	}
	d.note("")
	d.note("What happened, and what rsync does then:")
	for _, l := range d.lessons(t, c) {
		d.note("  %s", l.what)
		d.note("    rsync: %s", l.rsync)
	}
	d.note("")
	d.note("Verified after each sync: identical, %s.", d.proof)
}

type lesson struct{ what, rsync string }

// lessons names what happened. What is said of rsync was measured.
func (d *demo) lessons(t *tally, c changes) (all []lesson) {
	add := func(n int, what, rsync string) {
		if n > 0 {
			all = append(all, lesson{what, rsync})
		}
	}
	times := func(n int) string {
		switch n {
		case 1:
			return "once"
		case 2:
			return "twice"
		}
		return fmt.Sprintf("%d times", n)
	}
	add(t.one+t.count[reset], fmt.Sprintf("all connections reset %s, single ones %s", times(t.count[reset]), times(t.one)),
		"ends at once, code 12. Without --partial the next run starts the file from its first byte.")
	add(t.count[forget], "all connections forgotten "+times(t.count[forget]),
		"waits for ever: still there after 1,242 s. With --timeout=10, 3.5.0 ends after 975 s, 3.0.9 after 10 s.")
	add(t.count[stall], "some connections held up "+times(t.count[stall]),
		"has one connection, and waits as long as that does.")
	add(t.count[blackout], fmt.Sprintf("link dead for %s", brief(t.dark)),
		"goes on when TCP tries again: 10 s cost it 17 s. With --timeout=60, 70 s end it, code 10 or 12.")
	add(t.count[restart], "server killed "+times(t.count[restart]),
		"ends with an error; nothing in it tries again.")
	add(c.moved, fmt.Sprintf("%s files moved with their directories", commas(int64(c.moved))),
		"sends them again whole, and deletes the old ones.")
	return all
}

// total sums all syncs.
func (d *demo) total() event.Summary {
	var t event.Summary
	for i := range d.rounds {
		s := &d.rounds[i].sum
		t.Files, t.Dirs, t.Symlinks, t.Bytes, t.Tree = s.Files, s.Dirs, s.Symlinks, s.Bytes, s.Tree
		t.Transferred += s.Transferred
		t.Created += s.Created
		t.Deleted += s.Deleted
		t.Literal += s.Literal
		t.Reused += s.Reused
		t.Moved += s.Moved
		t.WireIn += s.WireIn
		t.WireOut += s.WireOut
		t.Retries += s.Retries
		t.LinkDown += s.LinkDown
		t.Skipped += s.Skipped
		t.Failed += s.Failed
	}
	t.Elapsed = time.Since(d.from)
	return t
}
