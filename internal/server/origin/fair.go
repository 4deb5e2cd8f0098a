package origin

import (
	"context"
	"sync"
)

// fair hands out a number of places. While there are not enough, clients get
// them in turn, however many requests each has: a round robin over clients,
// first come first served within one. It is safe for concurrent use.
type fair struct {
	mu     sync.Mutex
	free   int
	queues map[string]*line // of clients that wait
	turn   []*line          // the same, the next one first
	queued int
}

// line is what one client waits with.
type line struct {
	client string
	wait   []chan struct{}
}

func newFair(places int) *fair { return &fair{free: places, queues: map[string]*line{}} }

// take waits for a place, which is to be given back.
func (f *fair) take(ctx context.Context, client string) error {
	f.mu.Lock()
	if f.free > 0 {
		f.free--
		f.mu.Unlock()
		return nil
	}
	l := f.queues[client]
	if l == nil {
		l = &line{client: client}
		f.queues[client] = l
		f.turn = append(f.turn, l)
	}
	ch := make(chan struct{})
	l.wait = append(l.wait, ch)
	f.queued++
	f.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, c := range l.wait {
		if c == ch {
			l.wait = append(l.wait[:i], l.wait[i+1:]...)
			f.queued--
			return ctx.Err()
		}
	}
	// The place came at the same moment.
	f.pass()
	return ctx.Err()
}

// give returns a place.
func (f *fair) give() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pass()
}

// pass hands a place to the next who waits. Called with the mutex held.
func (f *fair) pass() {
	for len(f.turn) > 0 {
		l := f.turn[0]
		f.turn = f.turn[1:]
		if len(l.wait) == 0 { // those who waited have left
			delete(f.queues, l.client)
			continue
		}
		close(l.wait[0])
		l.wait = l.wait[1:]
		f.queued--
		if len(l.wait) > 0 {
			f.turn = append(f.turn, l)
		} else {
			delete(f.queues, l.client)
		}
		return
	}
	f.free++
}

func (f *fair) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued
}

type clientKey struct{}

// WithClient returns a context that says for whom a request is, so that one
// client cannot take the turns of others.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

func clientOf(ctx context.Context) string {
	c, _ := ctx.Value(clientKey{}).(string)
	return c
}
