package lane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

// Dialer makes lanes to one server. Only Endpoint is needed. The fields must
// not change after the first call; methods may be called from several
// goroutines. It remembers the addresses of the server and its TLS sessions,
// so one Dialer should serve a whole job.
type Dialer struct {
	// Endpoint says where the server is, its pin and the token. Module and
	// path do not matter here.
	Endpoint auth.URL

	// Proxy returns the proxy for a URL, or nil for none; see ProxyFromEnv.
	// nil: no proxy.
	Proxy func(*url.URL) (*url.URL, error)

	// Roots vouch for servers without a pin and for https proxies. nil:
	// those of the system.
	Roots *x509.CertPool

	// Resolve looks up a name. nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// DialContext makes a TCP connection to "address:port"; options of the
	// socket are then its business. nil: the system's TCP.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// MaxSeg bounds TCP segments in both directions, in bytes, where packets
	// of full size disappear; 1200 passes about everywhere. 0: no bound.
	MaxSeg int

	// Pacing bounds what a lane sends, in bytes per second, where the system
	// can (Linux). 0: no bound. What a lane receives is paced by the peer.
	Pacing uint64

	mu       sync.Mutex
	book     map[string]*addresses // by host
	sessions tls.ClientSessionCache
}

// Dial makes a lane on which this side makes the requests. It tries once, on
// all addresses of the server, and takes 30 s at most; when to try again is
// the caller's decision. Errors are faults: Network when trying again can
// help; Integrity for a wrong pin; Denied for a server that nobody vouches
// for; Incompatible for one that speaks something else.
func (d *Dialer) Dial(ctx context.Context) (*Conn, error) {
	l, err := d.connect(ctx, "h2")
	if err != nil {
		return nil, err
	}
	c, err := newConn(ctx, l.tls, l.m)
	if err != nil {
		return nil, err
	}
	c.token, c.handshake, c.proxy = d.Endpoint.Token, l.took, l.proxy
	return c, nil
}

// link is a connection after its TLS handshake.
type link struct {
	tls   *tls.Conn
	m     *meter
	took  time.Duration // one round trip, roughly
	proxy string        // "" for none
}

func (l *link) close() {
	l.m.end(ErrClosed, true)
	l.m.Conn.Close()
}

// connect tries one address after the other until a handshake is done. The
// addresses race only for the TCP connection, which a dead one shows by.
func (d *Dialer) connect(ctx context.Context, alpn string) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*handshakeTimeout, fault.New(fault.Network, "", "%s: no answer", d.Endpoint.Addr()))
	defer cancel()
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	host, port := d.Endpoint.Host, strconv.Itoa(d.Endpoint.Port)
	if proxy != nil {
		host, port = proxy.Hostname(), proxyPort(proxy)
	}
	book := d.addresses(host)
	addrs, err := book.get(ctx, d.Resolve)
	if err != nil {
		return nil, d.fail(ctx, host, err)
	}
	var worst error
	for len(addrs) > 0 {
		nc, used, took, err := race(ctx, addrs, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
			return d.dialTCP(ctx, net.JoinHostPort(a.String(), port))
		})
		if err != nil {
			book.failed()
			return nil, worse(worst, d.fail(ctx, net.JoinHostPort(host, port), err))
		}
		addrs = without(addrs, used)
		limit := handshakeTimeout
		if len(addrs) > 0 {
			limit = spareTimeout
		}
		l := &link{m: newMeter(nc), took: took}
		if proxy != nil {
			l.proxy = proxy.Host
		}
		err = d.handshake(ctx, l, proxy, alpn, limit)
		if err == nil {
			book.worked(used)
			return l, nil
		}
		l.close()
		worst = worse(worst, d.fail(ctx, net.JoinHostPort(used.String(), port), err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, worst
}

// handshake speaks with the proxy and does TLS, within the limit.
func (d *Dialer) handshake(ctx context.Context, l *link, proxy *url.URL, alpn string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.m.Conn.Close() })
	defer stop()
	var nc net.Conn = l.m
	err := error(nil)
	if proxy != nil {
		nc, err = connectVia(ctx, nc, proxy, d.Endpoint.Addr(), d.Roots)
	}
	if err == nil {
		start := time.Now()
		l.tls = tls.Client(nc, d.tlsConfig(alpn))
		if err = l.tls.HandshakeContext(ctx); err == nil && proxy != nil {
			l.took = time.Since(start)
		}
	}
	if err != nil {
		if e := context.Cause(ctx); e != nil && fault.ClassOf(err) == fault.Other {
			return e // what cut the connection, instead of "closed"
		}
		return err
	}
	if got := l.tls.ConnectionState().NegotiatedProtocol; got != alpn {
		return fault.New(fault.Incompatible, "check whether a proxy is in between", "%s does not speak %s", d.Endpoint.Addr(), alpn)
	}
	if !stop() { // the connection is being closed
		return context.Cause(ctx)
	}
	return nil
}

// tlsConfig switches Go's verification off only to do it in VerifyConnection,
// which runs on resumed sessions as well.
func (d *Dialer) tlsConfig(alpn string) *tls.Config {
	verify := auth.VerifyPinned(d.Endpoint.Pin)
	if d.Endpoint.Pin.IsZero() {
		verify = auth.VerifyRoots(d.Endpoint.Host, d.Roots)
	}
	named := func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err != nil {
			return fault.Wrap(fault.ClassOf(err), err, "", "%s", d.Endpoint.Addr())
		}
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions == nil {
		d.sessions = tls.NewLRUClientSessionCache(4)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         d.Endpoint.Host,
		NextProtos:         []string{alpn},
		InsecureSkipVerify: true,
		VerifyConnection:   named,
		ClientSessionCache: d.sessions,
	}
}

// dialTCP makes one attempt at one address.
func (d *Dialer) dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if d.DialContext != nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	nd := net.Dialer{
		KeepAliveConfig: keepAlive,
		Control:         control(tuning{maxSeg: d.MaxSeg, pacing: d.Pacing}),
	}
	nd.SetMultipathTCP(false)
	return nd.DialContext(ctx, "tcp", addr)
}

// fail returns err as a fault; when the context ended, that is why.
func (d *Dialer) fail(ctx context.Context, addr string, err error) error {
	if e := context.Cause(ctx); e != nil {
		if err = e; !errors.Is(e, context.DeadlineExceeded) {
			return e
		}
	}
	return classify(addr, err)
}

// worse returns the error that says more: a wrong key at one address must not
// hide behind a refused connection at another.
func worse(a, b error) error {
	rank := func(err error) int {
		switch fault.ClassOf(err) {
		case fault.Integrity:
			return 3
		case fault.Denied:
			return 2
		case fault.Network:
			return 0
		}
		return 1
	}
	if a == nil || errors.Is(b, context.Canceled) || rank(b) > rank(a) {
		return b
	}
	return a
}

// Serve makes a reverse lane: it dials the server and serves h on the
// connection until that ends or ctx does, whose cause it returns. The lane begins with a request of
// this side, "POST target" with the token and the header, which tells the
// server whose lane it is; when the server refuses, Serve returns the fault
// that it sent. Serve returns an error in any case: the jobs on a lane know
// by themselves whether they are done.
func (d *Dialer) Serve(ctx context.Context, target string, header http.Header, h http.Handler) error {
	l, err := d.connect(ctx, ReverseProto)
	if err != nil {
		return err
	}
	defer l.close()
	nc, err := d.offer(ctx, l, target, header)
	if err != nil {
		return err
	}
	return serveOne(ctx, nc, l.m, h, l.tls.RemoteAddr().String())
}
