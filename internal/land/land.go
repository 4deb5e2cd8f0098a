// Package land owns everything that touches a destination: its lock, the
// staging of verified content, the landing that turns the old tree into the
// new one, the roll forward of a landing that was interrupted, and the index
// that remembers what was landed.
//
// All state lives in the directory StateDir of the destination. Content is
// staged there under names derived from its destination, so that a later run
// finds it. Land then writes what it is about to do, makes everything durable,
// marks it ready, and only then changes the tree, in steps that can be done
// again: a run that finds the mark does them again, whatever stopped the one
// before. Until the mark exists, the destination is exactly the old tree.
package land

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// StateDir is the directory of a destination that holds all state. It is never
// listed, sent, changed or deleted as part of a tree.
const StateDir = manifest.StateDir

// Names in StateDir.
const (
	nameLock     = "lock"
	nameIndex    = "index"
	nameIndexTmp = "index.tmp"
	nameFinal    = "index.new" // the new tree, as the landing wants it
	nameOps      = "ops"
	nameReady    = "ready"
	nameBuilding = "building" // the new tree of an atomic landing that is not ready
	nameMarkTmp  = "mark.tmp"
	nameModes    = "modes" // directories that were opened up, and their modes
	nameStage    = "stage"
	nameProbe    = "probe"
)

// Kinds of stored lists.
const (
	kindIndex = 'i'
	kindOps   = 'o'
)

// Options say where to land and how.
type Options struct {
	// Dest is the operator's path. If it is a symlink it is resolved once.
	Dest string
	// TempDir holds the staged files instead of the destination; empty for
	// none. On another file system every file is copied when it lands.
	TempDir string
	// Mask names the attributes that are set. Without manifest.Perm new
	// objects get the sender's permissions less the umask, and existing files
	// keep theirs but for the executable bits.
	Mask manifest.Mask
	// OmitRootAttrs leaves the destination's own mode, owner and time alone.
	OmitRootAttrs bool
	// NumericIDs takes users and groups by number, not by name.
	NumericIDs bool
	// Atomic builds the new tree beside the old one and exchanges them.
	Atomic bool
	// Early gives each file its place when it is added, not in one burst. Each
	// is made durable first, which costs an fsync.
	Early bool
	// Fsync makes each staged file durable when it is finished.
	Fsync bool
	// DryRun changes nothing; Add reports what would be done.
	DryRun bool
	// Holder tells other runs who holds the lock: verb, process, host, since.
	Holder string
	Events event.Func // nil discards

	hook     func(op string) // tests: called before each change of the disk
	noSyncFS bool            // tests: be a system that cannot sync a file system
	noPause  bool            // tests: do not wait until change times are old enough
}

// ErrMismatch is returned by StageCopy when the destination does not hold the
// content (any more).
var ErrMismatch = errors.New("land: the destination holds other content")

// Area is an open destination. Stage, Object, StageBytes, StageCopy and
// StagedComplete may be called concurrently with each other and with Add;
// Land and Close only when none of them is under way.
type Area struct {
	leftover  bool   // something was staged by an earlier run
	empty     string // temporary directory of a dry run without destination
	o         Options
	d         disk
	at        *attrs
	place     place
	root      *fsys.Dir
	state     *fsys.Dir // nil with DryRun where there is none
	stage     *fsys.Dir // nil with DryRun
	temp      *fsys.Dir // the operator's TempDir
	lock      *fsys.Lock
	recovered *Result
	bufs      sync.Pool // of *[]byte, to hash with

	mu      sync.Mutex
	look    *fsys.Tree // guarded by mu, like all below
	ops     *opWriter
	final   *list // of the new tree, while it is being told
	early   *landing
	dry     Result
	readers []io.Closer
	landed  bool
}

// Root returns the destination's directory, which belongs to the Area. After
// an atomic landing it is the new one. With DryRun and no destination it is
// an empty directory.
func (a *Area) Root() *fsys.Dir { return a.root }

// Missing reports whether this is a dry run whose destination does not exist.
func (a *Area) Missing() bool { return a.empty != "" }

// Resolved returns the path that a symlinked destination stands for, and ""
// when the destination is no symlink.
func (a *Area) Resolved() string { return a.place.resolved }

// Recovered returns what was done to finish an interrupted landing, and nil
// when there was none.
func (a *Area) Recovered() *Result { return a.recovered }

