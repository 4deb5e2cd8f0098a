package push

// Bounds of the events that are kept for a client that comes back.
const (
	ringItems = 10_000
	ringBytes = 2 << 20
)

// ring keeps the latest events, numbered from 1.
type ring struct {
	items [][]byte
	first int64 // number of items[0]
	bytes int
}

func (r *ring) add(b []byte) {
	r.items = append(r.items, b)
	r.bytes += len(b)
	for len(r.items) > ringItems || r.bytes > ringBytes && len(r.items) > 1 {
		r.bytes -= len(r.items[0])
		r.items[0] = nil
		r.items = r.items[1:]
		r.first++
	}
}

// next is the number of the next event.
func (r *ring) next() int64 { return r.first + int64(len(r.items)) }

// from returns up to n events from number at on, the number of the first, and
// how many before it were dropped. The events must not be changed.
func (r *ring) from(at int64, n int) (items [][]byte, first, dropped int64) {
	first = min(max(at, r.first), r.next())
	items = r.items[first-r.first:]
	return items[:min(n, len(items))], first, max(0, first-at)
}
