package lane

import (
	"slices"
	"sync"
	"time"
)

const (
	// smallSegment passes about everywhere, tunnels in tunnels included.
	smallSegment = 1200
	// stallAfter is how long a connection, on which small packets pass, may
	// yield nothing before full-sized packets are suspected.
	stallAfter = time.Second
	// bulk is how many bytes prove that full segments arrive: more than the
	// small packets of a handshake amount to. proof is what small segments must
	// have brought meanwhile.
	bulk  = 16 << 10
	proof = 128 << 10
	// suspectFor is how long a connection is remembered after its end.
	suspectFor = 30 * time.Second
	maxTries   = 32
)

// segments finds out whether packets of full size disappear on the way while
// small ones pass: an MTU hole, which TCP by itself never gets out of. A
// connection that stalls is a reason to try small segments beside full ones;
// that small ones bring data while full ones do not is the proof. Heavy loss
// or an outage gives none: there either kind stalls, or neither.
type segments struct {
	mu    sync.Mutex
	small bool // proven, for good
	turn  bool // whose turn it is while there is a suspicion
	won   int  // handshakes in a row that only small segments got through
	tries []*trial
}

// trial is a connection that was made. Only segments uses it.
type trial struct {
	small bool
	up    time.Time    // TCP was connected
	moved func() int64 // bytes that have crossed it, either way
	waits func() bool  // something is under way on it, and nothing comes
	done  <-chan struct{}

	first, seen int64
	at          time.Time // bytes crossed it last, as far as was looked
	waiting     bool      // it has yielded nothing for a while, or had when it ended
	ended       time.Time
}

// add has a connection watched, from when TCP is up.
func (s *segments) add(small bool, moved func() int64, waits func() bool, done <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.tries) == maxTries {
		s.tries = s.tries[1:]
	}
	n := moved()
	s.tries = append(s.tries, &trial{small: small, up: now, at: now, moved: moved, waits: waits, done: done, first: n, seen: n})
}

// shook notes that a handshake is done. beside is whether it was an attempt
// with small segments that overtook one with full ones, which had stalled.
func (s *segments) shook(small, beside bool) (found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !small:
		s.won = 0
	case beside:
		if s.won++; s.won >= 2 && !s.small {
			s.small = true
			return true
		}
	}
	return false
}

// choose returns whether the next connection should have small segments, and
// whether it was found just now that all should.
func (s *segments) choose() (small, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.small {
		return true, false
	}
	now := time.Now()
	s.look(now)
	var (
		stalled   bool      // a full one does
		fullMoved time.Time // the last time that one did not
		moved     *trial    // a small one that brings data
	)
	for _, t := range s.tries {
		switch {
		case t.small && t.seen-t.first >= proof:
			moved = t
		case t.small:
		case t.at.After(fullMoved) && t.at.After(t.up):
			fullMoved = t.at
		}
		if !t.small && t.waiting && now.Sub(t.at) >= stallAfter {
			stalled = true
		}
	}
	switch {
	case !stalled:
		s.turn = false
		return false, false
	case moved != nil && fullMoved.Before(moved.up) && s.hopeless(moved, now):
		s.small = true
		return true, true
	}
	s.turn = !s.turn
	return s.turn, false
}

// hopeless reports whether a connection with full segments, made about when
// the small one was, has brought nothing.
func (s *segments) hopeless(small *trial, now time.Time) bool {
	return slices.ContainsFunc(s.tries, func(t *trial) bool {
		return !t.small && t.waiting && t.at.Equal(t.up) && t.seen-t.first < bulk && now.Sub(t.up) >= stallAfter && t.up.Sub(small.up).Abs() < suspectFor
	})
}

// look takes stock. Called with the mutex held.
func (s *segments) look(now time.Time) {
	for _, t := range s.tries {
		if n := t.moved(); n-t.seen >= bulk {
			t.seen, t.at = n, now
		}
		select {
		case <-t.done:
			if t.ended.IsZero() {
				t.ended = now
			}
		default:
			t.waiting = t.waits()
		}
	}
	s.tries = slices.DeleteFunc(s.tries, func(t *trial) bool { return !t.ended.IsZero() && now.Sub(t.ended) > suspectFor })
}
