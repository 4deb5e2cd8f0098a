package netsim

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Addr is the address of an end of a connection, "host:port".
type Addr string

// Network returns "tcp".
func (a Addr) Network() string { return "tcp" }

func (a Addr) String() string { return string(a) }

// Conn is one end of a connection. Its errors satisfy errors.Is with those of
// a TCP connection: syscall.ECONNRESET, ETIMEDOUT and EPIPE, net.ErrClosed,
// os.ErrDeadlineExceeded.
type Conn struct {
	f             *flow
	side          Side
	local, remote Addr
	in, out       *half

	err     error // what ended the connection, of syscall's
	closed  bool
	writing bool // one Write at a time
	rd, wd  deadline
}

var _ net.Conn = (*Conn)(nil)

// deadline is set by its timer, so that waiting needs no clock.
type deadline struct {
	timer   *time.Timer
	id      int
	expired bool
}

// Read implements net.Conn. What arrived before a reset can still be read.
func (c *Conn) Read(b []byte) (int, error) {
	l, h := c.f.l, c.in
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch n := h.arrived - h.read; {
		case c.closed:
			return 0, c.wrap("read", net.ErrClosed)
		case c.rd.expired:
			return 0, c.wrap("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case n > 0:
			b = b[:min(int64(len(b)), n)]
			h.buf.pop(b)
			h.read += int64(len(b))
			h.consumed()
			return len(b), nil
		case c.err != nil:
			return 0, c.wrap("read", os.NewSyscallError("read", c.err))
		case h.finArrived:
			return 0, io.EOF
		}
		h.readable.Wait()
	}
}

// Write implements net.Conn. It returns when everything is queued for sending,
// which does not mean that it was sent.
func (c *Conn) Write(b []byte) (int, error) {
	l, h := c.f.l, c.out
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := false
	defer func() {
		if mine {
			c.writing = false
			h.writable.Broadcast()
		}
	}()
	done := 0
	for {
		space := int64(h.p.Queue) - (h.written - h.sent)
		switch {
		case done > 0 && done == len(b):
			return done, nil
		case c.closed:
			return done, c.wrap("write", net.ErrClosed)
		case c.wd.expired:
			return done, c.wrap("write", os.ErrDeadlineExceeded)
		case c.err != nil:
			return done, c.wrap("write", os.NewSyscallError("write", c.err))
		case h.fin:
			return done, c.wrap("write", os.NewSyscallError("write", syscall.EPIPE))
		case c.writing && !mine:
		case len(b) == 0:
			return 0, nil
		case space > 0:
			mine, c.writing = true, true
			n := min(space, int64(len(b)-done))
			h.buf.push(b[done : done+int(n)])
			h.written += n
			done += int(n)
			h.kick()
			continue
		default:
			mine, c.writing = true, true
		}
		h.writable.Wait()
	}
}

// Close implements net.Conn. What is queued is still sent, and the other end
// reads it and then io.EOF; but as with TCP the other end sees a reset when
// bytes that had arrived were not read, or when it goes on sending.
func (c *Conn) Close() error {
	l := c.f.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	c.close(c.in.arrived > c.in.read)
	return nil
}

// Abort closes the connection and resets the other end, as closing a TCP
// connection after SetLinger(0) does.
func (c *Conn) Abort() {
	l := c.f.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed {
		c.close(true)
	}
}

func (c *Conn) close(reset bool) {
	c.closed = true
	c.rd.stop()
	c.wd.stop()
	c.in.buf.discard(int(c.in.arrived - c.in.read))
	c.in.read = c.in.arrived
	switch {
	case c.err != nil:
	case reset:
		c.err = net.ErrClosed
		c.out.cut()
		c.out.sendReset()
	default:
		c.out.fin = true
		c.out.kick()
	}
	c.in.readable.Broadcast()
	c.out.writable.Broadcast()
	c.f.l.drop(c.f)
}

// CloseWrite ends the stream that this end sends. The other can still send.
func (c *Conn) CloseWrite() error {
	l := c.f.l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
		return c.wrap("close", net.ErrClosed)
	case c.err != nil:
		return c.wrap("close", os.NewSyscallError("shutdown", c.err))
	}
	c.out.fin = true
	c.out.kick()
	c.out.writable.Broadcast()
	return nil
}

// fail ends the connection at this end only.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.out.cut()
	if errors.Is(err, syscall.ECONNRESET) && !c.closed {
		c.f.l.stats.Resets++
	}
	c.in.readable.Broadcast()
	c.out.writable.Broadcast()
	c.f.l.drop(c.f)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(&c.rd, t, func() { c.in.readable.Broadcast() })
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(&c.wd, t, func() { c.out.writable.Broadcast() })
}

func (c *Conn) setDeadline(d *deadline, t time.Time, wake func()) error {
	l := c.f.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.wrap("set", net.ErrClosed)
	}
	d.set(&l.mu, t, wake)
	return nil
}

// set changes the deadline to t; wake is called, with mu held, when it passes.
// The caller holds mu.
func (d *deadline) set(mu *sync.Mutex, t time.Time, wake func()) {
	d.stop()
	d.expired = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expired = true
		wake()
		return
	}
	id := d.id
	d.timer = time.AfterFunc(wait, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.id == id {
			d.expired = true
			wake()
		}
	})
}

func (d *deadline) stop() {
	d.id++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (c *Conn) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
