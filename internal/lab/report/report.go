// Package report is the result of `ropeway lab bench`: its JSON form, which is
// versioned, and what is made of it for people: a table for a terminal and one
// self-contained HTML page.
//
// Times are seconds as floating point, rates bits per second, sizes bytes.
package report

import (
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Schema is the version of the JSON form. New fields may come without a new
// version; a field never changes its meaning.
const Schema = 1

// Kind is the type field of the JSON form.
const Kind = "lab-bench"

// maxFile bounds a report that is read, in bytes.
const maxFile = 256 << 20

// Bench is one campaign: many runs of tools over links.
type Bench struct {
	Schema  int       `json:"schema"`
	Type    string    `json:"type"`
	Command string    `json:"command"` // that repeats it
	Begun   time.Time `json:"begun"`
	Elapsed float64   `json:"elapsed"` // of all runs, seconds
	Machine Machine   `json:"machine"`
	Tools   []Tool    `json:"tools"` // in the order in which they are shown
	Cells   []Cell    `json:"cells"`
}

// Machine is where it was measured.
type Machine struct {
	OS     string  `json:"os"`
	Kernel string  `json:"kernel"`
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory int64   `json:"memory"` // bytes
	Load   float64 `json:"load"`   // run queue over the last minute, when it began
}

// Tool is one of those that were compared.
type Tool struct {
	Name    string `json:"name"`
	About   string `json:"about"`             // the command line that was used
	Version string `json:"version,omitempty"` // as it tells itself
	Missing string `json:"missing,omitempty"` // why it could not take part
}

// Set says what a cell is measured for.
type Set string

// The sets of cells.
const (
	Sweep    Set = "sweep"    // the same link with growing loss
	Profile  Set = "profile"  // links by name
	Files    Set = "files"    // trees of small files and an upgrade
	Events   Set = "event"    // one event in the middle of a transfer
	Timeline Set = "timeline" // bytes against time, through an event
)

// Cell is one combination that was measured, several times if asked for.
type Cell struct {
	Set     Set     `json:"set"`
	Tool    string  `json:"tool"`
	Link    string  `json:"link"`    // name of the profile
	Loss    float64 `json:"loss"`    // share of packets, in each direction
	Rate    int64   `json:"rate"`    // bit/s, of the direction of the payload
	RTT     float64 `json:"rtt"`     // seconds
	CC      string  `json:"cc"`      // default congestion control of both hosts
	Payload string  `json:"payload"` // its name
	Bytes   int64   `json:"bytes"`   // of the payload
	Limit   float64 `json:"limit"`   // bit/s: rate × (1 − loss) × 1448/1500
	Event   string  `json:"event,omitempty"`
	About   string  `json:"about,omitempty"` // the event in words
	Bound   float64 `json:"bound"`           // seconds after which a run is stopped
	Why     string  `json:"why,omitempty"`
	Runs    []Run   `json:"runs"`
}

// Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	OK       Outcome = "ok"       // ended by itself with 0, and the destination is identical
	Failed   Outcome = "failed"   // ended by itself with an error
	Damaged  Outcome = "damaged"  // ended by itself with 0, but the destination is not identical
	Hang     Outcome = "hang"     // stopped by us; no byte had moved for long
	Slow     Outcome = "slow"     // stopped by us; bytes still moved
	Unstable Outcome = "unstable" // of a cell: its runs ended differently
)

