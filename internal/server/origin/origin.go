// Package origin is the sending side of the native protocol: it answers plans
// of a module's live directory, serves the objects that plans name, and takes
// the uploads that say what a receiver holds.
//
// Handlers are safe for concurrent use. Whoever mounts them has authorised the
// request for the module.
package origin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// Config describes one module at its origin.
type Config struct {
	Module string
	Root   *fsys.Dir
	// Open opens the module's directory as it is now: it may have been
	// exchanged for another. nil: it is Root for ever.
	Open  func() (*fsys.Dir, error)
	Store *store.Store
	Temp  *fsys.Dir                        // for plans under way
	Bases *Bases                           // more that receivers may have; not closed by the origin
	Log   func(format string, args ...any) // server-side trouble, one line each
	// Kept is told whenever a tree has been copied into the history; nil: nobody is.
	Kept func(bytes int64)
	// Limits are shared by the modules of a server. nil: the module's own.
	Limits *Limits
}

// Origin serves one module.
type Origin struct {
	cfg     Config
	limits  *Limits
	digests *plan.Digests
	counts  counts
	ctx     context.Context // ends all plans
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex // guards the rest
	jobs  map[string]*planJob
	tours map[digest.Digest]*tours   // by view
	runs  map[digest.Digest]*planRun // the latest by what it depends on
	all   map[*planRun]struct{}      // whose files are open
	// closed is set once no new job may start.
	closed bool

	waiting, deltas chan struct{} // bound the requests for differences, and those that are made
	capture         *capture      // nil: no history is kept
	patches         *patches
	bases           *Bases
}

// counts are what happened since the start.
type counts struct {
	scans, scansShared, plans, plansShared atomic.Int64
}

// Stats are what happened since the start, and what is now.
type Stats struct {
	Scans       int64 // begun
	ScansShared int64 // requests that joined the scan of another
	Plans       int64 // made
	PlansShared int64 // requests that were answered by the plan of another
	Jobs        int64 // requests for plans that are under way or remembered, now
	Queued      int64 // plans that wait for their turn, now
}

// Stats returns the origin's counters.
func (o *Origin) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Stats{
		Scans: o.counts.scans.Load(), ScansShared: o.counts.scansShared.Load(),
		Plans: o.counts.plans.Load(), PlansShared: o.counts.plansShared.Load(), Jobs: int64(len(o.jobs)),
	}
	for r := range o.all {
		r.mu.Lock()
		if r.ending == 0 && r.work.Stage == queued {
			s.Queued++
		}
		r.mu.Unlock()
	}
	return s
}

const (
	// maxJobs bounds the requests for plans that are remembered, for one module.
	maxJobs = 4096
	// jobIdle is how long a plan that nobody reads is kept.
	jobIdle = 20 * time.Minute
	// writeStall ends an answer that the client does not read.
	writeStall = 60 * time.Second
)

// New returns the origin of a module. Close frees what it holds.
func New(cfg Config) *Origin {
	if cfg.Limits == nil {
		cfg.Limits = NewLimits()
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &Origin{
		cfg: cfg, limits: cfg.Limits, digests: plan.NewDigests(), ctx: ctx, stop: stop,
		jobs: map[string]*planJob{}, tours: map[digest.Digest]*tours{}, runs: map[digest.Digest]*planRun{}, all: map[*planRun]struct{}{},
		waiting: make(chan struct{}, maxWaiting), deltas: make(chan struct{}, maxDeltas),
		patches: newPatches(), bases: cfg.Bases,
	}
	if h := cfg.Store.History(); h != nil {
		o.capture = newCapture(o, h)
	}
	return o
}

// descend opens a directory of the module.
func (o *Origin) descend(path string) (*fsys.Dir, error) {
	if o.cfg.Open == nil {
		return o.cfg.Root.Descend(path)
	}
	root, err := o.cfg.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.Descend(path)
}

// Handler serves, below /v1/m/{module}/: POST plan, PUT up/{digest},
// GET o/{digest}, POST delta.
func (o *Origin) Handler() http.Handler {
	mux := http.NewServeMux()
	p := "/v1/m/" + o.cfg.Module
	mux.HandleFunc("POST "+p+"/plan", o.plan)
	mux.HandleFunc("PUT "+p+"/up/{digest}", o.upload)
	mux.HandleFunc("GET "+p+"/o/{digest}", o.object)
	mux.HandleFunc("POST "+p+"/delta", o.delta)
	if o.capture == nil {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer o.capture.enter()()
		mux.ServeHTTP(w, r)
	})
}

// Close ends all plans and waits for them.
func (o *Origin) Close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	if o.capture != nil {
		o.capture.close()
	}
	o.stop()
	o.wg.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range o.jobs {
		j.drop()
	}
	for r := range o.all {
		r.free()
	}
}

// Sweep drops plans that nobody has read for a while. The server calls it
// every minute.
func (o *Origin) Sweep(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range o.jobs {
		if j.idleSince(now) > jobIdle {
			j.drop()
		}
	}
	o.sweepRuns(now)
}

// Problem is the body of an error answer.
type Problem struct {
	Class string `json:"class"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Refuse answers a request with err's class.
func Refuse(w http.ResponseWriter, err error) {
	class := fault.ClassOf(err)
	status := http.StatusInternalServerError
	switch class {
	case fault.Usage:
		status = http.StatusBadRequest
	case fault.NotFound:
		status = http.StatusNotFound
	case fault.Denied:
		status = http.StatusForbidden
	case fault.Busy:
		status = http.StatusConflict
	case fault.Limit:
		status = http.StatusRequestEntityTooLarge
	case fault.Incompatible:
		status = http.StatusUpgradeRequired
	case fault.Network:
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Class: class.String(), Text: err.Error(), Hint: fault.HintOf(err)})
}

// upload takes one segment that says what a receiver holds.
func (o *Origin) upload(w http.ResponseWriter, r *http.Request) {
	id, err := digest.Parse(r.PathValue("digest"))
	if err != nil {
		Refuse(w, fault.New(fault.Usage, "", "not a digest: %.80q", r.PathValue("digest")))
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxUpload))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			Refuse(w, fault.New(fault.Limit, "", "segment of more than %d bytes", wire.MaxUpload))
		}
		return
	}
	if digest.Sum(data) != id {
		Refuse(w, fault.New(fault.Usage, "", "the segment is not what its name says"))
		return
	}
	batch := o.cfg.Store.Segments().Begin(o.cfg.Module, "")
	defer batch.Cancel()
	if err := errors.Join(batch.Put(id, data), batch.Sync()); err != nil {
		o.cfg.Log("upload: %v", err)
		Refuse(w, fault.Wrap(fault.ClassOf(err), err, "", "the server cannot keep the segment"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
