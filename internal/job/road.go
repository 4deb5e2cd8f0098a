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
}

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
	return fetch.PathInfo{RTT: i.RTT, MinRTT: i.MinRTT, Measured: p.some, Loss: p.loss}
}
