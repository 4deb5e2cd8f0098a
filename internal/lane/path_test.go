package lane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

// TestKeptNames: a resolver that fails or hangs does not stop a running job,
// and what it says later is added.
func TestKeptNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := []netip.Addr{dead}
		var err error
		var hangs bool
		lookups := 0
		b := newAddresses("server.example", func(ctx context.Context, _ string) ([]netip.Addr, error) {
			if lookups++; hangs {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return answer, err
		})
		wants := func(what string, want ...netip.Addr) {
			t.Helper()
			start := time.Now()
			got, err := b.get(t.Context())
			if err != nil || !slices.Equal(got, want) || time.Since(start) != 0 {
				t.Errorf("%s: %v, %v after %v", what, got, err, time.Since(start))
			}
			synctest.Wait()
		}
		wants("first", dead)
		err = errors.New("the resolver fails")
		time.Sleep(refreshAfter)
		wants("refresh fails", dead)
		hangs = true
		b.failed()
		time.Sleep(refreshSoon)
		wants("refresh hangs", dead)
		time.Sleep(lookupTimeout)
		hangs, err, answer = false, nil, []netip.Addr{dead2}
		b.failed()
		time.Sleep(refreshSoon)
		wants("refresh runs", dead)
		wants("moved", dead2, dead)
		if n := lookups; n != 4 {
			t.Error(n, "lookups")
		}
		wants("not again at once", dead2, dead)
		if lookups != 4 {
			t.Error("looked up again")
		}
	})
}

// TestBreaker: a place that fails is left alone, unless it is the only one.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		a, b := target{place: place{dead, "1"}}, target{place: place{dead2, "1"}}
		both := []target{a, b}
		first := func() netip.Addr { return h.order(both)[0].addr }
		h.worked(b.place)
		if first() != dead2 {
			t.Error("what worked is not the first")
		}
		for range breakAfter {
			h.failed(b.place)
		}
		if got := h.order(both); len(got) != 1 || got[0].addr != dead {
			t.Error("not left alone:", got)
		}
		if got := h.order([]target{b}); len(got) != 1 {
			t.Error("the last one is left alone")
		}
		time.Sleep(breakMin)
		if len(h.order(both)) != 2 {
			t.Error("no trial")
		}
		h.failed(b.place) // one is enough now
		time.Sleep(2*breakMin - 1)
		if len(h.order(both)) != 1 {
			t.Error("tried too soon")
		}
		h.worked(b.place)
		if len(h.order(both)) != 2 || first() != dead2 {
			t.Error("not rehabilitated")
		}
		for range resetAfter {
			h.reset(b.place)
		}
		if len(h.order(both)) != 1 {
			t.Error("a port on which connections are reset is not left")
		}
		time.Sleep(breakMax)
		if len(h.order(both)) != 2 {
			t.Error("left for ever")
		}
		for i := range 1000 { // names whose addresses change
			h.failed(place{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "1"})
		}
		if len(h.by) > 8*maxAddrs {
			t.Error(len(h.by), "places are remembered")
		}
	})
}

// TestSilentHandshake: an address that accepts connections and says nothing
// does not hold up another one.
func TestSilentHandshake(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	var silent atomic.Int64
	d := &Dialer{
		Endpoint: u,
		Resolve:  func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{dead, live}, nil },
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, dead.String()) {
				silent.Add(1)
				a, _ := memPipe()
				return a, nil
			}
			return (&net.Dialer{}).DialContext(ctx, network, u.Addr())
		},
	}
	d.Endpoint.Host = "server.example"
	ctx, cancel := context.WithTimeout(testContext(t), handshakeTimeout/2)
	defer cancel()
	c, err := d.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
	if silent.Load() == 0 {
		t.Error("the silent one was not tried first")
	}
}

