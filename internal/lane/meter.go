package lane

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// meter counts what passes a connection, and keeps the reason why it ended.
// It sits right above the socket, below TLS, where a slow peer's bytes show
// before they make up a whole record or frame.
type meter struct {
	net.Conn
	in, out  atomic.Int64
	start    time.Time
	lastRead atomic.Int64 // nanoseconds after start, monotonic
	stuck    atomic.Bool  // a deadline of a write passed

	paced  atomic.Int64 // bytes per second, as the peer wished; 0: none
	nice   atomic.Bool  // as the peer wished
	active atomic.Int64 // requests under way, and the handshake
	onEnd  func(error)  // called once, when it ends; may be nil
	once   sync.Once
	done   chan struct{}
	err    error // both are set before done is closed
	ours   bool  // err was given by who closed the connection here
}

func newMeter(c net.Conn) *meter {
	return &meter{Conn: c, start: time.Now(), done: make(chan struct{})}
}

// meterOf returns the meter of c, when c or what it wraps is one.
func meterOf(c net.Conn) *meter {
	for c != nil {
		if m, ok := c.(*meter); ok {
			return m
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = w.NetConn()
	}
	return nil
}

// NetConn returns the connection below, as tls.Conn's does.
func (m *meter) NetConn() net.Conn { return m.Conn }

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if n > 0 {
		m.in.Add(int64(n))
		m.lastRead.Store(int64(time.Since(m.start)))
	}
	// A deadline is the business of who set it.
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		m.end(err, false)
	}
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.out.Add(int64(n))
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		m.stuck.Store(true)
	default:
		m.end(err, false)
	}
	return n, err
}

// errLost stands for a close by net/http, which tells nobody its reason.
var errLost = errors.New("closed by this side")

func (m *meter) Close() error {
	if m.stuck.Load() || m.idle() >= pingTimeout {
		m.end(os.ErrDeadlineExceeded, false)
	}
	m.end(errLost, false)
	return m.Conn.Close()
}

// idle returns how long nothing was read.
func (m *meter) idle() time.Duration {
	return time.Since(m.start) - time.Duration(m.lastRead.Load())
}

// reason returns why the connection ended, or nil. What the network did is a
// fault about addr; a cause that was given stays what it is.
func (m *meter) reason(addr string) error {
	select {
	case <-m.done:
		if m.ours {
			return m.err
		}
		return classify(addr, m.err)
	default:
		return nil
	}
}

// end records the first reason.
func (m *meter) end(err error, ours bool) {
	m.once.Do(func() {
		m.err, m.ours = err, ours
		close(m.done)
		if m.onEnd != nil {
			m.onEnd(err)
		}
	})
}

// moved returns how many bytes have crossed the connection, either way: those
// that came, and those that the peer has acknowledged.
func (m *meter) moved() int64 {
	n := m.in.Load()
	if i, ok := ReadInfo(m.Conn); ok {
		n += int64(i.BytesAcked)
	}
	return n
}

// stalls reports whether something is under way and nothing comes of it.
func (m *meter) stalls() bool {
	if m.active.Load() > 0 && m.idle() >= stallAfter*3/2 {
		return true
	}
	i, ok := ReadInfo(m.Conn)
	return ok && i.Backoff > 0
}
