package netsim

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/link"
)

// numbered sends count datagrams of size bytes from a to b at even intervals
// and returns when which arrived, after the last was sent by wait.
func numbered(t *testing.T, a, b *PacketConn, count, size int, every, wait time.Duration) (got map[uint32]time.Duration, order []uint32) {
	t.Helper()
	start := time.Now()
	must(t, b.SetReadDeadline(start.Add(time.Duration(count)*every+wait)))
	got = map[uint32]time.Duration{}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := b.ReadFromAddrPort(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			must(t, err)
			if n != size || from.Addr() != a.AddrPort().Addr() {
				t.Errorf("%d bytes from %s", n, from)
			}
			i := binary.BigEndian.Uint32(buf)
			got[i] = time.Since(start)
			order = append(order, i)
		}
	})
	data := make([]byte, size)
	for i := range count {
		binary.BigEndian.PutUint32(data, uint32(i))
		_, err := a.WriteToAddrPort(data, b.AddrPort())
		must(t, err)
		time.Sleep(every)
	}
	wg.Wait()
	return got, order
}

func TestPacketsAreLateAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := link.Find("qa-vpn")
		must(t, err)
		n := NewPackets(p, 1)
		a, b := n.Pair()
		got, order := numbered(t, a, b, 20_000, 1000, ms, time.Second)
		if lost := 20_000 - len(got); lost < 240 || lost > 360 {
			t.Errorf("%d of 20000 are lost, want some 300", lost)
		}
		passed := 0
		for i := range order[1:] {
			if order[i+1] < order[i] {
				passed++
			}
		}
		if passed < 200 || passed > 450 {
			t.Errorf("%d of 20000 are passed by others, want some 320", passed)
		}
		for i, at := range got {
			if late := at - time.Duration(i)*ms; late < 15*ms || late > 15*ms+2*ms+5*ms+ms {
				t.Fatalf("%d takes %s", i, late)
			}
		}
		c := n.Counters()
		if c.AB.Offered != 20_000 || c.AB.Delivered != int64(len(got)) || c.AB.LostRandom != int64(20_000-len(got)) || c.Flows != 1 {
			t.Errorf("%+v", c)
		}
	})
}

func TestPacketsAreDeterministic(t *testing.T) {
	p, err := link.Find("awful")
	must(t, err)
	run := func() (got map[uint32]time.Duration, c link.Counters) {
		synctest.Test(t, func(t *testing.T) {
			n := NewPackets(p, 7)
			a, b := n.Pair()
			got, _ = numbered(t, a, b, 2000, 500, ms, time.Second)
			c = n.Counters()
		})
		return got, c
	}
	x, cx := run()
	y, cy := run()
	if !reflect.DeepEqual(x, y) || cx != cy {
		t.Errorf("%+v\n%+v", cx, cy)
	}
}

func TestPacketsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := link.ParseEvent("blackout:ab@1s for 1s")
		must(t, err)
		n := NewPackets(link.Profile{AB: link.Params{Delay: ms}, Events: []link.Event{e}}, 1)
		a, b := n.Pair()
		got, _ := numbered(t, a, b, 300, 100, 10*ms, time.Second)
		for i := range uint32(300) {
			if _, ok := got[i]; ok == (i >= 100 && i < 200) {
				t.Errorf("%d arrives: %t", i, ok)
			}
		}
		n.Apply(link.Event{Do: link.Stall, For: time.Second})
		if got, _ = numbered(t, a, b, 10, 100, 10*ms, 2*time.Second); len(got) != 10 || got[0] != time.Second {
			t.Errorf("%d arrive, the first after %s", len(got), got[0])
		}
		n.Schedule(link.Event{At: 100 * ms, Do: link.Forget})
		if got, _ = numbered(t, a, b, 20, 100, 10*ms, time.Second); len(got) != 10 {
			t.Errorf("%d arrive", len(got))
		}
		c, err := n.ListenPacket(link.A, 0)
		must(t, err)
		n.SetProfile(link.Profile{AB: link.Params{Delay: time.Second}})
		if got, _ = numbered(t, c, b, 1, 100, ms, 2*time.Second); got[0] != time.Second {
			t.Errorf("%s", got[0])
		}
		n.Apply(link.Event{Do: link.Address, Side: link.A})
		_, err = c.WriteToAddrPort([]byte("hello"), b.AddrPort())
		must(t, err)
		must(t, b.SetReadDeadline(time.Time{}))
		_, from, err := b.ReadFromAddrPort(make([]byte, 10))
		must(t, err)
		if from == c.AddrPort() {
			t.Error("the address is the old one")
		}
		_, err = b.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(from))
		must(t, err)
		k, back, err := c.ReadFrom(make([]byte, 3))
		if must(t, err); k != 3 || back.String() != b.LocalAddr().String() {
			t.Errorf("%d bytes from %s", k, back)
		}
	})
}

func TestPacketsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewPackets(link.Profile{AB: link.Params{MTU: 1000}, BA: link.Params{MTUHole: 1000}}, 1)
		a, b := n.Pair()
		write := func(c *PacketConn, size int, to netip.AddrPort) error {
			_, err := c.WriteToAddrPort(make([]byte, size), to)
			return err
		}
		must(t, write(a, 973, b.AddrPort())) // nobody knows yet
		wantErr(t, write(a, 973, b.AddrPort()), syscall.EMSGSIZE)
		must(t, write(a, 972, b.AddrPort()))
		must(t, write(b, 973, a.AddrPort()))
		must(t, write(b, 973, a.AddrPort()))
		wantErr(t, write(b, 1<<16, a.AddrPort()), syscall.EMSGSIZE)
		if c := n.Counters(); c.AB.Delivered != 1 || c.AB.LostMTU != 1 || c.BA.LostHole != 2 || c.ICMPs != 1 {
			t.Errorf("%+v", c)
		}
	})
}

func TestPacketConnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewPackets(link.Profile{}, 1)
		a, b := n.Pair()
		_, err := n.ListenPacket(link.A, a.AddrPort().Port())
		wantErr(t, err, syscall.EADDRINUSE)
		_, err = a.WriteToAddrPort(nil, netip.MustParseAddrPort("203.0.113.1:5"))
		wantErr(t, err, syscall.EHOSTUNREACH)
		if _, err = a.WriteTo(nil, Addr("x")); err == nil {
			t.Error("wrote to no address")
		}
		_, err = a.WriteToAddrPort(nil, netip.AddrPortFrom(b.AddrPort().Addr(), 9)) // nobody listens
		must(t, err)
		for range receiveBuffer/50_000 + 5 {
			_, err = a.WriteTo(make([]byte, 50_000), b.LocalAddr())
			must(t, err)
		}
		if d := b.Dropped(); d != 5 {
			t.Errorf("%d dropped", d)
		}
		must(t, a.SetDeadline(time.Now().Add(time.Second)))
		must(t, a.SetWriteDeadline(time.Now()))
		_, _, err = a.ReadFrom(nil)
		wantErr(t, err, os.ErrDeadlineExceeded)
		must(t, a.SetReadDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Second)
			must(t, a.Close())
		}()
		_, _, err = a.ReadFrom(nil)
		wantErr(t, err, net.ErrClosed)
		wantErr(t, a.Close(), net.ErrClosed)
		wantErr(t, a.SetReadDeadline(time.Now()), net.ErrClosed)
		wantErr(t, a.SetWriteDeadline(time.Now()), net.ErrClosed)
		_, err = a.WriteTo(nil, b.LocalAddr())
		wantErr(t, err, net.ErrClosed)
		must(t, b.Close())
	})
}
