// Package scan walks a live tree and yields its entries as a stream in
// canonical order, reusing the digests that an index remembers, and reports
// how a destination differs from its index.
//
// A digest is reused only when the file's inode, size, modification and change
// time are what they were when its content was read, and when both times were
// then old enough that a later write must show in them; see Trust. Size and
// modification time alone prove nothing.
//
// Memory is proportional to the depth of the tree and bounded for a single
// huge directory; so is the number of open handles.
package scan

import (
	"context"
	"errors"
	"os"

	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Reasons for which an entry is left out, told apart by errors.Is. Others are
// those of package fsys.
var (
	// ErrChanged says that a file is no longer what was listed, or changed
	// while it was read.
	ErrChanged = errors.New("changed while it was read")
	// ErrTooLong says that a name, a path or a link target is longer than a
	// manifest holds, or nested deeper.
	ErrTooLong = errors.New("longer or nested deeper than can be transferred")
)

// Options says what to walk and whom to tell. Callbacks may be nil, are never
// called concurrently, and end the walk by returning an error. What they are
// given is valid only during the call.
type Options struct {
	Root   *fsys.Dir
	Filter *filter.Set   // entries that it hides are left out; nil: none
	Mask   manifest.Mask // Links: symlinks are entries; Owner, Group: names are looked up
	// Index holds the records of an earlier walk, with Stat, in canonical
	// order; nil: none.
	Index manifest.Source
	// Recursive enters directories below Root. Otherwise they are entries
	// whose contents are not looked at.
	Recursive bool
	// OneFile limits the walk to Root and this one of its entries; "" for all.
	OneFile string
	// Names looks up the names of users and groups; nil: a new one.
	Names *Names

	// Progress is told the entries looked at and their bytes so far, names
	// read included, so that it rises while a huge directory is listed. At
	// least one of the two has risen at each call. It is called at least every
	// 256 entries, or 50 ms if work proceeds.
	Progress func(files, bytes int64)
	// Warn is told of what was left out and why: unreadable, vanished since it
	// was listed (fs.ErrNotExist), too long, and in Changes also ErrChanged.
	// For an unreadable directory it is the directory with all that it holds.
	Warn func(path string, err error)
	// Gone is told of records of Index whose path is no longer an entry, in
	// canonical order among the visits. All below that path is gone as well
	// and not reported, as is what lay below a directory that is now
	// something else. What was left out with a warning is gone too.
	Gone func(r *manifest.Record) error
	// Keep is told of records of Index that the options exclude from the walk,
	// in canonical order among the visits: nothing is known of them.
	Keep func(r *manifest.Record) error
	// Refresh is told by Changes of entries that are as in Index except for
	// Stat: the record of Index with the Stat of today, in canonical order
	// among the changes.
	Refresh func(r *manifest.Record) error

	maxNames int // for tests: bytes of names held
}

// Found is an entry of the tree.
type Found struct {
	// Record has the entry's attributes and Stat of today. The Digest of a
	// file is zero unless Known.
	manifest.Record
	// Known tells that Stat is unchanged and trusted: content and attributes
	// are those of when Old was made.
	Known bool
	// Fine is what Trust wants to know: the root has fine times, and the entry
	// is on the same file system.
	Fine bool
	// Old is the index's record of the same path, nil if there is none. It may
	// be of another type.
	Old *manifest.Record
}

// Stats counts what a walk saw.
type Stats struct {
	Files, Dirs, Symlinks int64 // entries visited, the root included
	Bytes                 int64 // in Files
	Known                 int64 // files whose digest the index had
	Hidden                int64 // entries that the filter left out, not what they hold
	Warned                int64 // entries left out with a warning
	// Skipped counts entries left out for their type, by type; those of types
	// unknown have 0.
	Skipped [manifest.BlkDev + 1]int64
}

// Entries returns the number of entries visited.
func (s *Stats) Entries() int64 { return s.Files + s.Dirs + s.Symlinks }

// Visit is called for each entry. f and its strings are valid during the call
// only. open opens the entry, if it is a regular file, for reading: the very
// file that f describes, or it fails, with ErrChanged if that file is no longer
// there. The caller closes the file; it may outlive the call.
type Visit func(f *Found, open func() (*os.File, error)) error

// Walk calls visit for each entry below o.Root in canonical order, the root
// first, with the path "". Sockets, fifos and devices are skipped and counted,
// symlinks too unless the mask has manifest.Links. What cannot be read is left
// out with a warning; Walk fails only if the root cannot be read, ctx ends, a
// callback fails or the index does.
func Walk(ctx context.Context, o Options, visit Visit) (Stats, error) {
	w := newWalker(ctx, o)
	defer w.close()
	w.visit = func(f *Found) error { return visit(f, w.open) }
	err := w.run()
	return w.stats, err
}
