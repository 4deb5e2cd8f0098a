package cli

import (
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// statusEvery is how often a pipe gets a status line, if it asked for it.
const statusEvery = 10 * time.Second

// announceAfter is how long an outage lasts before a pipe is told of it.
const announceAfter = 3 * time.Second

// lines prints what every text printer prints alike.
type lines struct {
	out    *output
	o      showOptions
	loc    *time.Location
	colour bool
}

// item returns the line for a change, or "" if it was not asked for.
func (l *lines) item(e event.Item) string {
	name := printable(e.Path)
	if name == "" {
		name = "." // the top of the tree
	}
	if e.Dir && !strings.HasSuffix(name, "/") {
		name += "/"
	}
	if e.Target != "" {
		name += " -> " + printable(e.Target)
	}
	deleted := strings.HasPrefix(e.Change, "*deleting")
	switch {
	case l.o.itemize:
		change := printable(e.Change)
		return change + strings.Repeat(" ", max(0, 11-len(change))) + " " + name + "\n"
	case l.o.verbose == 0:
		return ""
	case deleted:
		return "deleting " + name + "\n"
	case strings.HasPrefix(e.Change, ".") && l.o.verbose < 2:
		return "" // attributes alone, as with rsync
	}
	return name + "\n"
}

func (l *lines) warning(e event.Warn) string {
	label := "warning:"
	if l.colour {
		label = "\x1b[33m" + label + "\x1b[0m"
	}
	text := printable(e.Text)
	if e.Path != "" {
		text = printable(e.Path) + ": " + text
	}
	return "ropeway: " + label + " " + text + "\n"
}

// quietPrinter prints nothing but what went wrong.
type quietPrinter struct{ lines }

func (p *quietPrinter) event(_ *state, e event.Event, _ time.Time) {
	if w, ok := e.(event.Warn); ok && w.Partial {
		p.out.put(toStderr, p.warning(w))
	}
}
func (p *quietPrinter) tick(*state, time.Time) {}
func (p *quietPrinter) end(*state, time.Time)  {}

// plainPrinter prints lines for a pipe or a file.
type plainPrinter struct {
	lines
	last time.Time // of the last status line
	told bool      // the present outage was announced
}

func (p *plainPrinter) event(s *state, e event.Event, now time.Time) {
	switch e := e.(type) {
	case event.Item:
		p.out.put(toStdout, p.item(e))
	case event.Warn:
		p.out.put(toStderr, p.warning(e))
	case event.Link:
		if e.Up && p.told {
			p.told = false
			p.out.put(toStderr, "ropeway: link is back after "+span(now.Sub(s.downAt))+"\n")
		}
	}
}

func (p *plainPrinter) tick(s *state, now time.Time) {
	if s.down && !p.told && now.Sub(s.downAt) >= announceAfter {
		p.told = true
		text := "ropeway: link down since " + moment(s.downAt, now, p.loc)
		if s.link.Cause != "" {
			text += " (" + printable(s.link.Cause) + ")"
		}
		p.out.put(toStderr, text+", "+s.waitText(now, p.loc)+"\n")
	}
	if p.last.IsZero() {
		p.last = s.start
	}
	if p.o.progress && now.Sub(p.last) >= statusEvery {
		p.last = now
		p.out.put(toStderr, fit(s.status(now, p.loc), 0)+"\n")
	}
}

func (p *plainPrinter) end(s *state, _ time.Time) {
	if s.summary != nil {
		p.out.put(toStdout, summaryText(*s.summary, p.o))
	}
}

// livePrinter keeps one line on a terminal and prints everything else above it.
type livePrinter struct {
	lines
	width  func() int
	shared bool   // standard output is on a terminal too
	shown  string // the line that stands there, without colour
}

func (p *livePrinter) event(_ *state, e event.Event, _ time.Time) {
	switch e := e.(type) {
	case event.Item:
		if text := p.item(e); text != "" {
			if p.shared {
				p.erase()
			}
			p.out.put(toStdout, text)
		}
	case event.Warn:
		p.erase()
		p.out.put(toStderr, p.warning(e))
	}
}

// talk prints a line of ours above the live line.
func (p *livePrinter) talk(text string) {
	p.erase()
	p.out.put(toStderr, "ropeway: "+text+"\n")
}

func (p *livePrinter) tick(s *state, now time.Time) {
	width := p.width()
	if width <= 0 {
		width = 80
	}
	text := fit(s.status(now, p.loc), width-1) // the last column makes some terminals wrap
	if text == p.shown {
		return
	}
	pad := strings.Repeat(" ", max(0, min(columns(p.shown), width-1)-columns(text)))
	painted := text
	if p.colour && s.down {
		painted = "\x1b[31m" + text + "\x1b[0m"
	}
	p.out.put(toStderr, "\r"+painted+pad)
	p.shown = text
}

// erase takes the live line away; the next tick brings it back.
func (p *livePrinter) erase() {
	if p.shown == "" {
		return
	}
	n := columns(p.shown)
	if w := p.width(); w > 0 {
		n = min(n, w-1)
	}
	p.out.put(toStderr, "\r"+strings.Repeat(" ", max(n, 0))+"\r")
	p.shown = ""
}

func (p *livePrinter) end(s *state, _ time.Time) {
	p.erase()
	if s.summary != nil {
		p.out.put(toStdout, summaryText(*s.summary, p.o))
	}
}
