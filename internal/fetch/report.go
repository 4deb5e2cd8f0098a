package fetch

import (
	"fmt"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

const (
	reportEvery = 250 * time.Millisecond
	warnEvery   = 30 * time.Second
	stuckAfter  = 10 * time.Second
)

// reporter paces what is said. The pool's mutex guards it.
type reporter struct {
	progress time.Time
	warned   map[string]time.Time // a few fixed kinds
}

// warn says text unless it was said a short while ago. Called with the mutex
// held.
func (r *reporter) warn(p *Pool, text string) { r.kind(p, "overload", text) }

func (r *reporter) kind(p *Pool, kind, text string) {
	now := time.Now()
	if last, ok := r.warned[kind]; ok && now.Sub(last) < warnEvery {
		return
	}
	if r.warned == nil {
		r.warned = map[string]time.Time{}
	}
	r.warned[kind] = now
	p.emit(event.Warn{Text: text})
}

// stuck says so when this side has not moved for a while. Called with the
// mutex held.
func (r *reporter) stuck(p *Pool) {
	reason, since := p.clock.stuck()
	if d := time.Since(since); reason != "" && d >= stuckAfter {
		r.kind(p, "stuck", fmt.Sprintf("waiting for %v: %s", d.Round(time.Second), reason))
	}
}

// takeEvents returns what is to be said now. Called with the mutex held; the
// snapshot in a Progress is taken later, without it.
func (p *Pool) takeEvents(last bool) []event.Event {
	events := p.events
	p.events = nil
	now := time.Now()
	if last || p.wanted() && now.Sub(p.report.progress) >= reportEvery {
		p.report.progress = now
		in, out := p.wire()
		events = append(events, event.Progress{Done: p.done, WireIn: in, WireOut: out, Lanes: len(p.lanes), Retries: p.retries,
			Limit: p.limits.now, LimitDetail: p.limits.detail})
	}
	return events
}

// say emits events in order.
func (p *Pool) say(events []event.Event) {
	for _, e := range events {
		if g, ok := e.(event.Progress); ok && p.cfg.Snapshot != nil {
			p.cfg.Snapshot(&g)
			e = g
		}
		p.cfg.Events(e)
	}
}
