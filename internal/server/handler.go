package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/server/plain"
)

// page is what / shows. It names no modules: whoever asks may be anybody.
const page = "This is a ropeway server.\n\nDirectories are at /m/NAME/, for those who have a token.\n"

// call is one request under way.
type call struct {
	route  route
	module *module // set once the request may know it
	user   string
	client *client // nil: not counted
	urgent bool
	cause  string // of a refusal
}

// ServeHTTP implements http.Handler for all routes.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := newRecorder(w)
	if r.ProtoMajor == 1 {
		_ = rec.rc.SetWriteDeadline(time.Time{}) // what the request before left
	}
	in := &body{ReadCloser: r.Body, rc: rec.rc}
	c := &call{route: routeOf(r.URL)}
	if r.Method == http.MethodPut || c.route.name == routeDelta {
		in.timed = true
	}
	r.Body = in
	a := s.begin(r)
	s.moving.add(rec, lane.ConnOf(r.Context()))
	defer s.moving.remove(rec)
	// Health is told however much else there is to do.
	c.urgent = c.route.name == routeHealth || c.route.name == routeReady
	// A ledger does nothing but wait, one for each lane that others count for.
	entered := s.gate.enter(c.urgent || c.route.name == routeLedger)
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the documented comparison
			s.panicked(r, p)
			if rec.status == 0 {
				errInternal.write(rec, r, c.route.native)
				p = nil
			}
			c.cause = causePanic
		}
		if c.client != nil {
			s.clients.leave(c.client, bounded(c.route.name))
		}
		s.finish(a, c, rec, in, r, p != nil)
		if entered {
			s.gate.leave()
		}
		if p != nil {
			panic(http.ErrAbortHandler)
		}
	}()
	f := errCrowded
	if entered {
		f = s.dispatch(c, rec, r)
	}
	if f != nil {
		c.cause = f.err.Error()
		f.write(rec, r, c.route.native)
	}
}

// dispatch serves a request, or returns why not, in which case it has written
// nothing.
func (s *server) dispatch(c *call, w *recorder, r *http.Request) *refusal {
	if n := connOf(lane.ConnOf(r.Context())); n != nil && n.over != "" && !c.urgent {
		w.Header().Set("Connection", "close")
		return tooMany(n.over)
	}
	switch c.route.name {
	case routePage, routeHealth, routeReady, routeMetrics:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return errMethod
		}
	}
	switch c.route.name {
	case routePage:
		sayText(w, http.StatusOK, page)
		return nil
	case routeHealth:
		sayText(w, http.StatusOK, "ok\n")
		return nil
	case routeReady:
		if s.ready.Load() {
			sayText(w, http.StatusOK, "ready\n")
		} else {
			sayText(w, http.StatusServiceUnavailable, "not ready\n")
		}
		return nil
	case routeMetrics:
		if !isLoopback(r.RemoteAddr) {
			g, err := s.state.tokens.Grant(r)
			if err != nil {
				return s.denied(err)
			}
			c.user = g.Name
		}
		_ = w.SetWriteDeadline(time.Now().Add(answerTime))
		s.exposed.ServeHTTP(w, r)
		return nil
	}
	if f := checkProtocol(r); f != nil {
		return f
	}
	if c.route.native {
		if n := connOf(lane.ConnOf(r.Context())); n != nil {
			n.lane.Store(true)
		}
		if r.TLS == nil || r.TLS.Version < tls.VersionTLS13 {
			return errOldTLS
		}
		// A browser may hold a password for this server.
		if s.origins.Check(r) != nil {
			return errForeign
		}
	}
	if c.route.module == "" {
		return errNowhere
	}
	if f := s.authorize(c, r); f != nil {
		return f
	}
	if f := s.count(c, w, r); f != nil {
		return f
	}
	return s.serveModule(c, w, r.WithContext(origin.WithClient(r.Context(), c.client.name)))
}

// authorize checks that the request's token permits the route, and only then
// whether there is such a module.
func (s *server) authorize(c *call, r *http.Request) *refusal {
	g, err := s.state.tokens.Grant(r)
	if err != nil {
		return s.denied(err)
	}
	c.user = g.Name
	verb := c.route.verb()
	if !g.Allows(c.route.module, verb, time.Now()) {
		return s.denied(fault.Wrap(fault.Denied, auth.ErrForbidden, "ask for a token with "+verb.String()+" for this module", "access denied"))
	}
	if c.module = s.modules[c.route.module]; c.module == nil {
		return errNoModule
	}
	if n := connOf(lane.ConnOf(r.Context())); n != nil {
		n.trust()
	}
	return nil
}

