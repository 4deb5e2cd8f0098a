package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ropeway/ropeway/internal/event"
)

const (
	// MaxEvent bounds the line of one event, in bytes.
	MaxEvent = 64 << 10
	// MaxText bounds each text and name in an event, in bytes; longer ones are
	// cut.
	MaxText = 4096
)

var (
	// ErrEvent is returned for an event that is malformed or over its bounds.
	ErrEvent = errors.New("wire: malformed event")
	// ErrUnknownEvent is returned for an event of a type that this version
	// does not know. It is to be skipped.
	ErrUnknownEvent = errors.New("wire: unknown type of event")
)

// eventLine has the fields of all types of events. A field that two types
// share means the same in both. Names that are not valid UTF-8 travel in
// base64. Durations are in nanoseconds.
type eventLine struct {
	Type        string        `json:"type"`
	Verb        string        `json:"verb,omitzero"`
	Source      string        `json:"source,omitzero"`
	Destination string        `json:"destination,omitzero"`
	DryRun      bool          `json:"dry_run,omitzero"`
	Peer        bool          `json:"peer,omitzero"`
	Stage       string        `json:"stage,omitzero"`
	Files       int64         `json:"files,omitzero"`
	Bytes       int64         `json:"bytes,omitzero"`
	Total       int64         `json:"total,omitzero"`
	Done        int64         `json:"done,omitzero"`
	Complete    bool          `json:"complete,omitzero"`
	FilesTotal  int64         `json:"files_total,omitzero"`
	Reused      int64         `json:"reused,omitzero"`
	WireIn      int64         `json:"wire_in,omitzero"`
	WireOut     int64         `json:"wire_out,omitzero"`
	Lanes       int           `json:"lanes,omitzero"`
	Retries     int64         `json:"retries,omitzero"`
	Limit       string        `json:"limit,omitzero"`
	LimitDetail string        `json:"limit_detail,omitzero"`
	Up          bool          `json:"up,omitzero"`
	Since       time.Time     `json:"since,omitzero"`
	GiveUp      time.Time     `json:"give_up,omitzero"`
	Cause       string        `json:"cause,omitzero"`
	Resumed     int64         `json:"resumed,omitzero"`
	ID          int           `json:"id,omitzero"`
	Open        bool          `json:"open,omitzero"`
	Path        string        `json:"path,omitzero"`
	PathB64     []byte        `json:"path_b64,omitempty"`
	Change      string        `json:"change,omitzero"`
	Dir         bool          `json:"dir,omitzero"`
	Target      string        `json:"target,omitzero"`
	TargetB64   []byte        `json:"target_b64,omitempty"`
	Size        int64         `json:"size,omitzero"`
	Text        string        `json:"text,omitzero"`
	Partial     bool          `json:"partial,omitzero"`
	Unchanged   bool          `json:"unchanged,omitzero"`
	Dirs        int64         `json:"dirs,omitzero"`
	Symlinks    int64         `json:"symlinks,omitzero"`
	Transferred int64         `json:"transferred,omitzero"`
	Created     int64         `json:"created,omitzero"`
	Deleted     int64         `json:"deleted,omitzero"`
	Literal     int64         `json:"literal,omitzero"`
	Moved       int64         `json:"moved,omitzero"`
	LinkDown    time.Duration `json:"link_down,omitzero"`
	SentTCP     int64         `json:"sent_tcp,omitzero"`
	ResentTCP   int64         `json:"resent_tcp,omitzero"`
	RTT         time.Duration `json:"rtt,omitzero"`
	Congestion  string        `json:"congestion,omitzero"`
	Via         string        `json:"via,omitzero"`
	Elapsed     time.Duration `json:"elapsed,omitzero"`
	Tree        string        `json:"tree,omitzero"`
	Skipped     int64         `json:"skipped,omitzero"`
	Failed      int64         `json:"failed,omitzero"`
	Code        int           `json:"code,omitzero"`
	Class       string        `json:"class,omitzero"`
	Message     string        `json:"message,omitzero"`
	Retryable   bool          `json:"retryable,omitzero"`
}

