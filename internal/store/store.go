// Package store keeps a server's state below one directory: the manifests that
// it has sent, an index of each module, the spools of objects that were made
// for clients or sent by them, and a history of contents.
//
// Everything is a file that is written under a temporary name and renamed, so
// that what has a name is whole. All but the spools is synced before; what is in those
// can be made again and is dropped when the machine was restarted. The time
// of last use is the modification time, which survives restarts. One process
// owns the directory. There are no background goroutines: the owner calls
// Sweep.
//
// What is stored belongs to a module and is found only by those who ask for
// that module: a digest is never a capability.
package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// ErrGone is returned for what the store does not, or no longer, have.
var ErrGone = errors.New("no longer stored")

// Options bounds what is kept. Zero values take the defaults.
type Options struct {
	ManifestBytes int64         // of all manifests; 1 GB
	ManifestAge   time.Duration // since last use; 90 days. Indexes too.
	SpoolBytes    int64         // of all objects; 20 GB
	SegmentBytes  int64         // of all uploaded segments; 1 GB
	SpoolAge      time.Duration // since last use; 24 hours. Segments too.
	// HistoryBytes bounds the history, which goes by ManifestAge, too: a tenth of
	// what is free, at most 20 GB. Less than 0 keeps none.
	HistoryBytes int64
}

func (o *Options) defaults() {
	set := func(v *int64, to int64) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&o.ManifestBytes, 1e9)
	set(&o.SpoolBytes, 20e9)
	set(&o.SegmentBytes, 1e9)
	set((*int64)(&o.ManifestAge), int64(90*24*time.Hour))
	set((*int64)(&o.SpoolAge), int64(24*time.Hour))
}

// Store is an open state directory. It is safe for concurrent use.
type Store struct {
	lock      *fsys.Lock
	manifests *Manifests
	indexes   *Indexes
	objects   *diskSpool
	segments  *diskSpool
	history   *History // nil: none is kept
}

// Open takes the state directory, which stays the caller's to close, and
// removes what an earlier process left unfinished. While another process owns
// it, Open fails with fault.Busy.
func Open(dir *fsys.Dir, o Options) (*Store, error) {
	o.defaults()
	lock, err := dir.Lock("lock")
	if err != nil {
		var held *fsys.LockedError
		if errors.As(err, &held) {
			return nil, fault.Wrap(fault.Busy, err, "stop it, or give this server a state directory of its own",
				"the state directory %s is in use (%s)", dir.Path(), strings.TrimSpace(held.Text))
		}
		return nil, fault.Wrap(fsys.Class(err), err, "", "cannot lock the state directory")
	}
	s := &Store{lock: lock}
	if err := s.open(dir, o); err != nil {
		_ = s.Close()
		return nil, fault.Wrap(fsys.Class(err), err, "", "cannot open the state directory")
	}
	return s, nil
}

