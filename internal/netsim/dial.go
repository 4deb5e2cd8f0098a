package netsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	dialerHost = "192.0.2.1" // of the range that RFC 5737 keeps for documentation
	backlog    = 128         // connections waiting for Accept
	synRetries = 6           // Linux's: the last attempt is after 63 s, the end after 127 s
	firstPort  = 49152
)

type listener struct {
	l       *Link
	addr    Addr
	ready   []*Conn
	waiting int // established, the last step of the handshake is under way
	closed  bool
	cond    sync.Cond
}

// Listen listens on the listening host. The address is any "host:port"; port
// 0 is replaced by a free one. It is what DialContext must be given.
func (l *Link) Listen(addr string) (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	if port == "0" {
		for {
			addr = net.JoinHostPort(host, fmt.Sprint(firstPort+l.ports%(1<<16-firstPort)))
			l.ports++
			if l.listeners[addr] == nil {
				break
			}
		}
	}
	if l.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: Addr(addr), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	ln := &listener{l: l, addr: Addr(addr)}
	ln.cond.L = &l.mu
	l.listeners[addr] = ln
	return ln, nil
}

// Accept implements net.Listener.
func (ln *listener) Accept() (net.Conn, error) {
	ln.l.mu.Lock()
	defer ln.l.mu.Unlock()
	for len(ln.ready) == 0 && !ln.closed {
		ln.cond.Wait()
	}
	if ln.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: ln.addr, Err: net.ErrClosed}
	}
	c := ln.ready[0]
	ln.ready = ln.ready[1:]
	return c, nil
}

// Close implements net.Listener. Connections that nobody accepted are reset.
func (ln *listener) Close() error {
	ln.l.mu.Lock()
	defer ln.l.mu.Unlock()
	if ln.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: ln.addr, Err: net.ErrClosed}
	}
	ln.closed = true
	delete(ln.l.listeners, string(ln.addr))
	for _, c := range ln.ready {
		c.close(true)
	}
	ln.ready = nil
	ln.cond.Broadcast()
	return nil
}

// Addr implements net.Listener.
func (ln *listener) Addr() net.Addr { return ln.addr }

// dial is one call of DialContext.
type dial struct {
	l      *Link
	id     uint64
	addr   string
	rng    *rand.Rand
	tries  int
	over   bool
	result chan dialResult
}

type dialResult struct {
	conn *Conn
	err  error
}

// DialContext connects to an address of the listening host; the network must
// be a TCP one. It costs a round trip. Where nothing answers it tries again
// after 1, 3, 7 … 63 s and fails with syscall.ETIMEDOUT after 127 s; where
// nobody listens it fails with ECONNREFUSED. The connection is a *Conn.
func (l *Link) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: Addr(addr), Err: err}
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return fail(net.UnknownNetworkError(network))
	}
	if err := ctx.Err(); err != nil {
		return fail(dialError(err))
	}
	l.mu.Lock()
	l.ids++
	d := &dial{l: l, id: l.ids, addr: addr, result: make(chan dialResult, 1)}
	d.rng = l.random(d.id, 2)
	l.at(l.time(), d.id<<1, d.attempt)
	l.mu.Unlock()
	select {
	case r := <-d.result:
		if r.err != nil {
			return fail(os.NewSyscallError("connect", r.err))
		}
		return r.conn, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	d.over = true
	l.mu.Unlock()
	select {
	case r := <-d.result: // just in time; but the caller wants it no more
		if r.conn != nil {
			r.conn.Abort()
		}
	default:
	}
	return fail(dialError(ctx.Err()))
}

// dialError makes a context's deadline a timeout, as package net does.
func dialError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func (d *dial) finish(c *Conn, err error) {
	d.over = true
	d.result <- dialResult{c, err}
}

// attempt sends a SYN and plans the next.
func (d *dial) attempt() {
	if d.over {
		return
	}
	l := d.l
	if d.tries > synRetries {
		d.finish(nil, syscall.ETIMEDOUT)
		return
	}
	now := l.time()
	l.at(now+time.Second<<d.tries, d.id<<1, d.attempt)
	d.tries++
	d.send(&l.paths[0], d.answer)
}

// send has fn called when a packet has crossed p, if it does.
func (d *dial) send(p *path, fn func()) {
	if p.dark > 0 || p.Loss > 0 && d.rng.Float64() < p.Loss {
		return
	}
	delay := p.Delay
	if p.Jitter > 0 {
		delay += time.Duration(d.rng.Int64N(int64(p.Jitter) + 1))
	}
	l := d.l
	l.at(l.time()+delay, d.id<<1, func() {
		if p.dark == 0 && !d.over {
			fn()
		}
	})
}

// answer is what the listening host does with a SYN.
func (d *dial) answer() {
	l := d.l
	ln := l.listeners[d.addr]
	back := &l.paths[1]
	switch {
	case l.dialing == DialDrop:
	case l.dialing == DialRefuse || ln == nil:
		l.stats.Refused++
		d.send(back, func() { d.finish(nil, syscall.ECONNREFUSED) })
	case len(ln.ready)+ln.waiting < backlog:
		d.send(back, func() { d.establish(ln) })
	}
}

// establish makes the connection; the listener has it a one-way delay later.
func (d *dial) establish(ln *listener) {
	l := d.l
	local := Addr(net.JoinHostPort(dialerHost, fmt.Sprint(1024+d.id%(1<<16-1024))))
	f := l.newFlow(d.id, local, ln.addr)
	ln.waiting++
	var offer func()
	offer = func() {
		c := f.ends[1]
		switch {
		case l.paths[0].dark > 0:
			l.at(l.time()+time.Second, d.id<<1, offer)
			return
		case ln.closed && c.err == nil:
			c.close(true)
		case c.err == nil && !f.lost:
			ln.ready = append(ln.ready, c)
			ln.cond.Signal()
		}
		ln.waiting--
	}
	l.at(l.time()+l.paths[0].Delay, d.id<<1, offer)
	d.finish(f.ends[0], nil)
}
