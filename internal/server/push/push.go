// Package push lets a client change a module. The job runs at the server, the
// receiving side, and pulls from the client over reverse lanes: so what holds
// for pulling, from the verification to the journal, holds for pushing.
//
// The client asks by POST /v1/m/{module}/push. The body is a JSON object, and
// after it a line once a second: the client lives. The line is empty or says
// what has changed of the request. The answer is a
// stream of JSON lines, one a second at least: the server lives. They carry
// the job's events, requests to open lanes, and in the end its result. When the
// stream breaks the job goes on; the same POST with the number of the next
// event continues the stream. DELETE /v1/m/{module}/push/{job} ends the job.
// A lane is opened as /v1/m/{module}/lane?job=…&ticket=….
//
// The job ends when nobody has followed it for a while, and when the server
// stops: then its stream ends without a result, and the client's next POST
// starts it again, provided that nobody has landed something else meanwhile.
// What was fetched is kept.
//
// One job at a time works on a destination or on one that holds it. Another
// one is refused while the first has a client, and else takes its place.
package push

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// Config describes one module that can be pushed to. Zero values of the
// optional fields take the default that is named.
type Config struct {
	Module string
	Root   string // the operator's path of the module's directory

	// Harden restricts what a peer may have done, before its job runs. It must
	// see to it that files do not become setuid or setgid. nil: permissions
	// are not taken from peers at all.
	Harden func(*job.Options)

	Who     func(*http.Request) string       // how others are told who pushes; the remote address
	Events  func(Job, event.Event)           // everything that jobs report; nobody
	Log     func(format string, args ...any) // trouble, one line each; nobody
	Timeout time.Duration                    // bounds what clients ask for; no bound
	Abandon time.Duration                    // ends a job that nobody follows for so long; 60 s
	Keep    time.Duration                    // of results; 10 minutes
	Jobs    int                              // running ones at most; 32

	Run func(context.Context, job.Options) (*event.Summary, error) // job.Run
}

// Job names a job to hooks.
type Job struct {
	ID    string
	Path  string // within the module
	Who   string
	Since time.Time
}

// Server runs the pushes into one module. It is safe for concurrent use.
type Server struct {
	cfg Config
	wg  sync.WaitGroup

	mu     sync.Mutex // guards all below
	jobs   map[string]*running
	closed bool
}

// maxEnded bounds the results that are kept.
const maxEnded = 64

// New returns a server without jobs. Close ends them.
func New(cfg Config) *Server {
	if cfg.Who == nil {
		cfg.Who = remoteHost
	}
	if cfg.Events == nil {
		cfg.Events = func(Job, event.Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.Abandon <= 0 {
		cfg.Abandon = time.Minute
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 10 * time.Minute
	}
	if cfg.Jobs <= 0 {
		cfg.Jobs = 32
	}
	if cfg.Run == nil {
		cfg.Run = job.Run
	}
	return &Server{cfg: cfg, jobs: map[string]*running{}}
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Close ends all jobs, waits for them, and accepts no more. What they fetched
// is kept. Their streams end, so it is called before the http.Server shuts
// down.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, j := range s.jobs {
		j.cancel(errStopping)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Sweep forgets the results that were kept long enough. Requests do so as
// well; the owner may call it once in a while.
func (s *Server) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
}

// forget is Sweep with the mutex held.
func (s *Server) forget(now time.Time) {
	var oldest *running
	ended := 0
	for id, j := range s.jobs {
		at, ok := j.endedAt()
		if !ok {
			continue
		}
		if now.Sub(at) > s.cfg.Keep {
			delete(s.jobs, id)
			continue
		}
		if ended++; oldest == nil || at.Before(oldest.end) {
			oldest = j
		}
	}
	if ended > maxEnded {
		delete(s.jobs, oldest.ID)
	}
}

// job returns the job that p names, which it starts when there is none.
func (s *Server) job(p *post, who string) (*running, error) {
	o, err := p.options()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.forget(now)
	if j := s.jobs[p.Job]; j != nil && !j.again() {
		if j.Path != string(p.Path) {
			return nil, fault.New(fault.Usage, "", "push: the job is for another path")
		}
		j.rate.Store(p.BwLimit)
		return j, nil
	}
	if s.closed {
		return nil, errStopping
	}
	before, err := s.makeWay(p, who, now)
	if err != nil {
		return nil, err
	}
	j := newRunning(s, p, Job{p.Job, string(p.Path), who, now})
	s.jobs[p.Job] = j
	s.wg.Go(func() { j.run(o, before) })
	return j, nil
}

// makeWay returns the jobs that must end before one for p can run. Called with
// the mutex held.
func (s *Server) makeWay(p *post, who string, now time.Time) (before []*running, err error) {
	active := 0
	for _, j := range s.jobs {
		_, ended := j.endedAt()
		if !ended {
			active++
		}
		if !manifest.Within(j.Path, string(p.Path)) && !manifest.Within(string(p.Path), j.Path) {
			continue
		}
		if !ended && j.ctx.Err() == nil && j.followed(now) {
			return nil, fault.New(fault.Busy, "wait for it to end, or stop it", "/%s in module %s is being pushed to by %s, since %s",
				j.Path, s.cfg.Module, j.Who, j.Since.UTC().Format(time.RFC3339))
		}
		before = append(before, j)
	}
	if active >= s.cfg.Jobs+len(before) {
		return nil, fault.New(fault.Network, "", "the server works on %d pushes already", active)
	}
	for _, j := range before {
		if j.ID == p.Job { // the same client starts it again
			continue
		}
		j.supersede(fault.New(fault.Busy, "look at what is there now before pushing again",
			"superseded by a push from %s at %s", who, now.UTC().Format(time.RFC3339)))
	}
	return before, nil
}

// find returns the job with the id, or nil.
func (s *Server) find(id string) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// Reverse is for lane.ServerOptions: it hands a lane to its job. Whoever calls
// it has authorised the request for the module.
func (s *Server) Reverse(r *http.Request) (use func(*lane.Conn), err error) {
	q := r.URL.Query()
	if r.URL.Path != lanePath(s.cfg.Module) {
		return nil, fault.New(fault.NotFound, "", "no such target: %s", wire.CleanText(r.URL.Path, 200))
	}
	j := s.find(q.Get("job"))
	if j == nil || subtle.ConstantTimeCompare([]byte(q.Get("ticket")), []byte(j.ticket)) != 1 {
		return nil, fault.New(fault.NotFound, "", "no such push here, or its ticket is another")
	}
	if _, ended := j.endedAt(); ended {
		return nil, fault.New(fault.NotFound, "", "the push has ended")
	}
	return j.lanes.use, nil
}

func pushPath(module string) string   { return "/v1/m/" + module + "/push" }
func ledgerPath(module string) string { return "/v1/m/" + module + "/ledger" }

func objectPath(module string) string { return "/v1/m/" + module + "/o/" }

func lanePath(module string) string { return "/v1/m/" + module + "/lane" }

func newTicket() string { return rand.Text() }

var (
	errStopping  = fault.New(fault.Network, "", "the server is stopping")
	errAbandoned = fault.New(fault.Network, "", "the pushing client is gone")
	errWithdrawn = fault.New(fault.Other, "", "withdrawn by the client")
)
