package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/wire"
)

// Client pushes to one module of a server. The first three fields are needed.
// It is safe for concurrent use.
type Client struct {
	Dialer *lane.Dialer
	Module string
	Origin http.Handler // what the server pulls from: an origin of the local tree, under the module's name

	// Ends, as in job.Options. Zero durations mean for ever.
	Timeout        time.Duration // the server is not heard of for so long
	ConnectTimeout time.Duration // it has never been

	// Rate returns the rate that stands instead of the request's BwLimit at a
	// time, as in job.Options. nil: BwLimit stands.
	Rate func(time.Time) int64

	// Began is called with the digest of the tree that the destination was
	// landed as, "" for none, before anything changes. nil: nobody wants it.
	Began func(generation string)
}

const (
	// dialLimit bounds one attempt to connect.
	dialLimit = 15 * time.Second
	dialEvery = time.Second // another one, while none has come
	dialMost  = 4           // at once
	// quiet ends a control stream on which nothing came for so long.
	quiet = 4 * time.Second
	// laneLimit ends the attempts to open one lane; the server asks again.
	laneLimit = 10 * time.Second
	// openLanes bounds the lanes that are open or being opened.
	openLanes = 128
	// withdrawLimit bounds telling the server that the job is not wanted.
	withdrawLimit = 2 * time.Second
	maxRetryAfter = 5 * time.Minute

	jitterBase = 100 * time.Millisecond
	jitterMax  = 5 * time.Second
)

// jitter returns a random wait after the n-th failure in a row, n from 1.
func jitter(n int) time.Duration {
	return time.Duration(mrand.Int64N(int64(min(jitterMax, jitterBase<<min(n, 10)))))
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Run pushes once and returns what the server says of it, as job.Run would
// here. Events are those of the job at the server, seen from this side, and
// event.Link for the connection to it. When ctx ends the server is told,
// within 2 s, and ctx's cause is returned.
func (c *Client) Run(ctx context.Context, r Request, events event.Func) (*event.Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &pusher{
		c: c, events: events, ctx: ctx, fail: cancel, post: newPost(&r), next: 1,
		began: time.Now(), slots: make(chan struct{}, openLanes),
	}
	p.post.Job = rand.Text()
	p.post.Timeout, p.post.Connect = inSeconds(c.Timeout), inSeconds(c.ConnectTimeout)
	if err := p.post.check(); err != nil {
		return nil, err
	}
	sum, err := p.run()
	cancel(nil)
	p.wg.Wait()
	return sum, err
}

// pusher is one push. Fields are used by Run's goroutine alone but for those
// that do not change, fail and wg.
type pusher struct {
	c      *Client
	events event.Func
	ctx    context.Context
	fail   context.CancelCauseFunc
	post   post
	wg     sync.WaitGroup
	slots  chan struct{}

	ticket    string
	next      int64 // event
	began     time.Time
	heard     time.Time // the last line; zero before the first
	down      bool
	kept      int64 // verified bytes, as reported last
	fails     int   // since the last line
	told      bool  // the server may have the job
	withdrawn bool
}

// run keeps a control stream up until there is a result.
func (p *pusher) run() (*event.Summary, error) {
	for {
		res, err := p.attempt()
		switch {
		case res != nil:
			return res.outcome()
		case p.ctx.Err() != nil:
			p.withdraw(nil)
			return nil, context.Cause(p.ctx)
		case fault.ClassOf(err) != fault.Network:
			p.withdraw(nil)
			return nil, err
		}
		p.report(err)
		p.fails++
		wait := jitter(p.fails)
		var busy *retryAfter
		if errors.As(err, &busy) {
			wait = busy.after
		}
		sleep(p.ctx, min(wait, p.left()))
		if at := p.giveUp(); !at.IsZero() && !time.Now().Before(at) && p.ctx.Err() == nil {
			return nil, p.ending(err)
		}
	}
}

// giveUp returns when the push ends if the server is not heard of, zero for
// never.
func (p *pusher) giveUp() time.Time {
	limit, since := p.c.ConnectTimeout, p.began
	if !p.heard.IsZero() {
		limit, since = p.c.Timeout, p.heard
	}
	if limit <= 0 {
		return time.Time{}
	}
	return since.Add(limit)
}

// left is the time until then, at least a millisecond.
func (p *pusher) left() time.Duration {
	at := p.giveUp()
	if at.IsZero() {
		return maxDuration
	}
	return max(time.Until(at), time.Millisecond)
}

// report tells that the link is down.
func (p *pusher) report(err error) {
	if p.down {
		return
	}
	p.down = true
	since := p.heard
	if since.IsZero() {
		since = p.began
	}
	p.events(event.Link{Since: since, GiveUp: p.giveUp(), Cause: wire.CleanText(err.Error(), maxText)})
}

// ending is the error of a push for which the link was down for too long.
func (p *pusher) ending(err error) error {
	if p.heard.IsZero() {
		return fault.Wrap(fault.Network, err, fault.HintOf(err), "no connection within %v", p.c.ConnectTimeout)
	}
	return fault.Wrap(fault.Network, err, "run the same command again to continue: the server keeps what it has verified",
		"nothing heard of the server for %v", p.c.Timeout)
}

// line takes one line of the server's.
func (p *pusher) line(l *line) *result {
	p.heard, p.fails = time.Now(), 0
	if p.down {
		p.down = false
		p.events(event.Link{Up: true, Since: p.heard, Resumed: p.kept})
	}
	if l.Hello != nil && len(l.Hello.Ticket) <= 256 && len(l.Hello.Generation) <= 256 {
		p.hello(l.Hello)
	}
	if l.Seq >= p.next && len(l.Event) > 0 {
		p.next = l.Seq + 1
		if e, err := wire.UnmarshalEvent(l.Event); err == nil {
			if g, ok := e.(event.Progress); ok {
				p.kept = g.Done
			}
			p.events(mirror(e))
		}
	}
	if l.Lane > 0 {
		p.open()
	}
	return l.Result
}

// hello notes where the destination stands. If the server forgets the job, it
// is started again only if the destination still stands there.
func (p *pusher) hello(h *hello) {
	if p.ticket == "" && p.c.Began != nil {
		p.c.Began(h.Generation)
	}
	p.ticket = h.Ticket
	if p.post.Expect == nil {
		p.post.Expect = &h.Generation
	}
}

// open opens one lane in the background.
func (p *pusher) open() {
	select {
	case p.slots <- struct{}{}:
	default: // enough are under way
		return
	}
	target := lanePath(p.c.Module) + "?" + url.Values{"job": {p.post.Job}, "ticket": {p.ticket}}.Encode()
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		p.serve(target)
	})
}

