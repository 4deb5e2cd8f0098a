package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

const (
	// lookupGap is how much longer than for the first name the others are
	// waited for.
	lookupGap = 50 * time.Millisecond
	// proxyMost is how many connections one proxy is given.
	proxyMost = 8
	// relayed is how long a handshake takes at least that goes farther than TCP
	// does, through a tunnel say.
	relayed = 25 * time.Millisecond
)

// link is a connection after its TLS handshake.
type link struct {
	tls   *tls.Conn
	m     *meter
	way   *auth.URL
	took  time.Duration // one round trip, roughly
	proxy string        // "" for none
	small bool
}

func (l *link) close() {
	l.m.end(ErrClosed, true)
	l.m.Conn.Close()
}

// connect races all that leads to the server until a handshake is done.
func (d *Dialer) connect(ctx context.Context, alpn string) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*handshakeTimeout, fault.New(fault.Network, "", "%s: no answer", d.Endpoint.Addr()))
	defer cancel()
	targets, err := d.targets(ctx)
	if err != nil {
		return nil, err
	}
	small := false
	if d.MaxSeg == 0 && d.DialContext == nil {
		var found bool
		if small, found = d.segments.choose(); found {
			d.warnSmall()
		}
	}
	for i := range targets {
		targets[i].small = small
	}
	targets = d.health.order(targets)
	shrink := !small && d.MaxSeg == 0 && d.DialContext == nil
	var wrong error // a key that is not the server's
	l, won, err := race(ctx, targets, shrink, func(ctx context.Context, t target, up func(time.Duration)) (*link, error) {
		return d.attempt(ctx, t, alpn, up)
	}, func(t target, err error) {
		if ctx.Err() == nil {
			d.health.failed(t.place)
		}
		if fault.ClassOf(err) == fault.Integrity {
			wrong = err
		}
	})
	if err != nil {
		for _, t := range targets {
			t.book.failed()
		}
		if len(targets) == 0 {
			err = errors.New("no address")
		}
		return nil, d.fail(ctx, d.Endpoint.Addr(), err)
	}
	d.health.worked(won.place)
	if wrong != nil {
		d.warn("one of the server's addresses was left out: " + wrong.Error())
	}
	if d.segments.shook(l.small, l.small && !small) {
		d.warnSmall()
	}
	return l, nil
}

// targets returns everything that leads to the server: the addresses of each
// way in turn. It waits for names that were never looked up.
func (d *Dialer) targets(ctx context.Context) ([]target, error) {
	ways, err := d.ways()
	if err != nil {
		return nil, err
	}
	type found struct {
		way   int
		addrs []netip.Addr
		err   error
	}
	results := make(chan found, len(ways))
	for i, w := range ways {
		go func() {
			addrs, err := w.book.get(ctx)
			results <- found{i, addrs, err}
		}()
	}
	lists := make([][]netip.Addr, len(ways))
	var first error
	var gap <-chan time.Time
wait:
	for range ways {
		select {
		case f := <-results:
			switch {
			case f.err == nil:
				lists[f.way] = f.addrs
				if gap == nil {
					gap = time.After(lookupGap)
				}
			case first == nil || f.way == 0:
				first = d.fail(ctx, ways[f.way].host(), f.err)
			}
		case <-gap:
			break wait
		}
	}
	var all []target
	for i, more := 0, true; more; i++ {
		more = false
		for w, list := range lists {
			if i < len(list) {
				t := ways[w]
				t.addr = list[i]
				all, more = append(all, t), true
			}
		}
	}
	if len(all) == 0 {
		return nil, first
	}
	return all, nil
}

// host is what is looked up.
func (t *target) host() string {
	if t.proxy != nil {
		return t.proxy.Hostname()
	}
	return t.way.Host
}

// ways returns the endpoints, without addresses.
func (d *Dialer) ways() ([]target, error) {
	var ways []target
	for i := range len(d.Others) + 1 {
		u := d.Endpoint
		if i > 0 {
			u = d.Others[i-1]
			if u.Pin.IsZero() {
				u.Pin = d.Endpoint.Pin
			}
			if u.Token == "" {
				u.Token = d.Endpoint.Token
			}
		}
		proxy, err := d.proxy(&u)
		if err != nil {
			return nil, err
		}
		t := target{way: &u, proxy: proxy}
		if t.port = strconv.Itoa(u.Port); proxy != nil {
			t.port = proxyPort(proxy)
		}
		t.book = d.addresses(t.host())
		ways = append(ways, t)
	}
	return ways, nil
}