func (s *Store) open(dir *fsys.Dir, o Options) error {
	if err := s.lock.SetText(fmt.Sprintf("process %d since %s", os.Getpid(), time.Now().UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	boot := fsys.BootID()
	torn, err := restarted(dir, boot)
	if err != nil {
		return err
	}
	f, err := openFolder(dir, "manifests", o.ManifestBytes, o.ManifestAge, false)
	if err != nil {
		return err
	}
	s.manifests = &Manifests{lists{f, manifestKind}}
	if f, err = openFolder(dir, "index", 0, o.ManifestAge, false); err != nil {
		return err
	}
	s.indexes = &Indexes{lists{f, indexKind}}
	if f, err = openFolder(dir, "objects", o.SpoolBytes, o.SpoolAge, torn); err != nil {
		return err
	}
	s.objects = &diskSpool{f, boot == ""}
	if f, err = openFolder(dir, "segments", o.SegmentBytes, o.SpoolAge, torn); err != nil {
		return err
	}
	s.segments = &diskSpool{f, boot == ""}
	if err := s.openHistory(dir, o); err != nil {
		return err
	}
	if torn {
		return noteBoot(dir, boot)
	}
	return nil
}

func (s *Store) openHistory(dir *fsys.Dir, o Options) error {
	if o.HistoryBytes < 0 {
		return nil
	}
	limit := o.HistoryBytes
	if limit == 0 {
		limit = 20e9
		if free, _, err := dir.Free(); err == nil {
			limit = max(1, int64(min(free/10, uint64(limit))))
		}
	}
	f, err := openFolder(dir, "history", limit, o.ManifestAge, false)
	if err != nil {
		return err
	}
	s.history, err = loadHistory(f)
	return err
}

// bootName holds the boot during which the spools were written. What they hold
// can be made again at any time, under the same names, so it is not synced:
// after a restart of the machine it may be torn, and is dropped.
const bootName = "boot"

// restarted reports whether the machine was started since the spools were
// written.
func restarted(dir *fsys.Dir, boot string) (bool, error) {
	if boot == "" {
		return false, nil
	}
	f, _, err := dir.OpenFile(bootName)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	was := make([]byte, len(boot)+1)
	n, _ := f.ReadAt(was, 0)
	return string(was[:n]) != boot, nil
}

// noteBoot remembers the boot, once what is torn is gone.
func noteBoot(dir *fsys.Dir, boot string) error {
	if err := dir.Remove(bootName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := dir.CreateFile(bootName, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(boot), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// Close gives the directory up. Nothing of s may be used afterwards.
func (s *Store) Close() error {
	var errs []error
	for _, f := range s.folders() {
		errs = append(errs, f.dir.Close())
	}
	return errors.Join(append(errs, s.lock.Unlock())...)
}

func (s *Store) folders() []*folder {
	var all []*folder
	if s.manifests != nil {
		all = append(all, s.manifests.folder)
	}
	if s.indexes != nil {
		all = append(all, s.indexes.folder)
	}
	if s.objects != nil {
		all = append(all, s.objects.folder)
	}
	if s.segments != nil {
		all = append(all, s.segments.folder)
	}
	if s.history != nil {
		all = append(all, s.history.folder)
	}
	return all
}

// History returns the contents that modules had; nil if none are kept.
func (s *Store) History() *History { return s.history }

// Manifests returns the manifests that the server knows.
func (s *Store) Manifests() *Manifests { return s.manifests }

// Indexes returns the modules' indexes.
func (s *Store) Indexes() *Indexes { return s.indexes }

// Objects returns the spool of objects made for clients.
func (s *Store) Objects() Spool { return s.objects }

// Segments returns the spool of manifest segments that clients sent.
func (s *Store) Segments() Spool { return s.segments }

// SweepStats counts what a sweep removed and what is left.
type SweepStats struct {
	Removed, Freed int64 // files, bytes
	Files, Bytes   int64
}

func (a *SweepStats) add(b SweepStats) {
	a.Removed += b.Removed
	a.Freed += b.Freed
	a.Files += b.Files
	a.Bytes += b.Bytes
}

// Sweep removes what has not been used for too long and, where a bound is
// exceeded, what was used longest ago. What a job has leased stays. It goes on
// after an error and returns the first; it stops with ctx.
func (s *Store) Sweep(ctx context.Context, now time.Time) (SweepStats, error) {
	var total SweepStats
	var first error
	for _, f := range s.folders() {
		st, err := f.sweep(ctx, now)
		total.add(st)
		if first == nil {
			first = err
		}
	}
	return total, first
}

// key turns a module's name, which may hold anything, into part of a name.
func key(module string) string {
	d := digest.Sum([]byte("module " + module))
	return hex.EncodeToString(d[:8])
}

func nameOf(module string, id digest.Digest) string { return key(module) + "-" + id.String() }

const tempPrefix = "tmp-"

// folder is a directory of files that are bounded in number of bytes and age.
type folder struct {
	dir   *fsys.Dir
	limit int64 // bytes; 0: unbounded
	age   time.Duration
	temps atomic.Int64
	state
}

// openFolder opens or creates a directory of the store, removes temporary
// files and counts the rest.
// openFolder opens a folder and removes what is not whole: temporary files, and
// everything if it is torn.
func openFolder(parent *fsys.Dir, name string, limit int64, age time.Duration, torn bool) (*folder, error) {
	if err := parent.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := parent.Child(name)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, limit: limit, age: age}
	f.leases = newLeases()
	var temps []string
	if err := dir.Names(func(b []byte) error {
		if torn || strings.HasPrefix(string(b), tempPrefix) {
			temps = append(temps, string(b))
			return nil
		}
		info, err := dir.Lstat(string(b))
		if err == nil {
			f.used += info.Size
		}
		return nil
	}); err != nil {
		_ = dir.Close()
		return nil, err
	}
	for _, t := range temps {
		if err := dir.Remove(t); err != nil {
			_ = dir.Close()
			return nil, err
		}
	}
	return f, nil
}

// create makes a temporary file.
func (f *folder) create() (name string, file *os.File, err error) {
	name = fmt.Sprintf("%s%d", tempPrefix, f.temps.Add(1))
	file, err = f.dir.CreateFile(name, 0o600)
	return name, file, err
}

// touch notes that a file is in use, unless that was noted a minute ago.
func (f *folder) touch(name string, info fsys.Info) {
	now := time.Now()
	if now.Sub(info.ModTime()) < time.Minute {
		return
	}
	// Failing to note it at worst costs making it again.
	_ = f.dir.SetAttr(name, fsys.Attr{Times: &fsys.Times{Sec: now.Unix(), Nsec: uint32(now.Nanosecond())}})
}

// gone turns the error of opening a file into ErrGone if it does not exist.
func gone(err error) error {
	if fsys.IsNotExist(err) {
		return ErrGone
	}
	return fault.Wrap(fsys.Class(err), err, "", "the store cannot be read")
}

// failed classifies the error of writing a file.
func failed(err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	if fsys.IsFull(err) {
		hint = "make room on the file system of the state directory"
	}
	return fault.Wrap(fsys.Class(err), err, hint, "the store cannot be written")
}
