package job

import (
	"math"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/lane"
)

// road turns what this side's kernel knows of a connection into what is known
// of the way from the sender: without the sender's word, losses can be told
// from the disorder that they leave. It is safe for concurrent use.
type road struct {
	mu   sync.Mutex
	at   time.Time
	last lane.Info
	loss float64
	some bool
	said said
}

// said is what the sender reports, as of its last two reports.
type said struct {
	at     time.Time
	report lane.Report
	asked  time.Duration // time in which requests stood there, until then
	info   fetch.PathInfo
	via    bool // the report is about the way to something in between
}

// saidFresh is how long a report stands for the present: an idle connection,
// and one that brings little, yields few.
const saidFresh = 12 * time.Second

const (
	pathEvery   = 200 * time.Millisecond
	pathLeast   = 64 // segments from which on their disorder says something
	usualMSS    = 1448
	pathSmooth  = time.Second
	pathLongest = 10 * time.Second // a window that began before says nothing of now
)

// info returns what follows from i, read now.
func (p *road) info(now time.Time, i lane.Info) fetch.PathInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	dt := now.Sub(p.at)
	mss := float64(max(i.MSS, 536))
	if i.MSS == 0 {
		mss = usualMSS
	}
	segments := float64(i.BytesReceived-p.last.BytesReceived) / mss
	switch {
	case p.at.IsZero() || dt > pathLongest || i.BytesReceived < p.last.BytesReceived || i.OutOfOrder < p.last.OutOfOrder:
		p.at, p.last = now, i
	case dt >= pathEvery && segments >= pathLeast:
		perRTT := segments / dt.Seconds() * i.RTT.Seconds()
		loss := fetch.LossFromDisorder(float64(i.OutOfOrder-p.last.OutOfOrder), segments, perRTT)
		if !p.some {
			p.loss, p.some = loss, true
		} else {
			p.loss += (loss - p.loss) * (1 - math.Exp(-dt.Seconds()/pathSmooth.Seconds()))
		}
		p.at, p.last = now, i
	}
	own := fetch.PathInfo{RTT: i.RTT, MinRTT: i.MinRTT, Measured: p.some, Loss: p.loss}
	if p.said.at.IsZero() {
		return own
	}
	return p.said.over(now, own)
}

// over returns what both ends know.
func (s *said) over(now time.Time, own fetch.PathInfo) fetch.PathInfo {
	out := s.info
	if s.via { // two legs: each end knows its own
		out.RTT, out.MinRTT = out.RTT+own.RTT, out.MinRTT+own.MinRTT
		out.Loss = max(out.Loss, own.Loss)
	}
	if now.Sub(s.at) > saidFresh || !out.Measured {
		out.RTT, out.MinRTT, out.Measured, out.Loss = own.RTT, own.MinRTT, own.Measured, own.Loss
		out.Window, out.Buffer, out.Starved = 0, 0, 0
	}
	return out
}

// report takes the sender's word. asked is for how long requests have stood
// there so far; via says that the report ends at something in between.
func (p *road) report(now time.Time, r lane.Report, asked time.Duration, via bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.said
	info := fetch.PathInfo{RTT: r.RTT, MinRTT: r.MinRTT, Control: r.Control}
	if sent, dt := r.Sent-s.report.Sent, now.Sub(s.at); !s.at.IsZero() && sent > 0 && dt > 0 {
		info.Measured = true
		info.Loss = float64(max(r.Resent-s.report.Resent, 0)) / float64(sent)
		busy := max(r.Busy-s.report.Busy, 0)
		if busy > 0 {
			info.Window = float64(r.Window-s.report.Window) / float64(busy)
			info.Buffer = float64(r.Buffer-s.report.Buffer) / float64(busy)
		}
		// Each run of requests begins with a round trip of waiting for them.
		if stood := asked - s.asked; float64(stood) > .9*float64(dt) {
			info.Starved = max(0, 1-float64(busy+r.RTT)/float64(dt))
		}
		if s.info.Measured { // a second is short
			keep := math.Exp(-dt.Seconds())
			info.Loss += (s.info.Loss - info.Loss) * keep
			info.Window += (s.info.Window - info.Window) * keep
			info.Buffer += (s.info.Buffer - info.Buffer) * keep
			info.Starved += (s.info.Starved - info.Starved) * keep
		}
	}
	*s = said{now, r, asked, info, via}
}