// serve opens a lane and serves the origin on it until it ends.
func (p *pusher) serve(target string) {
	var once sync.Once
	used := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(used) })
		if r.Method == http.MethodGet && r.URL.Path == ledgerPath(p.c.Module) { // this side sends
			lane.ServeLedger(w, r, p.ctx.Done())
			return
		}
		if strings.HasPrefix(r.URL.Path, objectPath(p.c.Module)) {
			lane.Shape(r)
		}
		p.c.Origin.ServeHTTP(w, r)
	})
	until := time.Now().Add(laneLimit)
	for n := 1; ; n++ {
		err := p.c.Dialer.Serve(p.ctx, target, nil, h)
		select {
		case <-used:
			return
		default:
		}
		switch fault.ClassOf(err) {
		case fault.Network:
		case fault.Incompatible, fault.Integrity, fault.Denied:
			p.fail(err)
			return
		default: // the job has ended, or is another by now
			return
		}
		sleep(p.ctx, jitter(n))
		if p.ctx.Err() != nil || time.Now().After(until) {
			return
		}
	}
}

// withdraw tells the server, on a connection if there is one, that the job is
// not wanted any more. What cannot be told the server finds out.
func (p *pusher) withdraw(conn *lane.Conn) {
	if p.withdrawn || !p.told {
		return
	}
	p.withdrawn = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), withdrawLimit)
	defer cancel()
	if conn == nil || conn.Err() != nil {
		var err error
		if conn, err = p.c.Dialer.Dial(ctx); err != nil {
			return
		}
		defer conn.Close(nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, pushPath(p.c.Module)+"/"+p.post.Job, nil)
	if err != nil {
		return
	}
	if resp, err := conn.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
}

// retryAfter is the answer of a server that is alive but overloaded.
type retryAfter struct {
	error
	after time.Duration
}

func (r *retryAfter) Unwrap() error { return r.error }

func (r *retryAfter) Error() string { return fmt.Sprintf("%v; it asks to wait %v", r.error, r.after) }
