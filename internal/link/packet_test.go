package link

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	hostA  = netip.MustParseAddrPort("10.0.0.1:40000")
	hostB  = netip.MustParseAddrPort("10.0.0.2:873")
	hostA6 = netip.MustParseAddrPort("[fd00::1]:40000")
	hostB6 = netip.MustParseAddrPort("[fd00::2]:873")
)

// ipPacket wraps a transport header and payload, and sums them up.
func ipPacket(from, to netip.AddrPort, proto uint8, sumAt int, transport []byte) []byte {
	v6 := from.Addr().Is6()
	b := make([]byte, ipLen(v6)+len(transport))
	var src, dst [16]byte
	copy(src[:], from.Addr().AsSlice())
	copy(dst[:], to.Addr().AsSlice())
	l4 := putIP(b, v6, proto, &src, &dst)
	copy(b[l4:], transport)
	binary.BigEndian.PutUint16(b[l4:], from.Port())
	binary.BigEndian.PutUint16(b[l4+2:], to.Port())
	binary.BigEndian.PutUint16(b[l4+sumAt:], transportSum(b, v6, l4, proto))
	return b
}

func tcpPacket(from, to netip.AddrPort, flags uint8, seq, ack uint32, data []byte) []byte {
	t := make([]byte, 20, 20+len(data))
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = 5<<4, flags
	return ipPacket(from, to, protoTCP, 16, append(t, data...))
}

func udpPacket(from, to netip.AddrPort, data []byte) []byte {
	t := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(t[4:], uint16(8+len(data)))
	return ipPacket(from, to, protoUDP, 6, append(t, data...))
}

// sound reports whether the checksums of an IP packet are true.
func sound(b []byte) bool {
	h, ok := parse(b)
	if !ok || !h.v6 && fold(sum(0, b[:h.l4])) != 0 {
		return false
	}
	switch h.proto {
	case protoICMP:
		return fold(sum(0, b[h.l4:])) == 0
	default:
		return transportSum(b, h.v6, h.l4, h.proto) == 0
	}
}

func TestParse(t *testing.T) {
	data := []byte("hello")
	for _, c := range []struct{ a, b netip.AddrPort }{{hostA, hostB}, {hostA6, hostB6}} {
		for _, b := range [][]byte{tcpPacket(c.a, c.b, flagSYN|flagFIN, 7, 9, data), udpPacket(c.a, c.b, data)} {
			h, ok := parse(b)
			if !ok || !h.ports || h.v6 != c.a.Addr().Is6() || h.sport != 40000 || h.dport != 873 || !bytes.Equal(b[h.payload:h.end], data) {
				t.Errorf("%x: %+v %t", b, h, ok)
			}
			if h.proto == protoTCP && (h.seq != 7 || h.ack != 9 || h.segmentLen() != 7) {
				t.Errorf("%+v", h)
			}
			if !sound(b) {
				t.Errorf("%x: checksum", b)
			}
			for n := range b {
				if _, ok := parse(b[:n]); ok {
					t.Errorf("%d of %d bytes are taken for a packet", n, len(b))
				}
			}
		}
	}
}

