package lane

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

// ServerOptions are what Server can do without.
type ServerOptions struct {
	// Reverse decides about a reverse lane by its first request, which has
	// no body: it returns a function to use the lane, or the fault to refuse
	// it with. The lane is closed when that function returns, and when the
	// server shuts down. nil: reverse lanes are not offered.
	Reverse func(*http.Request) (use func(*Conn), err error)

	// MinTLS is the least version of TLS, as in tls.Config. 0: TLS 1.3.
	MinTLS uint16

	// ErrorLog receives what net/http says about connections. nil: nobody.
	ErrorLog *log.Logger
}

// Server returns a server for HTTP/1.1, HTTP/2 and lanes of both directions.
// Run it by ServeTLS(l, "", "") with a listener from Listen. There is no limit
// on the time of an answer; handlers that write set deadlines by
// http.ResponseController. ConnOf gives handlers the connection.
func Server(h http.Handler, id *auth.Identity, o ServerOptions) *http.Server {
	s := plainServer(h)
	s.Protocols.SetUnencryptedHTTP2(false)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.TLSConfig = &tls.Config{
		MinVersion:   max(o.MinTLS, tls.VersionTLS12),
		Certificates: []tls.Certificate{id.Certificate},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if o.MinTLS == 0 {
		s.TLSConfig.MinVersion = tls.VersionTLS13
	}
	if o.ErrorLog != nil {
		s.ErrorLog = o.ErrorLog
	}
	if o.Reverse != nil {
		ctx, stop := context.WithCancelCause(context.Background())
		s.RegisterOnShutdown(func() { stop(fault.New(fault.Network, "", "the server shuts down")) })
		s.TLSConfig.NextProtos = append(s.TLSConfig.NextProtos, ReverseProto)
		s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
			ReverseProto: func(_ *http.Server, tc *tls.Conn, _ http.Handler) { accept(ctx, tc, o.Reverse) },
		}
	}
	return s
}

// plainServer returns a server for HTTP/2 on connections that need no TLS any
// more.
func plainServer(h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		Protocols:         new(http.Protocols),
		HTTP2:             http2Config(),
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

type connKey struct{}

// ConnOf returns the connection that a request came on, for ReadInfo and its
// like, or nil. Handlers must not read, write or close it.
func ConnOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}

// serveOne serves h on one connection until that ends or ctx does, and
// returns why.
func serveOne(ctx context.Context, nc net.Conn, m *meter, h http.Handler, addr string) error {
	s := plainServer(h)
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	s.IdleTimeout = 0 // the other side ends it
	l := newConnListener()
	l.put(nc)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	select {
	case <-m.done:
	case <-ctx.Done():
		m.end(context.Cause(ctx), true)
	}
	m.Conn.Close()
	s.Close()
	<-served
	return m.reason(addr)
}

// connListener hands connections that exist already to a server.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
}

// put reports whether the listener took the connection.
func (l *connListener) put(c net.Conn) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *connListener) Addr() net.Addr { return pipeAddr{} }
