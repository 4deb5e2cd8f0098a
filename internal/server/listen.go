package server

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
)

// portsTried is how many ports after the default one are tried when nobody
// said which; then the system chooses. A server that is started again thus
// mostly gets the same one.
const portsTried = 10

// listen opens the addresses. chosen says that somebody chose them.
func (s *server) listen(ctx context.Context, chosen bool) error {
	for _, addr := range s.cfg.Listen {
		l, err := lane.Listen(ctx, addr)
		if !chosen && fault.ClassOf(err) == fault.Busy {
			host, _, _ := net.SplitHostPort(addr)
			l, err = nextPort(ctx, host)
			if err == nil {
				s.warn("%s is in use, so the port is another one: %s", addr, l.Addr())
			}
		}
		if err != nil {
			return err
		}
		s.hintControl(lane.ListenerControl(l), l.Addr().String())
		l = s.guard.listener(l)
		s.closers = append(s.closers, func() { _ = l.Close() })
		s.listeners = append(s.listeners, l)
	}
	return nil
}

func nextPort(ctx context.Context, host string) (net.Listener, error) {
	for i := range portsTried {
		l, err := lane.Listen(ctx, net.JoinHostPort(host, strconv.Itoa(config.DefaultPort+1+i)))
		if fault.ClassOf(err) != fault.Busy {
			return l, err
		}
	}
	return lane.Listen(ctx, net.JoinHostPort(host, "0"))
}

// address is where a client finds the server.
type address struct {
	host string // name, or IP address without brackets
	port int
}

// addresses returns where clients find the listeners, best first: by the
// advertised names, else by the names and addresses that are listened on, of
// which a wildcard stands for the first address that others can reach.
func addresses(cfg Config, ls []net.Listener) []address {
	var all []address
	add := func(a address) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for i, l := range ls {
		at, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil {
			continue // no TCP: never
		}
		if len(cfg.Advertise) > 0 {
			for _, h := range cfg.Advertise {
				add(address{h, int(at.Port())})
			}
			continue
		}
		host, _, _ := net.SplitHostPort(cfg.Listen[i])
		if _, err := netip.ParseAddr(host); err == nil || host == "" {
			host = at.Addr().Unmap().String()
		}
		if at.Addr().IsUnspecified() {
			found, _ := net.InterfaceAddrs()
			host = reachable(found, at.Addr().Is4())
		}
		add(address{host, int(at.Port())})
	}
	return all
}

// reachable returns the first of a machine's addresses by which others can
// reach it, IPv4 before IPv6, or that of the machine for itself.
func reachable(addrs []net.Addr, only4 bool) string {
	best := ""
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		switch {
		case !ip.IsGlobalUnicast(): // loopback, link-local
		case ip.Is4():
			return ip.String()
		case best == "" && !only4:
			best = ip.String()
		}
	}
	if best == "" {
		best = "127.0.0.1"
	}
	return best
}

// hostsOf returns the names and addresses for the certificate.
func hostsOf(cfg Config, ls []net.Listener) []string {
	hosts := slices.Clone(cfg.Advertise)
	for _, a := range addresses(cfg, ls) {
		ip, err := netip.ParseAddr(a.host)
		if err == nil && (ip.IsLoopback() || ip.Zone() != "") {
			continue // always there; not in certificates
		}
		if !slices.Contains(hosts, a.host) {
			hosts = append(hosts, a.host)
		}
	}
	return hosts
}
