package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"github.com/ropeway/ropeway/internal/event"
)

// jsonSchema is the version of the lines that --json prints; docs/json.md
// describes them. New fields and types may come without a new version.
const jsonSchema = 1

// jsonHead begins every line.
type jsonHead struct {
	Schema int    `json:"schema"`
	Type   string `json:"type"`
	Time   string `json:"time"`
}

func head(kind string) jsonHead {
	return jsonHead{jsonSchema, kind, time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}
}

type jsonStart struct {
	jsonHead
	Verb        string `json:"verb"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
	DryRun      bool   `json:"dry_run"`
}

type jsonStatus struct {
	jsonHead
	Elapsed    float64  `json:"elapsed"`
	Done       int64    `json:"done"`
	Total      int64    `json:"total"`
	Complete   bool     `json:"complete"`
	Files      int64    `json:"files"`
	FilesTotal int64    `json:"files_total"`
	Reused     int64    `json:"reused"`
	WireIn     int64    `json:"wire_in"`
	WireOut    int64    `json:"wire_out"`
	Lanes      int      `json:"lanes"`
	Retries    int64    `json:"retries"`
	LinkUp     bool     `json:"link_up"`
	Rate       *float64 `json:"rate,omitempty"`
	ETA        *float64 `json:"eta,omitempty"`
	Limit      string   `json:"limit,omitempty"`
	Detail     string   `json:"limit_detail,omitempty"`
}

type jsonWork struct {
	jsonHead
	Peer  bool   `json:"peer"`
	Stage string `json:"stage"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
	Total int64  `json:"total"`
}

type jsonLink struct {
	jsonHead
	Up      bool   `json:"up"`
	Since   string `json:"since,omitempty"`
	GiveUp  string `json:"give_up,omitempty"`
	Cause   string `json:"cause"`
	Resumed int64  `json:"resumed"`
}

type jsonLane struct {
	jsonHead
	ID    int    `json:"id"`
	Open  bool   `json:"open"`
	Cause string `json:"cause"`
}

// jsonPath carries a name as text, or in base64 where it is not valid UTF-8.
type jsonPath struct {
	Path    string `json:"path,omitempty"`
	PathB64 string `json:"path_b64,omitempty"`
}

type jsonTarget struct {
	Target    string `json:"target,omitempty"`
	TargetB64 string `json:"target_b64,omitempty"`
}

func encodeName(s string) (text, b64 string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}

func newJSONPath(s string) (p jsonPath) {
	p.Path, p.PathB64 = encodeName(s)
	return p
}

func newJSONTarget(s string) (t jsonTarget) {
	t.Target, t.TargetB64 = encodeName(s)
	return t
}

type jsonItem struct {
	jsonHead
	jsonPath
	Change string `json:"change"`
	Dir    bool   `json:"dir"`
	jsonTarget
	Size int64 `json:"size"`
}

type jsonWarning struct {
	jsonHead
	jsonPath
	Text    string `json:"text"`
	Partial bool   `json:"partial"`
}

type jsonNote struct {
	jsonHead
	Text string `json:"text"`
}

type jsonSummary struct {
	jsonHead
	DryRun      bool    `json:"dry_run"`
	Unchanged   bool    `json:"unchanged"`
	Files       int64   `json:"files"`
	Dirs        int64   `json:"dirs"`
	Symlinks    int64   `json:"symlinks"`
	Bytes       int64   `json:"bytes"`
	Transferred int64   `json:"transferred"`
	Created     int64   `json:"created"`
	Deleted     int64   `json:"deleted"`
	Literal     int64   `json:"literal"`
	Reused      int64   `json:"reused"`
	Moved       int64   `json:"moved"`
	WireIn      int64   `json:"wire_in"`
	WireOut     int64   `json:"wire_out"`
	Retries     int64   `json:"retries"`
	LinkDown    float64 `json:"link_down"`
	Elapsed     float64 `json:"elapsed"`
	Limit       string  `json:"limit,omitempty"`
	LimitDetail string  `json:"limit_detail,omitempty"`
	SentTCP     int64   `json:"sent_tcp,omitempty"`
	ResentTCP   int64   `json:"resent_tcp,omitempty"`
	RTT         float64 `json:"rtt,omitempty"`
	Congestion  string  `json:"congestion,omitempty"`
	Via         string  `json:"via,omitempty"`
	Tree        string  `json:"tree,omitempty"`
	Skipped     int64   `json:"skipped"`
	Failed      int64   `json:"failed"`
}

