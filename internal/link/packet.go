package link

import "encoding/binary"

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4

	maxPacket = 1<<16 - 1
)

// header is what the model needs to know of an IP packet.
type header struct {
	v6      bool
	proto   uint8
	l4      int // where the transport header begins
	payload int // where its payload begins
	end     int // where the packet ends

	ports        bool // the flow is known: TCP or UDP, and not a later fragment
	src, dst     [16]byte
	sport, dport uint16

	seq, ack uint32 // of TCP
	flags    uint8
}

// parse reads the headers of an IP packet. It returns false for what is none,
// or is cut short; such a packet is carried like any other, but is of no flow.
func parse(b []byte) (h header, ok bool) {
	if len(b) < 20 {
		return h, false
	}
	switch b[0] >> 4 {
	case 4:
		ok = h.parse4(b)
	case 6:
		ok = h.parse6(b)
	}
	return h, ok && h.parseTransport(b[:h.end])
}

func (h *header) parse4(b []byte) bool {
	h.l4 = int(b[0]&15) * 4
	h.end = int(binary.BigEndian.Uint16(b[2:]))
	if h.l4 < 20 || h.end < h.l4 || h.end > len(b) {
		return false
	}
	frag := binary.BigEndian.Uint16(b[6:])
	h.ports = frag&0x1fff == 0
	h.proto = b[9]
	copy(h.src[:], b[12:16])
	copy(h.dst[:], b[16:20])
	return true
}

func (h *header) parse6(b []byte) bool {
	if len(b) < 40 {
		return false
	}
	h.v6, h.ports = true, true
	h.end = 40 + int(binary.BigEndian.Uint16(b[4:]))
	if h.end > len(b) {
		return false
	}
	copy(h.src[:], b[8:24])
	copy(h.dst[:], b[24:40])
	h.proto, h.l4 = b[6], 40
	for range 8 { // extension headers; nobody sends more
		var size int
		switch h.proto {
		case 0, 43, 60: // hop by hop, routing, destination
			if h.l4+8 > h.end {
				return false
			}
			size = 8 + 8*int(b[h.l4+1])
		case 44: // fragment
			if h.l4+8 > h.end {
				return false
			}
			size = 8
			frag := binary.BigEndian.Uint16(b[h.l4+2:])
			h.ports = frag&0xfff8 == 0
		default:
			return true
		}
		if h.l4+size > h.end {
			return false
		}
		h.proto = b[h.l4]
		h.l4 += size
		if !h.ports {
			return true
		}
	}
	return false
}

func (h *header) parseTransport(b []byte) bool {
	h.payload = h.end
	t := b[h.l4:]
	switch {
	case !h.ports:
	case h.proto == protoTCP && len(t) >= 20:
		n := int(t[12]>>4) * 4
		if n < 20 || n > len(t) {
			h.ports = false
			break
		}
		h.payload = h.l4 + n
		h.seq, h.ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
		h.flags = t[13]
		h.sport, h.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	case h.proto == protoUDP && len(t) >= 8:
		h.payload = h.l4 + 8
		h.sport, h.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	default:
		h.ports = false
	}
	return true
}

// segmentLen returns the sequence numbers that a TCP segment takes.
func (h *header) segmentLen() uint32 {
	n := uint32(h.end - h.payload)
	if h.flags&flagSYN != 0 {
		n++
	}
	if h.flags&flagFIN != 0 {
		n++
	}
	return n
}

// sumAt returns where the checksum of the transport header is, 0 if it has
// none.
func (h *header) sumAt() int {
	switch {
	case !h.ports:
	case h.proto == protoTCP:
		return h.l4 + 16
	case h.proto == protoUDP:
		return h.l4 + 6
	}
	return 0
}

// sum adds b to an Internet checksum (RFC 1071) in the making. Only the last
// piece may have an odd length.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return s
}