// count lets a request in as one of its client's.
func (s *server) count(c *call, w *recorder, r *http.Request) *refusal {
	cl, lanes, ok := s.clients.enter(c.user, r.RemoteAddr, bounded(c.route.name))
	if c.route.native {
		grants(w, lanes)
	}
	if !ok {
		s.metrics.throttled.Inc()
		return errGreedy
	}
	c.client = cl
	return nil
}

// denied counts an error of auth, and reports those that nobody can help who
// makes requests.
func (s *server) denied(err error) *refusal {
	f := denial(err)
	s.metrics.denied.WithLabelValues(fmt.Sprint(f.status)).Inc()
	if f == errInternal {
		s.warn("%v", err)
	}
	return f
}

// serveModule serves what has been authorised.
func (s *server) serveModule(c *call, w *recorder, r *http.Request) *refusal {
	m := c.module
	running := s.metrics.running.WithLabelValues(m.Name, c.route.name)
	running.Inc()
	defer running.Dec()
	switch c.route.name {
	case routeFile:
		s.plain.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), allowedKey{}, m)))
	case routePlan, routeUpload, routeObject, routeDelta:
		if c.route.name == routeObject {
			lane.Shape(r)
		}
		if c.route.name == routePlan && !s.ready.Load() {
			return errStopping
		}
		m.native.ServeHTTP(w, r)
	case routeLedger:
		if r.Method != http.MethodGet {
			return errMethod
		}
		lane.ServeLedger(w, r, s.stopping)
	case routePush:
		switch {
		case m.push == nil:
			return errReadOnly
		case !s.ready.Load():
			return errStopping
		}
		m.push.ServeHTTP(w, r)
	default:
		return errNowhere
	}
	return nil
}

// allowedKey is the context's key of the module that a request may read.
type allowedKey struct{}

// lookup gives plain the module that was authorised, and no other.
func (s *server) lookup(r *http.Request, name string) (plain.Module, error) {
	m, ok := r.Context().Value(allowedKey{}).(*module)
	if !ok || m.Name != name {
		return plain.Module{}, errNoModule.err
	}
	return plain.Module{
		Open:   m.open,
		Hidden: func(path string, _ bool) bool { return manifest.InState(path) },
	}, nil
}

// begin notes what is known before a request is served.
func (s *server) begin(r *http.Request) *Access {
	a := &Access{
		Time: time.Now(), Remote: r.RemoteAddr, Method: clip(r.Method, 20), Path: redact(r.URL.EscapedPath()), Proto: r.Proto,
	}
	if n := connOf(lane.ConnOf(r.Context())); n != nil {
		a.Conn, a.Reused = n.id, n.requests.Add(1) > 1
	}
	return a
}

// finish logs and counts a request.
func (s *server) finish(a *Access, c *call, w *recorder, in *body, r *http.Request, aborted bool) {
	if w.status == 0 && !aborted {
		w.status = http.StatusOK // net/http will say so
	}
	a.Outcome, a.Cause = w.ending(r.Context(), r.Method, aborted)
	switch {
	case in.late:
		s.metrics.clientsCut.WithLabelValues(cutSending).Inc()
	case a.Outcome == OutcomeCut && a.Cause == causeSlow:
		s.metrics.clientsCut.WithLabelValues(cutReading).Inc()
	}
	if c.cause != "" && a.Outcome != OutcomeOK {
		a.Cause = c.cause
	}
	a.Status, a.Bytes, a.In = w.status, w.bytes, in.n
	s.log(a, c)
}

// log completes the entry of a request, counts it and hands it out.
func (s *server) log(a *Access, c *call) {
	a.User, a.Route, a.Elapsed = c.user, c.route.name, time.Since(a.Time)
	if c.module != nil {
		a.Module = c.module.Name
	}
	s.metrics.ended(a)
	s.cfg.Access(*a)
}

// panicked reports a bug of a handler, with the innermost calls.
func (s *server) panicked(r *http.Request, p any) {
	s.metrics.panics.Inc()
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	var at []string
	for more := true; more && len(at) < 6; {
		var f runtime.Frame
		f, more = frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			at = append(at, fmt.Sprintf("%s:%d", f.Function[strings.LastIndexByte(f.Function, '/')+1:], f.Line))
		}
	}
	s.warn("internal error in %s %s: %s (%s)", clip(r.Method, 20), redact(r.URL.EscapedPath()), oneLine(fmt.Sprint(p)), strings.Join(at, " < "))
}

// tokens finds what looks like one of our tokens: in paths they are mistakes,
// but secrets all the same.
var tokens = regexp.MustCompile(`rw_[A-Za-z0-9]{8,}`)

// redact makes a path fit for logs.
func redact(path string) string { return tokens.ReplaceAllString(clip(path, 1024), "rw_...") }

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, clip(s, 1024))
}
