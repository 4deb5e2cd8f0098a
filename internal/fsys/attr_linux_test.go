//go:build !osroot

package fsys

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestSetAttr(t *testing.T) {
	d, _ := open(t, fstest.Spec{
		"f": fstest.File("x"), "link": fstest.Link("f"), "dangling": fstest.Link("nowhere"), "dir/f": fstest.File(""),
		"closed": fstest.File("").Mode(0), "fifo": fstest.Fifo(),
	})
	orig, err := d.Lstat("f")
	check(t, err)
	mode := uint32(0o4751)
	for i, tm := range []Times{{0, 0}, {-1, 999_999_999}, {-1 << 31, 0}, {1 << 33, 1}, {1_700_000_000, 123_456_789}} {
		for _, name := range []string{"link", "dangling", "dir", "closed", "fifo"} {
			check(t, d.SetAttr(name, Attr{Times: &tm, Mode: &mode}))
			info, err := d.Lstat(name)
			check(t, err)
			if (Times{info.Sec, info.Nsec}) != tm {
				t.Errorf("%q, %d: %d.%09d, want %v", name, i, info.Sec, info.Nsec, tm)
			}
			if info.Type == manifest.Symlink {
				continue
			}
			if info.Mode != mode {
				t.Errorf("%q: mode %o", name, info.Mode)
			}
			check(t, chmodPinned(d, name, 0o640))
			if info, _ := d.Lstat(name); info.Mode != 0o640 {
				t.Errorf("%q: mode %o the old way", name, info.Mode)
			}
		}
	}
	check(t, chmodPinned(d, "link", 0o777))
	if now, err := d.Lstat("f"); err != nil || now != orig {
		t.Errorf("changed through a symlink: %+v, was %+v, %v", now, orig, err)
	}
	wantErr(t, d.SetAttr("f", Attr{Times: &Times{Nsec: 1_000_000_000}}), unix.EINVAL)
	wantErr(t, d.SetAttr("nowhere", Attr{Mode: &mode}), fs.ErrNotExist)
	check(t, d.SetAttr("nowhere", Attr{}))

	f, err := d.OpenFileRW("f")
	check(t, err)
	defer f.Close()
	tm := Times{-5, 6}
	check(t, SetFileAttr(f, Attr{Mode: &mode, Times: &tm}))
	info, err := d.Lstat("f")
	check(t, err)
	if info.Mode != mode || info.Sec != -5 || info.Nsec != 6 {
		t.Errorf("%+v", info)
	}
	check(t, d.SetDirAttr(Attr{Mode: ptr(uint32(0o711)), Times: &tm}))
	info, err = d.Stat()
	check(t, err)
	if info.Mode != 0o711 || info.Sec != -5 || info.Nsec != 6 {
		t.Errorf("%+v", info)
	}
}

func ptr[T any](v T) *T { return &v }

func TestOwnerBeforeMode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing owners needs root")
	}
	d, _ := open(t, fstest.Spec{"f": fstest.File("x"), "l": fstest.Link("f")})
	a := Attr{Owner: ptr(uint32(4_000_000_000)), Group: ptr(uint32(7)), Mode: ptr(uint32(0o6755))}
	check(t, d.SetAttr("f", a))
	info, err := d.Lstat("f")
	check(t, err)
	if info.Mode != 0o6755 || info.UID != 4_000_000_000 || info.GID != 7 {
		t.Errorf("%+v", info)
	}
	check(t, d.SetAttr("l", Attr{Group: ptr(uint32(9))}))
	info, err = d.Lstat("l")
	check(t, err)
	if now, _ := d.Lstat("f"); info.GID != 9 || info.UID != 0 || now.GID != 7 {
		t.Errorf("%+v, target %+v", info, now)
	}
}

func TestPermissions(t *testing.T) {
	d, path := open(t, fstest.Spec{"closed/f": fstest.File(""), "readonly/f": fstest.File(""), "list/f": fstest.File(""), "f": fstest.File("")})
	for name, mode := range map[string]uint32{"closed": 0, "readonly": 0o500, "list": 0o400, "f": 0o200} {
		check(t, d.SetAttr(name, Attr{Mode: &mode}))
	}
	asUser(t, path, func() {
		denied := func(err error) {
			t.Helper()
			if !IsPermission(err) {
				t.Errorf("got %v", err)
			}
		}
		_, err := d.Child("closed")
		denied(err)
		_, _, err = d.OpenFile("f")
		denied(err)
		denied(d.SetAttr("f", Attr{Owner: ptr(uint32(0))}))
		sub, err := d.Child("readonly")
		if err != nil {
			t.Error(err)
			return
		}
		defer sub.Close()
		denied(sub.Remove("f"))
		denied(sub.Mkdir("g", 0o755))
		listed, err := d.Child("list") // may be listed, not entered
		if err != nil {
			t.Error(err)
			return
		}
		defer listed.Close()
		if got := list(t, listed); !slices.Equal(got, []string{"f"}) {
			t.Errorf("%q", got)
		}
		_, err = listed.Lstat("f")
		denied(err)
	})
}