// fold finishes a checksum.
func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// transportSum returns the checksum of the transport part of a packet, from
// l4 on, with its pseudo header. The field itself must be 0.
func transportSum(b []byte, v6 bool, l4 int, proto uint8) uint16 {
	s := uint32(proto) + uint32(len(b)-l4)
	if v6 {
		s = sum(s, b[8:40])
	} else {
		s = sum(s, b[12:20])
	}
	return fold(sum(s, b[l4:]))
}

// adjust brings the checksum at b[at:] up to date after a 16-bit word changed,
// as RFC 1624 does. A UDP checksum of 0 means that there is none.
func adjust(b []byte, at int, udp bool, old, now uint16) {
	was := binary.BigEndian.Uint16(b[at:])
	if udp && was == 0 {
		return
	}
	is := fold(uint32(^was) + uint32(^old) + uint32(now))
	if udp && is == 0 {
		is = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], is)
}

// putIP writes an IP header for a packet of len(b) bytes and returns where the
// transport header begins.
func putIP(b []byte, v6 bool, proto uint8, src, dst *[16]byte) int {
	if v6 {
		clear(b[:40])
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		b[6], b[7] = proto, 64
		copy(b[8:], src[:])
		copy(b[24:], dst[:])
		return 40
	}
	clear(b[:20])
	b[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // do not fragment
	b[8], b[9] = 64, proto
	copy(b[12:16], src[:4])
	copy(b[16:20], dst[:4])
	binary.BigEndian.PutUint16(b[10:], fold(sum(0, b[:20])))
	return 20
}

// ipLen returns the length of the IP header that putIP writes.
func ipLen(v6 bool) int {
	if v6 {
		return 40
	}
	return 20
}

// putRST fills b, of ipLen+20 bytes, with a TCP RST.
func putRST(b []byte, v6 bool, src, dst *[16]byte, sport, dport uint16, seq, ack uint32, flags uint8) {
	l4 := putIP(b, v6, protoTCP, src, dst)
	t := b[l4:]
	clear(t)
	binary.BigEndian.PutUint16(t, sport)
	binary.BigEndian.PutUint16(t[2:], dport)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12] = 5 << 4
	t[13] = flagRST | flags
	binary.BigEndian.PutUint16(t[16:], transportSum(b, v6, l4, protoTCP))
}

// tooBigLen returns the length of the ICMP message about a long packet: as
// much of the packet as hosts must take (RFC 1812 and RFC 4443).
func tooBigLen(h *header) int {
	if h.v6 {
		return min(1280, 48+h.end)
	}
	return min(576, 28+h.end)
}

// tooBigDue reports whether a packet that is too long is to be answered:
// errors are not (RFC 1122).
func tooBigDue(b []byte, h *header) bool {
	switch {
	case h.proto == protoICMP && !h.v6:
		return h.l4 < h.end && (b[h.l4] == 8 || b[h.l4] == 0) // echo
	case h.proto == protoICMPv6 && h.v6:
		return h.l4 < h.end && b[h.l4] >= 128
	}
	return true
}

// putTooBig fills b, of tooBigLen bytes, with the ICMP message that tells the
// sender of pkt that only mtu bytes are carried. It seems to come from the
// other host: the link has no address.
func putTooBig(b, pkt []byte, h *header, mtu int) {
	if h.v6 {
		l4 := putIP(b, true, protoICMPv6, &h.dst, &h.src)
		t := b[l4:]
		t[0], t[1], t[2], t[3] = 2, 0, 0, 0
		binary.BigEndian.PutUint32(t[4:], uint32(mtu))
		copy(t[8:], pkt)
		binary.BigEndian.PutUint16(t[2:], transportSum(b, true, l4, protoICMPv6))
		return
	}
	l4 := putIP(b, false, protoICMP, &h.dst, &h.src)
	t := b[l4:]
	t[0], t[1], t[2], t[3] = 3, 4, 0, 0
	binary.BigEndian.PutUint16(t[4:], 0)
	binary.BigEndian.PutUint16(t[6:], uint16(mtu))
	copy(t[8:], pkt)
	binary.BigEndian.PutUint16(t[2:], fold(sum(0, t)))
}
