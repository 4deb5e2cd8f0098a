package server

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/lane"
)

const (
	// lookEvery is how often it is looked whether bytes move.
	lookEvery = 5 * time.Second
	// writeStall is how long a client may take nothing at all.
	writeStall = time.Minute
	// streamStall is how long an answer may stand still while others on the
	// same connection move.
	streamStall = 10 * time.Minute
)

// movement gives clients that read slowly more time, as long as they read.
// Handlers set a deadline with each write. On a link of 1 kB/s, shared by
// several answers, a write can take longer than that, and the client is
// there all the same: bytes that it acknowledges prove it.
type movement struct {
	mu   sync.Mutex // guards the rest
	runs map[*recorder]net.Conn
	was  map[net.Conn]uint64 // bytes that were acknowledged when last looked
}

func newMovement() *movement {
	return &movement{runs: map[*recorder]net.Conn{}, was: map[net.Conn]uint64{}}
}

func (m *movement) add(r *recorder, c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs[r] = c
}

func (m *movement) remove(r *recorder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, r)
}

// run looks until ctx ends.
func (m *movement) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.look(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// look gives answers on connections that moved another minute.
func (m *movement) look(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := make(map[net.Conn]uint64, len(m.was))
	for _, c := range m.runs {
		if _, done := is[c]; !done {
			is[c] = acknowledged(c)
		}
	}
	for r, c := range m.runs {
		if was, known := m.was[c]; !known || is[c] > was {
			r.extend(now)
		}
	}
	m.was = is
}

// acknowledged returns how many bytes the other side of c has taken: as the
// kernel knows it, or else that the kernel has taken.
func acknowledged(c net.Conn) uint64 {
	if c == nil {
		return 0
	}
	if i, ok := lane.ReadInfo(c); ok && i.BytesAcked > 0 {
		return i.BytesAcked
	}
	if n := connOf(c); n != nil {
		return uint64(n.out.Load())
	}
	return 0
}
