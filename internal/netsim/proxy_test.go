package netsim

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestProxy(t *testing.T) {
	srv, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer srv.Close()
	go func() {
		for {
			c, err := srv.Accept()
			if err != nil {
				return
			}
			go func() { // echo
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := New(Params{Delay: ms}, Params{Delay: ms}, 1)
	p, err := Proxy(ctx, "127.0.0.1:0", srv.Addr().String(), l)
	must(t, err)
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", p.Addr().String())
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
		return c.(*net.TCPConn)
	}

	c := dial()
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	go func() {
		_, _ = c.Write(want)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	must(t, c.Close())

	c = dial()
	_, err = c.Write([]byte("hello"))
	must(t, err)
	receive(t, c, 5)
	l.ResetFlows(0, BothSides)
	_, err = c.Read(make([]byte, 1))
	wantErr(t, err, syscall.ECONNRESET)
	must(t, c.Close())

	l.RefuseDials(true)
	c = dial()
	_, err = c.Read(make([]byte, 1))
	wantErr(t, err, syscall.ECONNRESET)
	must(t, c.Close())
	l.RefuseDials(false)

	c = dial()
	_, err = c.Write([]byte("hello"))
	must(t, err)
	receive(t, c, 5)
	cancel()
	p.Wait()
	_, err = c.Read(make([]byte, 1))
	wantErr(t, err, syscall.ECONNRESET)
	must(t, c.Close())
}
