//go:build linux

package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// rtnl is a route netlink socket (rtnetlink(7)) in the namespace of the thread
// that opened it: one request, one acknowledgement.
type rtnl struct {
	fd  int
	seq uint32
}

func openRtnl() (*rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	tv := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &rtnl{fd: fd}, nil
}

func (r *rtnl) close() { unix.Close(r.fd) }

// attr appends an attribute to a message: length, type, data, padding.
func attr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return pad(append(b, data...))
}

func pad(b []byte) []byte {
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// do sends one request and waits for its acknowledgement.
func (r *rtnl) do(typ, flags uint16, body []byte) error {
	r.seq++
	m := u32(uint32(unix.SizeofNlMsghdr + len(body)))
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = binary.NativeEndian.AppendUint16(m, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = binary.NativeEndian.AppendUint32(m, r.seq)
	m = append(m, 0, 0, 0, 0) // the kernel fills in whose it is
	if err := unix.Sendto(r.fd, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		if done, err := r.answer(buf[:n]); done || err != nil {
			return err
		}
	}
}

// answer looks for the acknowledgement of the last request in b.
func (r *rtnl) answer(b []byte) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, io.ErrUnexpectedEOF
		}
		typ, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		if typ == unix.NLMSG_ERROR && seq == r.seq {
			if size < unix.SizeofNlMsghdr+4 {
				return false, io.ErrUnexpectedEOF
			}
			if e := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); e != 0 {
				return true, unix.Errno(-e)
			}
			return true, nil
		}
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return false, nil
}

// up switches an interface on; mtu and queue (packets) are left when 0.
func (r *rtnl) up(index, mtu, queue int) error {
	b := []byte{unix.AF_UNSPEC, 0, 0, 0}
	b = append(b, u32(uint32(index))...)
	b = append(b, u32(unix.IFF_UP)...) // flags
	b = append(b, u32(unix.IFF_UP)...) // which of them change
	if mtu > 0 {
		b = attr(b, unix.IFLA_MTU, u32(uint32(mtu)))
	}
	if queue > 0 {
		b = attr(b, unix.IFLA_TXQLEN, u32(uint32(queue)))
	}
	return r.do(unix.RTM_NEWLINK, 0, b)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address gives an interface an address.
func (r *rtnl) address(index int, p netip.Prefix) error {
	b := []byte{family(p.Addr()), byte(p.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	b = append(b, u32(uint32(index))...)
	b = attr(b, unix.IFA_LOCAL, p.Addr().AsSlice())
	b = attr(b, unix.IFA_ADDRESS, p.Addr().AsSlice())
	b = attr(b, unix.IFA_FLAGS, u32(unix.IFA_F_NODAD)) // usable at once: nobody else is there
	return r.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
}

// route sends dst through an interface. Connections over it use the congestion
// control cc, unless that is "".
func (r *rtnl) route(index int, dst netip.Prefix, cc string) error {
	b := []byte{family(dst.Addr()), byte(dst.Bits()), 0, 0,
		unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	b = attr(b, unix.RTA_DST, dst.Addr().AsSlice())
	b = attr(b, unix.RTA_OIF, u32(uint32(index)))
	if cc != "" {
		b = attr(b, unix.RTA_METRICS|unix.NLA_F_NESTED, attr(nil, unix.RTAX_CC_ALGO, append([]byte(cc), 0)))
	}
	return r.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
}
