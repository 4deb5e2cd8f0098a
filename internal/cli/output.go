package cli

import (
	"errors"
	"io"
	"sync"
)

// stream is where a text goes.
type stream int

const (
	toStdout stream = iota
	toStderr
)

// backlog is how many bytes may wait for a reader that is slow or stopped.
const backlog = 1 << 20

// output writes texts in order from a goroutine of its own, so that a
// terminal that is stopped does not stop the transfer. Safe for concurrent use.
type output struct {
	to [2]io.Writer

	mu    sync.Mutex
	room  sync.Cond // on mu: the queue was written, or nothing more will be
	queue []chunk
	size  int  // bytes that are queued or being written
	ended bool // close was called
	err   error

	wake chan struct{} // capacity 1: queue or ended changed
	done chan struct{} // the goroutine has ended
	gone chan struct{} // abandon was called
}

type chunk struct {
	to   stream
	text []byte
}

func newOutput(stdout, stderr io.Writer) *output {
	o := &output{to: [2]io.Writer{stdout, stderr}, wake: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{})}
	o.room.L = &o.mu
	go o.run()
	return o
}

// wait returns when less than a whole backlog is queued.
func (o *output) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size > backlog && o.err == nil && !o.ended {
		o.room.Wait()
	}
}

// full reports whether a whole backlog is queued.
func (o *output) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size > backlog
}

// put queues a text. It never waits; callers that print much call wait before,
// or do without when it is full.
func (o *output) put(to stream, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || o.ended || text == "" {
		return
	}
	o.size += len(text)
	if n := len(o.queue); n > 0 && o.queue[n-1].to == to {
		o.queue[n-1].text = append(o.queue[n-1].text, text...)
	} else {
		o.queue = append(o.queue, chunk{to, []byte(text)})
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// idle reports whether everything has been written.
func (o *output) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size == 0
}

// abandon drops what is not written yet and lets close return. It is called
// once at most.
func (o *output) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = errors.New("nobody reads it")
	}
	o.queue, o.size = nil, 0
	o.room.Broadcast()
	close(o.gone)
}

// close waits until everything is written or abandoned, and returns the first
// error of standard output; nobody needs to know that talk was lost.
func (o *output) close() error {
	o.mu.Lock()
	o.ended = true
	o.room.Broadcast()
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	select {
	case <-o.done:
	case <-o.gone:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *output) run() {
	defer close(o.done)
	for range o.wake {
		for {
			o.mu.Lock()
			queue, ended := o.queue, o.ended
			o.queue = nil
			o.mu.Unlock()
			if len(queue) == 0 {
				if ended {
					return
				}
				break
			}
			for _, c := range queue {
				o.write(c)
			}
		}
	}
}

func (o *output) write(c chunk) {
	_, err := o.to[c.to].Write(c.text)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size -= len(c.text)
	if err != nil && o.err == nil && c.to == toStdout {
		o.err, o.queue, o.size = err, nil, 0
	}
	o.size = max(o.size, 0)
	o.room.Broadcast()
}
