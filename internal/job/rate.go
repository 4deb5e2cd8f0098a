package job

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/lane"
)

// pace is what the senders are asked to keep to.
type pace struct {
	rate  atomic.Int64 // of all lanes, bytes per second; 0: none
	lanes atomic.Int64 // that are up
}

// rateEvery is how often a timetable is looked at.
const rateEvery = time.Second

// keepRate has the rate follow the timetable until the result is called.
func (j *job) keepRate(now int64) (stop func()) {
	j.pace.rate.Store(now)
	if j.o.Rate == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(rateEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case at := <-tick.C:
				if next := j.o.Rate(at); next != now {
					now = next
					j.pace.rate.Store(now)
					j.pool.SetBwLimit(now)
				}
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// shape asks the sender to spread what it sends, so that a limited transfer
// does not come in bursts: each lane at its share of the rate and a half more,
// because what is asked for is limited already and lanes differ.
func (j *job) shape(h http.Header) {
	rate := j.pace.rate.Load()
	if rate > 0 {
		rate = rate * 3 / 2 / max(1, j.pace.lanes.Load())
	}
	lane.AskShape(h, rate, j.o.Nice)
}