// MarshalEvent returns e as one JSON object without line breaks, of at most
// MaxEvent bytes. Texts lose what cannot be printed.
func MarshalEvent(e event.Event) ([]byte, error) {
	l := eventLine{}
	switch e := e.(type) {
	case event.Start:
		l = eventLine{Type: "start", Verb: e.Verb, Source: e.Source, Destination: e.Destination, DryRun: e.DryRun}
	case event.Work:
		l = eventLine{Type: "work", Peer: e.Peer, Stage: e.Stage, Files: e.Files, Bytes: e.Bytes, Total: e.Total}
	case event.Progress:
		l = eventLine{
			Type: "progress", Done: e.Done, Total: e.Total, Complete: e.Complete, Files: e.Files, FilesTotal: e.FilesTotal,
			Reused: e.Reused, WireIn: e.WireIn, WireOut: e.WireOut, Lanes: e.Lanes, Retries: e.Retries,
			Limit: string(e.Limit), LimitDetail: e.LimitDetail,
		}
	case event.Link:
		l = eventLine{Type: "link", Up: e.Up, Since: e.Since.UTC(), GiveUp: e.GiveUp.UTC(), Cause: e.Cause, Resumed: e.Resumed}
	case event.Lane:
		l = eventLine{Type: "lane", ID: e.ID, Open: e.Open, Cause: e.Cause}
	case event.Item:
		l = eventLine{Type: "item", Path: e.Path, Change: e.Change, Dir: e.Dir, Target: e.Target, Size: e.Size}
	case event.Warn:
		l = eventLine{Type: "warning", Path: e.Path, Text: e.Text, Partial: e.Partial}
	case event.Summary:
		l = eventLine{
			Type: "summary", DryRun: e.DryRun, Unchanged: e.Unchanged, Files: e.Files, Dirs: e.Dirs, Symlinks: e.Symlinks,
			Bytes: e.Bytes, Transferred: e.Transferred, Created: e.Created, Deleted: e.Deleted, Literal: e.Literal,
			Reused: e.Reused, Moved: e.Moved, WireIn: e.WireIn, WireOut: e.WireOut, Retries: e.Retries,
			LinkDown: e.LinkDown, Elapsed: e.Elapsed, Tree: e.Tree, Skipped: e.Skipped, Failed: e.Failed,
			Limit: string(e.Limit), LimitDetail: e.LimitDetail, SentTCP: e.SentTCP, ResentTCP: e.ResentTCP, RTT: e.RTT, Congestion: e.Congestion, Via: e.Via,
		}
	case event.Exit:
		l = eventLine{Type: "exit", Code: e.Code, Class: e.Class, Message: e.Message, Retryable: e.Retryable}
	default:
		return nil, fmt.Errorf("%w: %T", ErrUnknownEvent, e)
	}
	l.clean()
	l.Path, l.PathB64 = encodeName(l.Path)
	l.Target, l.TargetB64 = encodeName(l.Target)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if b.Len() > MaxEvent {
		return nil, fmt.Errorf("%w: %d bytes", ErrEvent, b.Len())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalEvent reads what MarshalEvent wrote. Unknown fields are skipped.
// Texts are made safe to print; names are not.
func UnmarshalEvent(b []byte) (event.Event, error) {
	if len(b) > MaxEvent {
		return nil, fmt.Errorf("%w: %d bytes", ErrEvent, len(b))
	}
	var l eventLine
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if l.negative() {
		return nil, fmt.Errorf("%w: negative number", ErrEvent)
	}
	l.Path, l.Target = decodeName(l.Path, l.PathB64), decodeName(l.Target, l.TargetB64)
	l.clean()
	switch l.Type {
	case "start":
		return event.Start{Verb: l.Verb, Source: l.Source, Destination: l.Destination, DryRun: l.DryRun}, nil
	case "work":
		return event.Work{Peer: l.Peer, Stage: l.Stage, Files: l.Files, Bytes: l.Bytes, Total: l.Total}, nil
	case "progress":
		return event.Progress{
			Done: l.Done, Total: l.Total, Complete: l.Complete, Files: l.Files, FilesTotal: l.FilesTotal,
			Reused: l.Reused, WireIn: l.WireIn, WireOut: l.WireOut, Lanes: l.Lanes, Retries: l.Retries,
			Limit: event.Limit(l.Limit), LimitDetail: l.LimitDetail,
		}, nil
	case "link":
		return event.Link{Up: l.Up, Since: l.Since.UTC(), GiveUp: l.GiveUp.UTC(), Cause: l.Cause, Resumed: l.Resumed}, nil
	case "lane":
		return event.Lane{ID: l.ID, Open: l.Open, Cause: l.Cause}, nil
	case "item":
		return event.Item{Path: l.Path, Change: l.Change, Dir: l.Dir, Target: l.Target, Size: l.Size}, nil
	case "warning":
		return event.Warn{Path: l.Path, Text: l.Text, Partial: l.Partial}, nil
	case "summary":
		return event.Summary{
			DryRun: l.DryRun, Unchanged: l.Unchanged, Files: l.Files, Dirs: l.Dirs, Symlinks: l.Symlinks,
			Bytes: l.Bytes, Transferred: l.Transferred, Created: l.Created, Deleted: l.Deleted, Literal: l.Literal,
			Reused: l.Reused, Moved: l.Moved, WireIn: l.WireIn, WireOut: l.WireOut, Retries: l.Retries,
			LinkDown: l.LinkDown, Elapsed: l.Elapsed, Tree: l.Tree, Skipped: l.Skipped, Failed: l.Failed,
			Limit: event.Limit(l.Limit), LimitDetail: l.LimitDetail, SentTCP: l.SentTCP, ResentTCP: l.ResentTCP, RTT: l.RTT, Congestion: l.Congestion, Via: l.Via,
		}, nil
	case "exit":
		return event.Exit{Code: l.Code, Class: l.Class, Message: l.Message, Retryable: l.Retryable}, nil
	}
	return nil, ErrUnknownEvent
}

func (l *eventLine) clean() {
	for _, s := range []*string{
		&l.Verb, &l.Source, &l.Destination, &l.Stage, &l.Cause, &l.Change, &l.Text, &l.Tree, &l.Class, &l.Message,
		&l.Limit, &l.LimitDetail, &l.Congestion, &l.Via,
	} {
		*s = CleanText(*s, MaxText)
	}
	l.Path, l.Target = l.Path[:min(len(l.Path), MaxText)], l.Target[:min(len(l.Target), MaxText)]
}

// negative reports whether a number is less than any that an event can have.
func (l *eventLine) negative() bool {
	return min(
		l.Files, l.Bytes, l.Total, l.Done, l.FilesTotal, l.Reused, l.WireIn, l.WireOut, int64(l.Lanes), l.Retries,
		l.Resumed, int64(l.ID), l.Size, l.Dirs, l.Symlinks, l.Transferred, l.Created, l.Deleted, l.Literal, l.Moved,
		int64(l.LinkDown), l.SentTCP, l.ResentTCP, int64(l.RTT), int64(l.Elapsed), l.Skipped, l.Failed, int64(l.Code),
	) < 0
}

func encodeName(s string) (text string, b64 []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return "", []byte(s)
}

func decodeName(text string, b64 []byte) string {
	if len(b64) > 0 {
		return string(b64)
	}
	return text
}

// CleanText returns a peer's text without what could harm a terminal or a log,
// cut to limit bytes.
func CleanText(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
