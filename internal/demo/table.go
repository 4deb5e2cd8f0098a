package demo

import (
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// table tells what moved, what broke, and what rsync would have made of it.
func (d *demo) table(c changes) {
	say := d.out.Say
	row := func(name string, cell func(r *round) string) {
		line := fmt.Sprintf("%-34s", name)
		for i := range d.rounds {
			line += fmt.Sprintf("%14s", cell(&d.rounds[i]))
		}
		say(line)
	}
	bytes := func(name string, n func(s *event.Summary) int64) {
		row(name, func(r *round) string { return amount(n(&r.sum)) })
	}
	say("")
	row("", func(r *round) string { return r.name })
	row("files that changed", func(r *round) string { return commas(r.sum.Transferred + r.sum.Moved) })
	bytes("new content fetched", func(s *event.Summary) int64 { return s.Literal })
	bytes("new content reused from old files", func(s *event.Summary) int64 { return s.Reused })
	row("that is, packed, with the plan", func(r *round) string { return amount(r.need) })
	bytes("received in all", func(s *event.Summary) int64 { return s.WireIn })
	row("sent again, TLS, headers", func(r *round) string { return amount(max(0, r.sum.WireIn-r.need)) })
	bytes("sent in all", func(s *event.Summary) int64 { return s.WireOut })
	row("connection set-up in both", func(r *round) string { return amount(r.setup) })
	row("connections made", func(r *round) string { return commas(int64(r.lanes)) })
	row("time without a link", func(r *round) string { return brief(r.sum.LinkDown) })
	row("time", func(r *round) string { return brief(r.sum.Elapsed) })

	st, t, cut := d.link.Stats(), &d.director.tally, 0
	for i := range d.rounds {
		cut += d.rounds[i].cut
	}
	say("")
	say(fmt.Sprintf("The link lost %s packets; %s of %s that came down were its repairs.", commas(st.Down.Lost+st.Up.Lost),
		amount(st.Down.Sent-st.Down.Delivered), amount(st.Down.Sent)))
	say(fmt.Sprintf("%d connections broke, in the middle of %d answers; blocks that had come whole were kept.", st.Killed, cut))
	if t.worst > 0 {
		say(fmt.Sprintf("Bytes came again within %s of each trouble's end, at the latest.", brief(t.worst)))
	}
	say("")
	say("What happened, and what rsync does then:")
	for _, l := range d.lessons(t, c) {
		say("  " + l.what)
		say("    rsync: " + l.rsync)
	}
	say("")
	say(fmt.Sprintf("Verified after each sync: identical, %s.", d.proof))
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
		if n == 1 {
			return "once"
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
		"goes on when TCP tries again: 10 s cost it 17 s. 70 s with --timeout=60 end it with code 10 or 12.")
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
