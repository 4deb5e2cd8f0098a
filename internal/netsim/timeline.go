package netsim

import (
	"container/heap"
	"time"
)

// timeline runs functions at their times, in a fixed order, under the link's
// lock. It owns no goroutine: a single timer calls run.
//
// Functions see the time that they were due, not the time that the machine
// came round to them, so that a late timer costs the simulated link nothing.
type timeline struct {
	start   time.Time
	queue   moments
	seq     uint64
	timer   *time.Timer
	armed   time.Duration // when timer fires, if it is set
	running bool
	now     time.Duration // while running
}

// The keys order what happens at one instant. Flows come in between, by their
// numbers; the pumps last, when everything that can send has said so.
const (
	keyFault = 0
	keyPump  = 1<<64 - 1
)

type moment struct {
	at  time.Duration
	key uint64
	seq uint64
	fn  func()
}

type moments []moment

func (m moments) Len() int      { return len(m) }
func (m moments) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *moments) Push(x any)   { *m = append(*m, x.(moment)) }
func (m moments) Less(i, j int) bool {
	a, b := &m[i], &m[j]
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.key != b.key:
		return a.key < b.key
	}
	return a.seq < b.seq
}

func (m *moments) Pop() any {
	old := *m
	x := old[len(old)-1]
	old[len(old)-1] = moment{}
	*m = old[:len(old)-1]
	return x
}

// time returns the present, counted from the making of the link.
func (l *Link) time() time.Duration {
	if l.line.running {
		return l.line.now
	}
	return time.Since(l.line.start)
}

// at has fn called at t, or at once if that is past. The caller holds l.mu,
// and fn will be called with it held.
func (l *Link) at(t time.Duration, key uint64, fn func()) {
	tl := &l.line
	tl.seq++
	heap.Push(&tl.queue, moment{at: t, key: key, seq: tl.seq, fn: fn})
	if !tl.running {
		l.arm()
	}
}

func (l *Link) arm() {
	tl := &l.line
	if len(tl.queue) == 0 {
		return
	}
	at := tl.queue[0].at
	if tl.armed >= 0 && tl.armed <= at {
		return
	}
	tl.armed = at
	wait := max(0, at-time.Since(tl.start))
	if tl.timer == nil {
		tl.timer = time.AfterFunc(wait, l.run)
		return
	}
	tl.timer.Reset(wait)
}

// run calls everything that is due.
func (l *Link) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	tl := &l.line
	tl.armed = -1
	tl.running = true
	wall := time.Since(tl.start)
	for len(tl.queue) > 0 {
		if tl.queue[0].at > wall {
			if wall = time.Since(tl.start); tl.queue[0].at > wall {
				break
			}
		}
		m := heap.Pop(&tl.queue).(moment)
		tl.now = max(tl.now, m.at) // what was asked for in the past happens now
		m.fn()
	}
	tl.running = false
	l.arm()
}
