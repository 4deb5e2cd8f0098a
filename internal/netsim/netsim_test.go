package netsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

const ms = time.Millisecond

// pair returns both ends of a new connection over l. It must be called where
// nothing prevents connecting.
func pair(t testing.TB, l *Link) (dialer, listener *Conn) {
	t.Helper()
	ln, err := l.Listen("far:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d, err := l.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return d.(*Conn), a.(*Conn)
}

func (l *Link) alive() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flows)
}

// bubble runs fn in virtual time with a link.
func bubble(t *testing.T, up, down Params, fn func(t *testing.T, l *Link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, New(up, down, 1)) })
}

// watch returns a function that checks how long ago watch was called.
func watch(t *testing.T) func(want time.Duration, what string) {
	start := time.Now()
	return func(want time.Duration, what string) {
		t.Helper()
		if got := time.Since(start); got != want {
			t.Errorf("%s after %v, want %v", what, got, want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func send(t testing.TB, c net.Conn, n int) {
	t.Helper()
	if k, err := c.Write(make([]byte, n)); k != n || err != nil {
		t.Errorf("wrote %d of %d: %v", k, n, err)
	}
}

func receive(t testing.TB, c net.Conn, n int) {
	t.Helper()
	if k, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Errorf("read %d of %d: %v", k, n, err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestConnConformance(t *testing.T) {
	for name, p := range map[string]Params{
		"perfect": {},
		"small":   {Queue: 1000, Window: 700},
		"delayed": {Delay: 100 * time.Microsecond, Jitter: 50 * time.Microsecond},
		"limited": {Rate: 2e9, Delay: 50 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b := pair(t, New(p, p, 1))
				return a, b, func() { _, _ = a.Close(), b.Close() }, nil
			})
		})
	}
}

func TestDelayAndRate(t *testing.T) {
	p := Params{Delay: 20 * ms, Rate: 8e6} // a byte every microsecond
	bubble(t, p, p, func(t *testing.T, l *Link) {
		since := watch(t)
		ln, err := l.Listen("far:80")
		must(t, err)
		d, err := l.DialContext(t.Context(), "tcp", "far:80")
		must(t, err)
		since(40*ms, "dialed")
		a, err := ln.Accept()
		must(t, err)
		since(60*ms, "accepted")
		send(t, d, 1)
		receive(t, a, 1)
		since(80*ms+time.Microsecond, "a byte")
		go send(t, a, 1e6)
		receive(t, d, 1e6)
		since(1100*ms+time.Microsecond, "a million bytes")
		must(t, a.Close())
		_, err = d.Read(make([]byte, 1))
		wantErr(t, err, io.EOF)
		since(1120*ms+time.Microsecond, "end") // the last byte had been read when Close was called
		must(t, d.Close())
		must(t, ln.Close())
		synctest.Wait()
		if st := l.Stats(); st.Up.Delivered != 1 || st.Down.Delivered != 1e6 || st.Opened != 1 || l.alive() != 1 {
			t.Errorf("%+v, %d flows", st, l.alive())
		}
		time.Sleep(time.Second)
		if l.alive() != 0 {
			t.Errorf("%d flows are left", l.alive())
		}
	})
}

func TestFlowsShareTheRateFairly(t *testing.T) {
	bubble(t, Params{Delay: 5 * ms}, Params{Rate: 8e6, Delay: 5 * ms}, func(t *testing.T, l *Link) {
		type conns struct{ d, a *Conn }
		var all []conns
		for range 4 {
			d, a := pair(t, l)
			all = append(all, conns{d, a})
		}
		start := time.Now()
		done := make(chan time.Duration, 4)
		for i, c := range all {
			size := 250_000
			if i == 3 {
				size = 50_000
			}
			go func() {
				send(t, c.a, size)
				_ = c.a.Close()
			}()
			go func() {
				n, err := io.Copy(io.Discard, c.d)
				if n != int64(size) || err != nil {
					t.Errorf("copied %d of %d: %v", n, size, err)
				}
				_ = c.d.Close()
				done <- time.Since(start)
			}()
		}
		first := <-done
		if want := 205 * ms; first < want-5*ms || first > want+5*ms {
			t.Errorf("the short one ended after %v, want about %v", first, want)
		}
		var last time.Duration
		for range 3 {
			last = <-done
		}
		if want := 805 * ms; last != want {
			t.Errorf("the last ended after %v, want %v", last, want)
		}
	})
}

func TestBackpressure(t *testing.T) {
	bubble(t, Params{Queue: 1000, Window: 500, Delay: 10 * ms}, Params{Delay: 10 * ms}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		must(t, d.SetWriteDeadline(time.Now().Add(50*ms)))
		n, err := d.Write(make([]byte, 5000))
		if n != 1500 || !errors.Is(err, os.ErrDeadlineExceeded) || !err.(net.Error).Timeout() {
			t.Errorf("wrote %d, %v; want 1500 and a timeout", n, err)
		}
		since(50*ms, "blocked")
		must(t, d.SetWriteDeadline(time.Time{}))
		receive(t, a, 500) // known to the sender at 60 ms, the next 500 at 70 ms
		receive(t, a, 1000)
		since(90*ms, "window by window")
		_, _ = d.Close(), a.Close()
	})
}

func TestWindowLimitsThroughput(t *testing.T) {
	p := Params{Delay: 50 * ms, Window: 100_000}
	bubble(t, p, p, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		go send(t, a, 1_000_000)
		receive(t, d, 1_000_000)
		since(950*ms, "ten windows") // 9 round trips and one way
		_, _ = d.Close(), a.Close()
	})
}

func TestReadDeadline(t *testing.T) {
	bubble(t, Params{}, Params{Delay: 30 * ms}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		send(t, a, 5)
		must(t, d.SetReadDeadline(time.Now().Add(20*ms)))
		_, err := d.Read(make([]byte, 5))
		wantErr(t, err, os.ErrDeadlineExceeded)
		since(20*ms, "timeout")
		must(t, d.SetReadDeadline(time.Now().Add(20*ms)))
		receive(t, d, 5)
		since(30*ms, "data")
		_, _ = d.Close(), a.Close()
		_, err = d.Read(make([]byte, 5))
		wantErr(t, err, net.ErrClosed)
		_, err = d.Write(make([]byte, 5))
		wantErr(t, err, net.ErrClosed)
		wantErr(t, d.Close(), net.ErrClosed)
	})
}