// TestOthers: several ways to one server, the first of them dead.
func TestOthers(t *testing.T) {
	id := identity(t)
	u := serve(t, "127.0.0.1:0", id, echo, ServerOptions{})
	d := &Dialer{Endpoint: u, Others: []auth.URL{u}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !strings.HasSuffix(addr, u.Addr()) {
			return nil, syscall.ECONNREFUSED
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	d.Endpoint.Port = 1
	d.Others[0].Pin, d.Others[0].Token = auth.Pin{}, ""
	c := dial(t, d)
	if got := text(t, get(t, c, "/x")); !strings.Contains(got, "Bearer "+u.Token) {
		t.Error(got)
	}
	// Another server there is noticed, told of, and left out.
	stranger := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	var told []string
	d = &Dialer{Endpoint: stranger, Others: []auth.URL{u}, Warn: func(s string) { told = append(told, s) }}
	d.Endpoint.Pin = id.Pin
	dial(t, d)
	dial(t, d)
	if len(told) != 1 || !strings.Contains(told[0], "WRONG SERVER KEY") {
		t.Errorf("%q", told)
	}
}

// TestMTUHole: connections with full segments stall in their handshake, those
// with small ones do not. After the second the dialer knows.
func TestMTUHole(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	var told []string
	var full, small atomic.Int64
	d := &Dialer{Endpoint: u, Warn: func(s string) { told = append(told, s) }}
	d.tcp = func(ctx context.Context, addr string, t tuning) (net.Conn, error) {
		if t.maxSeg == 0 {
			full.Add(1)
			a, _ := memPipe()
			return a, nil
		}
		small.Add(1)
		return (&net.Dialer{Control: control(t)}).DialContext(ctx, "tcp", addr)
	}
	for range 3 {
		dial(t, d)
	}
	if len(told) != 1 || !strings.Contains(told[0], "1200") {
		t.Errorf("%q", told)
	}
	if full.Load() != 4 || small.Load() != 3 { // two each, for lost packets
		t.Error(full.Load(), small.Load())
	}
}

// TestSegments: what is taken for an MTU hole, and what is not.
func TestSegments(t *testing.T) {
	type path struct {
		moved atomic.Int64
		waits atomic.Bool
		done  chan struct{}
	}
	for name, c := range map[string]struct {
		full, small int64 // bytes per second that cross such connections
		idle        bool  // nothing is asked for
		found       bool
	}{
		"hole":           {0, 1e6, false, true},
		"hole, acks":     {1000, 1e6, false, true},
		"outage":         {0, 0, false, false},
		"clean":          {1e6, 1e6, false, false},
		"lossy":          {20_000, 20_000, false, false},
		"nothing wanted": {0, 1e6, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s segments
				var paths []*path
				found := false
				for range 10 {
					small, now := s.choose()
					found = found || now
					p := &path{done: make(chan struct{})}
					s.add(small, p.moved.Load, p.waits.Load, p.done)
					rate := c.full
					if small {
						rate = c.small
					}
					paths = append(paths, p)
					go func() {
						for range 20 {
							time.Sleep(time.Second / 2)
							p.moved.Add(rate / 2)
							p.waits.Store(!c.idle && rate < bulk)
						}
						close(p.done)
					}()
					time.Sleep(1100 * time.Millisecond)
				}
				if found != c.found {
					t.Errorf("found %t", found)
				}
				if got, _ := s.choose(); c.found && !got {
					t.Error("forgotten")
				}
				for _, p := range paths {
					<-p.done
				}
			})
		})
	}
}

// TestProxyCap: no more connections than a proxy is given, and one that ends
// makes room.
func TestProxyCap(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	d := &Dialer{Endpoint: u, Proxy: proxyAt("http://" + serveProxy(t, nil))}
	if d.MostLanes() != proxyMost || (&Dialer{Endpoint: u}).MostLanes() != 0 {
		t.Error(d.MostLanes())
	}
	var last *Conn
	for range proxyMost {
		last = dial(t, d)
	}
	if _, err := d.Dial(testContext(t)); fault.ClassOf(err) != fault.Network || !strings.Contains(err.Error(), "8 connections") {
		t.Error(err)
	}
	last.Close(nil)
	dial(t, d)
}

// TestInterceptionIsNamed: whoever opens TLS on the way is named.
func TestInterceptionIsNamed(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	box := interceptor(t, "ACME \"TLS\" Inspection\x1b[31m", u.Host)
	for _, via := range []string{"", "proxy"} {
		d := &Dialer{Endpoint: u, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, box.Addr())
		}}
		who := "something on the way"
		if via != "" {
			d.DialContext = nil
			at := serveProxy(t, func() string { return box.Addr() })
			d.Proxy, who = proxyAt("http://"+at), "the proxy "+at
		}
		_, err := d.Dial(testContext(t))
		if fault.ClassOf(err) != fault.Integrity || fault.HintOf(err) == "" {
			t.Fatal(err)
		}
		d.Endpoint.Pin = auth.Pin{} // then nothing is known but who signed
		if _, err := d.Dial(testContext(t)); fault.ClassOf(err) != fault.Denied || !strings.Contains(err.Error(), "signed by") || strings.Contains(err.Error(), "intercepts") {
			t.Error("no pin:", err)
		}
		for _, word := range []string{who + " intercepts TLS", `signed by "ACME ?TLS? Inspection?[31m, ACME"`, u.Pin.String()} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in %q", word, err)
			}
		}
	}
}

// interceptor is a server with a certificate that a company's CA signed.
func interceptor(t *testing.T, name, host string) auth.URL {
	ca, caKey := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"ACME"}}, IsCA: true, BasicConstraintsValid: true,
	}, nil, nil)
	leaf, key := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: host}}, ca, caKey)
	id := &auth.Identity{Certificate: tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, Pin: auth.PinOf(leaf)}
	return serve(t, "127.0.0.1:0", id, echo, ServerOptions{})
}

func certificate(t *testing.T, c, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	if by == nil {
		by, byKey = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return leaf, key
}

// serveProxy runs a proxy and returns its address; to is where it really
// connects, nil for where it is told.
func serveProxy(t *testing.T, to func() string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := connectProxy(t, "", nil)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to != nil {
			r.Host = to()
		}
		h.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}
