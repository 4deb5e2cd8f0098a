package plan

import (
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// maxDigests bounds Digests, at some 200 bytes each.
const maxDigests = 64 << 10

// Digests remembers what files were found to hold, by their Stat, so that
// plans that are made at the same time read a file once: the index learns of
// it only when one of them is done. It forgets the oldest. A nil Digests
// remembers nothing. It is safe for concurrent use.
type Digests struct {
	mu    sync.Mutex
	known map[manifest.Stat]digest.Digest
	order []manifest.Stat // a ring of those that are known
	next  int
}

// NewDigests returns an empty memory.
func NewDigests() *Digests { return &Digests{known: map[manifest.Stat]digest.Digest{}} }

func (d *Digests) note(s manifest.Stat, sum digest.Digest) {
	if d == nil || s.Size <= inlineMax || sum.IsZero() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.known[s]; ok {
		return
	}
	if len(d.order) < maxDigests {
		d.order = append(d.order, s)
	} else {
		delete(d.known, d.order[d.next])
		d.order[d.next] = s
		d.next = (d.next + 1) % maxDigests
	}
	d.known[s] = sum
}

func (d *Digests) lookUp(s manifest.Stat) (sum digest.Digest, ok bool) {
	if d == nil {
		return sum, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sum, ok = d.known[s]
	return sum, ok
}
