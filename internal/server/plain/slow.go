package plain

import (
	"errors"
	"net/http"
	"time"
)

// errCut says that a response has begun and must not look complete.
var errCut = errors.New("plain: response cut short")

// maxWrite is the most that one write deadline covers, in bytes.
const maxWrite = 32 << 10

// slowWriter gives every write a deadline of its own, so that a client may
// take as long as it likes but not stop.
type slowWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
	err   error // of the first write that failed
	// keepDeadline leaves the last deadline in force after the response.
	keepDeadline bool
}

func newSlowWriter(w http.ResponseWriter, stall time.Duration) *slowWriter {
	return &slowWriter{w: w, rc: http.NewResponseController(w), stall: stall}
}

// Header implements http.ResponseWriter.
func (s *slowWriter) Header() http.Header { return s.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (s *slowWriter) WriteHeader(status int) {
	s.arm()
	s.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *slowWriter) Write(b []byte) (int, error) {
	done := 0
	for {
		s.arm()
		n, err := s.w.Write(b[done:min(len(b), done+maxWrite)])
		done += n
		if err != nil {
			if s.err == nil {
				s.err = err
			}
			return done, err
		}
		if done >= len(b) {
			return done, nil
		}
	}
}

// arm sets the deadline; a ResponseWriter that has none writes to memory.
func (s *slowWriter) arm() { _ = s.rc.SetWriteDeadline(time.Now().Add(s.stall)) }

// finish sends what is buffered and leaves the connection without a deadline
// to the next request.
func (s *slowWriter) finish() {
	if s.err != nil {
		return
	}
	s.arm()
	if s.rc.Flush() == nil && !s.keepDeadline {
		_ = s.rc.SetWriteDeadline(time.Time{})
	}
}
