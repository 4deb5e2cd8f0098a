package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// recorder notes what is answered. It belongs to the handler's goroutine.
type recorder struct {
	http.ResponseWriter
	rc       *http.ResponseController
	status   int // 0: none yet
	bytes    int64
	err      error     // of the first write that failed
	deadline time.Time // of writes
}

func newRecorder(w http.ResponseWriter) *recorder {
	return &recorder{ResponseWriter: w, rc: http.NewResponseController(w)}
}

// Unwrap lets http.ResponseController reach what is not here.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	r.failed(err)
	return n, err
}

// FlushError implements what http.ResponseController asks for.
func (r *recorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	err := r.rc.Flush()
	r.failed(err)
	return err
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (r *recorder) SetWriteDeadline(t time.Time) error {
	r.deadline = t
	return r.rc.SetWriteDeadline(t)
}

func (r *recorder) failed(err error) {
	if err != nil && r.err == nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, errors.ErrUnsupported) {
		r.err = err
	}
}

// whole reports whether all was written that the header promised.
func (r *recorder) whole(method string) bool {
	if method == http.MethodHead || r.status >= 300 || r.status == http.StatusNoContent {
		return true
	}
	n, err := strconv.ParseInt(r.Header().Get("Content-Length"), 10, 64)
	return err == nil && r.bytes >= n
}

// Causes of answers that ended short.
const (
	causeLeft    = "the client went away"
	causeSlow    = "the client did not read in time"
	causeStopped = "the server stopped"
	causeChanged = "what was served changed or could not be read"
	causePanic   = "internal error"
)

// errStopped is the cause of the context of requests that outlive the grace.
var errStopped = errors.New(causeStopped)

// ending returns outcome and cause of a request. aborted says that its handler
// gave up.
func (r *recorder) ending(ctx context.Context, method string, aborted bool) (outcome, cause string) {
	gone := ctx.Err() != nil && !r.whole(method)
	switch {
	case !aborted && !gone && r.err == nil:
	case errors.Is(context.Cause(ctx), errStopped):
		return OutcomeCut, causeStopped
	case errors.Is(r.err, os.ErrDeadlineExceeded),
		(gone || r.err != nil) && !r.deadline.IsZero() && !time.Now().Before(r.deadline):
		return OutcomeCut, causeSlow
	case gone || r.err != nil:
		return OutcomeCut, causeLeft
	default:
		return OutcomeCut, causeChanged
	}
	switch {
	case r.status == http.StatusServiceUnavailable:
		return OutcomeRefused, http.StatusText(r.status)
	case r.status >= 500:
		return OutcomeFailed, http.StatusText(r.status)
	case r.status >= 400:
		return OutcomeRefused, http.StatusText(r.status)
	}
	return OutcomeOK, ""
}

// body counts what a request brings, and gives each read of an upload a
// deadline of its own, so that nobody can hold a request open by sending
// nothing.
type body struct {
	io.ReadCloser
	n     int64
	rc    *http.ResponseController
	stall time.Duration // 0: as long as it likes
}

func (b *body) Read(p []byte) (int, error) {
	if b.stall > 0 {
		_ = b.rc.SetReadDeadline(time.Now().Add(b.stall))
	}
	n, err := b.ReadCloser.Read(p)
	if b.stall > 0 {
		_ = b.rc.SetReadDeadline(time.Time{}) // or it would end the connection later
	}
	b.n += int64(n)
	return n, err
}
