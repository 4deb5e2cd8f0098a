package push

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// Request says what is to land where and how. Fields that job.Options has as
// well mean the same.
type Request struct {
	Path   string // within the module: where it lands
	Source string // within what the client's origin serves

	// Expect is the tree that the destination must have been landed as, as
	// Summary.Tree names it, "" for none; the push fails with fault.Busy when
	// there is another. nil: any.
	Expect *string

	Mask       manifest.Mask
	Recursive  bool
	One        bool
	OmitRoot   bool
	Checksum   bool
	Whole      bool
	NoWhole    bool   // differences even where the link is fast
	Filter     []byte // canonical text
	Delete     bool
	MaxDelete  int64
	Atomic     bool
	Early      bool
	Fsync      bool
	DryRun     bool
	NumericIDs bool

	Items   bool   // send event.Item: one for each change
	From    string // how messages name the source; no secrets
	Lanes   int    // at most; 0: the server's choice
	BwLimit int64  // bytes per second; 0: none
	Nice    bool   // give way to others on the link
}

const (
	maxBody     = 2 << 20 // bytes of a request
	maxFrom     = 1024    // bytes
	maxDuration = 30 * 24 * time.Hour
	maxLanes    = 256
)

// post is the body of the request that starts or continues a job. Times are
// in seconds.
type post struct {
	Job        string  `json:"job"`
	Seq        int64   `json:"from,omitzero"` // the first event that is wanted, from 1
	Path       name    `json:"path,omitzero"`
	Source     name    `json:"source,omitzero"`
	Expect     *string `json:"expect,omitempty"`
	Mask       uint8   `json:"mask,omitzero"`
	Recursive  bool    `json:"recursive,omitzero"`
	One        bool    `json:"one,omitzero"`
	OmitRoot   bool    `json:"omit_root,omitzero"`
	Checksum   bool    `json:"checksum,omitzero"`
	Whole      bool    `json:"whole,omitzero"`
	NoWhole    bool    `json:"no_whole,omitzero"`
	Filter     []byte  `json:"filter,omitempty"`
	Delete     bool    `json:"delete,omitzero"`
	MaxDelete  int64   `json:"max_delete"`
	Atomic     bool    `json:"atomic,omitzero"`
	Early      bool    `json:"early,omitzero"`
	Fsync      bool    `json:"fsync,omitzero"`
	DryRun     bool    `json:"dry_run,omitzero"`
	NumericIDs bool    `json:"numeric_ids,omitzero"`
	Items      bool    `json:"items,omitzero"`
	Name       string  `json:"name,omitzero"`
	Lanes      int     `json:"lanes,omitzero"`
	BwLimit    int64   `json:"bwlimit,omitzero"`
	Nice       bool    `json:"nice,omitzero"`
	Timeout    int64   `json:"timeout_s,omitzero"`
	Connect    int64   `json:"contimeout_s,omitzero"`
}

func newPost(r *Request) post {
	return post{
		Path: name(r.Path), Source: name(r.Source), Expect: r.Expect, Mask: uint8(r.Mask), Recursive: r.Recursive,
		One: r.One, OmitRoot: r.OmitRoot, Checksum: r.Checksum, Whole: r.Whole, NoWhole: r.NoWhole, Filter: r.Filter, Delete: r.Delete,
		MaxDelete: r.MaxDelete, Atomic: r.Atomic, Early: r.Early, Fsync: r.Fsync, DryRun: r.DryRun,
		NumericIDs: r.NumericIDs, Items: r.Items, Name: r.From, Lanes: r.Lanes, BwLimit: r.BwLimit, Nice: r.Nice,
	}
}

// check refuses what no client of ours sends.
func (p *post) check() error {
	usage := func(text string, args ...any) error { return fault.New(fault.Usage, "", text, args...) }
	for _, s := range []name{p.Path, p.Source} {
		if err := manifest.CheckPath(string(s)); err != nil {
			return fault.Wrap(fault.Usage, err, "", "push")
		}
		if manifest.InState(string(s)) {
			return usage("push: %q is not part of a tree", string(s))
		}
	}
	if p.Expect != nil && *p.Expect != "" {
		if _, err := digest.Parse(*p.Expect); err != nil {
			return usage("push: the expected tree is no digest: %.80q", *p.Expect)
		}
	}
	switch {
	case !wire.ValidJob(p.Job):
		return usage("push: job id %.70q", p.Job)
	case p.Seq < 0 || p.Seq > 1<<60:
		return usage("push: event %d", p.Seq)
	case p.One && p.Source == "":
		return usage("push: the name of the one entry is missing")
	case len(p.Filter) > wire.MaxFilter:
		return usage("push: filter of %d bytes", len(p.Filter))
	case len(p.Name) > maxFrom:
		return usage("push: name of %d bytes", len(p.Name))
	case p.Lanes < 0 || p.Lanes > maxLanes || p.BwLimit < 0 || !seconds(p.Timeout) || !seconds(p.Connect):
		return usage("push: a limit is out of range")
	case p.Atomic && p.Early:
		return usage("push: a tree cannot land both at once and file by file")
	}
	return nil
}

// options turns a checked request into a job.
func (p *post) options() (job.Options, error) {
	set, err := filter.Parse(p.Filter)
	if err != nil {
		return job.Options{}, err
	}
	return job.Options{
		Path: string(p.Source), One: p.One, From: wire.CleanText(p.Name, maxFrom),
		Mask: manifest.Mask(p.Mask), Recursive: p.Recursive, Filter: set, OmitRoot: p.OmitRoot, Checksum: p.Checksum, Whole: p.Whole, NoWhole: p.NoWhole,
		Delete: p.Delete, MaxDelete: p.MaxDelete, Atomic: p.Atomic, Early: p.Early, Fsync: p.Fsync,
		DryRun: p.DryRun, NumericIDs: p.NumericIDs,
		Lanes: p.Lanes, BwLimit: p.BwLimit, Nice: p.Nice,
		Timeout: time.Duration(p.Timeout) * time.Second, ConnectTimeout: time.Duration(p.Connect) * time.Second,
	}, nil
}

// seconds reports whether n can be a time in seconds.
func seconds(n int64) bool { return n >= 0 && n <= int64(maxDuration/time.Second) }

// inSeconds rounds d up; for ever stays for ever.
func inSeconds(d time.Duration) int64 {
	return int64((min(max(d, 0), maxDuration) + time.Second - 1) / time.Second)
}

// name is a path that need not be valid UTF-8: a JSON string if it is,
// otherwise {"b64": base64}.
type name string

type encodedName struct {
	B64 []byte `json:"b64"`
}

// MarshalJSON implements json.Marshaler.
func (n name) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(n)) {
		return json.Marshal(string(n))
	}
	return json.Marshal(encodedName{[]byte(n)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *name) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var e encodedName
		if err := json.Unmarshal(b, &e); err != nil {
			return err
		}
		*n = name(e.B64)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("push: name: %w", err)
	}
	*n = name(s)
	return nil
}
