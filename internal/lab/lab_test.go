//go:build linux

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/link"
)

// logTo makes a log of a test.
type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// open makes a lab that ends with the test, or skips it and says why.
func open(t testing.TB, c Config) *Lab {
	t.Helper()
	l, err := Open(context.Background(), c)
	switch fault.ClassOf(err) {
	case fault.OK:
	case fault.Denied, fault.Incompatible:
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func profile(p link.Params) link.Profile { return link.Profile{Name: "test", AB: p, BA: p} }

// discard accepts connections on b and counts what they bring.
func discard(t testing.TB, h *Host) (address string, received chan int64) {
	t.Helper()
	l, err := h.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	received = make(chan int64, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				n, _ := io.Copy(io.Discard, c)
				c.Close()
				received <- n
			}()
		}
	}()
	return fmt.Sprintf("%s:%d", h.Addr(), l.Addr().(*net.TCPAddr).Port), received
}

// TestTry prints raw figures.
func TestTry(t *testing.T) {
	for _, p := range []link.Params{{}, {Rate: 100e6, Delay: 5 * time.Millisecond}, {Rate: 400e6, Delay: 5 * time.Millisecond}, {Rate: 800e6, Delay: 5 * time.Millisecond}} {
		l := open(t, Config{Profile: profile(p), CC: "cubic", Log: logTo{t}})
		addr, got := discard(t, l.Host(1))
		c, err := l.Host(0).Dial(context.Background(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		b := make([]byte, 1<<20)
		_ = c.SetDeadline(start.Add(3 * time.Second))
		for {
			if _, err := c.Write(b); err != nil {
				break
			}
		}
		c.Close()
		n := <-got
		el := time.Since(start)
		t.Logf("%v Mbit/s: %d bytes %v: %.1f Mbit/s %+v", p.Rate/1e6, n, el, float64(n)*8/el.Seconds()/1e6, l.Machine())
		t.Logf("%+v", l.Counters())
		l.Close()
	}
}