func TestHalfClose(t *testing.T) {
	bubble(t, Params{Delay: 10 * ms}, Params{Delay: 10 * ms}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		send(t, d, 3)
		must(t, d.CloseWrite())
		_, err := d.Write([]byte("x"))
		wantErr(t, err, syscall.EPIPE)
		b, err := io.ReadAll(a)
		if len(b) != 3 || err != nil {
			t.Errorf("read %d, %v", len(b), err)
		}
		send(t, a, 7)
		must(t, a.Close())
		b, err = io.ReadAll(d)
		if len(b) != 7 || err != nil {
			t.Errorf("read %d, %v", len(b), err)
		}
		must(t, d.Close())
	})
}

func TestCloseWithUnreadDataResets(t *testing.T) {
	bubble(t, Params{Delay: 10 * ms}, Params{Delay: 10 * ms}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		since := watch(t)
		send(t, d, 3)
		time.Sleep(20 * ms)
		send(t, a, 2)
		must(t, a.Close())
		_, err := io.ReadAll(d) // what came before the reset is read
		wantErr(t, err, syscall.ECONNRESET)
		since(30*ms, "reset")
		_, err = d.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
		must(t, d.Close())
		if st := l.Stats(); st.Resets != 1 || l.alive() != 0 {
			t.Errorf("%+v, %d flows", st, l.alive())
		}
	})
}

