package job

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/wire"
)

// exchange asks for the plan and hands on its segments. The request outlives
// the lanes that carry it: a new lane continues after the last segment.
type exchange struct {
	j        *job
	id       string
	request  wire.PlanRequest
	ready    <-chan struct{} // closed when held is known
	base     *wire.Base      // set before ready is closed, replaced after an upload
	segments chan []byte
	next     uint64
	end      wire.End
	same     bool // nothing differs
	warned   int
	frozen   progress
}

// progress follows the sender's counters.
type progress struct {
	work wire.Work
	at   time.Time
}

const (
	// frozenFor is how long the sender's counters may stand still.
	frozenFor = 30 * time.Second
	// maxWarned bounds the remarks that are taken from a sender.
	maxWarned = 10000
	// maxNeeds is how often a sender may ask for what is held here: it can be
	// restarted, and forget.
	maxNeeds = 10
)

var (
	errRestart = errors.New("the sender has forgotten the job")
)

func newID() string { return rand.Text() }

// run gets the whole plan. segments is closed when it returns.
func (x *exchange) run(ctx context.Context) error {
	defer close(x.segments)
	for needs := 0; ; needs++ {
		var need *wire.Need
		err := x.j.pool.Do(ctx, "plan", func(ctx context.Context, l fetch.Lane, alive func()) error {
			n, err := x.attempt(ctx, l.(*link), alive)
			need = n
			return err
		})
		if err != nil {
			return err
		}
		if need == nil {
			return nil
		}
		if needs == maxNeeds {
			return fault.New(fault.Integrity, "", "the server keeps asking for what it was told")
		}
		if err := x.upload(ctx, need); err != nil {
			return err
		}
	}
}

// attempt asks on one lane.
func (x *exchange) attempt(ctx context.Context, l *link, alive func()) (*wire.Need, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	defer func() { _ = pr.Close() }()
	x.j.rtt.Store(int64(l.RTT()))
	go x.write(ctx, pw, l.from.Path)
	req, err := l.request(ctx, http.MethodPost, "plan", "", pr)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.PlanType)
	resp, err := l.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	l.granted(resp)
	if resp.StatusCode != http.StatusOK {
		err := refusal(resp)
		if errors.Is(err, fetch.ErrGone) {
			return nil, fault.Wrap(fault.Other, errRestart, "", "%v", err)
		}
		return nil, err
	}
	x.j.rtt.Store(int64(l.RTT()))
	x.j.source.Store(int32(l.from.index))
	body := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		kind, payload, err := wire.ReadFrame(body)
		if err != nil {
			if errors.Is(err, wire.ErrFrame) {
				return nil, fault.Wrap(fault.Incompatible, err, "", "plan")
			}
			return nil, fmt.Errorf("plan ended early: %w", err)
		}
		need, done, err := x.frame(ctx, kind, payload, alive)
		if err != nil || done || need != nil {
			return need, err
		}
	}
}

