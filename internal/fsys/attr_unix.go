//go:build (linux || darwin || freebsd) && !osroot

package fsys

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// setter is how one object's attributes are changed.
type setter struct {
	chown  func(uid, gid int) error
	utimes func(ts *[2]unix.Timespec) error
	chmod  func(mode uint32) error
}

// set applies a: the owner before the mode, since systems clear setuid and
// setgid of what changes hands.
func (s setter) set(a Attr) error {
	if a.Owner != nil || a.Group != nil {
		uid, gid := -1, -1
		if a.Owner != nil {
			uid = int(*a.Owner)
		}
		if a.Group != nil {
			gid = int(*a.Group)
		}
		if err := retry(func() error { return s.chown(uid, gid) }); err != nil {
			return err
		}
	}
	if a.Times != nil {
		ts, err := timespecs(*a.Times)
		if err != nil {
			return err
		}
		if err := retry(func() error { return s.utimes(&ts) }); err != nil {
			return err
		}
	}
	if a.Mode != nil {
		return retry(func() error { return s.chmod(*a.Mode & 0o7777) })
	}
	return nil
}

// timespecs leaves the access time alone.
func timespecs(t Times) ([2]unix.Timespec, error) {
	var ts [2]unix.Timespec
	ts[0].Nsec = utimeOmit
	if t.Nsec > 999_999_999 || !setTimespec(&ts[1], t) {
		return ts, unix.EINVAL
	}
	return ts, nil
}

// setTimespec reports whether t fits, which it does not beyond 2038 on 32-bit
// systems.
func setTimespec(ts *unix.Timespec, t Times) bool {
	*ts = unix.NsecToTimespec(int64(t.Nsec))
	setSec(&ts.Sec, t.Sec)
	return int64(ts.Sec) == t.Sec
}

func setSec[T int32 | int64](sec *T, v int64) { *sec = T(v) }

// SetAttr changes attributes of an entry; symlinks are changed themselves and
// keep their mode.
func (d *Dir) SetAttr(name string, a Attr) error {
	if err := d.leaf("setattr", name); err != nil {
		return err
	}
	if err := d.hold(); err != nil {
		return d.fail("setattr", name, err)
	}
	defer d.done()
	return d.fail("setattr", name, setter{
		chown: func(uid, gid int) error {
			return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		},
		utimes: func(ts *[2]unix.Timespec) error {
			return unix.UtimesNanoAt(d.fd, name, ts[:], unix.AT_SYMLINK_NOFOLLOW)
		},
		chmod: func(mode uint32) error { return chmodat(d, name, mode) },
	}.set(a))
}

// SetDirAttr changes attributes of the directory itself.
func (d *Dir) SetDirAttr(a Attr) error {
	if err := d.hold(); err != nil {
		return d.fail("setattr", "", err)
	}
	defer d.done()
	return d.fail("setattr", "", setFD(d.fd, a))
}

// SetFileAttr changes attributes of an open file.
func SetFileAttr(f *os.File, a Attr) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := c.Control(func(fd uintptr) { serr = setFD(int(fd), a) }); err != nil {
		return err
	}
	if serr != nil {
		return &fs.PathError{Op: "setattr", Path: f.Name(), Err: serr}
	}
	return nil
}

func setFD(fd int, a Attr) error {
	return setter{
		chown:  func(uid, gid int) error { return unix.Fchown(fd, uid, gid) },
		utimes: func(ts *[2]unix.Timespec) error { return futimens(fd, ts) },
		chmod:  func(mode uint32) error { return unix.Fchmod(fd, mode) },
	}.set(a)
}
