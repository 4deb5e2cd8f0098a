package netsim

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// relayBuffer bounds what the proxy and the kernel hold of a connection at
// each of its four sockets' ends, in bytes, beside what the link holds.
const relayBuffer = 64 << 10

// TCPProxy relays real TCP connections through a Link.
type TCPProxy struct {
	link   *Link
	ln     *net.TCPListener
	far    net.Listener
	target string
	ctx    context.Context
	wg     sync.WaitGroup
}

// Proxy listens on a real TCP address and relays each connection across link
// to the real address target, so that programs which know nothing of the
// simulation run over it. Whatever the link does to a connection, resets
// included, both programs see, with two exceptions that are the kernel's: the
// proxy's side of a dial succeeds at once, and a dial that the link refuses or
// does not answer is reset after that. It runs until ctx is done. Several
// proxies can share a link; the link must not be one of a synctest bubble.
func Proxy(ctx context.Context, listen, target string, link *Link) (*TCPProxy, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	server, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	far, err := link.Listen("198.51.100.1:0")
	if err != nil {
		_ = server.Close()
		return nil, err
	}
	p := &TCPProxy{link: link, ln: server.(*net.TCPListener), far: far, target: target, ctx: ctx}
	stop := context.AfterFunc(ctx, func() {
		_ = p.ln.Close()
		_ = p.far.Close()
	})
	p.wg.Go(func() {
		defer stop()
		p.acceptNear()
	})
	p.wg.Go(p.acceptFar)
	return p, nil
}

// Addr returns the address that the proxy listens on.
func (p *TCPProxy) Addr() net.Addr { return p.ln.Addr() }

// Wait returns when ctx is done and every connection is closed.
func (p *TCPProxy) Wait() { p.wg.Wait() }

// acceptNear takes connections from real clients to the link.
func (p *TCPProxy) acceptNear() {
	for {
		c, err := p.ln.AcceptTCP()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors, most likely
			case <-time.After(100 * time.Millisecond):
			case <-p.ctx.Done():
			}
			continue
		}
		p.wg.Go(func() {
			s, err := p.link.DialContext(p.ctx, "tcp", p.far.Addr().String())
			if err != nil {
				abort(c)
				return
			}
			p.relay(c, s.(*Conn))
		})
	}
}

// acceptFar takes connections from the link to the real target.
func (p *TCPProxy) acceptFar() {
	for {
		s, err := p.far.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			d := net.Dialer{Timeout: 10 * time.Second}
			d.SetMultipathTCP(false)
			c, err := d.DialContext(p.ctx, "tcp", p.target)
			if err != nil {
				s.(*Conn).Abort()
				return
			}
			p.relay(c.(*net.TCPConn), s.(*Conn))
		})
	}
}

// relay copies between a real connection and a simulated one until both
// directions have ended or either end is reset, and closes both in the way
// that the first was.
func (p *TCPProxy) relay(tcp *net.TCPConn, sim *Conn) {
	// Errors of these leave the kernel's own sizes, which only blur the picture.
	_ = tcp.SetReadBuffer(relayBuffer)
	_ = tcp.SetWriteBuffer(relayBuffer)
	reset := sync.OnceFunc(func() {
		abort(tcp)
		sim.Abort()
	})
	stop := context.AfterFunc(p.ctx, reset)
	defer stop()

	var wg sync.WaitGroup
	wg.Go(func() {
		if copyStream(sim, tcp) != nil || sim.CloseWrite() != nil {
			reset()
		}
	})
	wg.Go(func() {
		if copyStream(tcp, sim) != nil || tcp.CloseWrite() != nil {
			reset()
		}
	})
	wg.Wait()
	_ = tcp.Close() // closed twice when reset; nothing is left to lose
	_ = sim.Close()
}

// copyStream copies until the end of src. It hides the types of both, so that
// io.Copy uses its buffer and not another way round.
func copyStream(dst io.Writer, src io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 32<<10))
	return err
}

// abort closes a real connection with a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
