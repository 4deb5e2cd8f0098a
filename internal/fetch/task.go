package fetch

import (
	"container/heap"
	"container/list"
	"math"

	"github.com/ropeway/ropeway/internal/digest"
)

// written marks a block that is held, or is being written; smaller values of a
// block's state count the requests that have it outstanding.
const written = 255

// task is the state of a Task. The pool's mutex guards it.
type task struct {
	Task
	seq     int64
	elem    *list.Element    // in the pool's list of tasks that are not done
	index   int              // in the queue; -1 when no block waits
	state   []uint8          // per block: number of requests that have it, or written
	cursor  int              // no block before it waits
	waiting int              // blocks that no request has
	left    int              // blocks not written
	writing int              // calls of Write that run
	bad     map[int]*source  // blocks that have arrived wrong once, and from where
	lacks   map[*source]bool // sources that do not have it
	reqs    map[*request]struct{}
	closed  bool          // no more blocks are taken
	told    bool          // Done is called
	err     error         // for Done
	write   chan struct{} // holds a token while Write runs
}

func newTask(in Task) *task {
	n := in.Object.NumBlocks()
	t := &task{Task: in, index: -1, state: make([]uint8, n), reqs: map[*request]struct{}{}, write: make(chan struct{}, 1)}
	if !(t.Weight > 0) || math.IsInf(t.Weight, 1) {
		t.Weight = 1
	}
	t.Weight = min(max(t.Weight, 1.0/256), 4)
	for i := range n {
		if in.Have != nil && in.Have[i] {
			t.state[i] = written
		} else {
			t.left++
		}
	}
	t.waiting = t.left
	t.Have = nil
	return t
}

// wire returns the expected size of block i on the wire.
func (t *task) wire(i int) int64 {
	return max(1, int64(float64(t.Object.BlockLen(i))*t.Weight))
}

// run returns the first waiting run of blocks, of at most size wire bytes but
// at least one block. The task must have a waiting block.
func (t *task) run(size int64) (from, to int) {
	for t.state[t.cursor] != 0 {
		t.cursor++
	}
	from, to = t.cursor, t.cursor+1
	most := from + max(1, int(float64(size)/(digest.BlockSize*t.Weight)))
	for to < len(t.state) && to < most && t.state[to] == 0 {
		to++
	}
	return from, to
}

// queue orders the tasks that have waiting blocks by age.
type queue []*task

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].seq < q[j].seq }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*task)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*q = old[:len(old)-1]
	return t
}

// settle puts t into the queue or takes it out, as its waiting blocks demand.
func (q *queue) settle(t *task) {
	in := t.waiting > 0 && !t.closed
	switch {
	case in && t.index < 0:
		heap.Push(q, t)
	case !in && t.index >= 0:
		heap.Remove(q, t.index)
	}
}
