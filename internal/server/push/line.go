package push

import (
	"encoding/json"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/wire"
)

// line is one line of the answer. An empty one says that the server is there.
type line struct {
	Hello  *hello          `json:"hello,omitempty"` // the first line that is not empty
	Seq    int64           `json:"seq,omitempty"`   // of Event, from 1, rising by 1
	Event  json.RawMessage `json:"event,omitempty"`
	Lane   int64           `json:"lane,omitempty"`   // please open a lane; rising
	Result *result         `json:"result,omitempty"` // the last line
}

// hello says what a client needs for the rest.
type hello struct {
	Ticket     string `json:"ticket"`     // opens lanes
	Generation string `json:"generation"` // the tree that the destination was landed as before this job, or ""
}

// result is how a job ended.
type result struct {
	Class   string          `json:"class"`
	Text    string          `json:"text,omitempty"`
	Hint    string          `json:"hint,omitempty"`
	Summary json.RawMessage `json:"summary,omitempty"`
}

const (
	// maxLine bounds a line of the answer, in bytes.
	maxLine = wire.MaxEvent + 16<<10
	maxText = 2048 // bytes of a result's text or hint

	heartbeat = time.Second      // between lines, and between the client's signs of life
	silence   = 10 * time.Second // without any: that end is taken for dead
)

func newResult(sum *event.Summary, err error) *result {
	r := &result{Class: fault.ClassOf(err).String()}
	if err != nil {
		r.Text, r.Hint = wire.CleanText(err.Error(), maxText), wire.CleanText(fault.HintOf(err), maxText)
	}
	if sum != nil {
		if b, merr := wire.MarshalEvent(*sum); merr == nil {
			r.Summary = b
		}
	}
	return r
}

// outcome is what newResult was given, as far as it travels.
func (r *result) outcome() (*event.Summary, error) {
	var sum *event.Summary
	if len(r.Summary) > 0 {
		if e, err := wire.UnmarshalEvent(r.Summary); err == nil {
			if s, ok := mirror(e).(event.Summary); ok {
				sum = &s
			}
		}
	}
	return sum, r.err()
}

func (r *result) err() error {
	class := fault.Parse(r.Class)
	if class == fault.OK {
		return nil
	}
	if class >= fault.Interrupted { // a peer cannot mean these
		class = fault.Other
	}
	text := wire.CleanText(r.Text, maxText)
	if text == "" {
		text = "failed without a reason"
	}
	return fault.New(class, wire.CleanText(r.Hint, maxText), "server: %s", text)
}

// mirror turns an event of the job at the server into one of the client's:
// what is ours there is the peer's here, what goes in there goes out here.
func mirror(e event.Event) event.Event {
	switch e := e.(type) {
	case event.Work:
		e.Peer = !e.Peer
		return e
	case event.Progress:
		e.WireIn, e.WireOut = e.WireOut, e.WireIn
		return e
	case event.Summary:
		e.WireIn, e.WireOut = e.WireOut, e.WireIn
		return e
	}
	return e
}
