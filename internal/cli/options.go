package cli

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// Engine does what the verbs ask for. Every method returns soon after ctx
// ends, with an error whose fault class becomes the exit code. Events may come
// from several goroutines.
type Engine interface {
	// Sync makes Dest what Sources are. It reports by events, without Exit.
	Sync(ctx context.Context, o SyncOptions, report event.Func) error
	// Serve offers a directory until ctx ends, then drains; nil after a clean drain.
	Serve(ctx context.Context, o ServeOptions, hooks ServeHooks) error
	// List passes each entry below the URL to emit, in canonical order; an
	// error of emit ends the listing.
	List(ctx context.Context, o ListOptions, emit func(ListEntry) error) error
	// Demo syncs a release across a simulated bad link, tells of it by notes,
	// and fails unless the result was verified.
	Demo(ctx context.Context, o DemoOptions, report event.Func) error
	// MakePatch makes a patch, verifies it, and writes it if it is told where.
	MakePatch(ctx context.Context, o PatchOptions, report event.Func) (*Difference, error)
	// ApplyPatch verifies a patch, and makes its result if it is told where.
	ApplyPatch(ctx context.Context, o ApplyOptions, report event.Func) (*Applied, error)
	LabEngine
	TrialEngine
}

// SyncOptions is what `ropeway sync` was asked to do, validated.
type SyncOptions struct {
	Sources []string // local paths or URLs, as given; a trailing slash counts
	Dest    string
	Dir     string    // relative local paths start here
	Stdin   io.Reader // for the file name "-"; see Open

	// What is copied: rsync's -rlptgo.
	Recursive, Links, Perms, Times, Group, Owner bool

	Rules     []Rule // in the order in which they apply: the first that matches wins
	FilesFrom string // file that names what is copied; "" is none, "-" is Stdin
	From0     bool   // names and rules in files end with a NUL instead of a newline

	DryRun    bool
	Checksum  bool // read all content again instead of trusting the index
	Compress  bool
	WholeFile bool // no deltas
	// NoWholeFile asks for deltas even where a link is so fast that they cost
	// more time than they save. WholeFile outranks it.
	NoWholeFile bool
	MinBytes    bool // whatever saves bytes, however long it takes
	Delete      bool
	MaxDelete   int64 // -1 is no limit

	Atomic  bool   // the whole tree in one step
	Land    string // "early": each file once it is verified; "late": all at the end
	Fsync   bool   // sync each file, not only the file system
	TempDir string // staging; "" is inside the destination

	BwLimit        int64         // bytes per second; 0 is none
	BwTimes        *Timetable    `json:",omitempty"` // stands instead of BwLimit; nil is none
	Nice           bool          `json:",omitempty"` // give way to others on the link
	Mirrors        []string      `json:",omitempty"` // URLs: further ways to the server, or servers with the same content
	Timeout        time.Duration // end when no verified byte came for so long; 0 is for ever
	ConnectTimeout time.Duration // the same for an address that never answered
	// Deadline is the longest time that the job may take; 0 is none. The
	// command line enforces it through the context; it is here to be shown.
	Deadline time.Duration

	// How it is reported. The printers see to it; an engine may save work.
	Verbose    int
	Quiet      bool
	Itemize    bool
	Human      bool
	Progress   bool
	Stats      bool
	JSON       bool
	Unattended bool // nobody can be asked anything
}

// Rule is one filter option. Kind is "exclude", "include", "filter" (Value is
// a rule in rsync's language), "exclude-from" or "include-from" (Value names a
// file for Open).
type Rule struct {
	Kind  string
	Value string
}

// Open opens a file that an option names: "-" is standard input, a relative
// name starts in Dir.
func (o SyncOptions) Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(o.Stdin), nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(o.Dir, name)
	}
	return os.Open(name)
}

// ServeOptions is what `ropeway serve` was asked to do, validated.
type ServeOptions struct {
	Root      string // directory to offer, as given
	Dir       string // relative paths start here
	Listen    string // host:port; an empty host is every address
	Name      string // of the module; "" is the directory's own
	Advertise string // host that the printed URLs carry; "" is found out
	StateDir  string // identity, tokens, history; "" with Ephemeral
	Ephemeral bool   // keep nothing after the end
	Writable  bool   // clients may push
	History   int64  // bytes of older content to keep; 0 as the server sees fit, -1 none
	Bases     []string
	Verbose   int
	JSON      bool
}

// ServeHooks is how a server reports. The functions are never nil, may be
// called from several goroutines and return quickly.
type ServeHooks struct {
	Ready  func(Ready)      // once, when connections are accepted
	Access func(Access)     // each request that ended
	Warn   func(event.Warn) // anything else that the operator should know
}

// Ready says where a server can be reached.
type Ready struct {
	Module   string
	Root     string
	Addrs    []string // listening addresses, host:port
	URLs     []string // what a client is given, best first; each may carry pin and token
	Pin      string   // of the server's key
	Writable bool
	Commands []string // lines for a shell on the other side
}

// Access is one request that ended.
type Access struct {
	Time    time.Time // when it began
	Remote  string    // host:port
	User    string    // name of the token or certificate; "" if there was none
	Method  string
	Path    string
	Status  int
	Bytes   int64 // of the answer's body
	Elapsed time.Duration
	Module  string
	Route   string // "plan", "object", "file", ...
	Outcome string // "ok", "refused", "failed", "cut"
	Cause   string // why it is not ok
}

// ListOptions is what `ropeway ls` was asked to do, validated.
type ListOptions struct {
	URL       string // or a local path
	Dir       string
	Recursive bool
	// Timeout and ConnectTimeout are as in SyncOptions.
	Timeout        time.Duration
	ConnectTimeout time.Duration
	Unattended     bool
	// Report gets event.Link. nil: nobody wants it.
	Report event.Func
}

// ListEntry is one line of a listing.
type ListEntry struct {
	Path    string // below the URL, with "/"
	Mode    fs.FileMode
	Size    int64
	ModTime time.Time
	Target  string // symlinks
}

// DemoOptions is what `ropeway demo` was asked to do, validated.
type DemoOptions struct {
	Size  int64         // bytes of the archive in the release
	Rate  int64         // of the simulated link, bytes per second
	RTT   time.Duration // of the simulated link
	Loss  float64       // share of lost packets, 0 to 0.5
	Cut   time.Duration // how long the link is dead once; 0 is never
	Seed  uint64
	Quick bool // less of everything
}
