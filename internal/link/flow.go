package link

import (
	"cmp"
	"slices"
	"time"
)

// key names a flow, seen from host a.
type key struct {
	a, b         [16]byte
	aport, bport uint16
	proto        uint8
	v6           bool
}

// keyOf returns the key of a packet in the direction of index i.
func keyOf(h *header, i int) key {
	if i == 0 {
		return key{h.src, h.dst, h.sport, h.dport, h.proto, h.v6}
	}
	return key{h.dst, h.src, h.dport, h.sport, h.proto, h.v6}
}

// flow is a TCP connection or a pair of UDP ports.
type flow struct {
	key
	born, seen time.Duration
	bytes      int64 // delivered, both directions
	gone       bool  // not in the table any more

	dead   [2]bool // packets of the direction vanish
	answer bool    // and are answered by a RST

	// Of TCP, by host, 0 for a:
	isn    [2]uint32 // its initial sequence number, where a SYN was seen
	next   [2]uint32 // what it expects next: the only number at which a RST counts (RFC 5961)
	known  [2]bool   // next is known
	fin    [2]bool   // it has ended its stream
	closed bool      // a host has sent a RST
	insist [2]bool   // it was sent a RST; if it goes on the RST missed

	alias [2]uint16 // of UDP, by host: the port that the other knows it by; 0: its own
}

const maxFlows = 1 << 16

// flows is the table of flows, bounded by maxFlows.
type flows struct {
	byKey map[key]*flow
	views [2]map[key]*flow // those with an alias, as the host of the index names them
	order []*flow          // by age, with some that are gone
	last  [2]*flow
	seen  int64
}

func newFlows() flows {
	return flows{byKey: make(map[key]*flow), views: [2]map[key]*flow{make(map[key]*flow), make(map[key]*flow)}}
}

// find returns the flow of a packet, a new one if need be.
func (t *flows) find(h *header, i int, now time.Duration) (f *flow, isNew bool) {
	k := keyOf(h, i)
	if f = t.last[i]; f == nil || f.gone || f.key != k {
		f = nil
		if len(t.views[i]) > 0 {
			f = t.views[i][k]
		}
		if f == nil {
			f = t.byKey[k]
		}
	}
	if f != nil && h.proto == protoTCP && h.flags&(flagSYN|flagACK) == flagSYN && f.over(i, h.seq) {
		t.remove(f) // the ports are used again
		f = nil
	}
	if f == nil {
		if len(t.byKey) >= maxFlows {
			t.evict()
		}
		f, isNew = &flow{key: k, born: now}, true
		t.byKey[k] = f
		t.order = append(t.order, f)
		t.seen++
	}
	f.seen = now
	t.last[i] = f
	return f, isNew
}

// over reports whether a SYN of host i begins another connection.
func (f *flow) over(i int, seq uint32) bool {
	return f.dead[0] || f.dead[1] || f.ended() || f.known[1-i] && f.isn[i] != seq
}

func (t *flows) remove(f *flow) {
	f.gone = true
	delete(t.byKey, f.key)
	for i := range t.views {
		if f.alias[1-i] != 0 {
			delete(t.views[i], f.view(i))
		}
	}
	if len(t.order) > 2*len(t.byKey)+64 {
		t.order = slices.DeleteFunc(t.order, func(f *flow) bool { return f.gone })
	}
}

// evict makes room: first what has ended, then the quarter that was idle
// longest.
func (t *flows) evict() {
	for _, f := range slices.Clone(t.order) {
		if !f.gone && f.ended() {
			t.remove(f)
		}
	}
	if len(t.byKey) < maxFlows*3/4 {
		return
	}
	idle := t.all()
	slices.SortStableFunc(idle, func(x, y *flow) int { return cmp.Compare(x.seen, y.seen) })
	for _, f := range idle[:len(idle)/4] {
		t.remove(f)
	}
}

// all returns the flows by age.
func (t *flows) all() []*flow {
	all := make([]*flow, 0, len(t.byKey))
	for _, f := range t.order {
		if !f.gone {
			all = append(all, f)
		}
	}
	return all
}

// note learns from a segment that host i sent.
func (f *flow) note(h *header, i int) {
	if h.proto != protoTCP {
		return
	}
	if h.flags&flagSYN != 0 {
		f.isn[i] = h.seq
	}
	if h.flags&flagACK != 0 && (!f.known[i] || int32(h.ack-f.next[i]) > 0) {
		f.next[i], f.known[i] = h.ack, true
	}
	if h.flags&flagFIN != 0 {
		f.fin[i] = true
	}
	if h.flags&flagRST != 0 {
		f.closed = true
	}
}

// arrived learns that a segment reached host i.
func (f *flow) arrived(m mark, i int) {
	if m.tcp && !m.spoiled && f.known[i] && int32(m.seq-f.next[i]) <= 0 && int32(m.end-f.next[i]) > 0 {
		f.next[i] = m.end
	}
}

// ended reports whether the hosts have ended the connection themselves.
func (f *flow) ended() bool { return f.closed || f.fin[0] && f.fin[1] }

// alive reports whether there is something to cut.
func (f *flow) alive() bool { return !f.ended() && !(f.dead[0] && f.dead[1]) }
