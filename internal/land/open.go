package land

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// errMoved says that the destination was exchanged while it was being opened.
var errMoved = errors.New("the destination was replaced meanwhile")

// Open takes the destination: it creates it if only its last component is
// missing, locks it, and finishes a landing that was interrupted. It fails
// with fault.Busy while another run holds the lock, fault.Denied where we may
// not write, fault.NotFound where the destination cannot be, and fault.Usage
// where it is no directory or the options do not go with it.
func Open(ctx context.Context, o Options) (*Area, error) {
	if o.Events == nil {
		o.Events = event.Discard
	}
	if o.Atomic && o.Early {
		return nil, fault.New(fault.Usage, "", "a tree cannot land both at once and file by file")
	}
	for range 10 {
		a, err := open(ctx, o)
		if !errors.Is(err, errMoved) {
			return a, err
		}
	}
	return nil, fault.Wrap(fault.Busy, errMoved, "", "%s is in use", o.Dest)
}

func open(ctx context.Context, o Options) (_ *Area, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := &Area{o: o, d: disk{o.hook, o.noSyncFS}}
	opened := false
	defer func() {
		if !opened {
			a.release()
		}
	}()
	if a.place, err = locate(o.Dest); err != nil {
		return nil, err
	}
	if o.DryRun {
		err = a.openDry()
	} else {
		err = a.openReal(ctx)
	}
	if err != nil {
		return nil, err
	}
	opened = true
	return a, nil
}

func (a *Area) openReal(ctx context.Context) (err error) {
	if a.root, err = a.place.open(a.d); err != nil {
		return err
	}
	moved, err := a.openState()
	if err != nil {
		return err
	}
	if err := a.takeLock(); err != nil {
		return err
	}
	if !a.current(moved) {
		return errMoved
	}
	if err := a.probe(); err != nil {
		return err
	}
	if err := a.recover(ctx); err != nil {
		return err
	}
	if err := a.tidy(ctx); err != nil {
		return err
	}
	if a.o.Atomic {
		if err := a.atomicPossible(ctx); err != nil {
			return err
		}
	}
	if err := a.openStage(); err != nil {
		return err
	}
	a.look = fsys.NewTree(a.root)
	if a.o.Early {
		a.early = a.newLanding(a.o.ready(), a.stage, a.at)
	}
	return nil
}

// openState opens the state directory, or creates it. After an exchange that
// was interrupted it is in the old tree, beside the destination: moved.
func (a *Area) openState() (moved bool, err error) {
	if p := a.place.parent; p != nil {
		if old, err := p.Child(siblingName(a.place.base)); err == nil {
			defer func() { _ = old.Close() }()
			if a.state, err = old.Child(StateDir); err == nil {
				return true, nil
			}
		}
	}
	a.state, err = a.root.Child(StateDir)
	if fsys.IsNotExist(err) && !errors.Is(err, fsys.ErrNotDir) {
		if err = a.makeState(); err == nil {
			a.state, err = a.root.Child(StateDir)
		}
	}
	switch {
	case errors.Is(err, fsys.ErrNotDir):
		return false, fault.New(fault.Denied, "remove it or move it away", "%s/%s is in the way: it is not a directory", a.place.path, StateDir)
	case err != nil:
		return false, wrap(err, "", "cannot write to %s", a.place.path)
	}
	return false, nil
}

