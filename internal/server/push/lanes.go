package push

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
)

const (
	// maxSpare bounds the lanes that came too late for who asked for them.
	maxSpare = 4
	// spareTime is how long they wait for somebody else.
	spareTime = 15 * time.Second
)

// lanes brings those who want a lane and the lanes that the client opens
// together.
type lanes struct {
	wake func()          // a lane is wanted
	done <-chan struct{} // the job has ended

	mu      sync.Mutex // guards all below
	asked   int64
	waiting []*want // by rising number
	spare   []*spareLane
}

type want struct {
	number int64
	lane   chan *lane.Conn // of one
}

type spareLane struct {
	conn  *lane.Conn
	taken chan struct{}
}

// dial implements job.Dial.
func (q *lanes) dial(ctx context.Context) (*lane.Conn, error) {
	q.mu.Lock()
	for len(q.spare) > 0 {
		s := q.spare[0]
		q.spare = q.spare[1:]
		close(s.taken)
		if s.conn.Err() == nil {
			q.mu.Unlock()
			return s.conn, nil
		}
	}
	q.asked++
	w := &want{q.asked, make(chan *lane.Conn, 1)}
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()
	q.wake()
	select {
	case c := <-w.lane:
		return c, nil
	case <-ctx.Done():
	case <-q.done:
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, w)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i < 0 { // it came in the same moment
		return <-w.lane, nil
	}
	return nil, fault.New(fault.Network, "", "the pushing side has not opened a connection")
}

// wanted returns the numbers, above after, of the lanes that are waited for.
func (q *lanes) wanted(after int64) (numbers []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		if w.number > after {
			numbers = append(numbers, w.number)
		}
	}
	return numbers
}

// use gives a lane to who waits for one, and returns when it is not needed any
// more.
func (q *lanes) use(c *lane.Conn) {
	q.mu.Lock()
	if len(q.waiting) > 0 {
		w := q.waiting[0]
		q.waiting = q.waiting[1:]
		w.lane <- c
		q.mu.Unlock()
	} else if len(q.spare) < maxSpare {
		s := &spareLane{c, make(chan struct{})}
		q.spare = append(q.spare, s)
		q.mu.Unlock()
		if !q.offered(s) {
			return
		}
	} else {
		q.mu.Unlock()
		return
	}
	select {
	case <-c.Done():
	case <-q.done:
	}
}

// offered waits until somebody takes a spare lane, and reports whether.
func (q *lanes) offered(s *spareLane) bool {
	t := time.NewTimer(spareTime)
	defer t.Stop()
	select {
	case <-s.taken:
		return true
	case <-t.C:
	case <-s.conn.Done():
	case <-q.done:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.spare, s)
	if i >= 0 {
		q.spare = slices.Delete(q.spare, i, i+1)
	}
	return i < 0
}
