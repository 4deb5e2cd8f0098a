package origin

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/wire"
)

const (
	// maxRequest and maxBase bound the two messages of a plan request, in bytes.
	maxRequest = wire.MaxFilter + 8<<10
	maxBase    = wire.MaxInline + wire.MaxUploads*40
)

// planJob is a plan as one client asked for it, whatever connections it comes
// on. Jobs of clients that hold the same share the plan itself.
type planJob struct {
	o    *Origin
	id   string
	tour *tour
	pace pace
	work int64 // Limits.work when the job began

	mu      sync.Mutex    // guards the rest
	run     *planRun      // nil until the client has said what it holds
	ready   chan struct{} // closed once run is set or err is
	err     error
	left    bool // the job has been dropped
	readers int
	used    time.Time
}

// plan starts a plan, or continues to answer one that runs.
func (o *Origin) plan(w http.ResponseWriter, r *http.Request) {
	body := bufio.NewReaderSize(r.Body, 1<<10)
	rc := http.NewResponseController(w)
	var req wire.PlanRequest
	payload, done, err := o.message(r.Context(), rc, body, wire.KindRequest, maxRequest)
	if err == nil {
		err = req.Unmarshal(payload)
	}
	if err != nil {
		done()
		Refuse(w, fault.Wrap(fault.Usage, err, "", "plan request"))
		return
	}
	job, err := o.job(&req)
	done()
	if errors.Is(err, errGone) {
		http.Error(w, "no such job here any more", http.StatusGone)
		return
	}
	if err != nil {
		Refuse(w, err)
		return
	}
	job.attach(+1)
	defer job.attach(-1)
	h := w.Header()
	h.Set("Content-Type", wire.PlanType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()
	// The receiver says what it holds once it has looked, which may take long.
	needs := make(chan *wire.Need, 1)
	ctx := r.Context()
	go func() {
		if n := job.hear(ctx, rc, body); n != nil {
			needs <- n
		}
	}()
	from := req.From
	req = wire.PlanRequest{} // it can be large
	job.stream(ctx, w, rc, from, needs)
}

// A message may take messageTime, and a second more for each messageRate bytes.
// What a client says of what it holds may begin when it likes.
const (
	messageTime = 30 * time.Second
	messageRate = 256
)

// message reads a frame of the given kind. done is to be called once payload is
// not needed any more.
func (o *Origin) message(ctx context.Context, rc *http.ResponseController, body *bufio.Reader, want wire.Kind, most int) (payload []byte, done func(), err error) {
	done = func() {}
	if want == wire.KindBase {
		_, _ = body.Peek(1) // an error comes again
	}
	_ = rc.SetReadDeadline(time.Now().Add(messageTime))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }() // or it would end the connection later
	kind, n, err := wire.ReadHead(body, most)
	if err == nil && kind != want {
		err = wire.ErrFrame
	}
	if err != nil {
		return nil, done, err
	}
	if n > smallMessage {
		if err := o.limits.held.Acquire(ctx, int64(n)); err != nil {
			return nil, done, err
		}
		done = func() { o.limits.held.Release(int64(n)) }
	}
	_ = rc.SetReadDeadline(time.Now().Add(messageTime + time.Duration(n/messageRate)*time.Second))
	payload, err = wire.ReadPayload(body, n)
	return payload, done, err
}

// job returns the running job that req continues, or starts one.
func (o *Origin) job(req *wire.PlanRequest) (*planJob, error) {
	o.mu.Lock()
	j := o.jobs[req.Job]
	o.mu.Unlock()
	if j != nil {
		return j, nil
	}
	if req.From > 0 {
		return nil, errGone
	}
	v, err := o.viewOf(req)
	if err != nil {
		return nil, err
	}
	// Whether it is there is told at once.
	dir, err := v.open(o)
	if err != nil {
		return nil, err
	}
	_ = dir.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.jobs[req.Job] != nil:
		return o.jobs[req.Job], nil
	case o.closed:
		return nil, fault.New(fault.Network, "", "the server is stopping")
	case len(o.jobs) >= maxJobs && !o.makeRoom():
		return nil, fault.New(fault.Network, "", "the server works on %d plans already", len(o.jobs))
	}
	j = &planJob{
		o: o, id: req.Job, tour: o.join(v), pace: paceOf(req), work: o.limits.work.Load(),
		ready: make(chan struct{}), used: time.Now(),
	}
	o.jobs[req.Job] = j
	return j, nil
}

// makeRoom drops jobs that nobody reads, and reports whether there were some.
// Called with the mutex held.
func (o *Origin) makeRoom() bool {
	dropped := false
	for _, j := range o.jobs {
		if j.idleSince(time.Now()) > time.Minute {
			j.drop()
			dropped = true
		}
	}
	return dropped
}

func (j *planJob) attach(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.readers += n
	j.used = time.Now()
}

func (j *planJob) idleSince(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.readers > 0 {
		return 0
	}
	return now.Sub(j.used)
}

// hear reads what the receiver holds, and begins the plan unless something is
// missing for it.
func (j *planJob) hear(ctx context.Context, rc *http.ResponseController, body *bufio.Reader) *wire.Need {
	payload, done, err := j.o.message(ctx, rc, body, wire.KindBase, maxBase)
	var base wire.Base
	if err == nil {
		err = base.Unmarshal(payload)
	}
	if err != nil {
		done()
		return nil // it comes again on another connection
	}
	if n := j.o.missing(&base); n != nil {
		done()
		return n
	}
	var held int64
	if len(payload) > smallMessage {
		held = int64(len(payload))
	}
	j.o.mu.Lock()
	defer j.o.mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.run != nil || j.err != nil || j.left {
		done()
		return nil
	}
	if j.run, j.err = j.o.runFor(j.tour, &base, j.pace, clientOf(ctx), held); j.err != nil {
		done()
		j.tour.scan.Leave()
	}
	close(j.ready)
	return nil
}

// drop ends the job. Called with the origin's mutex held.
func (j *planJob) drop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left {
		return
	}
	j.left = true
	delete(j.o.jobs, j.id)
	switch {
	case j.run != nil:
		j.run.leave()
	case j.err == nil:
		j.tour.scan.Leave()
	}
}
