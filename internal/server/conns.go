package server

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// guard counts connections and bounds them. Those above a bound are told so
// and sent away; so many more that even this costs too much are closed unseen.
type guard struct {
	most, perAddr int
	m             *metrics
	report        func(Conn)

	mu   sync.Mutex // guards the rest
	last uint64
	all  int
	by   map[netip.Prefix]int
	new  map[netip.Prefix]int // those that have shown no token yet
	open map[*conn]struct{}
	done tcpSum // of connections that are closed
	told tcpSum // as it was exposed last
}

func newGuard(most, perAddr int, m *metrics, report func(Conn)) *guard {
	g := &guard{
		most: most, perAddr: perAddr, m: m, report: report,
		by: map[netip.Prefix]int{}, new: map[netip.Prefix]int{}, open: map[*conn]struct{}{},
	}
	m.reg.MustRegister(g)
	return g
}

// beyond is how many connections above a bound are still answered.
func beyond(bound int) int { return bound + bound/8 + 4 }

// conn is a counted connection.
type conn struct {
	net.Conn
	g     *guard
	id    uint64
	key   netip.Prefix
	start time.Time
	// over says why requests on it are refused; "" if they are not.
	over     string
	lane     atomic.Bool // it speaks the native protocol
	tcp      tcpSum      // at its end
	in, out  atomic.Int64
	requests atomic.Int64
	once     sync.Once   // before it is closed
	gone     sync.Once   // after
	stranger bool        // guarded by g.mu: it has shown no token yet
	timer    *time.Timer // closes a stranger's connection that makes no request
}

const (
	// mostNew bounds the connections of one address that have shown no token.
	mostNew = 128
	// firstRequest is how long a connection may take to make its first request.
	firstRequest = 20 * time.Second
)

// trust notes that a request on the connection had a token.
func (n *conn) trust() {
	n.g.mu.Lock()
	defer n.g.mu.Unlock()
	n.known()
}

// known ends counting the connection as a stranger's. Called with the mutex
// held.
func (n *conn) known() {
	if !n.stranger {
		return
	}
	n.stranger = false
	if n.g.new[n.key]--; n.g.new[n.key] == 0 {
		delete(n.g.new, n.key)
	}
}

// late closes a connection on which nothing was asked in time.
func (n *conn) late() {
	if n.requests.Load() > 0 {
		return
	}
	n.g.m.clientsCut.WithLabelValues(cutSilent).Inc()
	_ = n.Close()
}

// admit counts a connection. It returns nil if the connection is one too many
// to be answered; the caller closes it.
func (g *guard) admit(c net.Conn) *conn {
	n := &conn{Conn: c, g: g, key: prefixOf(c.RemoteAddr().String()), start: time.Now()}
	g.mu.Lock()
	here := g.by[n.key]
	switch {
	case g.all >= g.most:
		n.over = "too many connections"
	case here >= g.perAddr:
		n.over = "too many connections from one address"
	case g.new[n.key] >= mostNew:
		n.over = "too many connections from one address without a token"
	}
	drop := g.new[n.key] >= mostNew || g.all >= beyond(g.most) || here >= beyond(g.perAddr)
	g.last++
	n.id = g.last
	if !drop {
		g.all++
		g.by[n.key]++
		g.new[n.key]++
		n.stranger = true
		g.open[n] = struct{}{}
	}
	g.mu.Unlock()

	event := Conn{Time: n.start, ID: n.id, Remote: c.RemoteAddr().String(), Event: "open"}
	if n.over != "" {
		event.Event, event.Cause = "refused", n.over
		g.m.refused.Inc()
	}
	g.report(event)
	if drop {
		return nil
	}
	g.m.accepted.Inc()
	g.m.conns.Inc()
	g.mu.Lock()
	n.timer = time.AfterFunc(firstRequest, n.late)
	g.mu.Unlock()
	return n
}

func (g *guard) release(n *conn) {
	g.mu.Lock()
	if n.timer != nil {
		n.timer.Stop()
	}
	n.known()
	g.all--
	delete(g.open, n)
	g.done.add(n.tcp)
	if g.by[n.key]--; g.by[n.key] == 0 {
		delete(g.by, n.key)
	}
	g.mu.Unlock()
	g.m.conns.Dec()
	now := time.Now()
	g.report(Conn{
		Time: now, ID: n.id, Remote: n.RemoteAddr().String(), Event: "close",
		In: n.in.Load(), Out: n.out.Load(), Requests: n.requests.Load(), Elapsed: now.Sub(n.start),
	})
}

// NetConn returns the connection below, as tls.Conn's does.
func (n *conn) NetConn() net.Conn { return n.Conn }

func (n *conn) Read(p []byte) (int, error) {
	k, err := n.Conn.Read(p)
	n.in.Add(int64(k))
	n.g.m.received.Add(float64(k))
	return k, err
}

func (n *conn) Write(p []byte) (int, error) {
	k, err := n.Conn.Write(p)
	n.out.Add(int64(k))
	n.g.m.sent.Add(float64(k))
	return k, err
}

func (n *conn) Close() error {
	n.once.Do(func() { n.tcp, _ = n.readTCP() })
	err := n.Conn.Close()
	n.gone.Do(func() { n.g.release(n) })
	return err
}

// connOf finds the counted connection below c, or returns nil.
func connOf(c net.Conn) *conn {
	for c != nil {
		if n, ok := c.(*conn); ok {
			return n
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = w.NetConn()
	}
	return nil
}

// listener returns l with its connections counted.
func (g *guard) listener(l net.Listener) net.Listener { return &guarded{l, g} }

type guarded struct {
	net.Listener
	g *guard
}

func (l *guarded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if n := l.g.admit(c); n != nil {
			return n, nil
		}
		_ = c.Close()
	}
}

// prefixOf returns the address of "host:port", or the /64 that one IPv6 host
// can roam in.
func prefixOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// isLoopback reports whether "host:port" is this machine.
func isLoopback(remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	return err == nil && at.Addr().Unmap().IsLoopback()
}
