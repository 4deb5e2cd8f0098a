package fetch

import (
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// situation is what is known at a moment of what goes on. Nothing else decides
// what is said to limit a transfer.
type situation struct {
	at     time.Time
	wanted bool // anything at all

	dark          bool
	since, giveUp time.Time // of the blackout; giveUp is zero for never

	refused   time.Time // the server asked to be left alone until then
	granted   int       // lanes that the server lets this process have; 0: it has not said
	lanes     int
	throttled bool
	nice      bool
	rate      int64 // in force, bytes per second

	held   float64 // share of the time in which this side was the slow one
	reason string  // of the oldest hold

	queued, owed bool   // blocks wait, or are on their way
	stage        string // what the sender says it does; "" when it says nothing
	path         PathInfo
}

// Shares from which on a thing is taken for the limit.
const (
	starvedMuch = .5
	lossFelt    = .003 // of a sender that slows down for it
	lossFeltBBR = .01
	queueGrown  = 1.4
)

// limit returns what keeps the transfer from going faster, and the evidence. The
// first that holds is it: what stops everything before what stops some.
func (s situation) limit() (event.Limit, string) {
	p := s.path
	switch {
	case !s.wanted:
		return "", ""
	case s.dark:
		until := "for as long as it takes"
		if !s.giveUp.IsZero() {
			until = "until " + clockTime(s.giveUp)
		}
		return event.LimitDown, fmt.Sprintf("nothing arrives since %s; trying %s", clockTime(s.since), until)
	case s.refused.After(s.at):
		return event.LimitServer, "it asked to be left alone until " + clockTime(s.refused)
	case s.held >= heldMuch:
		return event.LimitReceiver, fmt.Sprintf("%s for %s of the time", orElse(s.reason, "its disk or work"), percent(s.held))
	case s.throttled && s.nice:
		return event.LimitRate, fmt.Sprintf("gives way at %s", perSecond(s.rate))
	case s.throttled:
		return event.LimitRate, perSecond(s.rate)
	case !s.queued && !s.owed:
		return event.LimitSender, orElse(s.stage, "waiting for the plan")
	case p.Starved >= starvedMuch:
		return event.LimitSender, fmt.Sprintf("its connections stood empty for %s of the time", percent(p.Starved))
	case p.confined() > heldShare && p.Window >= p.Buffer:
		return event.LimitWindow, fmt.Sprintf("the receive window held the sender for %s of the time", percent(p.Window))
	case p.confined() > heldShare:
		return event.LimitWindow, fmt.Sprintf("the send buffer held the sender for %s of the time", percent(p.Buffer))
	case p.queued(queueGrown):
		return event.LimitLink, fmt.Sprintf("its queue holds packets for %v%s", (p.RTT - p.MinRTT).Round(time.Millisecond), lost(p))
	case s.granted > 0 && s.lanes >= s.granted:
		return event.LimitServer, fmt.Sprintf("it grants %d lanes", s.granted)
	case p.Loss >= lossFeltBBR, p.Loss >= lossFelt && p.Control != "" && !p.bbr():
		text := percent(p.Loss) + " of the bytes are sent again"
		if p.Control != "" && !p.bbr() {
			text += fmt.Sprintf("; the sender slows down for it (%s)", p.Control)
		}
		return event.LimitLoss, text
	}
	return "", ""
}

func lost(p PathInfo) string {
	if p.Loss < .001 {
		return ""
	}
	return "; " + percent(p.Loss) + " of the bytes are sent again"
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func clockTime(t time.Time) string { return t.Local().Format("15:04:05") }

func percent(x float64) string {
	if x >= .095 {
		return fmt.Sprintf("%.0f%%", 100*x)
	}
	return fmt.Sprintf("%.1f%%", 100*x)
}

func perSecond(n int64) string {
	if n >= 1e6 {
		return fmt.Sprintf("%.1f MB/s", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0f kB/s", float64(n)/1e3)
}

// stageFresh is how long the sender's word on what it does is good for. It says
// so once a second.
const stageFresh = 3 * time.Second

// PeerWorks notes what the sender says it does, such as "scan".
func (p *Pool) PeerWorks(stage string) {
	p.mu.Lock()
	defer p.unlock()
	p.stage, p.stageAt = stage, time.Now()
}

// situation gathers what limiter needs. Called with the mutex held.
func (p *Pool) situation(now time.Duration) situation {
	s := situation{
		at: time.Now(), wanted: p.wanted(), dark: p.dark, refused: p.busyTo, lanes: len(p.lanes),
		throttled: p.throttled(), nice: p.nice != nil, rate: p.throttle.rate,
		held: p.hold.share, queued: p.queued > 0, owed: p.out > 0, path: p.path,
	}
	if s.dark {
		s.since, s.giveUp = p.darkSince, p.giveUp(now)
	}
	s.reason, _ = p.clock.stuck()
	if time.Since(p.stageAt) < stageFresh {
		s.stage = p.stage
	}
	if src := p.sources[0]; len(p.sources) == 1 {
		s.granted = src.Budget.granted()
	}
	return s
}

// limiter turns moments into a word that does not flicker, and sums them up.
type limiter struct {
	now    event.Limit
	detail string
	next   event.Limit // what it seems to become
	seen   time.Time   // since when
	last   time.Time

	spent        map[event.Limit]time.Duration
	mostly       event.Limit
	mostlyDetail string
}

// steadyFor is how long a limit must have been another before it is said; what
// stops everything, and the end of that, is said at once.
const steadyFor = 750 * time.Millisecond

func (l *limiter) look(s situation) {
	now, detail := s.limit()
	if !l.last.IsZero() && s.wanted && l.now != "" {
		if l.spent == nil {
			l.spent = map[event.Limit]time.Duration{}
		}
		l.spent[l.now] += min(s.at.Sub(l.last), time.Second)
		if l.now == l.mostly || l.spent[l.now] > l.spent[l.mostly] {
			l.mostly, l.mostlyDetail = l.now, l.detail
		}
	}
	l.last = s.at
	switch {
	case now == l.now:
		l.detail, l.next = detail, now
		return
	case now != l.next:
		l.next, l.seen = now, s.at
	}
	hard := func(k event.Limit) bool { return k == event.LimitDown || k == event.LimitServer }
	if hard(now) || hard(l.now) || l.now == "" || !s.wanted || s.at.Sub(l.seen) >= steadyFor {
		l.now, l.detail = now, detail
	}
}
