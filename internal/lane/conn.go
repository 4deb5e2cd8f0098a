package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// ErrClosed is the reason of a lane that was closed without one.
var ErrClosed = errors.New("lane closed")

// Conn is the requesting end of a lane. Methods may be called from several
// goroutines. It must be closed, also after it ended by itself.
type Conn struct {
	m         *meter
	cc        *http.ClientConn
	remote    string
	proxy     string
	token     string
	handshake time.Duration
	tls       *tls.ConnectionState // nil in process
}

// newConn makes an HTTP/2 client on nc, whose bytes m counts. On an error nc
// is closed.
func newConn(ctx context.Context, nc net.Conn, m *meter) (*Conn, error) {
	c := &Conn{m: m, remote: m.RemoteAddr().String()}
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		cs := t.ConnectionState()
		c.tls = &cs
	}
	// Unencrypted is what the transport thinks: TLS is done, and by whom and
	// how is not its business.
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	t := &http.Transport{
		Protocols:              &h2,
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return nc, nil },
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2:                  http2Config(),
	}
	nc.SetWriteDeadline(time.Now().Add(handshakeTimeout)) // the preface
	cc, err := t.NewClientConn(ctx, "http", "lane:0")
	if err != nil {
		m.end(err, false)
		m.Conn.Close()
		return nil, classify(c.remote, err)
	}
	nc.SetWriteDeadline(time.Time{})
	c.cc = cc
	return c, nil
}

// http2Config leaves the windows at their defaults: small ones starve long
// links, and memory is bounded by what is requested.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxReadFrameSize: maxFrame,
		SendPingTimeout:  pingAfter,
		PingTimeout:      pingTimeout,
		WriteByteTimeout: pingTimeout,
	}
}

// RoundTrip sends a request on this lane. It adds the token and the version of
// the protocol, and scheme and host where the URL has none. It waits while the
// lane carries as many requests as the peer allows. The context ends the
// request and the reading of the answer. When the lane ended, the error, also
// that of the body, is Err; the other errors are Network faults.
func (c *Conn) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.Err(); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	if r.URL.Scheme == "" {
		r.URL.Scheme = "https"
	}
	if r.URL.Host == "" {
		r.URL.Host = "lane"
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Set(ProtocolHeader, Protocol)
	if c.token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	c.m.active.Add(1)
	resp, err := c.cc.RoundTrip(r)
	if err != nil {
		c.m.active.Add(-1)
		return nil, c.explain(r.Context(), err)
	}
	resp.Body = &body{ReadCloser: resp.Body, c: c, ctx: r.Context()}
	return resp, nil
}

// explain turns what HTTP/2 says into what happened.
func (c *Conn) explain(ctx context.Context, err error) error {
	if e := c.Err(); e != nil {
		return e
	}
	if e := context.Cause(ctx); e != nil {
		return e
	}
	return fault.Wrap(fault.Network, err, "", "%s: the request failed", c.remote)
}

// body explains its errors.
type body struct {
	io.ReadCloser
	c    *Conn
	ctx  context.Context
	once sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.c.explain(b.ctx, err)
	}
	return n, err
}

// Close says that no more of the answer is wanted.
func (b *body) Close() error {
	b.once.Do(func() { b.c.m.active.Add(-1) })
	return b.ReadCloser.Close()
}

// Close ends the lane at once; requests in flight fail with the cause, and Err
// returns it. The first cause counts; nil stands for ErrClosed.
func (c *Conn) Close(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	c.m.end(cause, true)
	c.m.Conn.Close() // first: TLS would wait for a peer that is gone
	c.cc.Close()
}

// Done is closed when the lane ended, for whatever reason.
func (c *Conn) Done() <-chan struct{} { return c.m.done }

// Err returns nil while the lane is up, and then why it ended: the cause given
// to Close, or a fault.
func (c *Conn) Err() error { return c.m.reason(c.remote) }

// In returns how many bytes were read from the network, TLS included.
func (c *Conn) In() int64 { return c.m.in.Load() }

// Out returns how many bytes were given to the network, TLS included.
func (c *Conn) Out() int64 { return c.m.out.Load() }

// LastRead returns when bytes last came in, or when the connection was made.
// Answers to pings count: this shows a dead lane, not a stalled one.
func (c *Conn) LastRead() time.Time {
	return c.m.start.Add(time.Duration(c.m.lastRead.Load()))
}

// RTT returns the kernel's estimate of the round trip, or else what the
// handshakes took; 0 in process. A relay in between, a tunnel or a proxy, hides
// the way behind it from the kernel, but not from the handshakes.
func (c *Conn) RTT() time.Duration {
	i, ok := c.Info()
	if !ok || i.RTT == 0 || i.RTT < c.handshake/4 && c.handshake > relayed {
		return c.handshake
	}
	return i.RTT
}

// Info returns what the kernel knows of the connection, as ReadInfo does.
func (c *Conn) Info() (Info, bool) { return ReadInfo(c.m.Conn) }

// CongestionControl returns the name of the algorithm that this side sends
// by, "" where that cannot be known.
func (c *Conn) CongestionControl() string { return CongestionControl(c.m.Conn) }

// SetPacing bounds what this side sends, in bytes per second; 0 lifts it.
func (c *Conn) SetPacing(rate uint64) error { return SetPacing(c.m.Conn, rate) }

// Remote returns the address of the peer, or of the proxy.
func (c *Conn) Remote() string { return c.remote }

// Proxy returns host and port of the proxy, "" for none. With one, RTT, Info
// and CongestionControl are about the way to it.
func (c *Conn) Proxy() string { return c.proxy }

// TLS returns the state after the handshake, nil for a lane in process.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Available returns how many requests can be sent without waiting.
func (c *Conn) Available() int { return c.cc.Available() }
