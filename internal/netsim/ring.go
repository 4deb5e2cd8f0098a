package netsim

// ring is a queue of bytes that grows as needed and never shrinks.
type ring struct {
	b    []byte // length is a power of two
	head int    // index of the first byte
	n    int    // bytes held
}

const minRing = 4 << 10

// push appends b.
func (r *ring) push(b []byte) {
	if need := r.n + len(b); need > len(r.b) {
		size := max(len(r.b), minRing)
		for size < need {
			size *= 2
		}
		grown := make([]byte, size)
		r.copyOut(grown[:r.n])
		r.b, r.head = grown, 0
	}
	at := (r.head + r.n) & (len(r.b) - 1)
	if k := copy(r.b[at:], b); k < len(b) {
		copy(r.b, b[k:])
	}
	r.n += len(b)
}

// pop moves len(b) bytes, no more than there are, from the front to b.
func (r *ring) pop(b []byte) {
	r.copyOut(b)
	r.discard(len(b))
}

// discard drops n bytes from the front.
func (r *ring) discard(n int) {
	if r.n -= n; r.n == 0 {
		r.head = 0
		return
	}
	r.head = (r.head + n) & (len(r.b) - 1)
}

// truncate drops all but the first n bytes.
func (r *ring) truncate(n int) { r.n = n }

// flip inverts one bit of the byte i places from the front.
func (r *ring) flip(i int, bit uint) {
	r.b[(r.head+i)&(len(r.b)-1)] ^= 1 << (bit & 7)
}

func (r *ring) copyOut(b []byte) {
	if len(b) == 0 {
		return
	}
	if k := copy(b, r.b[r.head:]); k < len(b) {
		copy(b[k:], r.b)
	}
}
