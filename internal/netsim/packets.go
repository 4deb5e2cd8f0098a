package netsim

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ropeway/ropeway/internal/link"
)

// Packets joins two hosts, a and b, by the packet model of package link: what
// one sends as a datagram the other gets late, twice, damaged, or never. Like
// Link it runs on the time package's time, owns no goroutine and needs no
// closing. All methods are safe for concurrent use. In a bubble of
// testing/synctest the fate of each packet depends on the seed and on what was
// sent before it, and when.
type Packets struct {
	mu    sync.Mutex
	path  *link.Path
	start time.Time
	timer *time.Timer
	hosts [2]map[uint16]*PacketConn
	buf   []byte
}

const (
	maxDatagram   = 65487   // bytes of UDP payload, with an IPv6 header
	receiveBuffer = 4 << 20 // bytes that wait for ReadFrom; more is dropped
)

// The hosts' addresses, of the range that RFC 5737 keeps for documentation.
var hostAddrs = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 2})}

// NewPackets returns a link as p describes it, whose events count from now on.
// The seed decides everything random about it.
func NewPackets(p link.Profile, seed uint64) *Packets {
	n := &Packets{path: link.NewPath(p, seed), start: time.Now()}
	n.hosts[0], n.hosts[1] = map[uint16]*PacketConn{}, map[uint16]*PacketConn{}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = time.AfterFunc(0, n.run)
	return n
}

// Pair returns a UDP socket of each host.
func (n *Packets) Pair() (a, b *PacketConn) {
	a, _ = n.ListenPacket(link.A, 0) // there is room for one
	b, _ = n.ListenPacket(link.B, 0)
	return a, b
}

// ListenPacket returns a UDP socket of host side, link.A or link.B, at a port
// that is given or, if that is 0, free.
func (n *Packets) ListenPacket(side link.Side, port uint16) (*PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	host := 0
	if side == link.B {
		host = 1
	}
	if port == 0 {
		for port = firstPort; n.hosts[host][port] != nil && port != 0; {
			port++
		}
	}
	addr := netip.AddrPortFrom(hostAddrs[host], port)
	if n.hosts[host][port] != nil || port == 0 {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(addr), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	c := &PacketConn{n: n, host: host, local: addr, mtu: 1 << 16}
	c.readable.L = &n.mu
	n.hosts[host][port] = c
	return c, nil
}

// Apply has an event happen now.
func (n *Packets) Apply(e link.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path.Apply(time.Since(n.start), e)
	n.move()
}

// Schedule has events happen when they say, counted from now.
func (n *Packets) Schedule(events ...link.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path.Schedule(time.Since(n.start), events...)
	n.move()
}

// SetProfile changes the link.
func (n *Packets) SetProfile(p link.Profile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path.SetProfile(time.Since(n.start), p)
	n.move()
}

// Counters says what became of every packet.
func (n *Packets) Counters() link.Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.path.Counters()
}

func (n *Packets) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.move()
}

// move hands out what has arrived and sets the timer for what will.
func (n *Packets) move() {
	n.path.Take(time.Since(n.start), n.deliver)
	if at, ok := n.path.Next(); ok {
		n.timer.Reset(at - time.Since(n.start))
	} else {
		n.timer.Stop()
	}
}

// deliver gives a packet to the socket that it is for.
func (n *Packets) deliver(d link.Direction, pkt []byte) {
	host := 1
	if d == link.BA {
		host = 0
	}
	if from, mtu, ok := link.ParseTooBig(pkt); ok {
		if c := n.hosts[host][from.Port()]; c != nil {
			c.mtu = min(c.mtu, mtu)
		}
		return
	}
	from, to, payload, ok := link.ParseUDP(pkt)
	if !ok || to.Addr() != hostAddrs[host] {
		return // its checksum is wrong
	}
	if c := n.hosts[host][to.Port()]; c != nil {
		c.receive(from, payload)
	}
}

// PacketConn is a UDP socket of one of the hosts. Its addresses are
// *net.UDPAddr.
type PacketConn struct {
	n     *Packets
	host  int
	local netip.AddrPort

	queue    []datagram
	queued   int // bytes
	dropped  int64
	mtu      int
	closed   bool
	rd       deadline
	readable sync.Cond
}

var _ net.PacketConn = (*PacketConn)(nil)

type datagram struct {
	from netip.AddrPort
	data []byte
}

func (c *PacketConn) receive(from netip.AddrPort, payload []byte) {
	if c.queued+len(payload) > receiveBuffer {
		c.dropped++
		return
	}
	c.queued += len(payload)
	c.queue = append(c.queue, datagram{from, append([]byte(nil), payload...)})
	c.readable.Signal()
}

// Dropped returns how many datagrams were dropped because nobody read those
// before them.
func (c *PacketConn) Dropped() int64 {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.dropped
}

// ReadFrom implements net.PacketConn. What does not fit b is lost.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	k, from, err := c.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return k, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromAddrPort is ReadFrom with another kind of address.
func (c *PacketConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.wrap("read", net.ErrClosed)
		case c.rd.expired:
			return 0, netip.AddrPort{}, c.wrap("read", os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			d := c.queue[0]
			c.queue[0] = datagram{}
			if c.queue = c.queue[1:]; len(c.queue) == 0 {
				c.queue = nil
			}
			c.queued -= len(d.data)
			return copy(b, d.data), d.from, nil
		}
		c.readable.Wait()
	}
}

// WriteTo implements net.PacketConn. It never waits. A datagram that is longer
// than the link has said to carry fails with syscall.EMSGSIZE.
func (c *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.wrap("write", fmt.Errorf("%v is no UDP address", to))
	}
	return c.WriteToAddrPort(b, u.AddrPort())
}

// WriteToAddrPort is WriteTo with another kind of address.
func (c *PacketConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	switch {
	case c.closed:
		return 0, c.wrap("write", net.ErrClosed)
	case len(b) > maxDatagram || len(b)+28 > c.mtu:
		return 0, c.wrap("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	case to.Addr() != hostAddrs[1-c.host]:
		return 0, c.wrap("write", os.NewSyscallError("sendto", syscall.EHOSTUNREACH))
	}
	n.buf = link.AppendUDP(n.buf[:0], c.local, to, b)
	n.path.Offer(time.Since(n.start), link.Direction(1<<c.host), n.buf)
	n.move()
	return len(b), nil
}

// Close implements net.PacketConn. What is on its way still leaves.
func (c *PacketConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	c.closed = true
	c.queue, c.queued = nil, 0
	c.rd.stop()
	delete(c.n.hosts[c.host], c.local.Port())
	c.readable.Broadcast()
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// AddrPort returns the socket's address.
func (c *PacketConn) AddrPort() netip.AddrPort { return c.local }

// SetDeadline implements net.PacketConn.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.wrap("set", net.ErrClosed)
	}
	c.rd.set(&c.n.mu, t, c.readable.Broadcast)
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writing never waits.
func (c *PacketConn) SetWriteDeadline(time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.wrap("set", net.ErrClosed)
	}
	return nil
}

func (c *PacketConn) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}
