package lane

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipe(t *testing.T) {
	l := Pipe(zerosOrEcho)
	defer l.Close()
	for range 3 {
		c, err := l.Dial(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(nil)
		if got := text(t, get(t, c, "/x")); got != "HTTP/2.0 /x 0 " {
			t.Error(got)
		}
		if n, err := io.Copy(io.Discard, get(t, c, "/zeros/3000001").Body); n != 3000001 || err != nil || c.In() < n {
			t.Error(n, err, c.In())
		}
		if _, ok := c.Info(); ok || c.RTT() != 0 || c.TLS() != nil || c.Remote() != "in-process" || c.CongestionControl() != "" {
			t.Error(c.Remote(), c.RTT())
		}
	}
}

func TestPipeCloses(t *testing.T) {
	l := Pipe(hang)
	c, err := l.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	body := get(t, c, "/").Body
	l.Close()
	if _, err := body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Error(err)
	}
	<-c.Done()
	if _, err := l.Dial(testContext(t)); err == nil {
		t.Error("a lane after the end")
	}
}

func TestMemPipe(t *testing.T) {
	a, b := memPipe()
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 5*ringSize+17)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := a.Write(rest[:min(len(rest), 1+int(rest[0])*700)])
			if err != nil {
				t.Error(err)
				break
			}
			rest = rest[n:]
		}
		a.Close()
	}()
	h := sha256.New()
	if n, err := io.CopyBuffer(h, struct{ io.Reader }{b}, make([]byte, 70001)); err != nil || n != int64(len(data)) {
		t.Fatal(n, err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("other bytes came out")
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestMemPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memPipe()
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Hour))
		a.SetReadDeadline(start.Add(time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Error(err, time.Since(start))
		}
		a.SetDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { b.Write([]byte("x")) })
		if n, err := a.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Error(n, err)
		}
		a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := a.Write(make([]byte, 2*ringSize)); n != ringSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(n, err)
		}
		a.SetWriteDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { a.Close() })
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func benchmark(b *testing.B, c *Conn) {
	const size = 64 << 20
	b.SetBytes(size)
	buf := make([]byte, 256<<10)
	for b.Loop() {
		r, _ := http.NewRequestWithContext(b.Context(), "GET", "/67108864", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf); n != size || err != nil {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
}

func BenchmarkLane(b *testing.B) {
	u := serve(b, "127.0.0.1:0", identity(b), zeros, ServerOptions{})
	benchmark(b, dial(b, &Dialer{Endpoint: u}))
}

func BenchmarkPipe(b *testing.B) {
	l := Pipe(zeros)
	defer l.Close()
	c, err := l.Dial(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(nil)
	benchmark(b, c)
}
