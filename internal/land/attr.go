package land

import (
	"errors"
	"os/user"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// attrs gives objects the attributes of entries, as far as the mask asks and
// our rights go.
type attrs struct {
	mask    manifest.Mask
	umask   uint32
	uid     uint32 // owner and group that the objects we create get
	gid     uint32
	ids     *ids
	denied  *atomic.Bool // we may not give objects away
	skipped atomic.Int64 // owners and groups not set for that reason
}

// with is t for another mask, with the same rights.
func (t *attrs) with(mask manifest.Mask, numeric bool) *attrs {
	return &attrs{mask: mask, umask: t.umask, uid: t.uid, gid: t.gid, ids: newIDs(numeric), denied: t.denied}
}

// fresh describes an object just created with the given permissions.
func (t *attrs) fresh(mode uint32) fsys.Info {
	return fsys.Info{Mode: mode & 0o777 &^ t.umask, UID: t.uid, GID: t.gid, Sec: noTime}
}

// noTime differs from every time that an entry can sensibly have.
const noTime = -1 << 62

// mode returns the permissions that e gets in the place of old, which is nil
// when nothing of its type is there.
func (t *attrs) mode(e *manifest.Entry, old *fsys.Info) uint32 {
	switch {
	case t.mask&manifest.Perm != 0:
		return e.Mode
	case old == nil:
		return e.Mode & 0o777 &^ t.umask
	case e.Type != manifest.File:
		return old.Mode
	case e.Mode&0o111 == 0:
		return old.Mode &^ 0o111
	case old.Mode&0o111 == 0:
		return old.Mode | old.Mode&0o444>>2
	}
	return old.Mode
}

// owner returns the change that gives have the owner and group of e.
func (t *attrs) owner(e *manifest.Entry, have *fsys.Info) (at fsys.Attr) {
	if t.mask&manifest.Owner != 0 {
		if id := t.ids.user(e); id != have.UID {
			at.Owner = &id
		}
	}
	if t.mask&manifest.Group != 0 {
		if id := t.ids.group(e); id != have.GID {
			at.Group = &id
		}
	}
	return at
}

// diff returns the change that turns have into e with the given mode.
func (t *attrs) diff(e *manifest.Entry, mode uint32, have *fsys.Info) fsys.Attr {
	at := t.owner(e, have)
	moved := at.Owner != nil || at.Group != nil
	// A change of hands clears setuid and setgid.
	if e.Type != manifest.Symlink && (have.Mode != mode || moved && mode&0o6000 != 0) {
		at.Mode = &mode
	}
	if t.mask&manifest.Times != 0 && (have.Sec != e.Sec || have.Nsec != e.Nsec) {
		at.Times = &fsys.Times{Sec: e.Sec, Nsec: e.Nsec}
	}
	return at
}

func empty(at fsys.Attr) bool { return at == fsys.Attr{} }

// apply makes a change through set. Owners and groups that we may not set are
// counted and left.
func (t *attrs) apply(at fsys.Attr, set func(fsys.Attr) error) error {
	if at.Owner != nil && t.denied.Load() {
		at.Owner = nil
		t.skipped.Add(1)
	}
	if empty(at) {
		return nil
	}
	err := set(at)
	if !refused(err) || at.Owner == nil && at.Group == nil {
		return err
	}
	less := at
	if at.Owner != nil {
		less.Owner = nil
		if e := setSome(less, set); !refused(e) {
			t.denied.Store(true)
			t.skipped.Add(1)
			return e
		}
	}
	less.Group = nil
	if e := setSome(less, set); !refused(e) {
		t.skipped.Add(1)
		return e
	}
	return err
}

func setSome(at fsys.Attr, set func(fsys.Attr) error) error {
	if empty(at) {
		return nil
	}
	return set(at)
}

func refused(err error) bool {
	return fsys.IsPermission(err) || errors.Is(err, fsys.ErrUnsupported)
}

// ids finds the numbers of the sender's users and groups here: by name, and
// where the name or the wish for names is missing, by number. Number 0 is
// itself everywhere.
type ids struct {
	numeric bool
	mu      sync.Mutex
	users   map[string]uint32
	groups  map[string]uint32
}

func newIDs(numeric bool) *ids {
	return &ids{numeric: numeric, users: map[string]uint32{}, groups: map[string]uint32{}}
}

func (i *ids) user(e *manifest.Entry) uint32 {
	return i.find(i.users, e.User, e.UID, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func (i *ids) group(e *manifest.Entry) uint32 {
	return i.find(i.groups, e.Group, e.GID, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

// maxNames bounds how many names are remembered; the names are the sender's.
const maxNames = 10_000

func (i *ids) find(known map[string]uint32, name string, id uint32, lookup func(string) (string, error)) uint32 {
	if i.numeric || name == "" || id == 0 {
		return id
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if n, ok := known[name]; ok {
		if n == unknownID {
			return id
		}
		return n
	}
	n := uint32(unknownID)
	if s, err := lookup(name); err == nil {
		if v, err := strconv.ParseUint(s, 10, 32); err == nil {
			n = uint32(v)
		}
	}
	if len(known) < maxNames {
		known[name] = n
	}
	if n == unknownID {
		return id
	}
	return n
}

const unknownID = 1<<32 - 1
