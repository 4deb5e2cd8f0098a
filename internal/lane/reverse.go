package lane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// A reverse lane begins with one HTTP/1.1 request of the dialling side, which
// says by target, token and headers whose lane it is. The accepting side
// answers 101, and from then on makes HTTP/2 requests, or it refuses with a
// class, a text and a hint. Its first request can follow the 101 at once.
const (
	classHeader = "Ropeway-Class"
	maxRefusal  = 4 << 10 // bytes of the text
)

// offer sends the request and returns the connection after the answer.
func (d *Dialer) offer(ctx context.Context, l *link, target string, header http.Header) (net.Conn, error) {
	addr := d.Endpoint.Addr()
	if !validTarget(target) {
		return nil, fault.New(fault.Usage, "", "%q cannot be requested", target)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+target, nil)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "%q cannot be requested", target)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "ropeway")
	req.Header.Set(ProtocolHeader, Protocol)
	if d.Endpoint.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Endpoint.Token)
	}
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.m.Conn.Close() })
	defer stop()
	err = req.Write(l.tls)
	br := bufio.NewReader(l.tls)
	var resp *http.Response
	if err == nil {
		resp, err = readResponse(br, http.MethodPost)
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(br, maxRefusal)) // up to the end of the connection
		return nil, refusal(addr, resp, text)
	}
	if err != nil || !stop() {
		return nil, d.fail(ctx, addr, err)
	}
	return &early{l.tls, br}, nil
}

// refusal returns what the server said as a fault.
func refusal(addr string, resp *http.Response, body []byte) error {
	text, hint, _ := strings.Cut(strings.ToValidUTF8(string(body), "?"), "\n")
	clean := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}
	class := fault.Parse(resp.Header.Get(classHeader))
	if class == fault.OK || class >= fault.Interrupted { // a peer cannot mean these
		class = fault.Other
	}
	return fault.New(class, strings.Map(clean, hint), "%s: %s", addr, strings.Map(clean, text))
}

// early is a connection of which a reader holds the first bytes. It hides what
// the connection is: net/http would look for TLS.
type early struct {
	net.Conn
	r *bufio.Reader
}

func (e *early) Read(p []byte) (int, error) { return e.r.Read(p) }

// NetConn returns the connection below, as tls.Conn's does.
func (e *early) NetConn() net.Conn { return e.Conn }

// accept answers the first request of a reverse lane and has the lane used. It
// returns when the connection can be closed.
func accept(ctx context.Context, tc *tls.Conn, reverse func(*http.Request) (func(*Conn), error)) {
	tc.SetDeadline(time.Now().Add(headTimeout))
	br := bufio.NewReader(tc)
	head, err := readHead(br)
	if err != nil {
		return
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil || br.Buffered() > 0 {
		refuse(tc, errHead)
		return
	}
	cs := tc.ConnectionState()
	req.RemoteAddr, req.TLS, req.Body = tc.RemoteAddr().String(), &cs, http.NoBody
	use, err := reverse(req.WithContext(context.WithValue(ctx, connKey{}, net.Conn(tc))))
	if err != nil {
		refuse(tc, err)
		return
	}
	tc.SetDeadline(time.Now().Add(headTimeout)) // it may have thought for long
	const ok = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + ReverseProto + "\r\n\r\n"
	if _, err := io.WriteString(tc, ok); err != nil {
		return
	}
	tc.SetDeadline(time.Time{})
	var nc net.Conn = tc
	m := meterOf(tc)
	if m == nil { // not from Listen
		m = newMeter(tc)
		nc = m
	}
	c, err := newConn(ctx, nc, m)
	if err != nil {
		return
	}
	c.tls = &cs
	stop := context.AfterFunc(ctx, func() { c.Close(context.Cause(ctx)) })
	defer stop()
	defer c.Close(nil)
	use(c)
}

// refuse sends err and ends the connection.
func refuse(tc *tls.Conn, err error) {
	status := http.StatusInternalServerError
	text, hint := "internal error", ""
	var f *fault.Error
	if errors.As(err, &f) { // others are none of the peer's business
		status, text, hint = http.StatusForbidden, err.Error(), fault.HintOf(err)
	}
	body := strings.ReplaceAll(text, "\n", " ") + "\n" + strings.ReplaceAll(hint, "\n", " ")
	body = body[:min(len(body), maxRefusal)]
	fmt.Fprintf(tc, "HTTP/1.1 %d %s\r\nConnection: close\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), classHeader, fault.ClassOf(err), len(body), body)
}