// First reports whether nothing has landed here yet, as far as is known.
func (a *Area) First() bool {
	if a.state == nil {
		return a.empty != ""
	}
	_, err := a.state.Lstat(nameIndex)
	return fsys.IsNotExist(err)
}

// OpenIndex returns the list of what was landed last, with the local state of
// each entry, and its trailer: the digest of the tree as sent, and the meta
// that Land was given. The reader is nil when there is no usable index, which
// is the same as first contact; it is valid until Land or Close.
func (a *Area) OpenIndex() (*manifest.Reader, manifest.Trailer, error) {
	if a.state == nil {
		return nil, manifest.Trailer{}, nil
	}
	r, f, t, err := openList(a.state, nameIndex, kindIndex)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, t, err
		}
		return nil, manifest.Trailer{}, nil
	}
	a.mu.Lock()
	a.readers = append(a.readers, f)
	a.mu.Unlock()
	return r, t, nil
}

// openList opens a stored list that has a whole trailer.
func openList(dir *fsys.Dir, name string, kind byte) (*manifest.Reader, *os.File, manifest.Trailer, error) {
	f, info, err := dir.OpenFile(name)
	if err != nil {
		return nil, nil, manifest.Trailer{}, err
	}
	t, err := manifest.ReadTrailer(f, info.Size)
	if err == nil {
		var r *manifest.Reader
		if r, err = manifest.NewReader(f, kind); err == nil {
			return r, f, t, nil
		}
	}
	_ = f.Close()
	return nil, nil, manifest.Trailer{}, err
}

// Close releases the lock. What is staged and did not land is kept for the
// next run; a destination that Open created and that got nothing is removed.
func (a *Area) Close() error {
	var err error
	a.dropFinal()
	if a.early != nil {
		err = a.early.restoreModes()
	}
	if a.place.created && !a.landed && a.stage != nil {
		a.withdraw()
	}
	a.release()
	return err
}

// withdraw removes a destination that holds nothing but our empty state: a
// sync that was refused leaves no directory behind. What cannot be removed
// stays, and does no harm.
func (a *Area) withdraw() {
	some := errors.New("something is there")
	if a.stage.Names(func([]byte) error { return some }) != nil {
		return
	}
	err := a.root.Names(func(b []byte) error {
		if string(b) == StateDir {
			return nil
		}
		return some
	})
	if err == nil && a.d.removeAll(context.Background(), a.root, StateDir) == nil {
		_ = a.d.rmdir(a.place.parent, a.place.base)
	}
}

// release closes all handles and changes nothing.
func (a *Area) release() {
	a.closeReaders()
	if a.ops != nil {
		_ = a.ops.f.Close()
		a.ops = nil
	}
	if a.early != nil {
		a.early.close()
		a.early = nil
	}
	if a.look != nil {
		a.look.Close()
	}
	for _, d := range []*fsys.Dir{a.stage, a.temp, a.state, a.root, a.place.parent} {
		if d != nil {
			_ = d.Close()
		}
	}
	a.stage, a.temp, a.state, a.place.parent = nil, nil, nil, nil
	if a.empty != "" {
		_ = os.Remove(a.empty) //nolint:forbidigo // of the system's temporary directory
		a.empty = ""
	}
	if a.lock != nil {
		_ = a.lock.Unlock()
		a.lock = nil
	}
}

func (a *Area) closeReaders() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.readers {
		_ = r.Close()
	}
	a.readers = nil
}

// Result counts what a landing did.
type Result struct {
	Landed       int64 // directories, files, symlinks and attributes put in place
	Deleted      int64
	Failed       int64 // items that are not as the sender has them
	OwnerSkipped int64 // items whose owner we may not set
	Failures     []Failure
	Tree         digest.Digest // of the tree that was landed
}

// Failure is an item that could not be landed.
type Failure struct {
	Path string
	Err  error
}

// maxFailures bounds Result.Failures; Failed counts them all.
const maxFailures = 1000

// wrap classifies err; hint is the next step where it is not obvious.
func wrap(err error, hint, text string, args ...any) error {
	class := fsys.Class(err)
	if class == fault.Limit && hint == "" {
		text, hint = text+", because the disk is full or its quota used up", "make room and run it again; what has been fetched is kept"
	}
	return fault.Wrap(class, err, hint, text, args...)
}