func TestSendingToAClosedEndResets(t *testing.T) {
	bubble(t, Params{Delay: 10 * ms}, Params{Delay: 10 * ms}, func(t *testing.T, l *Link) {
		d, a := pair(t, l)
		must(t, a.Close())
		since := watch(t)
		_, err := d.Read(make([]byte, 1))
		wantErr(t, err, io.EOF)
		send(t, d, 10)
		time.Sleep(21 * ms)
		_, err = d.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
		since(31*ms, "reset")
		must(t, d.Close())
	})
}

func TestDialErrors(t *testing.T) {
	bubble(t, Params{Delay: 15 * ms}, Params{Delay: 15 * ms}, func(t *testing.T, l *Link) {
		ln, err := l.Listen("far:80")
		must(t, err)
		_, err = l.Listen("far:80")
		wantErr(t, err, syscall.EADDRINUSE)
		_, err = l.DialContext(t.Context(), "udp", "far:80")
		if err == nil {
			t.Error("dialed udp")
		}

		since := watch(t)
		_, err = l.DialContext(t.Context(), "tcp", "far:81")
		wantErr(t, err, syscall.ECONNREFUSED)
		since(30*ms, "nobody listens")
		l.RefuseDials(true)
		_, err = l.DialContext(t.Context(), "tcp", "far:80")
		wantErr(t, err, syscall.ECONNREFUSED)
		since(60*ms, "refused")
		l.RefuseDials(false)

		since = watch(t)
		l.Blackout(Down, true)
		_, err = l.DialContext(t.Context(), "tcp", "far:80")
		wantErr(t, err, syscall.ETIMEDOUT)
		since(127*time.Second, "no answer")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.DialContext(ctx, "tcp", "far:80")
		if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		since(128*time.Second, "context")

		since = watch(t)
		l.Schedule(Event{At: 5 * time.Second, Do: BlackoutEnd})
		c, err := l.DialContext(t.Context(), "tcp", "far:80")
		must(t, err)
		since(7*time.Second+30*ms, "the attempt after the outage")
		must(t, c.Close())
		must(t, ln.Close())
		_, err = ln.Accept()
		wantErr(t, err, net.ErrClosed)
	})
}

func TestBacklog(t *testing.T) {
	bubble(t, Params{}, Params{}, func(t *testing.T, l *Link) {
		ln, err := l.Listen("far:80")
		must(t, err)
		var conns []net.Conn
		for range backlog {
			c, err := l.DialContext(t.Context(), "tcp", "far:80")
			must(t, err)
			conns = append(conns, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := l.DialContext(ctx, "tcp", "far:80"); err == nil {
			t.Error("dialed beyond the backlog")
		}
		must(t, ln.Close())
		for _, c := range conns {
			_, err := c.Read(make([]byte, 1))
			wantErr(t, err, syscall.ECONNRESET)
			must(t, c.Close())
		}
	})
}

func TestRing(t *testing.T) {
	var r ring
	var want, got bytes.Buffer
	x := byte(0)
	next := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			x += 37
			b[i] = x
		}
		return b
	}
	for i := range 3000 {
		b := next(i * 7 % 601)
		r.push(b)
		want.Write(b)
		b = make([]byte, min(r.n, i*13%700))
		r.pop(b)
		got.Write(b)
	}
	b := make([]byte, r.n)
	r.pop(b)
	got.Write(b)
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("what comes out is not what went in")
	}
}

func BenchmarkThroughput(b *testing.B) {
	const chunk = 64 << 10
	for name, p := range map[string]Params{
		"perfect": {}, "delay=1ms": {Delay: ms}, "10Gbit": {Rate: 10e9, Delay: ms},
	} {
		b.Run(name, func(b *testing.B) {
			d, a := pair(b, New(p, p, 1))
			b.SetBytes(chunk)
			buf, in := make([]byte, chunk), make([]byte, chunk)
			go func() {
				for range b.N {
					if _, err := a.Write(buf); err != nil {
						return
					}
				}
				_ = a.Close()
			}()
			b.ResetTimer()
			for {
				if _, err := d.Read(in); err != nil {
					break
				}
			}
			_ = d.Close()
		})
	}
}
