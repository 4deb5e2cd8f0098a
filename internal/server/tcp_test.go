package server

import (
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/event"
)

// TestMetricsOfTCP: what the kernel knows is exposed.
func TestMetricsOfTCP(t *testing.T) {
	m := newMetrics()
	g := newGuard(10, 10, m, func(Conn) {})
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"ropeway_tcp_sent_bytes_total 0", "ropeway_tcp_resent_bytes_total 0", "ropeway_lanes 0", "ropeway_rtt_seconds_count 0"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	near, far := tcpPair(t)
	n := g.admit(near)
	n.lane.Store(true)
	if _, err := n.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if k, err := far.Read(make([]byte, 1000)); k == 0 {
		t.Fatal(err)
	}
	scrape := func() string {
		w := httptest.NewRecorder()
		m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	for _, want := range []string{"ropeway_tcp_sent_bytes_total 1000", "ropeway_lanes 1", "ropeway_rtt_seconds_count 1"} {
		if !strings.Contains(scrape(), want) {
			t.Errorf("open: %s is missing", want)
		}
	}
	n.Close()
	n.Close()
	for _, want := range []string{"ropeway_tcp_sent_bytes_total 1000", "ropeway_lanes 0"} {
		if !strings.Contains(scrape(), want) {
			t.Errorf("closed: %s is missing", want)
		}
	}
}

// tcpPair is the two ends of a connection.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err == nil {
		a, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestHint: a system that sends by what lost packets slow down is told of once,
// with what to do, where others can connect.
func TestHint(t *testing.T) {
	var said []string
	s := &server{}
	s.cfg.Warn = func(w event.Warn) { said = append(said, w.Text) }
	s.hintControl("cubic", "127.0.0.1:1")
	s.hintControl("bbr", "0.0.0.0:1")
	s.hintControl("", "0.0.0.0:1")
	if len(said) != 0 {
		t.Errorf("%q", said)
	}
	s.hintControl("cubic", "[::]:1")
	s.hintControl("cubic", "192.0.2.1:1")
	if len(said) != 2 || !strings.Contains(said[0], "cubic") || !strings.Contains(said[1], "modprobe tcp_bbr") || !strings.Contains(said[1], "/etc/modules-load.d") {
		t.Errorf("%q", said)
	}
}
