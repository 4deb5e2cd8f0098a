package fetch

import (
	"slices"
	"sync"
)

// maxLanes bounds the lanes of a pool, and of all pools to one server.
const maxLanes = 64

// Budget is the number of lanes that all pools of a process may have to one
// server. They share it evenly; what one does not want the others get. All
// methods are safe for concurrent use.
type Budget struct {
	mu     sync.Mutex
	most   int
	grant  int             // 0: the server has said nothing
	wishes map[*source]int // lanes wanted
	held   map[*source]int // lanes that are up, or being made
}

// NewBudget returns a budget of most lanes; 0 means 64.
func NewBudget(most int) *Budget {
	if most <= 0 || most > maxLanes {
		most = maxLanes
	}
	return &Budget{most: most, wishes: map[*source]int{}, held: map[*source]int{}}
}

// Grant notes how many lanes the server lets this process have from now on.
// Every pool keeps one in any case. 0 takes the limit back.
func (b *Budget) Grant(n int) {
	b.mu.Lock()
	b.grant = max(n, 0)
	b.mu.Unlock()
}

// total returns how many lanes there are to share. Called with the mutex held.
func (b *Budget) total() int {
	if b.grant > 0 {
		return min(b.most, b.grant)
	}
	return b.most
}

// granted returns how many lanes the server lets this process have, 0 when it
// has not said.
func (b *Budget) granted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grant
}

// room reports whether s, which has n lanes, may make another. Those that
// others have yet to give up count; but the first is everybody's.
func (b *Budget) room(s *source, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wishes[s], b.held[s] = n+1, n
	all := 0
	for _, h := range b.held {
		all += h
	}
	return n == 0 || all < b.total() && b.fair(s, n+1) > n
}

// holds notes that s has n lanes.
func (b *Budget) holds(s *source, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[s] = n; n == 0 {
		delete(b.held, s)
	}
}

// share notes that s wants n lanes and returns how many of them it may have:
// at least 1 if it wants any, and no fewer than anybody who wants more
// (max-min fairness).
func (b *Budget) share(s *source, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n <= 0 {
		delete(b.wishes, s)
		return 0
	}
	b.wishes[s] = n
	return b.fair(s, n)
}

// could returns how many lanes s might have if it wanted them.
func (b *Budget) could(s *source) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fair(s, maxLanes)
}

// fair returns the share of s if it wanted n. Called with the mutex held.
func (b *Budget) fair(s *source, n int) int {
	wishes := []int{n}
	for o, w := range b.wishes {
		if o != s {
			wishes = append(wishes, w)
		}
	}
	slices.Sort(wishes)
	left := b.total()
	for i, w := range wishes {
		level := left / (len(wishes) - i)
		if w > level {
			return max(1, min(n, level))
		}
		left -= w
	}
	return n
}

// leave forgets s.
func (b *Budget) leave(s *source) {
	b.share(s, 0)
	b.holds(s, 0)
}
