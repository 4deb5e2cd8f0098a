package trial

import (
	"context"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

// run is one transfer by one tool.
type run struct {
	tool    *tool
	payload *payload
	setting setting
	event   *link.Event // scheduled when the server is ready; nil for none
	bound   time.Duration
	dir     string // of this run alone
}

const (
	poll = 20 * time.Millisecond // of the link's counters
	// quiet is how long no payload has to move for a run that is stopped to
	// be called a hang.
	quiet = 20 * time.Second
	// moving is how many bytes in one bucket are more than handshakes,
	// acknowledgements and keepalives.
	moving = 16 << 10
)

// do runs it. An error says that it could not be measured at all; how the
// tool fared is in the result.
func (r *run) do(ctx context.Context, open opener) (res report.Run, err error) {
	net, err := open(ctx, r.setting)
	if err != nil {
		return res, err
	}
	defer func() {
		if e := net.close(); err == nil {
			err = e
		}
	}()
	a, b := net.hosts()
	if err := configure(r.tool.set, a, b); err != nil {
		return res, err
	}
	s, err := newStage(ctx, a, b, r.dir, r.payload, r.tool.push)
	if err != nil {
		return res, err
	}
	defer s.close()
	if err := r.tool.serve(ctx, s); err != nil {
		return res, err
	}
	before := net.counters()
	if r.event != nil {
		net.schedule(*r.event)
	}
	client, err := start(b, r.tool.client(s), filepath.Join(r.dir, "client.out"))
	if err != nil {
		return res, err
	}
	defer client.kill()

	w := &watch{net: net, dir: link.AB, begin: before, from: client.from, last: client.from}
	if r.tool.push {
		w.dir = link.BA
	}
	if err := w.until(ctx, client, r.bound); err != nil {
		return res, err
	}
	ended := client.ended()
	res.Seconds = time.Since(client.from).Seconds()
	client.kill()
	s.close() // before the destination is read: the server may still write it

	after := net.counters()
	res.WireAB = after.AB.OfferedBytes - before.AB.OfferedBytes
	res.WireBA = after.BA.OfferedBytes - before.BA.OfferedBytes
	res.Late, res.Packets = net.late()
	res.Series, res.Exit = w.series, -1
	res.Idle = time.Since(w.last).Seconds()
	if ended {
		res.Exit = client.exit()
	}
	if text := client.text(); res.Exit != 0 {
		res.Line = lastLine(text)
	}
	moved := float64(after.Dir(w.dir).DeliveredBytes-before.Dir(w.dir).DeliveredBytes) * 1448 / 1500
	switch {
	case ended && res.Exit == 0:
		same, err := r.payload.identical(ctx, s.dst)
		if err != nil {
			return res, err
		}
		res.Outcome = report.Damaged
		if same {
			res.Outcome = report.OK
			moved = float64(r.payload.bytes)
		}
	case ended:
		res.Outcome = report.Failed
	case res.Idle >= min(quiet.Seconds(), r.bound.Seconds()/2):
		res.Outcome = report.Hang
	default:
		res.Outcome = report.Slow
	}
	res.Goodput = 8 * min(moved, float64(r.payload.bytes)) / max(res.Seconds, .001)
	if r.event != nil && !w.eventAt.IsZero() {
		recovery(&res, w.eventAt.Sub(client.from), r.event.For, r.setting.profile.RTT())
	}
	return res, nil
}

// watch follows the link's counters through a run.
type watch struct {
	net   network
	dir   link.Direction // of the payload
	begin link.Counters
	from  time.Time

	series  []int64   // delivered bytes, by bucket
	last    time.Time // when payload last moved
	eventAt time.Time
}

// maxSeries bounds a series: two hours.
const maxSeries = 72_000

// until watches until the client has ended or the bound has passed.
func (w *watch) until(ctx context.Context, client *process, bound time.Duration) error {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	total := w.begin.Dir(w.dir).DeliveredBytes // at the end of the last bucket
	for done := false; !done; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-client.done:
			done = true
		case <-timer.C:
			done = true
		case <-tick.C:
		}
		now, c := time.Now(), w.net.counters()
		if w.eventAt.IsZero() && c.Events > w.begin.Events {
			w.eventAt = now
		}
		delivered := c.Dir(w.dir).DeliveredBytes
		full := int(now.Sub(w.from) / report.Bucket) // buckets that have ended
		for len(w.series) < min(full, maxSeries) {
			// A late look spreads what came over the buckets it missed.
			share := (delivered - total) / int64(full-len(w.series))
			w.series = append(w.series, share)
			total += share
			if share > 1000 {
				w.last = now
			}
		}
	}
	return nil
}

// recovery finds out when payload moved again after an event at the time at,
// which lasted so long.
func recovery(res *report.Run, at, lasted, rtt time.Duration) {
	back := at + lasted
	res.EventAt, res.BackAt = at.Seconds(), back.Seconds()
	res.First, res.Full = -1, 0
	if back.Seconds() >= res.Seconds {
		return
	}
	// What was under way may still arrive when only the connections were cut.
	skip := back
	if lasted == 0 {
		skip += rtt + report.Bucket
	}
	bucket := func(d time.Duration) int { return int(d / report.Bucket) }
	first := -1
	for i := bucket(skip) + 1; i < len(res.Series); i++ {
		if res.Series[i] >= moving {
			first = i
			break
		}
	}
	if first < 0 {
		return
	}
	since := func(i int) float64 {
		return max(0, float64(i)*report.Bucket.Seconds()-back.Seconds())
	}
	res.First = since(first)
	if res.First == 0 {
		res.First = report.Bucket.Seconds()
	}
	const second = 10 // buckets
	mean := func(from, to int) (m float64) {
		for i := max(0, from); i < to; i++ {
			m += float64(res.Series[i])
		}
		return m / float64(max(1, to-max(0, from)))
	}
	event := min(bucket(at), len(res.Series))
	want := .9 * mean(event-2*second, event)
	res.Full = -1
	for i := first; i+second <= len(res.Series); i++ {
		if mean(i, i+second) >= want {
			res.Full = max(since(i), res.First)
			return
		}
	}
	if res.Outcome == report.OK {
		res.Full = 0 // it was done before a second had passed
	}
}
