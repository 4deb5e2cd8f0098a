package lab

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/lab/netns"
)

// Host is one of the hosts of a lab. Safe for concurrent use.
type Host struct {
	lab         *Lab
	index       int
	name        string
	addr, addr6 netip.Addr
	ns          *netns.NS
	tun         *netns.TUN
	lastDropped atomic.Int64
}

// sysctls of every host; what is not here is as the kernel has it. Those that
// it lacks are left alone.
var sysctls = [][2]string{
	{"net.ipv4.tcp_no_metrics_save", "1"}, // or a run would learn from the one before
	{"net.ipv4.conf.all.rp_filter", "0"},  // the link answers from addresses of its own
	{"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv4.ping_group_range", "0 2147483647"},
	{"net.ipv6.conf.default.accept_ra", "0"},
	{"net.ipv6.conf.default.router_solicitations", "0"},
}

func (h *Host) open(name string) (err error) {
	if h.ns, err = netns.New(name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = h.close()
		}
	}()
	for _, s := range sysctls {
		_ = h.ns.Sysctl(s[0], s[1])
	}
	p4, p6 := netip.PrefixFrom(h.addr, 24), netip.PrefixFrom(h.addr6, 64)
	if h.tun, err = h.ns.TUN(device, mtu, txQueue, p4, p6); err != nil {
		return err
	}
	cc, byRoute := h.lab.cfg.CC, false
	if cc != "" {
		if byRoute, err = h.ns.CongestionControl(cc); err != nil {
			return err
		}
	}
	if !byRoute {
		cc = ""
	}
	h.lab.byRoute = h.lab.byRoute || byRoute
	for _, dst := range []netip.Prefix{p4.Masked(), netip.PrefixFrom(netip.IPv4Unspecified(), 0)} {
		if err = h.ns.Route(device, dst, cc); err != nil {
			return err
		}
	}
	for _, dst := range []netip.Prefix{p6.Masked(), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		_ = h.ns.Route(device, dst, cc) // not every kernel has IPv6
	}
	return nil
}

// stop kills what runs on the host.
func (h *Host) stop() {
	h.dropped()
	_ = h.ns.Kill() // close tries again and reports
}

func (h *Host) close() error {
	if h.tun != nil {
		h.tun.Close()
	}
	return h.ns.Close()
}

// dropped returns the packets that the kernel dropped on their way to us.
func (h *Host) dropped() int64 {
	if n, err := h.tun.Dropped(); err == nil {
		h.lastDropped.Store(n)
	}
	return h.lastDropped.Load()
}

// Name returns "a", "b" and so on.
func (h *Host) Name() string { return h.name }

// Addr returns the host's IPv4 address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Addr6 returns the host's IPv6 address.
func (h *Host) Addr6() netip.Addr { return h.addr6 }

// Peer returns the other host of two; of more, the first other.
func (h *Host) Peer() *Host {
	if h.index == 0 {
		return h.lab.hosts[1]
	}
	return h.lab.hosts[0]
}

// Namespace returns the name by which `ip netns exec` finds the host, "" if it
// has none.
func (h *Host) Namespace() string { return h.ns.Name() }

// Environ returns what the environment of programs on the host says about the
// lab: ROPEWAY_LAB_HOST is the host's name, ROPEWAY_LAB_SELF and _PEER are
// addresses, A, B, ... those of all. ROPEWAY_LAB is the number of the lab, if it
// has Control.
func (h *Host) Environ() []string {
	env := []string{"ROPEWAY_LAB_HOST=" + h.name, "ROPEWAY_LAB_SELF=" + h.addr.String(), "ROPEWAY_LAB_PEER=" + h.Peer().addr.String()}
	if n := h.lab.number(); n > 0 {
		env = append(env, "ROPEWAY_LAB="+strconv.Itoa(n))
	}
	for _, other := range h.lab.hosts {
		env = append(env, strings.ToUpper(other.name)+"="+other.addr.String())
	}
	return env
}

// Command returns a command to be started by Start, in a process group of its
// own, which is killed when ctx ends.
func (h *Host) Command(ctx context.Context, name string, arg ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, arg...)
	cmd.Env = append(os.Environ(), h.Environ()...)
	cmd.WaitDelay = 2 * time.Second // what it left behind can hold its output open
	ownGroup(cmd)
	return cmd
}

// Start starts cmd on the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.ns.Start(cmd) }

// Do runs f with its thread on the host, so that the sockets that f makes are
// there. f may block, but must not leave making sockets to other goroutines.
func (h *Host) Do(f func() error) error { return h.ns.Run(f) }

// Listen is net.Listen on the host. The host of the address is a literal IP
// address, or empty.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		var c net.ListenConfig
		c.SetMultipathTCP(false)
		l, err = c.Listen(context.Background(), network, address)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket on the host.
func (h *Host) ListenPacket(network, address string) (p net.PacketConn, err error) {
	err = h.Do(func() error {
		p, err = net.ListenPacket(network, address)
		return err
	})
	return p, err
}

// Dial is net.Dialer.DialContext on the host. The host of the address is a
// literal IP address.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.Do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}