// Run is one run.
type Run struct {
	Outcome Outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`        // until it ended or was stopped
	Exit    int     `json:"exit"`           // of the tool; -1: stopped or killed
	Line    string  `json:"line,omitempty"` // its last line about an error
	Goodput float64 `json:"goodput"`        // bit/s of payload
	WireAB  int64   `json:"wire_ab"`        // bytes of IP packets that the hosts sent, from a to b
	WireBA  int64   `json:"wire_ba"`
	Idle    float64 `json:"idle"` // seconds since the last payload moved, at the end

	// Of a run with an event, seconds since the start. Zero: none happened.
	EventAt float64 `json:"event_at,omitempty"`
	BackAt  float64 `json:"back_at,omitempty"` // from then on the link carries new connections again
	// Seconds after BackAt until payload moved again, and until it moved at
	// 90 % of the rate before. Negative: it never did.
	First float64 `json:"first,omitempty"`
	Full  float64 `json:"full,omitempty"`

	Packets int64   `json:"packets"` // that the link forwarded
	Late    int64   `json:"late"`    // of them more than 5 ms later than asked for
	Series  []int64 `json:"series,omitempty"`
}

// Bucket is the width of one element of Run.Series, which holds the bytes that
// were delivered in the direction of the payload.
const Bucket = 100 * time.Millisecond

// Key names what a cell measures; two cells of one campaign never share it.
func (c *Cell) Key() string {
	return string(c.Set) + "|" + c.Tool + "|" + c.Link + "|" + c.CC + "|" + c.Payload + "|" + c.Event
}

// Outcome is how the runs ended, Unstable if not alike.
func (c *Cell) Outcome() Outcome {
	var o Outcome
	for _, r := range c.Runs {
		if o == "" {
			o = r.Outcome
		} else if o != r.Outcome {
			return Unstable
		}
	}
	return o
}

// Spread is the middle, the least and the largest of several values.
type Spread struct{ Median, Least, Most float64 }

// spread returns the zero Spread for no values.
func spread(runs []Run, of func(*Run) float64) Spread {
	if len(runs) == 0 {
		return Spread{}
	}
	v := make([]float64, len(runs))
	for i := range runs {
		v[i] = of(&runs[i])
	}
	slices.Sort(v)
	n := len(v)
	return Spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}
}

// Seconds is the duration of the runs.
func (c *Cell) Seconds() Spread { return spread(c.Runs, func(r *Run) float64 { return r.Seconds }) }

// Fraction is goodput as a share of what the link can carry.
func (c *Cell) Fraction() Spread {
	return spread(c.Runs, func(r *Run) float64 {
		if c.Limit <= 0 {
			return 0
		}
		return r.Goodput / c.Limit
	})
}

// Wire is bytes on the wire in both directions, as a multiple of the payload.
func (c *Cell) Wire() Spread {
	return spread(c.Runs, func(r *Run) float64 {
		if c.Bytes <= 0 {
			return 0
		}
		return float64(r.WireAB+r.WireBA) / float64(c.Bytes)
	})
}

// middle is the run with the median duration, nil if there is none.
func (c *Cell) middle() *Run {
	if len(c.Runs) == 0 {
		return nil
	}
	order := make([]*Run, len(c.Runs))
	for i := range c.Runs {
		order[i] = &c.Runs[i]
	}
	slices.SortStableFunc(order, func(a, b *Run) int {
		switch {
		case a.Seconds < b.Seconds:
			return -1
		case a.Seconds > b.Seconds:
			return 1
		}
		return 0
	})
	return order[(len(order)-1)/2]
}

// Find returns the cell with the key, nil if there is none.
func (b *Bench) Find(key string) *Cell {
	for i := range b.Cells {
		if b.Cells[i].Key() == key {
			return &b.Cells[i]
		}
	}
	return nil
}

// Noise is the share of packets that were forwarded late, because the machine
// was busy, and the worst share of one cell, of the cells with or without events.
// Above 1 % speeds on fast links are doubtful.
func (b *Bench) Noise(events bool) (all, worst float64) {
	var late, packets int64
	for _, c := range b.Cells {
		if (c.Set == Events || c.Set == Timeline) != events {
			continue
		}
		for _, r := range c.Runs {
			late, packets = late+r.Late, packets+r.Packets
			if r.Packets > 1000 {
				worst = max(worst, float64(r.Late)/float64(r.Packets))
			}
		}
	}
	if packets == 0 {
		return 0, 0
	}
	return float64(late) / float64(packets), worst
}

// Encode writes the JSON form.
func (b *Bench) Encode(w io.Writer) error {
	b.Schema, b.Type = Schema, Kind
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(b)
}

// Decode reads the JSON form. Its error has a class and names no file.
func Decode(r io.Reader) (*Bench, error) {
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	var b Bench
	err := json.NewDecoder(limited).Decode(&b)
	switch {
	case limited.N <= 0:
		return nil, fault.New(fault.Usage, "", "larger than %d bytes: no report of ours", maxFile)
	case err != nil:
		return nil, fault.Wrap(fault.Usage, err, "name a file that 'ropeway lab bench --json FILE' wrote", "no report")
	case b.Type != Kind:
		return nil, fault.New(fault.Usage, "name a file that 'ropeway lab bench --json FILE' wrote", "no report of a bench")
	case b.Schema != Schema:
		return nil, fault.New(fault.Incompatible, "use the release of ropeway that wrote it", "a report of version %d; this build reads %d", b.Schema, Schema)
	}
	return &b, nil
}
