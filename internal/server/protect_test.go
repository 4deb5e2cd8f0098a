package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/wire"
)

// pipeConn is one end of a connection with an address of its own.
type pipeConn struct {
	net.Conn
	addr string
}

func (p pipeConn) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", p.addr); return a }

func testGuard() *guard { return newGuard(10000, 10000, newMetrics(), func(Conn) {}) }

func TestSilentConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		dial := func() (*conn, net.Conn) {
			here, there := net.Pipe()
			return g.admit(pipeConn{here, "192.0.2.1:1000"}), there
		}
		silent, there := dial()
		asking, other := dial()
		asking.requests.Add(1)
		time.Sleep(firstRequest + time.Second)
		if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a silent connection: %v", err)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("it is open")
		}
		_ = other.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := other.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("one that asked: %v", err)
		}
		_ = asking.Close()
		if g.all != 0 || len(g.new) != 0 {
			t.Errorf("%d connections, %v strangers are still counted", g.all, g.new)
		}
	})
}

func TestStrangersAreBoundedByAddress(t *testing.T) {
	g := testGuard()
	var all []*conn
	admit := func(addr string) *conn {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
		n := g.admit(pipeConn{here, addr})
		if n != nil {
			all = append(all, n)
		}
		return n
	}
	for i := range mostNew {
		if admit("192.0.2.1:1") == nil {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if admit("192.0.2.1:1") != nil {
		t.Error("one too many is accepted")
	}
	if n := admit("192.0.2.2:1"); n == nil || n.over != "" {
		t.Error("another address suffers")
	}
	all[0].trust() // it showed a token: there is room for one more
	if n := admit("192.0.2.1:1"); n == nil || n.over != "" {
		t.Error("a place is not freed by a token")
	}
	for _, n := range all {
		_ = n.Close()
	}
	if g.all != 0 || len(g.new)+len(g.by) != 0 {
		t.Errorf("left behind: %d %v %v", g.all, g.new, g.by)
	}
}

// deadlines notes what handlers set.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

// slowBody yields n bytes at a time, each pause after the other, and obeys the
// deadline.
type slowBody struct {
	d     *deadlines
	n     int
	pause time.Duration
}

func (s slowBody) Close() error { return nil }
func (s slowBody) Read(p []byte) (int, error) {
	if !s.d.read.IsZero() && time.Until(s.d.read) < s.pause {
		time.Sleep(time.Until(s.d.read))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.pause)
	return min(s.n, len(p)), nil
}

func TestUploadMustComeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct {
			what  string
			n     int
			pause time.Duration
			lives bool
		}{
			{"a byte every ten seconds", 1, 10 * time.Second, false},
			{"nothing", 0, time.Hour, false},
			{"half of what must come", bodyRate / 2, time.Second, false},
			{"a slow link", 2 * bodyRate, time.Second, true},
			{"a slow link in bursts", 20 * bodyRate, 15 * time.Second, true},
		} {
			d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			b := &body{ReadCloser: slowBody{d, x.n, x.pause}, rc: http.NewResponseController(d), timed: true}
			began := time.Now()
			var err error
			for err == nil && time.Since(began) < 10*time.Minute {
				_, err = b.Read(make([]byte, 64<<10))
			}
			if x.lives != (err == nil) || x.lives == b.late {
				t.Errorf("%s: %v after %v", x.what, err, time.Since(began))
			}
			if !x.lives && time.Since(began) > 2*time.Minute {
				t.Errorf("%s: lived %v", x.what, time.Since(began))
			}
			if !d.read.IsZero() {
				t.Errorf("%s: a deadline is left", x.what)
			}
		}
	})
}

// counted is a connection whose other side takes what the test says.
func counted(g *guard) *conn {
	here, _ := net.Pipe()
	return &conn{Conn: here, g: g}
}

func TestWhoReadsSlowlyLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGuard()
		m := newMovement()
		stop := make(chan struct{})
		var done sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		done.Go(func() { m.run(ctx) })
		type client struct {
			c *conn
			d *deadlines
			r *recorder
		}
		begin := func(c *conn) client {
			d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := newRecorder(d)
			_ = r.SetWriteDeadline(time.Now().Add(writeStall))
			m.add(r, c)
			return client{c, d, r}
		}
		slow, dead := begin(counted(g)), begin(counted(g))
		paused := begin(slow.c) // another answer on the same connection, which the client does not read
		idle := newRecorder(&deadlines{ResponseRecorder: httptest.NewRecorder()})
		m.add(idle, slow.c)
		done.Go(func() { // 1 kB/s
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					slow.c.out.Add(1000)
				case <-stop:
					return
				}
			}
		})
		for range 240 {
			time.Sleep(time.Second)
			slow.r.mu.Lock()
			slow.r.wrote = time.Now()
			slow.r.mu.Unlock()
		}
		slow.r.mu.Lock()
		set := slow.d.write // by extend
		slow.r.mu.Unlock()
		if slow.r.passed() || !set.After(time.Now()) {
			t.Error("a client that reads 1 kB/s is cut off")
		}
		if !dead.r.passed() {
			t.Error("a client that reads nothing is not cut off")
		}
		if paused.r.passed() {
			t.Error("an answer is cut off that waits for others on its connection")
		}
		idle.mu.Lock()
		given := !idle.deadline.IsZero()
		idle.mu.Unlock()
		if given {
			t.Error("an answer got a deadline that nobody set")
		}
		time.Sleep(streamStall)
		if !paused.r.passed() {
			t.Error("an answer that stands still holds on for ever")
		}
		m.remove(slow.r)
		m.remove(dead.r)
		m.remove(paused.r)
		m.remove(idle)
		if len(m.runs) != 0 {
			t.Error("answers are left")
		}
		close(stop)
		cancel()
		done.Wait()
	})
}

func TestLanesAreSharedByClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClients()
		var memory uint64
		c.now = func() uint64 { return memory }
		enter := func(i int) (lanes int) {
			cl, lanes, ok := c.enter("token", "192.0.2."+strings.Repeat("1", 1+i%2)+":1", false)
			if !ok {
				t.Fatal("refused")
			}
			c.leave(cl, false)
			return lanes
		}
		if n := enter(0); n != mostLanes {
			t.Errorf("alone: %d", n)
		}
		for i := range 128 {
			cl, _, _ := c.enter("token", net.JoinHostPort(net.IPv4(10, 0, 0, byte(i)).String(), "1"), true)
			c.leave(cl, true)
		}
		if n := enter(0); n < 3 || n > 4 {
			t.Errorf("128 others: %d", n)
		}
		for i := range 1000 {
			cl, _, _ := c.enter("token", net.JoinHostPort(net.IPv4(10, 1, byte(i>>8), byte(i)).String(), "1"), true)
			c.leave(cl, true)
		}
		if n := enter(0); n != 1 {
			t.Errorf("1,000 others: %d", n)
		}
		time.Sleep(clientIdle + 2*time.Second)
		if n := enter(0); n != mostLanes {
			t.Errorf("alone again: %d", n)
		}
		memory = 5 * highMemory
		time.Sleep(2 * time.Second)
		if n := enter(0); n != mostLanes/8 {
			t.Errorf("short of memory: %d", n)
		}
	})
}

func TestGreedyClientIsTold(t *testing.T) {
	c := newClients()
	c.now = func() uint64 { return 0 }
	n := 0
	for ; n < 2*mostRequests; n++ {
		if _, _, ok := c.enter("a", "192.0.2.1:1", true); !ok {
			break
		}
	}
	if n != mostRequests {
		t.Errorf("%d requests at once", n)
	}
	if _, _, ok := c.enter("a", "192.0.2.1:1", false); !ok {
		t.Error("it cannot even ask for a plan")
	}
	if _, _, ok := c.enter("a", "192.0.2.2:1", true); !ok {
		t.Error("another host with the same token is refused")
	}
	if _, _, ok := c.enter("b", "192.0.2.1:1", true); !ok {
		t.Error("another token at the same address is refused")
	}
}

func TestLanesAreGrantedInAnswers(t *testing.T) {
	s := serve(t, tree(t))
	c := s.client(true)
	if a := s.do(c, "GET", "/v1/m/mod/o/x", s.bearer()); a.header.Get(wire.LanesHeader) == "" || a.header.Get(wire.LanesHeader) == "0" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := s.do(c, "GET", "/m/mod/hello.txt", s.bearer()); a.header.Get(wire.LanesHeader) != "" {
		t.Errorf("a plain client is told of lanes: %v", a.header)
	}
	a := s.do(c, "GET", "/metrics")
	for _, want := range []string{"ropeway_lanes_granted ", "ropeway_clients 1", "ropeway_scans_total 0", `ropeway_clients_cut_total{cause="reading"} 0`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s", want)
		}
	}
}
