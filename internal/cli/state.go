package cli

import (
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// quiet times after which the status says that nothing comes.
const (
	stallAfter = 5 * time.Second
	workFresh  = 3 * time.Second // how long a report of work is believed
)

// state is what the events so far amount to. Nothing in it goes backwards,
// whatever order events arrive in.
type state struct {
	start   time.Time
	prog    event.Progress
	moved   time.Time // when bytes, files or work last advanced
	work    [2]work   // ours, the peer's
	link    event.Link
	down    bool
	downAt  time.Time     // on our clock
	downSum time.Duration // of outages that have ended
	summary *event.Summary
	failed  int64 // items that make the exit code 3
	rate    rate
	eta     eta
	percent int
}

type work struct {
	event.Work
	at time.Time // when it was last reported; zero is never
}

func newState(now time.Time) *state { return &state{start: now, moved: now} }

func (s *state) apply(e event.Event, now time.Time) {
	switch e := e.(type) {
	case event.Start: // also of each further job of the same command
		next := newState(now)
		next.start, next.failed = s.start, s.failed
		*s = *next
	case event.Progress:
		s.progress(e, now)
	case event.Work:
		i := 0
		if e.Peer {
			i = 1
		}
		if old := s.work[i]; old.at.IsZero() || old.Stage != e.Stage || e.Files > old.Files || e.Bytes > old.Bytes {
			s.moved = now
		}
		s.work[i] = work{e, now}
	case event.Link:
		s.setLink(e, now)
	case event.Warn:
		if e.Partial {
			s.failed++
		}
	case event.Summary:
		s.summary = &e
		s.failed = max(s.failed, e.Failed)
	}
}

func (s *state) progress(e event.Progress, now time.Time) {
	p := &s.prog
	if e.Done > p.Done || e.Files > p.Files {
		s.moved = now
	}
	p.Done = max(p.Done, e.Done)
	p.Total = max(p.Total, e.Total, p.Done)
	p.Complete = p.Complete || e.Complete
	p.Files = max(p.Files, e.Files)
	p.FilesTotal = max(p.FilesTotal, e.FilesTotal, p.Files)
	p.Reused = max(p.Reused, e.Reused)
	p.WireIn = max(p.WireIn, e.WireIn)
	p.WireOut = max(p.WireOut, e.WireOut)
	p.Retries = max(p.Retries, e.Retries)
	p.Lanes = max(e.Lanes, 0)
	p.Limit, p.LimitDetail = e.Limit, e.LimitDetail
	s.rate.add(s.active(now), p.Done)
}

func (s *state) setLink(e event.Link, now time.Time) {
	switch {
	case !e.Up && !s.down:
		s.down, s.downAt = true, now
		if !e.Since.IsZero() && e.Since.Before(now) && e.Since.After(s.start) {
			s.downAt = e.Since
		}
	case e.Up && s.down:
		s.down = false
		s.downSum += now.Sub(s.downAt)
		s.moved = now
	}
	s.link = e
}

// active is the time so far without outages.
func (s *state) active(now time.Time) time.Duration {
	d := now.Sub(s.start) - s.downSum
	if s.down {
		d -= now.Sub(s.downAt)
	}
	return max(d, 0)
}

// speed returns bytes per second and the time left, each with whether it is known.
func (s *state) speed(now time.Time) (perSecond float64, known bool, left time.Duration, ends bool) {
	perSecond, known = s.rate.perSecond(s.active(now))
	if known && s.prog.Complete {
		left, ends = s.eta.left(now, s.prog.Total-s.prog.Done, perSecond)
	}
	return perSecond, known, left, ends
}

// segment is a part of the status line; those with the lowest rank go first
// where there is no room.
type segment struct {
	text string
	rank int
}

// status describes the moment in parts, for a line.
func (s *state) status(now time.Time, loc *time.Location) []segment {
	if s.down {
		return []segment{{s.linkText(now, loc), 9}}
	}
	p := s.prog
	if p.Total == 0 && p.Files == 0 {
		return s.workStatus(now)
	}
	var segs []segment
	add := func(rank int, format string, args ...any) {
		segs = append(segs, segment{fmt.Sprintf(format, args...), rank})
	}
	more := "+"
	if p.Complete {
		more = ""
	}
	add(9, "%s/%s%s", human(p.Done), human(p.Total), more)
	if p.Complete && p.Total > 0 {
		s.percent = max(s.percent, int(float64(p.Done)/float64(p.Total)*100))
		if p.Done < p.Total {
			s.percent = min(s.percent, 99)
		}
		add(8, "%d%%", s.percent)
	}
	if p.FilesTotal > 0 {
		add(4, "%s/%s%s files", commas(p.Files), commas(p.FilesTotal), more)
	}
	waiting := now.Sub(s.moved)
	perSecond, known, left, ends := s.speed(now)
	switch {
	case waiting >= stallAfter:
		add(7, "nothing new for %s", lasting(waiting))
	case known:
		add(6, "%s/s", human(int64(perSecond)))
		if ends && p.Done < p.Total {
			add(7, "ETA %s", clock(left))
		}
	}
	if words, ok := limits[p.Limit]; ok && (!p.Complete || p.Done < p.Total) {
		add(5, "limit: %s", words)
		if p.LimitDetail != "" {
			add(0, "(%s)", cut(printable(p.LimitDetail), 100))
		}
	}
	if p.Lanes > 0 {
		add(2, "%s", plural(int64(p.Lanes), "lane", "lanes"))
	}
	if p.Reused > 0 {
		add(1, "saved %s", human(p.Reused))
	}
	if p.Retries > 0 {
		add(3, "%s", plural(p.Retries, "retry", "retries"))
	}
	if w := s.latest(); !w.at.IsZero() && now.Sub(w.at) < workFresh {
		add(5, "%s", w.text())
	}
	return segs
}

// latest is the work that was reported last, on either side.
func (s *state) latest() work {
	if s.work[1].at.Before(s.work[0].at) {
		return s.work[0]
	}
	return s.work[1]
}

// workStatus describes a moment in which no payload is known of yet.
func (s *state) workStatus(now time.Time) []segment {
	segs := []segment{{"starting", 5}}
	if w := s.latest(); !w.at.IsZero() {
		segs[0].text = w.text()
	}
	if waiting := now.Sub(s.moved); waiting >= stallAfter {
		segs = append(segs, segment{"nothing new for " + lasting(waiting), 7})
	}
	return segs
}

// linkText says that the link is down, since when, why, and until when it is waited for.
func (s *state) linkText(now time.Time, loc *time.Location) string {
	text := "link down " + lasting(now.Sub(s.downAt))
	if s.link.Cause != "" {
		text += " (" + printable(s.link.Cause) + ")"
	}
	return text + ", " + s.waitText(now, loc)
}

func (s *state) waitText(now time.Time, loc *time.Location) string {
	text := "trying for ever"
	if !s.link.GiveUp.IsZero() {
		text = "trying until " + moment(s.link.GiveUp, now, loc)
	}
	if s.prog.Done > 0 {
		text += ", " + human(s.prog.Done) + " kept"
	}
	return text
}

// limits names what keeps a transfer from going faster. That nothing gets
// through is said otherwise.
var limits = map[event.Limit]string{
	event.LimitLink: "link full", event.LimitLoss: "packet loss", event.LimitWindow: "TCP buffers", event.LimitSender: "sender",
	event.LimitReceiver: "receiver", event.LimitServer: "server", event.LimitRate: "--bwlimit",
}

// doing names the stages of work.
var doing = map[string]string{
	"connect": "connecting", "scan": "scanning", "hash": "hashing",
	"plan": "planning", "patch": "patching", "stage": "staging", "land": "landing",
}

func (w work) text() string {
	text, ok := doing[w.Stage]
	if !ok {
		text = cut(printable(w.Stage), 40)
	}
	if w.Peer {
		text = "server is " + text
	}
	switch {
	case w.Total > 0:
		text += ", " + human(min(w.Bytes, w.Total)) + " of " + human(w.Total)
	case w.Bytes > 0:
		text += ", " + human(w.Bytes)
	}
	if w.Files > 0 {
		text += ", " + plural(w.Files, "file", "files")
	}
	return text
}

// fit joins as many segments as width columns hold; 0 is no limit.
func fit(segs []segment, width int) string {
	for {
		text, least := "", 0
		for i, s := range segs {
			if i > 0 {
				text += "  "
			}
			text += s.text
			if s.rank < segs[least].rank {
				least = i
			}
		}
		if width <= 0 || columns(text) <= width {
			return text
		}
		if len(segs) <= 1 {
			return cut(text, width)
		}
		segs = append(append([]segment(nil), segs[:least]...), segs[least+1:]...)
	}
}
