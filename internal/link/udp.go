package link

import (
	"encoding/binary"
	"net/netip"
)

// AppendUDP appends an IP packet with a UDP datagram to b. Both addresses are
// of one family; the payload has at most 65487 bytes.
func AppendUDP(b []byte, from, to netip.AddrPort, payload []byte) []byte {
	start := len(b)
	v6 := from.Addr().Is6()
	l4 := ipLen(v6)
	b = append(b, make([]byte, l4+8)...)
	b = append(b, payload...)
	p := b[start:]
	var src, dst [16]byte
	copy(src[:], from.Addr().AsSlice())
	copy(dst[:], to.Addr().AsSlice())
	putIP(p, v6, protoUDP, &src, &dst)
	u := p[l4:]
	binary.BigEndian.PutUint16(u, from.Port())
	binary.BigEndian.PutUint16(u[2:], to.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	s := transportSum(p, v6, l4, protoUDP)
	if s == 0 {
		s = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], s)
	return b
}

// ParseUDP returns what is in an IP packet with a whole UDP datagram whose
// checksums are true. The payload is a part of pkt.
func ParseUDP(pkt []byte) (from, to netip.AddrPort, payload []byte, ok bool) {
	h, ok := parse(pkt)
	switch {
	case !ok || !h.ports || h.proto != protoUDP:
		return from, to, nil, false
	case !h.v6 && fold(sum(0, pkt[:h.l4])) != 0:
		return from, to, nil, false
	case int(binary.BigEndian.Uint16(pkt[h.l4+4:])) != h.end-h.l4:
		return from, to, nil, false
	case wordAt(pkt, h.l4+6) != 0 && transportSum(pkt[:h.end], h.v6, h.l4, protoUDP) != 0:
		return from, to, nil, false
	}
	return netip.AddrPortFrom(addr(&h.src, h.v6), h.sport), netip.AddrPortFrom(addr(&h.dst, h.v6), h.dport), pkt[h.payload:h.end], true
}

// ParseTooBig returns what an ICMP message says about a UDP or TCP packet that
// was too long: where it came from and how many bytes are carried.
func ParseTooBig(pkt []byte) (from netip.AddrPort, mtu int, ok bool) {
	h, ok := parse(pkt)
	t := pkt[min(h.l4, len(pkt)):]
	switch {
	case !ok || len(t) < 8:
		return from, 0, false
	case !h.v6 && h.proto == protoICMP && t[0] == 3 && t[1] == 4 && fold(sum(0, pkt[h.l4:h.end])) == 0:
		mtu = int(binary.BigEndian.Uint16(t[6:]))
	case h.v6 && h.proto == protoICMPv6 && t[0] == 2 && transportSum(pkt[:h.end], true, h.l4, protoICMPv6) == 0:
		mtu = int(binary.BigEndian.Uint32(t[4:]) & 0xffffff)
	default:
		return from, 0, false
	}
	in := t[8:] // the packet, cut short
	switch {
	case h.v6 && len(in) >= 44 && (in[6] == protoTCP || in[6] == protoUDP):
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(in[8:24])), binary.BigEndian.Uint16(in[40:])), mtu, true
	case !h.v6 && len(in) >= 20 && len(in) >= int(in[0]&15)*4+2 && (in[9] == protoTCP || in[9] == protoUDP):
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(in[12:16])), binary.BigEndian.Uint16(in[in[0]&15*4:])), mtu, true
	}
	return from, 0, false
}

func addr(b *[16]byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(*b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
