package server

import (
	"crypto/tls"
	"errors"
	"net/http"

	"github.com/ropeway/ropeway/internal/lane"
)

// reverse decides about a reverse lane, on which this side makes the requests:
// a push. It needs what a request to the push route needs.
func (s *server) reverse(r *http.Request) (func(*lane.Conn), error) {
	c := &call{route: routeOf(r.URL)}
	a := s.begin(r)
	use, f := s.reverseUse(c, r)
	c.route.name = routeReverse
	if f != nil {
		a.Outcome, a.Cause, a.Status = OutcomeRefused, f.err.Error(), f.status
		s.log(a, c)
		return nil, f.err
	}
	return func(l *lane.Conn) {
		if n := connOf(lane.ConnOf(r.Context())); n != nil {
			n.lane.Store(true)
		}
		if !s.gate.enter(false) {
			return // the lane is closed, and the client dials again
		}
		defer s.gate.leave()
		running := s.metrics.running.WithLabelValues(c.module.Name, routeReverse)
		running.Inc()
		defer running.Dec()
		in, out := l.In(), l.Out()
		a.Outcome, a.Cause, a.Status = OutcomeFailed, causePanic, http.StatusSwitchingProtocols
		defer func() {
			a.In, a.Bytes = l.In()-in, l.Out()-out
			s.log(a, c)
		}()
		use(l)
		a.Outcome, a.Cause = OutcomeOK, ""
		if err := l.Err(); err != nil && !errors.Is(err, lane.ErrClosed) { // by use, which is done
			a.Outcome, a.Cause = OutcomeCut, oneLine(err.Error())
		}
	}, nil
}

func (s *server) reverseUse(c *call, r *http.Request) (func(*lane.Conn), *refusal) {
	if n := connOf(lane.ConnOf(r.Context())); n != nil && n.over != "" {
		return nil, tooMany(n.over)
	}
	if !s.ready.Load() {
		return nil, errStopping
	}
	if f := checkProtocol(r); f != nil {
		return nil, f
	}
	if r.TLS == nil || r.TLS.Version < tls.VersionTLS13 {
		return nil, errOldTLS
	}
	if c.route.name != routeReverse {
		return nil, errNowhere
	}
	if f := s.authorize(c, r); f != nil {
		return nil, f
	}
	if c.module.pusher == nil {
		return nil, errReadOnly
	}
	use, err := c.module.pusher.Reverse(r)
	if err != nil {
		return nil, &refusal{status: http.StatusForbidden, err: err}
	}
	return use, nil
}