// write sends the request at once and what is held as soon as it is known.
func (x *exchange) write(ctx context.Context, w *io.PipeWriter, path string) {
	req := x.request
	req.Path = path
	req.Job, req.From = x.id, x.next
	req.Fast = x.j.fast()
	err := wire.WriteFrame(w, wire.KindRequest, req.Marshal())
	if err == nil {
		select {
		case <-x.ready:
			err = wire.WriteFrame(w, wire.KindBase, x.base.Marshal())
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	_ = w.CloseWithError(err)
}

func (x *exchange) frame(ctx context.Context, kind wire.Kind, payload []byte, alive func()) (*wire.Need, bool, error) {
	bad := func(err error) (*wire.Need, bool, error) {
		return nil, false, fault.Wrap(fault.Incompatible, err, "", "plan")
	}
	switch kind {
	case wire.KindWork:
		var w wire.Work
		if err := w.Unmarshal(payload); err != nil {
			return bad(err)
		}
		if x.rising(w) {
			alive()
		}
		x.j.pool.PeerWorks(clean(w.Stage))
		x.j.emit(event.Work{Peer: true, Stage: clean(w.Stage), Files: w.Files, Bytes: w.Bytes, Total: w.Total})
	case wire.KindSegment:
		var s wire.Segment
		if err := s.Unmarshal(payload); err != nil {
			return bad(err)
		}
		if s.Index != x.next {
			return bad(fmt.Errorf("segment %d where %d was due", s.Index, x.next))
		}
		alive()
		if err := x.hand(ctx, s.Body); err != nil {
			return nil, false, err
		}
		x.next++
	case wire.KindWarn:
		var w wire.Warn
		if err := w.Unmarshal(payload); err != nil {
			return bad(err)
		}
		if x.warned++; x.warned <= maxWarned {
			x.j.warn(w.Path, clean(w.Text)+" (at the source)", true)
		}
	case wire.KindNeed:
		n := &wire.Need{}
		if err := n.Unmarshal(payload); err != nil {
			return bad(err)
		}
		return n, false, nil
	case wire.KindFail:
		var f wire.Fail
		if err := f.Unmarshal(payload); err != nil {
			return bad(err)
		}
		err := remoteError(f.Class, f.Text, f.Hint)
		if fault.ClassOf(err) == fault.Network { // of this job, which stays so
			err = fault.Wrap(fault.Other, errRestart, "", "%v", err)
		}
		return nil, false, err
	case wire.KindEnd, wire.KindUnchanged:
		if err := x.end.Unmarshal(payload); err != nil {
			return bad(err)
		}
		if x.end.Segments != x.next {
			return bad(fmt.Errorf("plan of %d segments ends after %d", x.end.Segments, x.next))
		}
		if x.same = kind == wire.KindUnchanged; x.same && x.next > 0 {
			return bad(errors.New("a plan of changes ends as if there were none"))
		}
		return nil, true, nil
	default:
		return bad(fmt.Errorf("%w: %q", errFrame, byte(kind)))
	}
	return nil, false, nil
}

// rising reports whether the sender's work goes on. Before it knows what is
// held here it may well have to wait.
func (x *exchange) rising(w wire.Work) bool {
	select {
	case <-x.ready:
	default:
		return true
	}
	now := time.Now()
	if w != x.frozen.work {
		x.frozen = progress{w, now}
	}
	return now.Sub(x.frozen.at) < frozenFor
}

// hand gives a segment to the applier, however long it takes.
func (x *exchange) hand(ctx context.Context, body []byte) error {
	select {
	case x.segments <- body:
		return nil
	default:
	}
	release := x.j.pool.Hold("the destination")
	defer release()
	select {
	case x.segments <- body:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// upload tells the sender everything that is held, in segments.
func (x *exchange) upload(ctx context.Context, need *wire.Need) error {
	missing := map[digest.Digest]bool{}
	for _, d := range need.Uploads {
		missing[d] = true
	}
	var ids []digest.Digest
	err := x.j.held.segments(func(frame []byte) error {
		id := digest.Sum(frame)
		ids = append(ids, id)
		if len(ids) > wire.MaxUploads {
			return fault.New(fault.Limit, "sync its directories one by one", "the destination has too many entries to be told of")
		}
		if !need.Base && !missing[id] {
			return nil
		}
		x.j.emit(event.Work{Stage: "upload", Files: int64(len(ids))})
		return x.j.pool.Do(ctx, "upload", func(ctx context.Context, l fetch.Lane, alive func()) error {
			return put(ctx, l.(*link), id, frame, alive)
		})
	})
	if err != nil {
		return err
	}
	x.base = &wire.Base{Uploads: ids}
	return nil
}

func put(ctx context.Context, l *link, id digest.Digest, frame []byte, alive func()) error {
	req, err := l.request(ctx, http.MethodPut, "up/"+id.String(), "", &pulse{r: bytes.NewReader(frame), beat: alive})
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(frame))
	resp, err := l.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNoContent {
		return refusal(resp)
	}
	return nil
}

// pulse reports that an upload goes on. The lane's own flow control paces it:
// a read happens only when the peer has made room.
type pulse struct {
	r    io.Reader
	beat func()
}

func (p *pulse) Read(b []byte) (int, error) {
	p.beat()
	return p.r.Read(b[:min(len(b), 16<<10)])
}
