package lane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// reverseServer passes each reverse lane on, and keeps it until it ends.
func reverseServer(t *testing.T) (d *Dialer, lanes chan *Conn, first chan *http.Request) {
	lanes, first = make(chan *Conn, 1), make(chan *http.Request, 1)
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{Reverse: func(r *http.Request) (func(*Conn), error) {
		first <- r
		return func(c *Conn) {
			lanes <- c
			<-c.Done()
		}, nil
	}})
	return &Dialer{Endpoint: u}, lanes, first
}

func TestReverse(t *testing.T) {
	d, lanes, first := reverseServer(t)
	ctx, cancel := context.WithCancelCause(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(ctx, "/v1/lane?job=7", http.Header{"X-Job": {"8"}}, zerosOrEcho) }()
	r := <-first
	if r.URL.String() != "/v1/lane?job=7" || r.Header.Get("X-Job") != "8" || r.Header.Get("Authorization") != "Bearer rw_test" ||
		r.Header.Get(ProtocolHeader) != Protocol || r.TLS == nil || r.RemoteAddr == "" || ConnOf(r.Context()) == nil {
		t.Errorf("%+v", r)
	}
	c := <-lanes
	if got := text(t, get(t, c, "/z")); got != "HTTP/2.0 /z 0 " {
		t.Error(got)
	}
	in := c.In()
	if n, err := io.Copy(io.Discard, get(t, c, "/zeros/1048576").Body); n != 1<<20 || err != nil || c.In()-in < n {
		t.Error(n, err, c.In()-in)
	}
	if c.TLS() == nil || c.Err() != nil {
		t.Error(c.Err())
	}
	gone := errors.New("the user left")
	cancel(gone)
	if err := <-ended; err != gone {
		t.Error(err)
	}
	<-c.Done()
	if fault.ClassOf(c.Err()) != fault.Network {
		t.Error(c.Err())
	}

	go func() { ended <- d.Serve(testContext(t), "/", nil, echo) }()
	<-first
	(<-lanes).Close(nil)
	if err := <-ended; fault.ClassOf(err) != fault.Network || Cause(err) == "" { // closed, or reset with bytes under way
		t.Error(err)
	}
}

var zerosOrEcho = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if _, ok := strings.CutPrefix(r.URL.Path, "/zeros"); ok {
		http.StripPrefix("/zeros", zeros).ServeHTTP(w, r)
	} else {
		echo(w, r)
	}
})

func TestReverseRefused(t *testing.T) {
	var refusal error
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{
		Reverse: func(*http.Request) (func(*Conn), error) { return nil, refusal },
	})
	for _, c := range []struct {
		err   error
		class fault.Class
		text  string
		hint  string
	}{
		{fault.New(fault.Denied, "ask for write", "read only"), fault.Denied, "read only", "ask for write"},
		{fault.New(fault.Busy, "", "a\nb\x1b[0m"), fault.Busy, "a b[0m", ""},
		{errors.New("secret"), fault.Other, "internal error", ""},
	} {
		refusal = c.err
		err := (&Dialer{Endpoint: u}).Serve(testContext(t), "/", nil, echo)
		if fault.ClassOf(err) != c.class || err.Error() != u.Addr()+": "+c.text || fault.HintOf(err) != c.hint {
			t.Errorf("%v: %v %q", c.err, err, fault.HintOf(err))
		}
	}
	if err := (&Dialer{Endpoint: u}).Serve(testContext(t), "/a b", nil, echo); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
	wrong := &Dialer{Endpoint: u}
	wrong.Endpoint.Pin[0] ^= 1
	if err := wrong.Serve(testContext(t), "/", nil, echo); fault.ClassOf(err) != fault.Integrity {
		t.Error(err)
	}
}

func TestShutdownEndsReverseLanes(t *testing.T) {
	l, err := Listen(testContext(t), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	id := identity(t)
	lanes := make(chan *Conn, 1)
	s := Server(echo, id, ServerOptions{Reverse: func(*http.Request) (func(*Conn), error) {
		return func(c *Conn) { lanes <- c; <-c.Done() }, nil
	}})
	go s.ServeTLS(l, "", "")
	d := &Dialer{Endpoint: urlOf(l.Addr(), id)}
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(testContext(t), "/", nil, echo) }()
	c := <-lanes
	if err := s.Shutdown(testContext(t)); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if err := <-ended; err == nil || !strings.Contains(c.Err().Error(), "shuts down") {
		t.Error(err, c.Err())
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nPRI"))
	f.Add([]byte("HTTP/1.1 200 OK\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		br := bufio.NewReader(bytes.NewReader(data))
		resp, err := readResponse(br, http.MethodConnect)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(io.LimitReader(br, maxRefusal))
		e := refusal("h:1", resp, body)
		if strings.ContainsFunc(e.Error()+fault.HintOf(e), func(r rune) bool { return r < ' ' || r == 0x7f }) || fault.ClassOf(e) == fault.OK {
			t.Fatalf("%q", e)
		}
	})
}

func TestReadHeadIsBounded(t *testing.T) {
	_, err := readHead(bufio.NewReader(strings.NewReader(strings.Repeat("x", 2*maxHeader))))
	if fault.ClassOf(err) != fault.Incompatible {
		t.Error(err)
	}
}
