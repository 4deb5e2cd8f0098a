package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/server/origin"
)

// answerTime is how long a client may take to accept a short answer.
const answerTime = 30 * time.Second

// refusal is why a request is not served, and how that is said.
type refusal struct {
	status int
	retry  int // seconds, 0: not said
	err    error
}

// Refusals that do not depend on the request.
var (
	errNowhere  = &refusal{status: http.StatusNotFound, err: fault.New(fault.NotFound, "", "nothing is here")}
	errMethod   = &refusal{status: http.StatusMethodNotAllowed, err: fault.New(fault.Usage, "", "only GET and HEAD are possible here")}
	errStopping = &refusal{http.StatusServiceUnavailable, 5, fault.New(fault.Network, "", "the server is stopping")}
	errCrowded  = &refusal{http.StatusServiceUnavailable, 1, fault.New(fault.Network, "", "the server is busy")}
	errGreedy   = &refusal{http.StatusTooManyRequests, 1, fault.New(fault.Network, "", "too many requests of one client at once")}
	errInternal = &refusal{status: http.StatusInternalServerError, err: fault.New(fault.Other, "see the server's log", "internal error")}
	errReadOnly = &refusal{status: http.StatusForbidden, err: fault.New(fault.Denied, "ask the server's owner to make it writable", "the module is read only")}
	errOldTLS   = &refusal{status: http.StatusForbidden, err: fault.New(fault.Denied, "", "the native protocol needs TLS 1.3")}
	errForeign  = &refusal{status: http.StatusForbidden, err: fault.New(fault.Denied, "", "requests from other sites are refused")}
	errNoModule = &refusal{status: http.StatusNotFound, err: fault.New(fault.NotFound, "check the name in the URL", "no such module")}
)

// tooMany is the refusal of a connection above a bound.
func tooMany(why string) *refusal {
	return &refusal{http.StatusServiceUnavailable, 5, fault.New(fault.Network, "", "%s", why)}
}

// checkProtocol refuses requests of another version of the protocol. Plain
// clients name none.
func checkProtocol(r *http.Request) *refusal {
	theirs := r.Header.Get(lane.ProtocolHeader)
	if theirs == "" || theirs == lane.Protocol {
		return nil
	}
	return &refusal{status: http.StatusUpgradeRequired, err: fault.New(fault.Incompatible,
		"use the same release on both sides", "the client speaks version %.20q of the protocol, this server version %q",
		theirs, lane.Protocol)}
}

// denial is the refusal that an error of auth stands for.
func denial(err error) *refusal {
	switch {
	case errors.Is(err, auth.ErrNoToken), errors.Is(err, auth.ErrBadToken):
		return &refusal{status: http.StatusUnauthorized, err: err}
	case errors.Is(err, auth.ErrThrottled):
		return &refusal{http.StatusTooManyRequests, 60, err}
	case errors.Is(err, auth.ErrForbidden):
		return &refusal{status: http.StatusForbidden, err: err}
	}
	return errInternal
}

// write answers a request: with a problem for programs, otherwise with text.
func (f *refusal) write(w *recorder, r *http.Request, native bool) {
	_ = w.SetWriteDeadline(time.Now().Add(answerTime))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch f.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="ropeway", charset="UTF-8"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD")
	case http.StatusUpgradeRequired:
		if r.ProtoMajor == 1 {
			h.Set("Upgrade", "ropeway/"+lane.Protocol)
			h.Set("Connection", "Upgrade")
		}
	}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retry))
	}
	var text []byte
	if native || r.Header.Get(lane.ProtocolHeader) != "" {
		h.Set("Content-Type", "application/problem+json")
		text, _ = json.Marshal(origin.Problem{Class: fault.ClassOf(f.err).String(), Text: f.err.Error(), Hint: fault.HintOf(f.err)})
		text = append(text, '\n')
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		text = []byte(strings.TrimRight(f.err.Error()+"\n"+fault.HintOf(f.err), "\n") + "\n")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(f.status)
	_, _ = w.Write(text)
}

// sayText answers with a line or a few, for people.
func sayText(w *recorder, status int, text string) {
	_ = w.SetWriteDeadline(time.Now().Add(answerTime))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
