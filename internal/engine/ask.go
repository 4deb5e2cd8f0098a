package engine

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
)

// askStall is how long a server may think about a question before another
// connection asks it.
const askStall = 20 * time.Second

// asker puts questions to a server that are no job: over one connection,
// again when that breaks, and not for longer than it was told. close ends it.
type asker struct {
	pool *fetch.Pool
	stop context.CancelFunc
	done chan struct{}
}

// newAsker returns an asker. timeout and connect end it as they end a job;
// report gets event.Link.
func newAsker(ctx context.Context, dial job.Dial, timeout, connect time.Duration, report event.Func) *asker {
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{stop: cancel, done: make(chan struct{})}
	a.pool = fetch.New(fetch.Config{
		Lanes: 1, Stall: askStall, Timeout: timeout, ConnectTimeout: connect,
		Events: func(e event.Event) {
			if l, ok := e.(event.Link); ok {
				report(l)
			}
		},
	}, fetch.Source{Dialer: askDialer{dial}})
	go func() {
		defer close(a.done)
		_ = a.pool.Run(ctx) // ask returns its error
	}()
	return a
}

func (a *asker) close() {
	a.stop()
	<-a.done
}

// ask runs f on a connection until it returns nil or an error that trying again
// does not cure. f calls alive whenever the server has said something.
func (a *asker) ask(ctx context.Context, what string, f func(ctx context.Context, c *lane.Conn, alive func()) error) error {
	return a.pool.Do(ctx, what, func(ctx context.Context, l fetch.Lane, alive func()) error {
		return f(ctx, l.(askLane).Conn, alive)
	})
}

// refusal is an answer that says to try again later, or that the server
// cannot answer.
func refusal(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after := time.Second
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			after = time.Duration(min(max(n, 1), 300)) * time.Second
		}
		return fetch.RetryAfter{After: after}
	}
	return fault.New(fault.Other, "", "the server answers %d", resp.StatusCode)
}

// askDialer gives the pool its connections.
type askDialer struct{ dial job.Dial }

func (d askDialer) Dial(ctx context.Context) (fetch.Lane, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	return askLane{c}, nil
}

// askLane is a connection that carries no objects.
type askLane struct{ *lane.Conn }

func (l askLane) Counters() (in, out int64) { return l.In(), l.Out() }

// Path implements fetch.Lane.
func (l askLane) Path() fetch.PathInfo { return fetch.PathInfo{RTT: l.RTT()} }

func (l askLane) Get(context.Context, fetch.Request, func(int, []byte) error) error {
	return fault.Wrap(fault.Other, errors.ErrUnsupported, "", "objects")
}