// makeState creates the state directory, also in a directory of ours that is
// closed to us.
func (a *Area) makeState() error {
	err := a.d.mkdir(a.root, StateDir, 0o700)
	if errors.Is(err, fs.ErrPermission) {
		info, serr := a.root.Stat()
		if serr != nil || info.Mode&0o700 == 0o700 {
			return err
		}
		mode := info.Mode | 0o700
		if a.d.setDirAttr(a.root, fsys.Attr{Mode: &mode}) != nil {
			return err
		}
		err = a.d.mkdir(a.root, StateDir, 0o700)
		if rerr := a.d.setDirAttr(a.root, fsys.Attr{Mode: &info.Mode}); err == nil {
			err = rerr
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (a *Area) takeLock() error {
	a.d.step("lock")
	lock, err := a.state.Lock(nameLock)
	var held *fsys.LockedError
	if errors.As(err, &held) {
		return fault.Wrap(fault.Busy, err, "wait for it to end, or stop it", "%s is in use by another run%s", a.place.path, holder(held.Text))
	}
	if err != nil {
		return wrap(err, "", "cannot lock %s", a.place.path)
	}
	a.lock = lock
	text := a.o.Holder
	if text == "" {
		text = fmt.Sprintf("process %d", os.Getpid())
	}
	if err := lock.SetText(text); err != nil {
		return wrap(err, "", "cannot lock %s", a.place.path)
	}
	return nil
}

// holder makes one harmless line of what the holder of a lock wrote.
func holder(text string) string {
	const limit = 300
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text[:min(len(text), limit)], "?"))
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return " (" + text + ")"
}

// current reports whether the destination and its state directory are still
// the ones that were opened: a run that held the lock may have exchanged them.
func (a *Area) current(moved bool) bool {
	mine, err := a.root.Stat()
	if err != nil {
		return false
	}
	if mine.Ino == 0 {
		return true // the system does not tell, and does not exchange either
	}
	now, err := fsys.OpenDir(a.place.path)
	if err != nil {
		return false
	}
	defer func() { _ = now.Close() }()
	if info, err := now.Stat(); err != nil || !fsys.SameObject(mine, info) {
		return false
	}
	state, err := a.state.Stat()
	if err != nil {
		return false
	}
	if moved {
		old, err := a.place.parent.Child(siblingName(a.place.base))
		if err != nil {
			return false
		}
		defer func() { _ = old.Close() }()
		now = old
	}
	info, err := now.Lstat(StateDir)
	return err == nil && fsys.SameObject(state, info)
}

// probe creates a file to learn the umask and which owner we write as, and
// refuses a state directory that someone else made: its contents are obeyed.
func (a *Area) probe() error {
	if err := a.d.discard(a.state, nameProbe); err != nil {
		return wrap(err, "", "cannot write to %s", a.place.path)
	}
	f, err := a.d.create(a.state, nameProbe, 0o777)
	if err != nil {
		return wrap(err, "", "cannot write to %s", a.place.path)
	}
	defer f.Close()
	info, err := a.state.Lstat(nameProbe)
	if err != nil {
		return wrap(err, "", "cannot write to %s", a.place.path)
	}
	if err := a.d.remove(a.state, nameProbe); err != nil {
		return wrap(err, "", "cannot write to %s", a.place.path)
	}
	state, err := a.state.Stat()
	if err != nil {
		return wrap(err, "", "cannot write to %s", a.place.path)
	}
	if state.UID != info.UID {
		return fault.New(fault.Denied, fmt.Sprintf("run it as user %d, or remove that directory", state.UID),
			"%s/%s belongs to user %d, and we write as user %d", a.place.path, StateDir, state.UID, info.UID)
	}
	if state.Mode&0o077 != 0 {
		mode := uint32(0o700)
		if err := a.d.setDirAttr(a.state, fsys.Attr{Mode: &mode}); err != nil {
			return wrap(err, "", "cannot close %s/%s to others", a.place.path, StateDir)
		}
	}
	a.at = &attrs{
		mask: a.o.Mask, umask: 0o777 &^ info.Mode, uid: info.UID, gid: info.GID,
		ids: newIDs(a.o.NumericIDs), denied: new(atomic.Bool),
	}
	return nil
}

// tidy removes what a run that did not come to its landing has left, except
// what it has staged.
func (a *Area) tidy(ctx context.Context) error {
	l := a.newLanding(a.o.ready(), nil, a.at)
	defer l.close()
	if err := l.loadModes(); err != nil {
		return wrap(err, "", "cannot read the state in %s", a.place.path)
	}
	if err := l.restoreModes(); err != nil {
		return wrap(err, "", "cannot restore the modes of directories in %s", a.place.path)
	}
	for _, name := range []string{nameOps, nameFinal, nameIndexTmp, nameMarkTmp} {
		if err := a.d.discard(a.state, name); err != nil {
			return wrap(err, "", "cannot write to %s", a.place.path)
		}
	}
	if err := a.dropSibling(ctx); err != nil {
		return wrap(err, "", "cannot remove what an earlier run left beside %s", a.place.path)
	}
	return nil
}

// openDry opens for looking only.
func (a *Area) openDry() (err error) {
	a.at = &attrs{mask: a.o.Mask, ids: newIDs(a.o.NumericIDs), denied: new(atomic.Bool)}
	if a.place.missing {
		a.root, a.empty, err = emptyDir()
		return err
	}
	if a.root, err = a.place.openExisting(); err != nil {
		return err
	}
	if a.o.Atomic {
		if err := a.noMount(); err != nil {
			return err
		}
	}
	state, err := a.root.Child(StateDir)
	if err != nil {
		return nil //nolint:nilerr // without state there is nothing to wait for
	}
	a.state = state
	if _, err := state.Lstat(nameLock); err != nil {
		return nil //nolint:nilerr // as above
	}
	lock, err := state.Lock(nameLock)
	var held *fsys.LockedError
	if errors.As(err, &held) {
		return fault.Wrap(fault.Busy, err, "wait for it to end, or stop it", "%s is in use by another run%s", a.place.path, holder(held.Text))
	}
	if err == nil {
		a.lock = lock
	}
	if _, err := state.Lstat(nameReady); err == nil {
		a.o.Events(event.Warn{Text: "an interrupted landing is waiting here; the next real run finishes it first"})
	}
	return nil
}

// emptyDir returns a directory to look at instead of one that does not exist,
// and its path, to be removed in the end.
func emptyDir() (*fsys.Dir, string, error) {
	path, err := os.MkdirTemp("", "ropeway-dry-run-")
	if err != nil {
		return nil, "", wrap(err, "", "cannot create a temporary directory")
	}
	d, err := fsys.OpenDir(path)
	if err != nil {
		_ = os.Remove(path)
		return nil, "", wrap(err, "", "cannot open a temporary directory")
	}
	return d, path, nil
}

// checkPath refuses paths that are not of the tree: the state's own.
func checkPath(path string) error {
	if err := manifest.CheckPath(path); err != nil {
		return err
	}
	if manifest.InState(path) {
		return fmt.Errorf("land: %q is not part of a tree", path)
	}
	return nil
}