type jsonExit struct {
	jsonHead
	Code      int    `json:"code"`
	Class     string `json:"class"`
	Message   string `json:"message,omitempty"`
	Hint      string `json:"hint,omitempty"`
	Retryable bool   `json:"retryable"`
}

func newJSONExit(e event.Exit, hint string) jsonExit {
	return jsonExit{head("exit"), e.Code, e.Class, e.Message, hint, e.Retryable}
}

// jsonLine is v on a line of its own.
func jsonLine(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil // our own types always encode
	}
	return b.Bytes()
}

// jsonTime is "" for no time.
func jsonTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// seconds keeps milliseconds.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// jsonPrinter prints JSON lines on standard output and nothing else.
type jsonPrinter struct {
	out  *output
	work [2]pendingWork // ours, the peer's
}

// pendingWork holds back reports of work to one a second.
type pendingWork struct {
	at   time.Time // of the last line
	next *event.Work
}

func (p *jsonPrinter) put(v any) { p.out.put(toStdout, string(jsonLine(v))) }

func (p *jsonPrinter) event(_ *state, e event.Event, now time.Time) {
	switch e := e.(type) {
	case event.Start:
		p.put(jsonStart{head("start"), e.Verb, e.Source, e.Destination, e.DryRun})
	case event.Work:
		i := 0
		if e.Peer {
			i = 1
		}
		p.work[i].next = &e
		p.flushWork(now)
	case event.Link:
		p.put(jsonLink{head("link"), e.Up, jsonTime(e.Since), jsonTime(e.GiveUp), e.Cause, e.Resumed})
	case event.Lane:
		p.put(jsonLane{head("lane"), e.ID, e.Open, e.Cause})
	case event.Item:
		p.put(jsonItem{head("item"), newJSONPath(e.Path), e.Change, e.Dir, newJSONTarget(e.Target), e.Size})
	case event.Warn:
		p.put(jsonWarning{head("warning"), newJSONPath(e.Path), e.Text, e.Partial})
	case event.Note:
		p.put(jsonNote{head("note"), e.Text})
	}
}

func (p *jsonPrinter) flushWork(now time.Time) {
	for i := range p.work {
		w := &p.work[i]
		if w.next != nil && (w.at.IsZero() || now.Sub(w.at) >= time.Second) {
			p.put(jsonWork{head("work"), w.next.Peer, w.next.Stage, w.next.Files, w.next.Bytes, w.next.Total})
			w.at, w.next = now, nil
		}
	}
}

func (p *jsonPrinter) tick(s *state, now time.Time) {
	p.flushWork(now)
	g := s.prog
	line := jsonStatus{
		jsonHead: head("status"), Elapsed: seconds(now.Sub(s.start)),
		Done: g.Done, Total: g.Total, Complete: g.Complete, Files: g.Files, FilesTotal: g.FilesTotal,
		Reused: g.Reused, WireIn: g.WireIn, WireOut: g.WireOut, Lanes: g.Lanes, Retries: g.Retries, LinkUp: !s.down,
		Limit: string(g.Limit), Detail: g.LimitDetail,
	}
	perSecond, known, left, ends := s.speed(now)
	if known {
		perSecond = math.Round(perSecond)
		line.Rate = &perSecond
	}
	if ends && !s.down {
		sec := math.Round(left.Seconds())
		line.ETA = &sec
	}
	p.put(line)
}

func (p *jsonPrinter) end(s *state, _ time.Time) {
	if s.summary == nil {
		return
	}
	e := s.summary
	p.put(jsonSummary{
		head("summary"), e.DryRun, e.Unchanged, e.Files, e.Dirs, e.Symlinks, e.Bytes, e.Transferred, e.Created,
		e.Deleted, e.Literal, e.Reused, e.Moved, e.WireIn, e.WireOut, e.Retries, seconds(e.LinkDown),
		seconds(e.Elapsed), string(e.Limit), e.LimitDetail, e.SentTCP, e.ResentTCP, float64(e.RTT.Microseconds()) / 1e6, e.Congestion, e.Via,
		e.Tree, e.Skipped, e.Failed,
	})
}
