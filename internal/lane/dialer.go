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
	"sync"

	"github.com/ropeway/ropeway/internal/auth"
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

	// MaxSeg bounds TCP segments in both directions, in bytes. 0: small ones
	// are used only once packets of full size are found to disappear.
	MaxSeg int

	// Pacing bounds what a lane sends, in bytes per second, where the system
	// can (Linux). 0: no bound. What a lane receives is paced by the peer.
	Pacing uint64

	// LowEffort marks what is sent as less urgent than anything else (RFC 8622).
	LowEffort bool

	// Others are further ways to the same server, which has the same key:
	// other names, addresses or ports. They race. Those without a pin or a
	// token use the Endpoint's.
	Others []auth.URL

	// Warn is told what the user should know of the path, in a line. nil:
	// nobody wants it.
	Warn func(text string)

	tcp func(ctx context.Context, addr string, t tuning) (net.Conn, error) // for tests; nil: TCP

	mu       sync.Mutex
	book     map[string]*addresses // by host
	via      map[string]int        // connections by proxy
	warned   map[string]bool
	sessions tls.ClientSessionCache
	health   health
	segments segments
}

// Dial makes a lane on which this side makes the requests. It tries once, all
// addresses of the server and of its other ways, and takes 30 s at most; when
// to try again is the caller's decision. Errors are faults: Network when
// trying again can help; Integrity for a wrong pin; Denied for a server that
// nobody vouches for; Incompatible for one that speaks something else.
func (d *Dialer) Dial(ctx context.Context) (*Conn, error) {
	l, err := d.connect(ctx, "h2")
	if err != nil {
		return nil, err
	}
	c, err := newConn(ctx, l.tls, l.m)
	if err != nil {
		return nil, err
	}
	l.m.active.Add(-1)
	c.token, c.handshake, c.proxy = l.way.Token, l.took, l.proxy
	return c, nil
}

// tlsConfig switches Go's verification off only to do it in VerifyConnection,
// which runs on resumed sessions as well.
func (d *Dialer) tlsConfig(t target, alpn string) *tls.Config {
	verify := auth.VerifyPinned(t.way.Pin)
	if t.way.Pin.IsZero() {
		verify = auth.VerifyRoots(t.way.Host, d.Roots)
	}
	named := func(cs tls.ConnectionState) error {
		if err := verify(cs); err != nil {
			return stranger(t, cs, err)
		}
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions == nil {
		d.sessions = tls.NewLRUClientSessionCache(16)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         t.way.Host,
		NextProtos:         []string{alpn},
		InsecureSkipVerify: true,
		VerifyConnection:   named,
		ClientSessionCache: d.sessions,
	}
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
	l.m.active.Add(-1) // TCP tells whether what is sent arrives
	defer l.close()
	nc, err := d.offer(ctx, l, target, header)
	if err != nil {
		return err
	}
	return serveOne(ctx, nc, l.m, h, l.tls.RemoteAddr().String())
}