func (d *Dialer) addresses(host string) *addresses {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.book == nil {
		d.book = make(map[string]*addresses)
	}
	if d.book[host] == nil {
		d.book[host] = newAddresses(host, d.Resolve)
	}
	return d.book[host]
}

// attempt connects to one target, and does the handshakes.
func (d *Dialer) attempt(ctx context.Context, t target, alpn string, up func(time.Duration)) (*link, error) {
	release, err := d.takeProxy(t.proxy)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	nc, err := d.dialTCP(ctx, t)
	if err != nil {
		release()
		return nil, d.fail(ctx, t.String(), err)
	}
	took := time.Since(begin)
	up(took)
	l := &link{m: newMeter(nc), way: t.way, took: took, small: t.small}
	if t.proxy != nil {
		l.proxy = t.proxy.Host
	}
	l.m.active.Add(1) // the handshake
	l.m.onEnd = func(err error) {
		release()
		if errors.Is(err, errReset) {
			d.health.reset(t.place)
		}
	}
	d.segments.add(t.small, l.m.moved, l.m.stalls, l.m.done)
	if err := d.handshake(ctx, l, t, alpn); err != nil {
		l.close()
		return nil, d.fail(ctx, t.String(), err)
	}
	return l, nil
}

// handshake speaks with the proxy and does TLS.
func (d *Dialer) handshake(ctx context.Context, l *link, t target, alpn string) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.m.Conn.Close() })
	defer stop()
	var nc net.Conn = l.m
	err := error(nil)
	if t.proxy != nil {
		nc, err = connectVia(ctx, nc, t.proxy, t.way.Addr(), d.Roots)
	}
	if err == nil {
		start := time.Now()
		l.tls = tls.Client(nc, d.tlsConfig(t, alpn))
		if err = l.tls.HandshakeContext(ctx); err == nil {
			if took := time.Since(start); t.proxy != nil || took > relayed && took > 4*l.took {
				l.took = took // the way does not end where TCP does
			}
		}
	}
	if err != nil {
		if e := context.Cause(ctx); e != nil && fault.ClassOf(err) == fault.Other {
			return e // what cut the connection, instead of "closed"
		}
		return err
	}
	if got := l.tls.ConnectionState().NegotiatedProtocol; got != alpn {
		return fault.New(fault.Incompatible, "check whether a proxy is in between", "%s does not speak %s", t.way.Addr(), alpn)
	}
	if !stop() { // the connection is being closed
		return context.Cause(ctx)
	}
	return nil
}

// dialTCP makes one attempt at one address.
func (d *Dialer) dialTCP(ctx context.Context, t target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if d.DialContext != nil {
		return d.DialContext(ctx, "tcp", t.String())
	}
	tune := tuning{maxSeg: d.MaxSeg, pacing: d.Pacing, lowEffort: d.LowEffort}
	if t.small {
		tune.maxSeg = smallSegment
	}
	if d.tcp != nil {
		return d.tcp(ctx, t.String(), tune)
	}
	nd := net.Dialer{KeepAliveConfig: keepAlive, Control: control(tune)}
	nd.SetMultipathTCP(false) // options and TCP_INFO would be those of another socket
	return nd.DialContext(ctx, "tcp", t.String())
}

// takeProxy counts one more connection through a proxy.
func (d *Dialer) takeProxy(p *url.URL) (release func(), err error) {
	if p == nil {
		return func() {}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.via[p.Host] >= proxyMost {
		return nil, fault.New(fault.Network, "", "%d connections through the proxy %s are open, and it is given no more", proxyMost, p.Host)
	}
	if d.via == nil {
		d.via = map[string]int{}
	}
	d.via[p.Host]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.via[p.Host]--
	}, nil
}

// MostLanes returns how many lanes the way to the server bears, 0 for no
// bound: proxies are given few connections.
func (d *Dialer) MostLanes() int {
	if p, err := d.proxy(&d.Endpoint); err == nil && p != nil {
		return proxyMost
	}
	return 0
}

// warn tells the user once.
func (d *Dialer) warn(text string) {
	d.mu.Lock()
	told := d.warned[text]
	if d.warned == nil {
		d.warned = map[string]bool{}
	}
	if len(d.warned) < 64 {
		d.warned[text] = true
	}
	d.mu.Unlock()
	if d.Warn != nil && !told {
		d.Warn(text)
	}
}

func (d *Dialer) warnSmall() {
	d.warn("packets of full size do not get through to " + d.Endpoint.Addr() + " (a wrong MTU on the way): going on with small ones of " +
		strconv.Itoa(smallSegment) + " bytes")
}