func TestParseExtensions(t *testing.T) {
	udp := udpPacket(hostA6, hostB6, []byte("x"))
	with := func(next uint8, ext ...byte) []byte {
		b := append(bytes.Clone(udp[:40]), ext...)
		b = append(b, udp[40:]...)
		b[6] = next
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	if h, ok := parse(with(0, protoUDP, 0, 1, 4, 0, 0, 0, 0)); !ok || !h.ports || h.sport != 40000 {
		t.Errorf("hop by hop: %+v %t", h, ok)
	}
	if h, ok := parse(with(44, protoUDP, 0, 0, 1, 0, 0, 0, 1)); !ok || !h.ports || h.sport != 40000 {
		t.Errorf("first fragment: %+v %t", h, ok)
	}
	if h, ok := parse(with(44, protoUDP, 0, 1, 0, 0, 0, 0, 1)); !ok || h.ports {
		t.Errorf("later fragment: %+v %t", h, ok)
	}
	b := udpPacket(hostA, hostB, []byte("x"))
	b[7] = 1
	if h, ok := parse(b); !ok || h.ports {
		t.Errorf("later fragment, IPv4: %+v %t", h, ok)
	}
}

func TestCorruptShows(t *testing.T) {
	for _, pkt := range [][]byte{tcpPacket(hostA, hostB, flagACK, 1, 1, make([]byte, 99)), udpPacket(hostA6, hostB6, make([]byte, 99))} {
		p := one(Params{Corrupt: .5}, 4)
		bad := 0
		for range 1000 {
			p.Offer(0, AB, pkt)
			for _, x := range drain(p, 0) {
				if !sound(x.buf) {
					bad++
				} else if !bytes.Equal(x.buf, pkt) {
					t.Fatal("damage that the checksum does not show")
				}
			}
		}
		if c := p.Counters().AB.Corrupted; c != int64(bad) || bad < 450 || bad > 550 {
			t.Errorf("%d packets are bad, %d counted", bad, c)
		}
	}
}

func TestCorruptSilentDoesNot(t *testing.T) {
	for _, from := range []struct{ a, b netip.AddrPort }{{hostA, hostB}, {hostA6, hostB6}} {
		for _, n := range []int{1, 2, 99, 1000} {
			for _, pkt := range [][]byte{tcpPacket(from.a, from.b, flagACK, 1, 1, make([]byte, n)), udpPacket(from.a, from.b, make([]byte, n))} {
				p := one(Params{CorruptSilent: 1}, 4)
				h, _ := parse(pkt)
				for range 100 {
					p.Offer(0, AB, pkt)
				}
				for _, x := range drain(p, 0) {
					if !sound(x.buf) {
						t.Fatalf("%d bytes: the checksum shows it", n)
					}
					diff := 0
					for i := h.payload; i < h.end; i++ {
						if x.buf[i] != pkt[i] {
							diff++
						}
					}
					if diff != 1 {
						t.Fatalf("%d bytes of payload differ", diff)
					}
				}
			}
		}
	}
	p := one(Params{CorruptSilent: 1}, 4)
	p.Offer(0, AB, tcpPacket(hostA, hostB, flagACK, 1, 1, nil))
	drain(p, 0)
	if c := p.Counters().AB; c.CorruptedSilent != 0 || c.Delivered != 1 {
		t.Errorf("an acknowledgement has no payload: %+v", c)
	}
}

func TestTooBig(t *testing.T) {
	for _, c := range []struct{ a, b netip.AddrPort }{{hostA, hostB}, {hostA6, hostB6}} {
		p := one(Params{MTU: 1400}, 1)
		pkt := tcpPacket(c.a, c.b, flagACK, 1, 1, make([]byte, 1440))
		p.Offer(0, AB, pkt)
		p.Offer(0, AB, pkt[:20]) // cut short
		all := drain(p, 0)
		if len(all) != 2 || all[0].dir != BA || all[1].dir != AB {
			t.Fatalf("%+v", all)
		}
		b := all[0].buf
		h, ok := parse(b)
		if !ok || !sound(b) || h.src != [16]byte(append(c.b.Addr().AsSlice(), make([]byte, 12)...)[:16]) {
			t.Errorf("%x: %+v", b, h)
		}
		if h.v6 && (b[40] != 2 || binary.BigEndian.Uint32(b[44:]) != 1400 || !bytes.HasPrefix(pkt, b[48:]) || len(b) != 1280) {
			t.Errorf("%x", b)
		}
		if !h.v6 && (b[20] != 3 || b[21] != 4 || binary.BigEndian.Uint16(b[26:]) != 1400 || !bytes.HasPrefix(pkt, b[28:]) || len(b) != 576) {
			t.Errorf("%x", b)
		}
		if n := p.Counters(); n.ICMPs != 1 || n.AB.LostMTU != 1 || n.BA.Delivered != 0 {
			t.Errorf("%+v", n)
		}
	}
	p := one(Params{MTUHole: 1400}, 1)
	p.Offer(0, AB, make([]byte, 1401))
	p.Offer(0, AB, make([]byte, 1400))
	if n := p.Counters(); len(drain(p, 0)) != 1 || n.AB.LostHole != 1 || n.ICMPs != 0 {
		t.Errorf("%+v", n)
	}
}

func TestPolicing(t *testing.T) {
	p := one(Params{UDPRate: 10 * mbit}, 1)
	udp, tcp := udpPacket(hostA, hostB, make([]byte, 1222)), tcpPacket(hostA, hostB, flagACK, 1, 1, make([]byte, 1210))
	for i := range 100_000 { // 100 Mbit/s of each, for 10 s
		now := time.Duration(i) * ms / 10
		p.Offer(now, AB, udp)
		p.Offer(now, AB, tcp)
	}
	c := p.Counters().AB
	within(t, "UDP rate", float64(100_000-c.LostPoliced)*1250*8/10, 10e6, .1e6)
	p = one(Params{UDPBlock: true}, 1)
	p.Offer(0, AB, udp)
	p.Offer(0, AB, tcp)
	if c := p.Counters().AB; c.LostPoliced != 1 || c.Delivered+c.Held != 1 {
		t.Errorf("%+v", c)
	}
}

// FuzzOffer offers arbitrary bytes to a link with all that can be wrong.
func FuzzOffer(f *testing.F) {
	for _, b := range [][]byte{
		tcpPacket(hostA, hostB, flagSYN, 1, 0, nil), tcpPacket(hostB6, hostA6, flagACK, 1, 2, []byte("x")),
		udpPacket(hostA, hostB, []byte("x")), nil, {0x45}, {0x60},
	} {
		f.Add(b, uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if _, _, payload, ok := ParseUDP(b); ok && len(payload) > len(b) {
			t.Error("payload out of nothing")
		}
		ParseTooBig(b)
		r := rand.New(rand.NewPCG(seed, 0))
		params := everything
		params.Loss, params.Burst, params.MTU, params.UDPRate = 0, 0, 100, mbit
		p := NewPath(Profile{AB: params, BA: params, FlowBytes: 1000, FlowReset: true}, seed)
		now := time.Duration(0)
		for range 20 {
			d := Direction(1 + r.IntN(2))
			p.Offer(now, d, b)
			if r.IntN(4) == 0 {
				p.Apply(now, Event{Do: Action(r.IntN(len(actions))), Side: Side(r.IntN(4)), RST: r.IntN(2) == 0, For: ms, Bytes: 1000})
			}
			now += ms
			p.Take(now, func(_ Direction, b []byte) {
				if len(b) > maxPacket {
					t.Errorf("%d bytes", len(b))
				}
			})
		}
	})
}

func TestUDPPackets(t *testing.T) {
	for _, c := range []struct{ a, b netip.AddrPort }{{hostA, hostB}, {hostA6, hostB6}} {
		pkt := AppendUDP([]byte("xyz"), c.a, c.b, []byte("hello"))[3:]
		from, to, payload, ok := ParseUDP(pkt)
		if !ok || from != c.a || to != c.b || string(payload) != "hello" || !sound(pkt) {
			t.Errorf("%s %s %q %t", from, to, payload, ok)
		}
		for i := range pkt {
			bad := bytes.Clone(pkt)
			bad[i] ^= 4
			if f, to, _, ok := ParseUDP(bad); ok && f == from && to == c.b && !(from.Addr().Is6() && (i < 4 || i == 7)) { // IPv6 has no sum over these
				t.Errorf("byte %d is wrong, and nobody sees it", i)
			}
		}
		p := one(Params{MTU: 500}, 1)
		p.Offer(0, AB, AppendUDP(nil, c.a, c.b, make([]byte, 600)))
		all := drain(p, 0)
		if len(all) != 1 {
			t.Fatalf("%d answers", len(all))
		}
		if from, mtu, ok := ParseTooBig(all[0].buf); !ok || from != c.a || mtu != 500 {
			t.Errorf("%s %d %t", from, mtu, ok)
		}
		for i := range all[0].buf {
			ParseTooBig(all[0].buf[:i])
		}
	}
}
