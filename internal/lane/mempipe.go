package lane

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memConn is one end of a connection in memory. Unlike net.Pipe's it buffers,
// so that the two sides work at the same time.
type memConn struct {
	in, out *ring
}

// ringSize holds a few of the largest frames.
const ringSize = 4 * maxFrame

func memPipe() (a, b *memConn) {
	x, y := newRing(), newRing()
	return &memConn{x, y}, &memConn{y, x}
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close lets the peer read what it was sent, and fails the rest.
func (c *memConn) Close() error {
	c.in.close(true)
	c.out.close(false)
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return pipeAddr{} }
func (c *memConn) RemoteAddr() net.Addr { return pipeAddr{} }

func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "memory" }
func (pipeAddr) String() string  { return "in-process" }

// ring carries bytes from one writer side to one reader side.
type ring struct {
	mu     sync.Mutex
	change sync.Cond // any of the below, or a deadline passed
	buf    []byte    // of ringSize
	start  int       // of the data in buf
	n      int       // bytes of data
	eof    bool      // the writer closed
	broken bool      // the reader closed

	readBy, writeBy deadline
}

type deadline struct {
	at    time.Time // zero for none
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newRing() *ring {
	r := &ring{buf: make([]byte, ringSize)}
	r.change.L = &r.mu
	return r
}

func (r *ring) read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.broken:
			return 0, net.ErrClosed
		case r.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case r.n > 0 || len(p) == 0:
			n := copy(p, r.buf[r.start:min(r.start+r.n, len(r.buf))])
			n += copy(p[n:], r.buf[:max(0, r.start+r.n-len(r.buf))])
			r.start, r.n = (r.start+n)%len(r.buf), r.n-n
			r.change.Broadcast()
			return n, nil
		case r.eof:
			return 0, io.EOF
		}
		r.change.Wait()
	}
}

func (r *ring) write(p []byte) (done int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.eof:
			return done, net.ErrClosed
		case r.broken:
			return done, syscall.EPIPE
		case r.writeBy.passed():
			return done, os.ErrDeadlineExceeded
		case len(p) == 0:
			return done, nil
		case r.n < len(r.buf):
			end := (r.start + r.n) % len(r.buf)
			n := copy(r.buf[end:min(len(r.buf), end+len(r.buf)-r.n)], p)
			r.n, done, p = r.n+n, done+n, p[n:]
			r.change.Broadcast()
			continue
		}
		r.change.Wait()
	}
}

func (r *ring) close(reader bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reader {
		r.broken = true
	} else {
		r.eof = true
	}
	for _, d := range []*deadline{&r.readBy, &r.writeBy} {
		if d.timer != nil && r.broken && r.eof {
			d.timer.Stop()
		}
	}
	r.change.Broadcast()
}

func (r *ring) setDeadline(d *deadline, t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = t; !t.IsZero() && !d.passed() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.change.Broadcast()
		})
	}
	r.change.Broadcast()
}
