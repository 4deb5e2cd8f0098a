package lane

import (
	"context"
	"net"
	"net/http"

	"github.com/ropeway/ropeway/internal/fault"
)

// Local makes lanes to a handler in this process, in memory and without TLS,
// for a source and a destination on the same host. It is used like a Dialer,
// and must be closed.
type Local struct {
	server *http.Server
	conns  *connListener
	served chan struct{}
}

// Pipe returns a Local that serves h.
func Pipe(h http.Handler) *Local {
	l := &Local{server: plainServer(h), conns: newConnListener(), served: make(chan struct{})}
	l.server.IdleTimeout = 0
	go func() {
		defer close(l.served)
		_ = l.server.Serve(l.conns)
	}()
	return l
}

// Dial makes a lane.
func (l *Local) Dial(ctx context.Context) (*Conn, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	a, b := memPipe()
	var server net.Conn = newMeter(b)
	if !l.conns.put(server) {
		return nil, fault.Wrap(fault.Other, net.ErrClosed, "", "in-process lanes")
	}
	m := newMeter(a)
	return newConn(ctx, m, m)
}

// Close ends all lanes. Handlers that still run see their context end.
func (l *Local) Close() error {
	err := l.server.Close()
	_ = l.conns.Close()
	<-l.served
	return err
}
