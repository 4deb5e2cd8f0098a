package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// recorder notes what is answered. It belongs to the handler's goroutine.
type recorder struct {
	http.ResponseWriter
	rc     *http.ResponseController
	status int // 0: none yet
	bytes  int64
	err    error // of the first write that failed

	mu       sync.Mutex // guards the rest
	deadline time.Time  // of writes; zero: none
	wrote    time.Time  // when a write last returned
}

func newRecorder(w http.ResponseWriter) *recorder {
	return &recorder{ResponseWriter: w, rc: http.NewResponseController(w), wrote: time.Now()}
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
	r.mu.Lock()
	r.wrote = time.Now()
	r.mu.Unlock()
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	return r.rc.SetWriteDeadline(t)
}

// extend gives the write under way, if it has a deadline, another minute.
func (r *recorder) extend(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deadline.IsZero() || !now.Before(r.deadline) || now.Sub(r.wrote) > streamStall {
		return
	}
	if later := now.Add(writeStall); later.After(r.deadline) {
		r.deadline = later
		_ = r.rc.SetWriteDeadline(later)
	}
}

// passed reports whether the last deadline has passed.
func (r *recorder) passed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.deadline.IsZero() && !time.Now().Before(r.deadline)
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
		(gone || r.err != nil) && r.passed():
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

// body counts what a request brings, and bounds the time of an upload, so that
// nobody can hold a request open by sending nothing, or next to it: it may take
// bodyTime, and a second more for every bodyRate bytes that have come.
type body struct {
	io.ReadCloser
	n     int64
	rc    *http.ResponseController
	timed bool
	due   time.Time
	late  bool // a read failed for it
}

const (
	bodyTime = 30 * time.Second
	bodyRate = 256
	// bodyAhead bounds the time that may be saved up.
	bodyAhead = time.Minute
)

func (b *body) Read(p []byte) (int, error) {
	if !b.timed {
		n, err := b.ReadCloser.Read(p)
		b.n += int64(n)
		return n, err
	}
	now := time.Now()
	if b.due.IsZero() {
		b.due = now.Add(bodyTime)
	}
	_ = b.rc.SetReadDeadline(b.due)
	n, err := b.ReadCloser.Read(p)
	_ = b.rc.SetReadDeadline(time.Time{}) // or it would end the connection later
	b.n += int64(n)
	b.late = b.late || errors.Is(err, os.ErrDeadlineExceeded)
	b.due = b.due.Add(time.Duration(n) * time.Second / bodyRate)
	if most := now.Add(bodyAhead); b.due.After(most) {
		b.due = most
	}
	return n, err
}
