package origin

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/wire"
)

// planStream writes a job's plan to one connection.
type planStream struct {
	j      *planJob
	w      io.Writer
	rc     *http.ResponseController
	from   uint64 // the next segment
	warned int
}

// stream writes the plan's frames from segment from on, as they come.
func (j *planJob) stream(ctx context.Context, w io.Writer, rc *http.ResponseController, from uint64, needs <-chan *wire.Need) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s := &planStream{j: j, w: w, rc: rc, from: from}
	ready := (<-chan struct{})(j.ready)
	var run *planRun
	var wake <-chan struct{}
	for {
		if run != nil {
			var over bool
			if wake, over = s.flush(run); over {
				return
			}
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-ready:
			ready = nil
			j.mu.Lock()
			run = j.run
			err := j.err
			j.mu.Unlock()
			if err != nil {
				f := wire.Fail{Class: fsys.Class(err).String(), Text: err.Error(), Hint: fault.HintOf(err)}
				s.write(wire.KindFail, f.Marshal())
				return
			}
		case <-wake:
		case <-tick.C:
			work := j.doing(run)
			if !s.write(wire.KindWork, work.Marshal()) {
				return
			}
		case n := <-needs:
			s.write(wire.KindNeed, n.Marshal())
			return
		case <-ctx.Done():
			return
		}
	}
}

// doing says what is done for the job, or for others that come before it.
func (j *planJob) doing(run *planRun) wire.Work {
	var work wire.Work
	if run != nil {
		run.mu.Lock()
		work = run.work
		run.mu.Unlock()
	}
	if work.Stage == "" && j.tour.began.Load() {
		work.Stage = "scan"
		work.Files, work.Bytes = j.tour.scan.Progress()
	}
	if work.Stage == "" || work.Stage == queued {
		work = wire.Work{Stage: queued, Files: j.o.limits.work.Load() - j.work}
	}
	return work
}

// queued is the stage of what waits while the server works for others. Its
// counter is what is done for them.
const queued = "queue"

// flush writes what there is of a plan. It returns when there may be more, or
// that it is over.
func (s *planStream) flush(r *planRun) (wake <-chan struct{}, over bool) {
	r.mu.Lock()
	next, ending, payload := r.wake, r.ending, r.payload
	ends, warns, file := r.ends, r.warns[s.warned:], r.file
	r.mu.Unlock()
	for ; s.from < uint64(len(ends)); s.from++ {
		if !s.segment(r, file, ends) {
			return nil, true
		}
	}
	for _, a := range warns {
		if !s.write(wire.KindWarn, a.Marshal()) {
			return nil, true
		}
		s.warned++
	}
	if ending != 0 {
		s.write(ending, payload)
		return nil, true
	}
	return next, false
}

func (s *planStream) write(k wire.Kind, payload []byte) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeStall))
	return wire.WriteFrame(s.w, k, payload) == nil
}

// segment copies the next segment from the file, a little at a time: a
// thousand clients may read it slowly.
func (s *planStream) segment(r *planRun, file *planFile, ends []int64) bool {
	at := int64(0)
	if s.from > 0 {
		at = ends[s.from-1]
	}
	left := ends[s.from] - at
	head := wire.SegmentHead(s.from, int(left))
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeStall))
	if _, err := s.w.Write(head); err != nil {
		return false
	}
	bp := pieces.Get().(*[]byte)
	defer pieces.Put(bp)
	for left > 0 {
		b := (*bp)[:min(left, int64(len(*bp)))]
		if !r.read(file, b, at) {
			return false
		}
		_ = s.rc.SetWriteDeadline(time.Now().Add(writeStall))
		if _, err := s.w.Write(b); err != nil {
			return false
		}
		at += int64(len(b))
		left -= int64(len(b))
	}
	return true
}

// piece is how much of a plan is read and written at once.
const piece = 16 << 10

var pieces = sync.Pool{New: func() any { b := make([]byte, piece); return &b }}

func (r *planRun) read(file *planFile, b []byte, at int64) bool {
	n, err := file.ReadAt(b, at)
	return err == nil || n == len(b)
}
