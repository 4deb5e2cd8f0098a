package link

import "time"

// parcel is a packet under way.
type parcel struct {
	sent time.Duration // when it leaves the queue
	due  time.Duration // when it arrives
	seq  uint64        // order among those due at one time, in the heap
	buf  []byte
	flow *flow // nil: of none
	mark mark
}

// mark is what a host learns of its connection when a segment arrives.
type mark struct {
	seq, end uint32
	tcp      bool
	spoiled  bool // its checksum does not match: the host drops it
}

// ring is a queue that grows as needed and never shrinks.
type ring[T any] struct {
	items []T // length is a power of two
	head  int
	n     int
}

// push appends x.
func (r *ring[T]) push(x T) {
	if r.n == len(r.items) {
		grown := make([]T, max(64, 2*r.n))
		for i := range r.n {
			grown[i] = *r.at(i)
		}
		r.items, r.head = grown, 0
	}
	r.items[(r.head+r.n)&(len(r.items)-1)] = x
	r.n++
}

// at returns the i-th item from the front.
func (r *ring[T]) at(i int) *T { return &r.items[(r.head+i)&(len(r.items)-1)] }

// pop removes the first item.
func (r *ring[T]) pop() T {
	p := r.at(0)
	x := *p
	var zero T
	*p = zero
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	return x
}

// late is a heap of the packets that others may pass, the first due on top.
type late []parcel

func (l late) less(i, j int) bool {
	return l[i].due < l[j].due || l[i].due == l[j].due && l[i].seq < l[j].seq
}

func (l *late) push(x parcel) {
	*l = append(*l, x)
	h := *l
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (l *late) pop() parcel {
	h := *l
	x, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = parcel{}
	h = h[:last]
	*l = h
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h.less(c, least) {
				least = c
			}
		}
		if least == i {
			return x
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// pool keeps buffers for reuse, by size. What is lent is bounded by maxHeld.
type pool struct {
	free [len(poolSizes)][][]byte
}

var poolSizes = [...]int{128, 1536, 1 << 16}

// get returns a buffer of n bytes, at most maxPacket.
func (p *pool) get(n int) []byte {
	class := 0
	for poolSizes[class] < n {
		class++
	}
	if k := len(p.free[class]); k > 0 {
		b := p.free[class][k-1]
		p.free[class] = p.free[class][:k-1]
		return b[:n]
	}
	return make([]byte, n, poolSizes[class])
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	for class, size := range poolSizes {
		if cap(b) == size {
			p.free[class] = append(p.free[class], b)
		}
	}
}
