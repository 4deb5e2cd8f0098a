package push

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	// writeStall ends a stream that the client does not read.
	writeStall = 30 * time.Second
	// stopWait is how long a withdrawal waits for the job to end.
	stopWait = 1500 * time.Millisecond
)

// Handler serves, below /v1/m/{module}/: POST push, DELETE push/{job}. Whoever
// mounts it has authorised the requests for changing the module.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pushPath(s.cfg.Module), s.push)
	mux.HandleFunc("DELETE "+pushPath(s.cfg.Module)+"/{job}", s.withdraw)
	return mux
}

// push starts a job, or continues to tell about one.
func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex() // HTTP/2 is so anyway
	_ = rc.SetReadDeadline(time.Now().Add(silence))
	body := &io.LimitedReader{R: r.Body, N: maxBody}
	dec := json.NewDecoder(body)
	var p post
	if err := dec.Decode(&p); err != nil {
		refuse(w, fault.Wrap(fault.Usage, err, "", "push request"))
		return
	}
	_ = rc.SetReadDeadline(time.Time{})
	err := p.check()
	var j *running
	if err == nil {
		j, err = s.job(&p, s.cfg.Who(r))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	j.touch()
	h := w.Header()
	h.Set("Content-Type", "application/jsonl")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // for nginx
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()
	var pulse atomic.Int64 // since start
	start := time.Now()
	go wishes(io.MultiReader(dec.Buffered(), r.Body), func(w *wish) {
		pulse.Store(int64(time.Since(start)))
		j.touch()
		if w != nil && w.BwLimit >= 0 {
			j.rate.Store(w.BwLimit)
		}
	})
	alive := func() bool { return time.Since(start)-time.Duration(pulse.Load()) < writeStall }
	j.stream(r.Context(), w, rc, max(p.Seq, 1), alive)
}

// wish is a line of the client's after the request: what it wants otherwise
// from now on.
type wish struct {
	BwLimit int64 `json:"bwlimit"`
}

// maxWish bounds such a line, in bytes.
const maxWish = 512

// wishes calls got whenever something comes from the client, with what it
// wishes or nil, until r ends.
func wishes(r io.Reader, got func(*wish)) {
	lines := bufio.NewReaderSize(r, maxWish)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // of what is too long only the sign of life counts
			return
		}
		var w *wish
		if line = bytes.TrimSpace(line); len(line) > 0 && json.Unmarshal(line, &w) != nil {
			w = nil
		}
		got(w)
	}
}

// stream writes what happens from event next on, until the job has ended, the
// request has, or the client no longer lives.
func (j *running) stream(ctx context.Context, w io.Writer, rc *http.ResponseController, next int64, alive func() bool) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	p := place{next: next}
	var buf []byte
	for {
		lines, wake, last := j.news(&p)
		if buf = encode(buf[:0], lines); len(buf) > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeStall))
			if _, err := w.Write(buf); err != nil || rc.Flush() != nil {
				return
			}
		}
		switch {
		case last:
			return
		case wake == nil:
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = rc.SetWriteDeadline(time.Now().Add(writeStall))
			if _, err := io.WriteString(w, "{}\n"); err != nil || rc.Flush() != nil || !alive() {
				return
			}
		}
	}
}

// withdraw ends a job.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) {
	j := s.find(r.PathValue("job"))
	if j == nil {
		refuse(w, fault.New(fault.NotFound, "", "no such push"))
		return
	}
	j.cancel(errWithdrawn)
	t := time.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-j.done:
	case <-t.C:
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusNoContent)
}

// statuses of the classes that have one of their own.
var statuses = map[fault.Class]int{
	fault.Usage:        http.StatusBadRequest,
	fault.NotFound:     http.StatusNotFound,
	fault.Denied:       http.StatusForbidden,
	fault.Busy:         http.StatusConflict,
	fault.Limit:        http.StatusRequestEntityTooLarge,
	fault.Incompatible: http.StatusUpgradeRequired,
	fault.Network:      http.StatusServiceUnavailable,
}

// refuse answers a request with err.
func refuse(w http.ResponseWriter, err error) {
	status, ok := statuses[fault.ClassOf(err)]
	if !ok {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(newResult(nil, err))
}

// refusal is the error that an answer other than the wanted one stands for.
func refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	var r result
	if json.Unmarshal(body, &r) == nil && r.Class != "" {
		if err := r.err(); err != nil {
			return err
		}
	}
	class := fault.Other
	for c, status := range statuses {
		if status == resp.StatusCode {
			class = c
		}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		class = fault.Denied
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		class = fault.Network
	}
	r = result{Class: class.String(), Text: http.StatusText(resp.StatusCode)}
	if text := bytes.TrimSpace(body); len(text) > 0 {
		r.Text += ": " + string(text[:min(len(text), 200)])
	}
	return r.err()
}

var errNoResult = errors.New("the answer ended without a result")
