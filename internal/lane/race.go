package lane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
	"net/url"
)

// place is something that TCP can connect to.
type place struct {
	addr netip.Addr
	port string
}

func (p place) String() string { return net.JoinHostPort(p.addr.String(), p.port) }

// target is a place and what to do there.
type target struct {
	place
	way   *auth.URL // the server
	proxy *url.URL  // through which, nil for none
	book  *addresses
	small bool // with small segments
}

// attempt makes a connection. It returns soon after ctx ends, and calls up
// when TCP is connected and only the handshakes are left.
type attempt func(ctx context.Context, t target, up func(rtt time.Duration)) (*link, error)

// racing is a race: RFC 8305 with the handshakes included, and with a second
// attempt at each target for the case that packets were lost.
type racing struct {
	ctx     context.Context
	try     attempt
	shrink  bool // try small segments where handshakes stall
	todo    []target
	dead    []place
	running int
	next    time.Time // start of the next attempt
	stalls  []stall
	news    chan news
	worst   error
}

// stall is a connection that will have taken long for its handshake.
type stall struct {
	at time.Time
	t  target
}

// news is what became of an attempt.
type news struct {
	t    target
	up   bool // TCP is connected after rtt, otherwise it ended
	rtt  time.Duration
	link *link
	err  error
}

// race tries the targets, one more every dialStagger and whenever one fails,
// until a connection is made or nothing is left to try. failed is told of each
// attempt that did.
func race(ctx context.Context, targets []target, shrink bool, try attempt, failed func(target, error)) (*link, target, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &racing{ctx: ctx, try: try, shrink: shrink, todo: slices.Concat(targets, targets), news: make(chan news, 8*len(targets))}
	defer func() { // what lost is closed when it comes
		cancel()
		if r.running > 0 {
			go r.rest(r.running)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	r.start()
	for r.running > 0 {
		timer.Reset(r.wait())
		select {
		case n := <-r.news:
			switch {
			case n.up:
				r.connected(n)
			case n.err == nil:
				r.running--
				return n.link, n.t, nil
			default:
				r.running--
				failed(n.t, n.err)
				r.worst = worse(r.worst, n.err)
				if !n.t.small {
					r.dead = append(r.dead, n.t.place)
				}
				r.start()
			}
		case <-timer.C:
			r.due()
		}
	}
	if r.worst == nil {
		r.worst = errors.New("no address")
	}
	return nil, target{}, r.worst
}

// rest closes what n attempts still bring.
func (r *racing) rest(n int) {
	for n > 0 {
		e := <-r.news
		if e.up {
			continue
		}
		if n--; e.link != nil {
			e.link.close()
		}
	}
}

// begin starts an attempt.
func (r *racing) begin(t target) {
	r.running++
	go func() {
		l, err := r.try(r.ctx, t, func(rtt time.Duration) { r.news <- news{t: t, up: true, rtt: rtt} })
		r.news <- news{t: t, link: l, err: err}
	}()
}

// start starts the next attempt at a target that has not failed.
func (r *racing) start() {
	r.next = time.Now().Add(dialStagger)
	for len(r.todo) > 0 {
		t := r.todo[0]
		r.todo = r.todo[1:]
		if !slices.Contains(r.dead, t.place) {
			r.begin(t)
			return
		}
	}
}

// connected leaves the handshake its time before there are further attempts.
func (r *racing) connected(n news) {
	now := time.Now()
	if at := now.Add(dialStagger + 2*n.rtt); at.After(r.next) {
		r.next = at
	}
	if r.shrink && !n.t.small {
		r.stalls = append(r.stalls, stall{now.Add(stallAfter + 4*n.rtt), n.t})
	}
}

// due does what the time has come for.
func (r *racing) due() {
	now := time.Now()
	r.stalls = slices.DeleteFunc(r.stalls, func(s stall) bool {
		if now.Before(s.at) {
			return false
		}
		s.t.small = true
		if r.shrink = false; !slices.Contains(r.dead, s.t.place) { // once
			r.begin(s.t)
		}
		return true
	})
	if !r.shrink {
		r.stalls = nil
	}
	if !now.Before(r.next) {
		r.start()
	}
}

// wait returns the time until something is due.
func (r *racing) wait() time.Duration {
	at := time.Time{}
	if len(r.todo) > 0 {
		at = r.next
	}
	for _, s := range r.stalls {
		if at.IsZero() || s.at.Before(at) {
			at = s.at
		}
	}
	if at.IsZero() {
		return 24 * time.Hour // the attempts end by themselves
	}
	return max(time.Until(at), 0)
}

// worse returns the error that says more: a wrong key at one address must not
// hide behind a refused connection at another, nor that behind a timeout.
func worse(a, b error) error {
	rank := func(err error) int {
		switch fault.ClassOf(err) {
		case fault.Integrity:
			return 4
		case fault.Denied:
			return 3
		case fault.Interrupted:
			return -1
		case fault.Network, fault.Other:
			if isTimeout(err) {
				return 0
			}
			return 1
		}
		return 2
	}
	if a == nil || rank(b) > rank(a) {
		return b
	}
	return a
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
