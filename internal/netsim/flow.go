package netsim

import (
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// giveUp is how long a sender's data stay unacknowledged before its end of
// the connection fails: Linux's 15 retransmissions.
const giveUp = 924600 * time.Millisecond

// flow is one connection.
type flow struct {
	l      *Link
	id     uint64
	opened time.Duration
	halves [2]*half // up, down
	ends   [2]*Conn // dialer, listener
	moved  int64    // bytes delivered in both directions
	lost   bool     // forgotten by the link: nothing passes, ever again
	held   bool     // stalled for ever
}

// half is one direction of a flow. The offsets count bytes from the start:
//
//	acked ≤ read ≤ arrived ≤ sent ≤ written
//
// where acked is what the sender knows of read. buf holds [read, written).
type half struct {
	f        *flow
	p        *path
	from, to *Conn
	key      uint64

	buf                                 ring
	written, sent, arrived, read, acked int64
	fin, finSent, finArrived            bool

	epoch   int           // changes when what is in flight is lost
	lastDue time.Duration // arrival of what was sent last
	resume  time.Duration // nothing is sent before

	stuck   bool          // data wait for a path that does not work
	stuckAt time.Duration // since then
	stuckID int           // changes with stuck

	credits int   // acknowledgements on their way
	granted int64 // the highest offset among them
	resets  bool  // a reset is on its way

	toLoss int // segments to go before one is lost; -1: to be drawn
	losses int // in a row
	rng    *rand.Rand

	readable, writable sync.Cond
}

func (l *Link) newFlow(id uint64, local, remote Addr) *flow {
	f := &flow{l: l, id: id, opened: l.time()}
	f.ends[0] = &Conn{f: f, side: Dialer, local: local, remote: remote}
	f.ends[1] = &Conn{f: f, side: Listener, local: remote, remote: local}
	for i := range f.halves {
		h := &half{f: f, p: &l.paths[i], from: f.ends[i], to: f.ends[1-i], key: id<<1 | uint64(i), toLoss: -1}
		h.rng = l.random(id, uint64(i))
		h.readable.L, h.writable.L = &l.mu, &l.mu
		h.from.out, h.to.in = h, h
		f.halves[i] = h
	}
	at, _ := slices.BinarySearchFunc(l.flows, id, func(f *flow, id uint64) int {
		if f.id < id {
			return -1
		}
		return 1
	})
	l.flows = slices.Insert(l.flows, at, f)
	l.stats.Opened++
	if l.killTime > 0 {
		l.armKill(f)
	}
	return f
}

// drop forgets a flow of which both ends are done.
func (l *Link) drop(f *flow) {
	for _, h := range f.halves {
		done := h.finArrived || f.lost || f.held || h.from.err != nil || h.to.err != nil
		if !done || !h.to.closed && h.to.err == nil {
			return
		}
	}
	if i := slices.Index(l.flows, f); i >= 0 {
		l.flows = slices.Delete(l.flows, i, i+1)
	}
}

func (h *half) peer() *half { return h.f.halves[1-h.p.index] }

// broken reports whether nothing can pass in h's direction.
func (h *half) broken() bool { return h.p.dark > 0 || h.f.lost || h.f.held }

// room returns how much more may be sent before something is acknowledged.
func (h *half) room() int64 { return max(0, h.p.window-(h.sent-h.acked)) }

// wants reports whether h has anything that it may send.
func (h *half) wants() bool {
	if h.from.err != nil {
		return false
	}
	if backlog := h.written - h.sent; backlog > 0 {
		return h.room() > 0
	}
	return h.fin && !h.finSent
}

// kick has what h holds sent as soon as the path allows.
func (h *half) kick() {
	h.noteTrouble()
	if h.broken() || !h.wants() {
		return
	}
	l, now := h.f.l, h.f.l.time()
	if !h.p.perfect() || h.resume > now || h.sent > h.arrived {
		l.wakePump(h.p, max(now, h.p.free))
		return
	}
	n := min(h.written-h.sent, h.room())
	h.sent += n
	l.count(h.p.index).Sent += n
	h.finSent = h.fin && h.sent == h.written
	h.writable.Broadcast()
	h.noteTrouble()
	h.arrive(n, h.finSent)
}

// arrive delivers the next n bytes, and the end of the stream after them.
func (h *half) arrive(n int64, fin bool) {
	f := h.f
	kill := false
	if k := f.l.killBytes; k > 0 && f.moved+n >= k {
		n, kill = max(0, k-f.moved), true
	}
	f.moved += n
	h.arrived += n
	f.l.delivered(h.p.index, n)
	if h.to.err != nil || h.to.closed {
		h.buf.discard(int(h.arrived - h.read))
		h.read = h.arrived
		if n > 0 && h.to.closed {
			h.to.err = net.ErrClosed
			h.to.out.cut()
			h.to.out.sendReset()
		}
	}
	if kill {
		f.l.end(f, f.l.bytesSilent)
		return
	}
	h.finArrived = h.finArrived || fin
	h.readable.Broadcast()
	if h.finArrived {
		f.l.drop(f)
	}
}

// consumed tells the sender, after the way back, what was read.
func (h *half) consumed() {
	l, back := h.f.l, h.peer()
	if back.broken() || h.read == h.acked {
		return // retried when the path back works again
	}
	if back.p.Delay == 0 {
		h.acked, h.granted = h.read, h.read
		h.kick()
		return
	}
	if h.credits > 0 && h.read-h.granted < h.p.window/16 {
		return // the one on its way will be followed by another
	}
	upto, epoch := h.read, back.epoch
	h.credits++
	h.granted = upto
	l.at(l.time()+back.p.Delay, h.key, func() {
		h.credits--
		if back.broken() || back.epoch != epoch {
			return
		}
		h.acked = max(h.acked, upto)
		if h.credits == 0 {
			h.consumed()
		}
		h.kick()
	})
}

// lose drops what is in flight in h's direction. It will be sent again.
func (h *half) lose() {
	h.epoch++
	h.sent, h.finSent = h.arrived, h.finArrived
	h.lastDue = 0
	h.resets = false
}

// noteTrouble starts the clock of a sender whose data get nowhere.
func (h *half) noteTrouble() {
	if h.stuck || h.from.err != nil {
		return
	}
	forward := h.broken() && (h.written > h.arrived || h.fin && !h.finArrived)
	backward := h.peer().broken() && h.sent > h.acked
	if !forward && !backward {
		return
	}
	l := h.f.l
	h.stuck, h.stuckAt = true, l.time()
	h.stuckID++
	id := h.stuckID
	l.at(h.stuckAt+giveUp, h.key, func() {
		if h.stuck && h.stuckID == id {
			h.from.fail(syscall.ETIMEDOUT)
		}
	})
}

// revive lets h go on, when its next retransmission is due, after the path
// came back in both directions.
func (h *half) revive() {
	if h.broken() || h.peer().broken() {
		return
	}
	l := h.f.l
	now := l.time()
	if h.stuck {
		h.stuck = false
		h.resume = max(h.resume, h.stuckAt+backoff(now-h.stuckAt, l.rto()))
	}
	l.at(max(now, h.resume), h.key, func() {
		h.consumed()
		h.kick()
	})
}

// backoff returns the time of the first retransmission that is not before
// outage, when the first follows after rto and each interval is twice the one
// before.
func backoff(outage, rto time.Duration) time.Duration {
	at := rto
	for step := rto; at < outage; {
		step = min(2*step, maxRTO)
		at += step
	}
	return at
}

// cut drops what was not sent.
func (h *half) cut() {
	h.written, h.fin = h.sent, h.finSent
	h.buf.truncate(int(h.written - h.read))
}

// sendReset tells the other end that the connection is gone.
func (h *half) sendReset() {
	if h.resets || h.broken() {
		return
	}
	l := h.f.l
	h.resets = true
	epoch := h.epoch
	h.lastDue = max(h.lastDue, l.time()+h.p.Delay)
	l.at(h.lastDue, h.key, func() {
		if h.epoch != epoch || h.broken() {
			return
		}
		h.resets = false
		h.to.fail(syscall.ECONNRESET)
	})
}

// drawLoss decides which segment is the next to be lost.
func (h *half) drawLoss() {
	u := 1 - h.rng.Float64() // (0, 1]
	k := math.Floor(math.Log(u) / math.Log1p(-h.p.Loss))
	h.toLoss = int(min(k, 1<<30))
}

// stall returns how long it takes to notice the loss of a segment and to
// repair it, with backlog bytes there to follow it.
func (h *half) stall(backlog int64) time.Duration {
	l := h.f.l
	h.losses++
	if h.losses == 1 && backlog > 3*segment {
		return max(l.rtt(), time.Millisecond)
	}
	return min(l.rto()<<min(h.losses-1, 9), maxRTO)
}
