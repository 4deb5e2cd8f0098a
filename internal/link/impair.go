package link

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// way is one direction of a Path.
type way struct {
	Params
	index int
	c     *DirCounters

	// Each impairment draws from a generator of its own, so that turning one
	// on does not change what the others do.
	rndLoss, rndBurst, rndReorder, rndCopy, rndCorrupt *rand.Rand
	seed                                               uint64

	free    time.Duration // when what was accepted will have been sent
	lastDue time.Duration // of the packets in line
	drained time.Duration // until then a stall's backlog has the link
	bad     bool          // the Gilbert-Elliott process is in a burst
	tokens  float64       // bytes that UDP may send
	tokenAt time.Duration

	dark, darkGen   int // blackouts that are on
	still, stillGen int // stalls that are on

	line ring[parcel] // in order
	late late         // held back, for others to pass
	seq  uint64
}

func newWay(p Params, index int, seed uint64, c *DirCounters) *way {
	w := &way{index: index, c: c, seed: seed ^ uint64(index+1)<<32}
	for i, r := range []**rand.Rand{&w.rndLoss, &w.rndBurst, &w.rndReorder, &w.rndCopy, &w.rndCorrupt} {
		*r = rand.New(rand.NewPCG(w.seed, uint64(i)))
	}
	w.Params = p.possible()
	w.tokens = w.bucket()
	return w
}

// change gives w other parameters. What waits in the queue is sent at the new
// rate; what has left it stays as it is.
func (w *way) change(now time.Duration, p Params) {
	p = p.possible()
	if w.Rate != p.Rate && w.free > now {
		w.retime(now, p.Rate)
	}
	w.Params = p
	w.tokens = min(w.tokens, w.bucket())
}

// retime gives what waits in the queue the times of another rate.
func (w *way) retime(now time.Duration, rate int64) {
	ratio := 0.0
	if rate > 0 {
		ratio = float64(w.Rate) / float64(rate)
	}
	scale := func(t time.Duration) time.Duration {
		return now + time.Duration(min(float64(t-now)*ratio, float64(maxDuration)))
	}
	move := func(x *parcel) {
		if x.sent > now {
			sent := scale(x.sent)
			x.due += sent - x.sent
			x.sent = sent
		}
	}
	w.free = scale(w.free)
	var last time.Duration
	for i := range w.line.n {
		x := w.line.at(i)
		move(x)
		x.due = max(x.due, last)
		last = x.due
	}
	w.lastDue = last
	var held late
	for _, x := range w.late {
		move(&x)
		held.push(x)
	}
	w.late = held
}

// transmit returns how long n bytes occupy the link.
func (w *way) transmit(n int) time.Duration {
	if w.Rate == 0 {
		return 0
	}
	return time.Duration(int64(n) * 8 * int64(time.Second) / w.Rate)
}

// enqueue finds a place for n bytes in the queue and returns when they will
// have been sent.
func (w *way) enqueue(now time.Duration, n int) (time.Duration, bool) {
	if w.Rate == 0 {
		return now, true
	}
	var waiting int64
	if w.free > now {
		waiting = bytesIn(w.Rate, w.free-now)
	}
	if waiting > 0 && waiting+int64(n) > w.limit() {
		return 0, false
	}
	w.c.MaxQueueBytes = max(w.c.MaxQueueBytes, waiting+int64(n))
	w.free = max(w.free, now) + w.transmit(n)
	return w.free, true
}

// bucket returns how many bytes of UDP pass in a row under policing: 50 ms of
// the rate, but no less than some packets.
func (w *way) bucket() float64 { return max(16<<10, float64(w.UDPRate)/8*.05) }

// police reports whether n bytes of UDP may pass.
func (w *way) police(now time.Duration, n int) bool {
	if w.UDPRate == 0 {
		return true
	}
	w.tokens = min(w.bucket(), w.tokens+float64(w.UDPRate)/8*(now-w.tokenAt).Seconds())
	w.tokenAt = now
	if w.tokens < float64(n) {
		return false
	}
	w.tokens -= float64(n)
	return true
}

// loses decides whether the next packet is lost, and counts it.
func (w *way) loses() bool {
	if w.Burst > 0 && w.burst() {
		w.c.LostBurst++
		return true
	}
	if w.Loss > 0 && w.rndLoss.Float64() < w.Loss {
		w.c.LostRandom++
		return true
	}
	return false
}

// burst steps the two-state process of Gilbert (Bell System Technical Journal
// 39, 1960): all is lost in the bad state, nothing in the good one. It leaves
// the bad state with probability 1/BurstLen, and enters it so often that the
// mean loss is Burst.
func (w *way) burst() bool {
	length := w.BurstLen
	if length == 0 {
		length = defBurstLen
	}
	if w.bad {
		w.bad = w.rndBurst.Float64() >= 1/length
	} else if enter := w.Burst / ((1 - w.Burst) * length); w.Burst >= 1 || w.rndBurst.Float64() < enter {
		w.bad = true
	}
	return w.bad
}

// wander returns the jitter of a packet sent at t: a line between random
// values, one every so often that it never falls faster than half of the time
// passes. So packets do not pass each other, and need not be held for that.
func (w *way) wander(t time.Duration) time.Duration {
	if w.Jitter == 0 {
		return 0
	}
	step := max(2*w.Jitter, 10*ms)
	k := uint64(t / step)
	from, to := w.knot(k), w.knot(k+1)
	part := float64(t%step) / float64(step)
	return time.Duration((from + (to-from)*part) * float64(w.Jitter))
}

// knot returns the k-th random value, from 0 to 1 (SplitMix64).
func (w *way) knot(k uint64) float64 {
	z := w.seed + (k+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// heldBack returns for how long the next packet is held back, 0 for most.
func (w *way) heldBack() time.Duration {
	if w.Reorder == 0 || w.ReorderBy == 0 || w.rndReorder.Float64() >= w.Reorder {
		return 0
	}
	return 1 + time.Duration(w.rndReorder.Int64N(int64(w.ReorderBy)))
}

// corrupt flips bits of a packet as asked and reports whether its checksum
// shows it.
func (w *way) corrupt(b []byte, h *header, known bool) (spoiled bool) {
	if w.Corrupt > 0 && w.rndCorrupt.Float64() < w.Corrupt {
		from := 0
		if known && h.l4 < h.end {
			from = h.l4 // a broken IP header is dropped before anybody counts it
		}
		if n := len(b) - from; n > 0 {
			b[from+w.rndCorrupt.IntN(n)] ^= 1 << w.rndCorrupt.IntN(8)
			w.c.Corrupted++
			spoiled = true
		}
	}
	if w.CorruptSilent > 0 && w.rndCorrupt.Float64() < w.CorruptSilent && known && h.sumAt() > 0 && h.payload < h.end {
		at := h.payload + w.rndCorrupt.IntN(h.end-h.payload)
		flipPayload(b[:h.end], h, at, 1<<w.rndCorrupt.IntN(8))
		w.c.CorruptedSilent++
	}
	return spoiled
}

// flipPayload flips bits of the byte at b[at] and keeps the checksum true.
func flipPayload(b []byte, h *header, at int, bits byte) {
	word := at - (at-h.l4)%2
	old := wordAt(b, word)
	b[at] ^= bits
	adjust(b, h.sumAt(), h.proto == protoUDP, old, wordAt(b, word))
}

// wordAt returns the 16 bits at b[i:], with a 0 after the end.
func wordAt(b []byte, i int) uint16 {
	if i+1 < len(b) {
		return binary.BigEndian.Uint16(b[i:])
	}
	return uint16(b[i]) << 8
}
