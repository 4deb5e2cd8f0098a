package lane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

func TestPin(t *testing.T) {
	id := identity(t)
	u := serve(t, "127.0.0.1:0", id, echo, ServerOptions{})

	wrong := u
	wrong.Pin[0] ^= 1
	_, err := (&Dialer{Endpoint: wrong}).Dial(testContext(t))
	if fault.ClassOf(err) != fault.Integrity || !strings.Contains(err.Error(), id.Pin.String()) ||
		!strings.Contains(err.Error(), wrong.Pin.String()) || !strings.Contains(err.Error(), u.Addr()) {
		t.Error("wrong:", err)
	}

	missing := u
	missing.Pin = auth.Pin{}
	_, err = (&Dialer{Endpoint: missing}).Dial(testContext(t))
	if fault.ClassOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "#pin="+id.Pin.String()) {
		t.Error("missing:", err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(id.Certificate.Leaf)
	dial(t, &Dialer{Endpoint: missing, Roots: roots})
}

func TestResumptionChecksPin(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	d := &Dialer{Endpoint: u}
	for i := range 2 {
		c := dial(t, d)
		if c.TLS().DidResume != (i > 0) {
			t.Errorf("connection %d: resumed %t", i, c.TLS().DidResume)
		}
		text(t, get(t, c, "/")) // the ticket has come
	}
	other := &Dialer{Endpoint: u, sessions: d.sessions}
	other.Endpoint.Pin[0] ^= 1
	if _, err := other.Dial(testContext(t)); fault.ClassOf(err) != fault.Integrity {
		t.Error(err)
	}
}

func TestDialFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := urlOf(l.Addr(), nil)
	l.Close()
	_, err = (&Dialer{Endpoint: closed}).Dial(testContext(t))
	if fault.ClassOf(err) != fault.Network || err.Error() != closed.Addr()+": connection refused" ||
		!errors.Is(err, errRefused) || fault.HintOf(err) == "" {
		t.Error(err)
	}

	talks := listenAndTalk(t, "220 mail.example\r\n")
	if _, err := (&Dialer{Endpoint: talks}).Dial(testContext(t)); fault.ClassOf(err) != fault.Incompatible {
		t.Error("no TLS:", err)
	}
	hangsUp := listenAndTalk(t, "")
	if _, err := (&Dialer{Endpoint: hangsUp}).Dial(testContext(t)); fault.ClassOf(err) != fault.Network {
		t.Error("hangs up:", err)
	}

	old := httpsServer(t, tls.VersionTLS12)
	if _, err := (&Dialer{Endpoint: old}).Dial(testContext(t)); fault.ClassOf(err) != fault.Incompatible {
		t.Error("TLS 1.2:", err)
	}
	h1 := httpsServer(t, tls.VersionTLS13)
	if _, err := (&Dialer{Endpoint: h1}).Dial(testContext(t)); fault.ClassOf(err) != fault.Incompatible {
		t.Error("HTTP/1.1:", err)
	}
}

// listenAndTalk serves connections by saying s and closing.
func listenAndTalk(t *testing.T, s string) auth.URL {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte(s))
			c.(*net.TCPConn).CloseWrite()
			c.Read(make([]byte, 1<<12)) // no reset
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return urlOf(l.Addr(), nil)
}

// httpsServer speaks HTTP/1.1 and at most the version.
func httpsServer(t *testing.T, version uint16) auth.URL {
	id := identity(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(echo, id, ServerOptions{MinTLS: tls.VersionTLS12})
	s.Protocols.SetHTTP2(false)
	s.TLSConfig.MaxVersion, s.TLSConfig.NextProtos = version, nil
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
	return urlOf(l.Addr(), id)
}

func TestNames(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	u.Host = "server.example"
	lookups := 0
	d := &Dialer{Endpoint: u, Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		if lookups++; lookups > 1 || host != u.Host {
			return nil, errors.New("the resolver fails")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}}
	dial(t, d)
	dial(t, d)
	if lookups != 1 {
		t.Error(lookups, "lookups")
	}
	for _, err := range []error{nil, &net.DNSError{IsNotFound: true}} {
		d := &Dialer{Endpoint: u, Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, err }}
		if _, err := d.Dial(testContext(t)); fault.ClassOf(err) != fault.Network || err.Error() != "server.example: name not found" {
			t.Error(err)
		}
	}
}

var (
	dead  = netip.MustParseAddr("192.0.2.1")
	dead2 = netip.MustParseAddr("192.0.2.2")
	live  = netip.MustParseAddr("2001:db8::1")
)

