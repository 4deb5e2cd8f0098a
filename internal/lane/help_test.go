package lane

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testContext bounds a test that would hang.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func identity(t testing.TB) *auth.Identity {
	t.Helper()
	id, err := auth.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve runs a server on addr and returns its pinned URL.
func serve(t testing.TB, addr string, id *auth.Identity, h http.Handler, o ServerOptions) auth.URL {
	t.Helper()
	l, err := Listen(testContext(t), addr)
	if err != nil {
		t.Skip(err) // no such address family
	}
	s := Server(h, id, o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return urlOf(l.Addr(), id)
}

func urlOf(a net.Addr, id *auth.Identity) auth.URL {
	ap := netip.MustParseAddrPort(a.String())
	u := auth.URL{Host: ap.Addr().String(), Port: int(ap.Port()), Token: "rw_test"}
	if id != nil {
		u.Pin = id.Pin
	}
	return u
}

func dial(t testing.TB, d *Dialer) *Conn {
	t.Helper()
	c, err := d.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(nil) })
	return c
}

func get(t testing.TB, c *Conn, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// echo answers with what it was asked.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, r.Proto+" "+r.URL.Path+" "+r.Header.Get(ProtocolHeader)+" "+r.Header.Get("Authorization"))
})

// hang answers with a head, and then nothing until the request ends.
var hang = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(200)
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
})

// zeros answers with as many bytes as the path says.
var zeros = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.ParseInt(r.URL.Path[1:], 10, 64)
	buf := make([]byte, 64<<10)
	for n > 0 {
		k, err := w.Write(buf[:min(n, int64(len(buf)))])
		if err != nil {
			return
		}
		n -= int64(k)
	}
})

func placeOf(l net.Listener) place {
	ap := netip.MustParseAddrPort(l.Addr().String())
	return place{ap.Addr(), strconv.Itoa(int(ap.Port()))}
}
