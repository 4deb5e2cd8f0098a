package link

import (
	"encoding/binary"
	"math/rand/v2"
)

// A host behind a NAT that got another address is known to the other host by
// another port from then on. A TCP connection does not survive that, but a
// protocol over UDP can. The model rewrites ports:
//
//	what host 0 sends and gets: its own port, and alias[1] for the other, if any
//	what host 1 sends and gets: alias[0] for the other, if any, and its own port

// view returns the key of f's packets as host i sends them.
func (f *flow) view(i int) key {
	k := f.key
	if i == 0 && f.alias[1] != 0 {
		k.bport = f.alias[1]
	}
	if i == 1 && f.alias[0] != 0 {
		k.aport = f.alias[0]
	}
	return k
}

// rebind gives the hosts at side other ports in the UDP flow f.
func (t *flows) rebind(f *flow, side Side, rnd *rand.Rand) {
	for i := range 2 {
		if !side.has(i) {
			continue
		}
		other := 1 - i
		if f.alias[i] != 0 {
			delete(t.views[other], f.view(other))
		}
		for range 100 { // one of the first is free unless all but all are taken
			f.alias[i] = uint16(49152 + rnd.IntN(1<<14))
			if k := f.view(other); t.views[other][k] == nil && t.byKey[k] == nil {
				break
			}
		}
		t.views[other][f.view(other)] = f
	}
}

// stale reports whether a packet of host i goes to a port that the other host
// is not known by any more.
func (f *flow) stale(h *header, i int) bool {
	return f.alias[1-i] != 0 && h.dport != f.alias[1-i]
}

// translate rewrites the ports of host i's packet b to what the other knows.
func (f *flow) translate(b []byte, h *header, i int) {
	if f.alias == [2]uint16{} || f.proto != protoUDP {
		return
	}
	own := f.aport
	if i == 0 {
		own = f.bport
	}
	if f.alias[i] != 0 {
		setPort(b, h, h.l4, f.alias[i])
	}
	if f.alias[1-i] != 0 {
		setPort(b, h, h.l4+2, own)
	}
}

// setPort writes the UDP port at b[at:] and keeps the checksum true.
func setPort(b []byte, h *header, at int, port uint16) {
	adjust(b, h.sumAt(), true, binary.BigEndian.Uint16(b[at:]), port)
	binary.BigEndian.PutUint16(b[at:], port)
}