func TestRemoveAllOpensUp(t *testing.T) {
	d, path := open(t, fstest.Spec{
		"top/closed/a/f": fstest.File(""), "top/closed/a": fstest.Dir().Mode(0), "top/closed": fstest.Dir().Mode(0o100),
		"top/ro/b/f": fstest.File(""), "top/ro/b": fstest.Dir().Mode(0o500), "top/ro": fstest.Dir().Mode(0o400), "top": fstest.Dir().Mode(0),
	})
	asUser(t, path, func() {
		if err := d.RemoveAll(context.Background(), "top"); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.Lstat("top"); !IsNotExist(err) {
		t.Error("is still there:", err)
	}
}

// TestRemoveAllOpensUpDeep has directories to move that must be opened first.
func TestRemoveAllOpensUpDeep(t *testing.T) {
	spec := fstest.Spec{}
	name := "top"
	for range 3 * maxRecursion {
		spec[name] = fstest.Dir().Mode(0)
		name += "/d"
	}
	d, path := open(t, spec)
	asUser(t, path, func() {
		if err := d.RemoveAll(context.Background(), "top"); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.Lstat("top"); !IsNotExist(err) {
		t.Error("is still there:", err)
	}
}

func TestMoveUpFindsAName(t *testing.T) {
	taken := fmt.Sprintf("top/.removing-%d-", os.Getpid())
	d, path := open(t, fstest.Spec{taken + "1/f": fstest.File(""), taken + "2": fstest.File(""), "x/f": fstest.File("")})
	top, err := d.Child("top")
	check(t, err)
	defer top.Close()
	r := remover{ctx: context.Background(), top: top}
	check(t, r.moveUp(d, "x"))
	check(t, r.moveUp(d, "x")) // gone already
	if _, err := os.Stat(path + "/" + taken + "3/f"); err != nil {
		t.Error(err)
	}
}

func TestRemoveAllReportsOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making another user's directory needs root")
	}
	d, path := open(t, fstest.Spec{"top/theirs/f": fstest.File(""), "top/mine/f": fstest.File(""), "top/z": fstest.File("")})
	asUser(t, path, func() {})
	check(t, os.Lchown(path+"/top/theirs", 0, 0))
	asUserKeeping(t, func() {
		if err := d.RemoveAll(context.Background(), "top"); !IsPermission(err) {
			t.Errorf("got %v", err)
		}
	})
	top, err := d.Child("top")
	check(t, err)
	defer top.Close()
	if got := list(t, top); !slices.Equal(got, []string{"theirs"}) {
		t.Errorf("left: %q", got)
	}
}

// asUserKeeping is asUser that changes no owners.
func asUserKeeping(t *testing.T, f func()) { asUser(t, filepath.Join(t.TempDir(), "."), f) }

func TestRemoveAllStaysOnItsFileSystem(t *testing.T) {
	d, path := open(t, fstest.Spec{"top/a/mnt": fstest.Dir(), "top/bind": fstest.Dir(), "top/f": fstest.File(""), "kept/f": fstest.File("")})
	mount(t, path+"/top/a/mnt", "size=1m")
	check(t, os.WriteFile(path+"/top/a/mnt/precious", nil, 0o600))
	if err := unix.Mount(path+"/kept", path+"/top/bind", "", unix.MS_BIND, ""); err != nil {
		t.Skip("bind mounts are not allowed:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path+"/top/bind", unix.MNT_DETACH) })
	wantErr(t, d.RemoveAll(context.Background(), "top"), ErrMount)
	for _, name := range []string{"top/a/mnt/precious", "kept/f"} {
		if _, err := os.Stat(filepath.Join(path, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Lstat("top"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path + "/top/f"); err == nil {
		t.Error("what could go is still there")
	}
	sub, err := d.Descend("top/bind")
	check(t, err)
	defer sub.Close()
	if !sub.MountRoot() || d.MountRoot() {
		t.Error("mounts are not told apart")
	}
}
