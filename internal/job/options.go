// Package job is the one owner of a sync, from the lock on the destination to
// its result: it looks at what the destination holds, gets a plan, fetches the
// objects, rebuilds the files, and lands them. The command line uses it to
// pull, a server uses it to be pushed to.
package job

import (
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Options describes a sync into one destination.
type Options struct {
	// The sender.
	Dial   Dial
	Module string
	Path   string // within the module
	One    bool   // Path's last component alone, not its contents
	From   string // how messages name the source; no secrets

	// The tree.
	Mask      manifest.Mask
	Recursive bool
	Filter    *filter.Set
	OmitRoot  bool // leave the destination directory's own attributes alone

	// The destination.
	Dest       string
	Delete     bool
	MaxDelete  int64 // deletions at most; negative: no limit
	Atomic     bool
	Early      bool // rename each file as soon as it is verified
	Fsync      bool
	TempDir    string
	DryRun     bool
	NumericIDs bool
	StripSetID bool   // files lose setuid and setgid: the sender is not the operator
	Holder     string // text for others who find the destination locked
	Checksum   bool   // read all content again, on both sides
	Whole      bool   // get changed files whole, no differences
	NoWhole    bool   // get differences even where the link is fast
	MinBytes   bool   // whatever saves bytes, however long it takes

	// The link. Zero durations mean for ever.
	Local          bool // the sender is on this machine
	Lanes          int  // at most; 0: as many as prove right
	Timeout        time.Duration
	ConnectTimeout time.Duration
	Deadline       time.Duration
	BwLimit        int64 // bytes per second
	// Rate returns the rate that stands instead of BwLimit at a time, 0 for
	// none. It is asked once a second. nil: BwLimit stands.
	Rate func(time.Time) int64
	Nice bool // give way to others on the link
	// Budget is shared by all jobs of the process with one sender; nil for one
	// of its own.
	Budget *fetch.Budget

	// Mirrors are further servers with the same content. Blocks come from all
	// of them; what they are worth is found out.
	Mirrors []Mirror

	Events event.Func
	// Log is told what is of use only in search of trouble; nil drops it.
	Log func(format string, args ...any)
}

// Mirror is a server with the content that Options names. What it sends is
// verified like everything else.
type Mirror struct {
	Dial   Dial
	Module string
	Path   string // as Options.Path there
	Name   string // in messages; no secrets
	Budget *fetch.Budget
}

// DefaultTimeout ends a sync that receives nothing for so long.
const DefaultTimeout = 15 * time.Minute
