package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func TestLane(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			infos, senders := make(chan bool, 1), make(chan string, 1)
			u := serve(t, addr, identity(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, ok := ReadInfo(ConnOf(r.Context()))
				infos <- ok
				senders <- CongestionControl(ConnOf(r.Context()))
				echo(w, r)
			}), ServerOptions{})
			c := dial(t, &Dialer{Endpoint: u})
			if got := text(t, get(t, c, "/x")); got != "HTTP/2.0 /x 0 Bearer rw_test" {
				t.Fatal(got)
			}
			if c.TLS().Version != tls.VersionTLS13 || c.Remote() != u.Addr() || c.Err() != nil || c.RTT() <= 0 || c.Proxy() != "" {
				t.Errorf("%x %s %v %v", c.TLS().Version, c.Remote(), c.Err(), c.RTT())
			}
			serverOK := <-infos
			if _, ok := c.Info(); ok != serverOK {
				t.Error("only one side has TCP_INFO")
			}
			if have := CongestionControl(c.m); SetCongestion(c.m, congestion) == nil {
				if peer := <-senders; have != congestion || peer != congestion {
					t.Errorf("the sides send by %q and %q, though they could by %s", have, peer, congestion)
				}
			}
			if err := c.SetPacing(1 << 20); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
			if SetCongestion(c.m, "no-such") == nil {
				t.Error("an algorithm that does not exist was set")
			}
		})
	}
}

func TestServerSpeaksHTTP1(t *testing.T) {
	id := identity(t)
	u := serve(t, "127.0.0.1:0", id, echo, ServerOptions{})
	conf := (&Dialer{Endpoint: u}).tlsConfig(target{way: &u}, "http/1.1")
	tr := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + u.Addr() + "/y")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := text(t, resp); got != "HTTP/1.1 /y  " {
		t.Error(got)
	}
	conf = conf.Clone()
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", u.Addr(), conf); err == nil {
		c.Close()
		t.Error("TLS 1.2 was accepted")
	}
}

func TestCounters(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), zeros, ServerOptions{})
	c := dial(t, &Dialer{Endpoint: u})
	in, out, read := c.In(), c.Out(), c.LastRead()
	if in == 0 || out == 0 {
		t.Error("the handshake is not counted")
	}
	const n = 1 << 20
	if k, err := io.Copy(io.Discard, get(t, c, "/1048576").Body); k != n || err != nil {
		t.Fatal(k, err)
	}
	if d := c.In() - in; d < n || d > n+n/20 {
		t.Errorf("%d bytes for %d", d, n)
	}
	if c.Out() <= out || !c.LastRead().After(read) || c.LastRead().After(time.Now()) {
		t.Error(c.Out(), out, c.LastRead(), read)
	}
}

func TestClose(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			hang(w, r)
		} else {
			<-r.Context().Done()
		}
	}), ServerOptions{})
	cause := errors.New("stalled")
	c := dial(t, &Dialer{Endpoint: u})
	body := get(t, c, "/body").Body
	errs := make(chan error, 2)
	go func() {
		_, err := body.Read(make([]byte, 1))
		errs <- err
	}()
	go func() {
		r, _ := http.NewRequest("GET", "/head", nil)
		_, err := c.RoundTrip(r)
		errs <- err
	}()
	c.Close(cause)
	c.Close(errors.New("too late"))
	for range 2 {
		if err := <-errs; !errors.Is(err, cause) {
			t.Error(err)
		}
	}
	<-c.Done()
	r, _ := http.NewRequest("GET", "/", nil)
	if _, err := c.RoundTrip(r); c.Err() != cause || err != cause {
		t.Error(c.Err(), err)
	}

	c = dial(t, &Dialer{Endpoint: u})
	c.Close(nil)
	if c.Err() != ErrClosed {
		t.Error(c.Err())
	}
}

func TestRequestContext(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), hang, ServerOptions{})
	c := dial(t, &Dialer{Endpoint: u})
	ctx, cancel := context.WithCancelCause(testContext(t))
	r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stolen := errors.New("stolen")
	cancel(stolen)
	if _, err := resp.Body.Read(make([]byte, 1)); err != stolen {
		t.Error(err)
	}
	if c.Err() != nil {
		t.Error("the lane ended with the request:", c.Err())
	}
}

func TestPeerEnds(t *testing.T) {
	id := identity(t)
	u := serve(t, "127.0.0.1:0", id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := meterOf(ConnOf(r.Context())).Conn
		if r.URL.Path == "/reset" {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return
		}
		c.(*net.TCPConn).CloseWrite()
		<-r.Context().Done()
	}), ServerOptions{})
	for path, want := range map[string]string{"/reset": "connection reset by peer", "/end": "closed by the other side"} {
		c := dial(t, &Dialer{Endpoint: u})
		r, _ := http.NewRequestWithContext(testContext(t), "GET", path, nil)
		_, err := c.RoundTrip(r)
		<-c.Done()
		if fault.ClassOf(err) != fault.Network || err.Error() != u.Addr()+": "+want || c.Err().Error() != err.Error() {
			t.Errorf("%s: %v; %v", path, err, c.Err())
		}
	}
}
