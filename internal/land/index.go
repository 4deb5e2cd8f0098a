package land

import (
	"context"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// How long after a change the times of a file can stay what they are although
// it is changed again: on file systems that are known for fine times, and on
// others.
const (
	fineTick   = 50 * time.Millisecond
	coarseTick = 2 * time.Second
)

// index writes the index of what is in place now.
//
// The local state of an entry is recorded only if every later change will show
// in it. So what was touched is looked at when its change time has become old
// enough; where that would take too long, or where the object does not look
// like what was landed, the state stays zero and the next run reads the file.
func (l *landing) index(ctx context.Context) error {
	if err := l.d.discard(l.a.state, nameIndexTmp); err != nil {
		return err
	}
	w, err := l.a.newList(nameIndexTmp, kindIndex)
	if err != nil {
		return err
	}
	defer w.abort()
	s, err := l.newStater()
	if err != nil {
		return err
	}
	ahead := l.readAhead(ctx)
	defer ahead.stop()
	if l.count > 0 {
		written := time.Now()
		if err := l.patiently(func() error { return l.syncLanded(ctx) }); err != nil {
			return err
		}
		if s.fine && !l.a.o.noPause {
			if err := sleep(ctx, fineTick-time.Since(written)); err != nil {
				return err
			}
		}
	}
	_, f, trailer, err := openList(l.a.state, nameFinal, kindIndex)
	if err != nil {
		return err
	}
	_ = f.Close()
	l.res.Tree = trailer.Tree
	if err := ahead.each(func(r *manifest.Record) { r.Stat = s.stat(r) }, w.Put); err != nil {
		return err
	}
	if err := w.close(trailer.Tree, trailer.Meta, true); err != nil {
		return err
	}
	l.a.closeReaders()
	if err := l.d.rename(l.a.state, nameIndexTmp, l.a.state, nameIndex); err != nil {
		return err
	}
	return l.d.syncDir(l.a.state)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stater finds the states to record.
type stater struct {
	l     *landing
	dev   uint64
	fine  bool
	limit moment // what changed later than this may change again unnoticed
	ready moment // when the landing was marked; zero when it was not

	others map[uint64]bool // further file systems: whether their times are fine
}

// newStater takes the time of the file system from a file just created there.
func (l *landing) newStater() (*stater, error) {
	now, err := l.a.state.Lstat(nameIndexTmp)
	if err != nil {
		return nil, err
	}
	root, err := l.a.root.Stat()
	if err != nil {
		return nil, err
	}
	s := &stater{l: l, dev: root.Dev, fine: l.a.root.FineTimes(), limit: moment{now.Sec, now.Nsec}, others: map[uint64]bool{}}
	switch {
	case !s.fine:
		s.limit = s.limit.before(coarseTick)
	case l.count == 0: // nothing of ours to wait for
		s.limit = s.limit.before(fineTick)
	}
	if info, err := l.a.state.Lstat(nameReady); err == nil {
		s.ready = moment{info.Sec, info.Nsec}
	}
	return s, nil
}

// stat returns the state to record for r.
func (s *stater) stat(r *manifest.Record) manifest.Stat {
	l := s.l
	if !r.Stat.IsZero() && r.Type != manifest.Dir && !l.ready.Atomic {
		return r.Stat // not touched
	}
	if _, failed := l.failed[r.Path]; failed || l.lost {
		return manifest.Stat{}
	}
	var info fsys.Info
	var err error
	dir, leaf := l.a.root, ""
	if r.Path == "" {
		info, err = dir.Stat()
	} else if dir, leaf, err = l.tree.Parent(r.Path); err == nil {
		info, err = dir.Lstat(leaf)
	}
	if err != nil || info.Type != r.Type || !s.settled(dir, &info) || !s.asLanded(dir, leaf, &info, r) {
		return manifest.Stat{}
	}
	return manifest.Stat{
		Size: info.Size, Sec: info.Sec, Nsec: info.Nsec, CSec: info.CSec, CNsec: info.CNsec, Ino: info.Ino, Dev: info.Dev,
	}
}

// settled reports whether a later change will show.
func (s *stater) settled(dir *fsys.Dir, info *fsys.Info) bool {
	if info.Dev != s.dev && !s.known(dir, info.Dev) {
		return false
	}
	changed := moment{info.CSec, info.CNsec}
	if info.CSec == 0 { // no change time here
		changed = moment{info.Sec, info.Nsec}
	}
	return !s.limit.less(changed)
}

// known reports whether another file system, mounted inside the destination,
// has fine times by this machine's clock.
func (s *stater) known(dir *fsys.Dir, dev uint64) bool {
	fine, ok := s.others[dev]
	if !ok {
		fine = dir.FineTimes()
		s.others[dev] = fine
	}
	return fine
}

// asLanded reports whether info is of what was put in place, as far as the
// file system can express it. Someone may have changed it meanwhile.
func (s *stater) asLanded(dir *fsys.Dir, leaf string, info *fsys.Info, r *manifest.Record) bool {
	l := s.l
	switch r.Type {
	case manifest.Symlink:
		target, err := dir.Readlink(leaf)
		return err == nil && target == r.Target
	case manifest.Dir:
		if r.Path == "" && l.ready.OmitRootAttrs {
			return true
		}
	case manifest.File:
		if info.Size != r.Size {
			return false
		}
		if !r.Stat.IsZero() && info.Ino == r.Stat.Ino && info.Sec == r.Stat.Sec && info.Nsec == r.Stat.Nsec {
			return true // linked into the new tree
		}
	default:
		return false
	}
	if l.at.mask&manifest.Times != 0 {
		return sameTime(dir, info, &r.Entry)
	}
	// Staged files were written before the mark, and later writes come after it.
	return r.Type == manifest.Dir || moment{info.Sec, info.Nsec}.less(s.ready)
}

// sameTime reports whether the time of info is that of e, as far as the file
// system can express it.
func sameTime(dir *fsys.Dir, info *fsys.Info, e *manifest.Entry) bool {
	if info.Sec == e.Sec && info.Nsec == e.Nsec {
		return true
	}
	d := info.Sec - e.Sec
	return d >= -2 && d <= 2 && !dir.FineTimes()
}

// moment is a time of a file.
type moment struct {
	sec  int64
	nsec uint32
}

func (m moment) less(o moment) bool { return m.sec < o.sec || m.sec == o.sec && m.nsec < o.nsec }

func (m moment) before(d time.Duration) moment {
	t := time.Unix(m.sec, int64(m.nsec)).Add(-d)
	return moment{t.Unix(), uint32(t.Nanosecond())}
}
