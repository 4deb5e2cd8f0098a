package job

import (
	"context"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/lane"
)

const (
	// ledgerAfter is how old the first request of a lane must be before the
	// sender is asked for its reports: short jobs do without.
	ledgerAfter = time.Second
	// farEnough is the round trip from which on lost packets cost a sender
	// without bbr much.
	farEnough = 2 * time.Millisecond
)

// follow has the sender's reports on the lane taken down until the lane ends.
func (l *link) follow() {
	go func() {
		t := time.NewTimer(ledgerAfter)
		defer t.Stop()
		select {
		case <-t.C:
		case <-l.Done():
			return
		}
		last := lane.Report{}
		_ = l.Ledger(context.Background(), "/v1/m/"+l.from.Module+"/ledger", func(r lane.Report) {
			own, _ := l.Info()
			via := l.via(r, own)
			l.road.report(time.Now(), r, l.asked.total(time.Now()), via != "")
			l.from.j.book.report(r, last, own, via)
			if l.from.j.book.hint(r, own) {
				l.from.j.emit(event.Warn{Text: slowText(l.from.Name, r.Control)})
			}
			last = r
		}) // it ends with the lane, or the sender has none
	}()
}

// slowText tells of a sender that lost packets slow down.
func slowText(name, control string) string {
	return "the system that sends (" + name + ") does so by " + control + ", which lost packets slow down; to have bbr there: " + lane.FixCongestion
}

// via returns what stands between the two ends, "" when it is TCP all the way:
// both ends of one connection see about the same round trip.
func (l *link) via(theirs lane.Report, ours lane.Info) string {
	if p := l.Proxy(); p != "" {
		return "the proxy " + p
	}
	a, b := theirs.MinRTT, ours.MinRTT
	if a > 0 && b > 0 && (a > 2*b+5*time.Millisecond || b > 2*a+5*time.Millisecond) {
		return "something that ends TCP"
	}
	return ""
}

// book is what both ends know of all connections of a job. It is safe for
// concurrent use.
type book struct {
	mu           sync.Mutex
	sent, resent int64
	minRTT       time.Duration
	control      string // of the last report; a slow one outranks others
	via          string
	hinted       bool
}

// report adds what came since the last report on the same lane.
func (b *book) report(r, last lane.Report, own lane.Info, via string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent += max(r.Sent-last.Sent, 0)
	b.resent += max(r.Resent-last.Resent, 0)
	for _, d := range []time.Duration{r.MinRTT, own.MinRTT} {
		if d > 0 && (b.minRTT == 0 || d < b.minRTT) {
			b.minRTT = d
		}
	}
	if r.Control != "" && !(lane.Slow(b.control) && !lane.Slow(r.Control)) {
		b.control = r.Control
	}
	if via != "" {
		b.via = via
	}
}

// hint reports, once, that the sender lacks what fills a link that loses
// packets, where that matters.
func (b *book) hint(r lane.Report, own lane.Info) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hinted || !lane.Slow(r.Control) || max(r.MinRTT, own.MinRTT) < farEnough {
		return false
	}
	b.hinted = true
	return true
}

// complete puts the sums into s.
func (b *book) complete(s *event.Summary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.SentTCP, s.ResentTCP, s.RTT, s.Congestion, s.Via = b.sent, b.resent, b.minRTT, b.control, b.via
}

// asked measures the time in which requests stand at a sender. It is safe for
// concurrent use.
type asked struct {
	mu    sync.Mutex
	n     int
	since time.Time
	sum   time.Duration
}

func (a *asked) begin(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n++; a.n == 1 {
		a.since = now
	}
}

func (a *asked) end(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n--; a.n == 0 {
		a.sum += now.Sub(a.since)
	}
}

// total returns the time so far.
func (a *asked) total(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n > 0 {
		return a.sum + now.Sub(a.since)
	}
	return a.sum
}
