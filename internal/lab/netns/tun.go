//go:build linux

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
)

const tunPath = "/dev/net/tun"

// TUN is a network interface whose packets a program reads and writes.
type TUN struct {
	// FD reads the IP packets that the namespace sends and writes those that it
	// receives, one a call, without blocking.
	FD   int
	Name string
	ns   *NS
}

// TUN makes an interface, up, with the addresses. Its queue holds that many packets
// until they are read.
func (n *NS) TUN(name string, mtu, queue int, addrs ...netip.Prefix) (*TUN, error) {
	t := &TUN{FD: -1, Name: name, ns: n}
	err := n.Do(func() error { return t.open(mtu, queue, addrs) })
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close removes the interface.
func (t *TUN) Close() {
	if t.FD >= 0 {
		unix.Close(t.FD)
		t.FD = -1
	}
}

func (t *TUN) open(mtu, queue int, addrs []netip.Prefix) error {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return tunRefused(err)
	}
	t.FD = fd
	req, err := unix.NewIfreq(t.Name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("TUN device %s: %w", t.Name, err)
	}
	i, err := net.InterfaceByName(t.Name)
	if err != nil {
		return err
	}
	r, err := openRtnl()
	if err != nil {
		return err
	}
	defer r.close()
	// No chatter of the kernel's own on the link. Not every kernel has IPv6.
	_ = os.WriteFile(sysctlPath("net.ipv6.conf."+t.Name+".addr_gen_mode"), []byte("1"), 0)
	_ = os.WriteFile(sysctlPath("net.ipv6.conf."+t.Name+".router_solicitations"), []byte("0"), 0)
	if err := r.up(i.Index, mtu, queue); err != nil {
		return fmt.Errorf("TUN device %s: %w", t.Name, err)
	}
	for _, a := range addrs {
		if err := r.address(i.Index, a); err != nil && a.Addr().Is4() {
			return fmt.Errorf("TUN device %s, address %s: %w", t.Name, a, err)
		}
	}
	return nil
}

// tunRefused says why there is no TUN device.
func tunRefused(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fault.New(fault.Incompatible,
			"make it as root: mkdir -p /dev/net; mknod -m 666 /dev/net/tun c 10 200 (in a container: --device /dev/net/tun)",
			"%s is missing", tunPath)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fault.New(fault.Incompatible, "as root: modprobe tun", "this kernel has no TUN driver loaded")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fault.New(fault.Denied, "as root: chmod 666 "+tunPath+" (what most systems have), or run as root",
			"%s may not be opened", tunPath)
	}
	return fmt.Errorf("%s: %w", tunPath, err)
}

// Dropped returns how many packets the kernel dropped on their way to the
// reader of the device, because its queue was full.
func (t *TUN) Dropped() (int64, error) {
	var text []byte
	err := t.ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		if f := strings.Fields(rest); ok && strings.TrimSpace(name) == t.Name && len(f) > 11 {
			return strconv.ParseInt(f[11], 10, 64) // bytes packets errs drop, received and sent
		}
	}
	return 0, fmt.Errorf("no counters of %s", t.Name)
}

// Listens reports whether a TCP socket listens in the namespace.
func (n *NS) Listens() (is bool) {
	_ = n.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				is = is || len(f) > 3 && f[3] == "0A" // TCP_LISTEN
			}
		}
		return nil
	})
	return is
}