// TestRace needs no network: which attempts are made, and when.
func TestRace(t *testing.T) {
	type call struct {
		addr netip.Addr
		at   time.Duration
	}
	for name, c := range map[string]struct {
		addrs []netip.Addr
		takes map[netip.Addr]time.Duration // 0: never answers
		fails map[netip.Addr]bool
		want  []call
		won   netip.Addr
		after time.Duration
	}{
		"dead then live": {addrs: []netip.Addr{dead, live}, takes: map[netip.Addr]time.Duration{live: 50 * time.Millisecond},
			want: []call{{dead, 0}, {live, 250 * time.Millisecond}}, won: live, after: 300 * time.Millisecond},
		"failing then live": {addrs: []netip.Addr{dead, live}, fails: map[netip.Addr]bool{dead: true},
			takes: map[netip.Addr]time.Duration{dead: 10 * time.Millisecond, live: 50 * time.Millisecond},
			want:  []call{{dead, 0}, {live, 10 * time.Millisecond}}, won: live, after: 60 * time.Millisecond},
		"second attempt": {addrs: []netip.Addr{live}, takes: map[netip.Addr]time.Duration{live: 400 * time.Millisecond},
			want: []call{{live, 0}, {live, 250 * time.Millisecond}}, won: live, after: 400 * time.Millisecond},
		"fails once": {addrs: []netip.Addr{live}, takes: map[netip.Addr]time.Duration{live: 5 * time.Millisecond},
			fails: map[netip.Addr]bool{live: true}, want: []call{{live, 0}}, after: 5 * time.Millisecond},
		"all dead": {addrs: []netip.Addr{dead, dead2}, want: []call{
			{dead, 0}, {dead2, 250 * time.Millisecond}, {dead, 500 * time.Millisecond}, {dead2, 750 * time.Millisecond}},
			after: 3750 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex
				var calls []call
				var targets []target
				for _, a := range c.addrs {
					targets = append(targets, target{place: place{a, "1"}})
				}
				l, won, err := race(t.Context(), targets, false, func(ctx context.Context, t target, _ func(time.Duration)) (*link, error) {
					a := t.addr
					mu.Lock()
					calls = append(calls, call{a, time.Since(start)})
					mu.Unlock()
					ctx, cancel := context.WithTimeout(ctx, dialTimeout)
					defer cancel()
					var done <-chan time.Time
					if d := c.takes[a]; d > 0 {
						done = time.After(d)
					}
					select {
					case <-done:
						if c.fails[a] {
							return nil, syscall.ECONNREFUSED
						}
						x, _ := memPipe()
						return &link{m: newMeter(x)}, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}, func(target, error) {})
				if won.addr != c.won || (err == nil) != c.won.IsValid() || (l != nil) != c.won.IsValid() || time.Since(start) != c.after {
					t.Error(l, won, err, time.Since(start))
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(calls, c.want) {
					t.Error(calls)
				}
			})
		})
	}
}

func TestInterleave(t *testing.T) {
	in := []netip.Addr{live, live, netip.MustParseAddr("2001:db8::2"), dead, dead2, netip.MustParseAddr("192.0.2.3")}
	want := []netip.Addr{live, dead, netip.MustParseAddr("2001:db8::2"), dead2, netip.MustParseAddr("192.0.2.3")}
	if got := interleave(in); !slices.Equal(got, want) {
		t.Error(got)
	}
	if n := len(interleave(slices.Collect(func(yield func(netip.Addr) bool) {
		for i := range 100 {
			if !yield(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})) {
				return
			}
		}
	}))); n != maxAddrs {
		t.Error(n)
	}
}

// TestAddresses: one that never answers, one with another server, and the
// right one. The next lane begins with that.
func TestAddresses(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	other := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	target := map[string]string{dead2.String(): other.Addr(), live.String(): u.Addr()}
	var mu sync.Mutex
	var tried []string
	addrs := []netip.Addr{dead, dead2, live}
	d := &Dialer{
		Endpoint: u,
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return addrs, nil
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			mu.Lock()
			tried = append(tried, host)
			mu.Unlock()
			if target[host] == "" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return (&net.Dialer{}).DialContext(ctx, network, target[host])
		},
	}
	d.Endpoint.Host = "server.example"
	dial(t, d)
	mu.Lock()
	tried = nil
	mu.Unlock()
	dial(t, d)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(tried, []string{live.String()}) {
		t.Error(tried)
	}

	// Without the right one, the wrong key is what the user must learn.
	addrs = []netip.Addr{dead2, live}
	d = &Dialer{Endpoint: d.Endpoint, Resolve: d.Resolve, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, dead2.String()) {
			return (&net.Dialer{}).DialContext(ctx, network, other.Addr())
		}
		return nil, syscall.ECONNREFUSED
	}}
	if _, err := d.Dial(testContext(t)); fault.ClassOf(err) != fault.Integrity {
		t.Error(err)
	}
}

// TestDialEnds: every wait of a dial ends by itself.
func TestDialEnds(t *testing.T) {
	silent := func(context.Context, string, string) (net.Conn, error) {
		a, _ := memPipe()
		return a, nil
	}
	never := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	u := auth.URL{Host: dead.String(), Port: 1, Pin: auth.Pin{1}}
	named := u
	named.Host = "server.example"
	for name, c := range map[string]struct {
		d    *Dialer
		took time.Duration
		text string
	}{
		"connect":   {&Dialer{Endpoint: u, DialContext: never}, dialStagger + dialTimeout, "192.0.2.1:1: no answer"},
		"handshake": {&Dialer{Endpoint: u, DialContext: silent}, dialStagger + handshakeTimeout, "192.0.2.1:1: no answer"},
		"proxy":     {&Dialer{Endpoint: u, DialContext: silent, Proxy: proxyAt("http://192.0.2.9:3128")}, dialStagger + handshakeTimeout, "192.0.2.9:3128: no answer"},
		"resolver": {&Dialer{Endpoint: named, Resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, resolveTimeout, "server.example: no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := c.d.Dial(t.Context())
				if fault.ClassOf(err) != fault.Network || err.Error() != c.text || time.Since(start) != c.took {
					t.Error(err, time.Since(start))
				}
				gone := errors.New("the user left")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(gone) })
				start = time.Now()
				if _, err := c.d.Dial(ctx); err != gone || time.Since(start) != time.Second {
					t.Error("cancelled:", err, time.Since(start))
				}
				time.Sleep(lookupTimeout) // lookups go on for whoever asks next
			})
		})
	}
}

func TestServeEnds(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{}) // without Reverse
	err := (&Dialer{Endpoint: u}).Serve(testContext(t), "/", nil, http.NotFoundHandler())
	if fault.ClassOf(err) != fault.Incompatible {
		t.Error(err)
	}
}
