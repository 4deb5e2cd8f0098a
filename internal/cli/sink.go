package cli

import (
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// showOptions is how the user wants to be told.
type showOptions struct {
	json, quiet, itemize, human, progress, stats bool
	verbose                                      int
}

// printer turns events into text in one manner. Its methods are never called
// at once, and the state holds the event already.
type printer interface {
	event(s *state, e event.Event, now time.Time)
	tick(s *state, now time.Time) // at the printer's pace
	end(s *state, now time.Time)  // the last call
}

// sink receives the events of a job and has them printed. Safe for concurrent
// use; events that come after close are dropped.
type sink struct {
	out  *output
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex // never held while output is written
	st     *state
	p      printer
	closed bool
}

func newSink(out *output, p printer, pace time.Duration) *sink {
	s := &sink{out: out, p: p, st: newState(time.Now()), stop: make(chan struct{}), done: make(chan struct{})}
	go s.run(pace)
	return s
}

func (s *sink) run(pace time.Duration) {
	defer close(s.done)
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			if !s.closed && s.out.idle() { // a stopped terminal gets no pile of old lines
				s.p.tick(s.st, now)
			}
			s.mu.Unlock()
		}
	}
}

// handle is the event.Func. It waits only where a reader of the output has
// stopped and a whole backlog is queued.
func (s *sink) handle(e event.Event) {
	s.out.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || e == nil {
		return
	}
	now := time.Now()
	s.st.apply(e, now)
	s.p.event(s.st, e, now)
}

// failed is the number of items that were reported as not brought over.
func (s *sink) failed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.failed
}

// close prints what remains, waits until it is written, and returns the error
// of standard output if there was one.
func (s *sink) close() error {
	close(s.stop)
	<-s.done
	s.mu.Lock()
	s.closed = true
	s.p.end(s.st, time.Now())
	s.mu.Unlock()
	return s.out.close()
}

// show makes the sink for the manner that options and terminal ask for.
func (a *app) show(o showOptions) *sink {
	out := newOutput(a.stdout, a.stderr)
	base := lines{out: out, o: o, loc: a.env.Location}
	term := a.env.Getenv("TERM")
	switch {
	case o.json:
		return newSink(out, &jsonPrinter{out: out}, time.Second)
	case o.quiet:
		return newSink(out, &quietPrinter{lines: base}, time.Second)
	case !a.stderrTTY || term == "dumb":
		return newSink(out, &plainPrinter{lines: base}, time.Second)
	}
	base.colour = a.env.Getenv("NO_COLOR") == "" && term != "" && a.env.GOOS != "windows"
	live := &livePrinter{lines: base, width: a.env.Width, shared: a.stdoutTTY}
	s := newSink(out, live, 200*time.Millisecond)
	note := func(text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			live.talk(text)
		}
	}
	a.note.Store(&note)
	return s
}
