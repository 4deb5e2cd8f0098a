package server

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
)

const (
	sweepEvery = time.Minute
	// streams is how many requests may be under way on one connection.
	streams = 64
	// lastWait is how long requests that were cut off may take to notice.
	lastWait = 5 * time.Second
)

// run accepts connections until ctx ends, and then lets them end.
func (s *server) run(ctx context.Context) error {
	base, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	hs := s.http(base)
	failed := make(chan error, len(s.listeners))
	var running sync.WaitGroup
	for _, l := range s.listeners {
		running.Go(func() { failed <- hs.ServeTLS(l, "", "") })
	}
	sweeping, stopSweeping := context.WithCancel(ctx)
	running.Go(func() { s.sweep(sweeping) })
	moving, stopMoving := context.WithCancel(context.Background())
	running.Go(func() { s.moving.run(moving) }) // requests have time until the end of the grace

	s.setReady(true)
	s.cfg.Ready(s.readiness())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fault.Wrap(fault.Other, err, "", "the server cannot accept connections any more")
	}
	s.setReady(false)
	close(s.stopping)
	stopSweeping()
	s.drain(hs, cut)
	stopMoving()
	running.Wait()
	return err
}

// drain stops listening, lets requests end for as long as the grace lasts, and
// then cuts them off.
func (s *server) drain(hs *http.Server, cut context.CancelCauseFunc) {
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.Grace)
	defer cancel()
	if err := hs.Shutdown(grace); err != nil {
		cut(errStopped)
		_ = hs.Close()
	}
	if !s.gate.close(lastWait) {
		s.warn("some requests did not end in time")
	}
}

func (s *server) setReady(ready bool) {
	s.ready.Store(ready)
	v := 0.0
	if ready {
		v = 1
	}
	s.metrics.ready.Set(v)
}

// http makes the server for all listeners.
func (s *server) http(base context.Context) *http.Server {
	o := lane.ServerOptions{MinTLS: s.cfg.MinTLS, ErrorLog: log.New(&trouble{s: s}, "", 0)}
	for _, m := range s.modules {
		if m.pusher != nil {
			o.Reverse = s.reverse
		}
	}
	hs := lane.Server(s, s.state.id, o)
	hs.HTTP2.MaxConcurrentStreams = streams
	// Both would end a connection that takes 1 kB/s: a ping and its answer stand
	// behind what the kernel holds, and it takes the next bytes in large steps.
	// Answers have deadlines, and TCP notices a peer that is gone.
	hs.HTTP2.SendPingTimeout, hs.HTTP2.WriteByteTimeout = 0, 0
	hs.BaseContext = func(net.Listener) context.Context { return base }
	return hs
}

// sweep removes what nobody needs any more, until ctx ends.
func (s *server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	last := ""
	for {
		now := time.Now()
		for _, m := range s.modules {
			m.origin.Sweep(now)
		}
		st, err := s.state.store.Sweep(ctx, now)
		s.metrics.swept(st)
		text := ""
		if err != nil && !errors.Is(err, ctx.Err()) {
			text = err.Error()
		}
		if text != "" && text != last { // not each minute
			s.warn("cannot tidy the state directory: %s", text)
		}
		last = text
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trouble takes what net/http says about connections.
type trouble struct {
	s *server

	mu    sync.Mutex // guards the rest
	since time.Time
	n     int
}

// mostTrouble is how many lines a minute are passed on.
const mostTrouble = 10

// Write implements io.Writer; each call is one line.
func (t *trouble) Write(p []byte) (int, error) {
	line := strings.TrimPrefix(strings.TrimSpace(string(p)), "http: ")
	if rest, ok := strings.CutPrefix(line, "TLS handshake error from "); ok {
		// Scanners and clients that do not trust the key; no news.
		remote, cause, _ := strings.Cut(rest, ": ")
		t.s.metrics.handshakes.Inc()
		t.s.cfg.Conn(Conn{Time: time.Now(), Remote: remote, Event: "tls", Cause: oneLine(cause)})
		return len(p), nil
	}
	now := time.Now()
	t.mu.Lock()
	if now.Sub(t.since) > time.Minute {
		t.since, t.n = now, 0
	}
	t.n++
	pass := t.n <= mostTrouble
	t.mu.Unlock()
	if pass {
		t.s.warn("%s", oneLine(line))
	}
	return len(p), nil
}
