package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
)

// tmpfs mounts a small file system at path, which is made.
func tmpfs(t *testing.T, path, options string) {
	t.Helper()
	needRoot(t)
	must(t, os.MkdirAll(path, 0o755))
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

// shortage says how much is needed and how much there is.
var shortage = regexp.MustCompile(`not enough room: [0-9.]+ (kB|MB|bytes|files and directories) are needed, .*[0-9.]+ (kB|MB|bytes|more)`)

// TestFullDisk has too little space, and too few inodes: exit code 8 before
// anything is fetched, with what is needed and what is there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		for what, options := range map[string]string{"space": "size=4m", "inodes": "size=64m,nr_inodes=60"} {
			t.Run(way+" "+what, func(t *testing.T) {
				t.Parallel()
				src, disk := dir(t), filepath.Join(dir(t), "disk")
				tmpfs(t, disk, options)
				if what == "space" {
					fstest.Tree(t, src, fstest.Spec{"a": fstest.Random(3<<20, 1), "b": fstest.Random(3<<20, 2), "c": fstest.Random(3<<20, 3)})
				} else {
					for i := range 200 {
						write(t, fmt.Sprintf("%s/%03d", src, i), strings.Repeat("x", 100+i))
					}
				}
				dst := disk + "/dst"
				write(t, dst+"/old", "old")
				from, to := route(t, way, src, dst)
				r := run(t, "sync", "-a", "--delete", from, to).refuses(fault.Limit)
				if !shortage.MatchString(r.err) {
					t.Errorf("does not say what is needed and what there is: %v", r)
				}
				if got := read(t, dst+"/old"); got != "old" {
					t.Errorf("old: %q", got)
				}
				// With room made it goes on.
				must(t, unix.Mount("", disk, "", unix.MS_REMOUNT, "size=64m,nr_inodes=10000"))
				run(t, "sync", "-a", "--delete", from, to).ok()
				same(t, src, dst)
			})
		}
	}
}

// TestDiskFillsMeanwhile has someone else who takes the space that was there
// when the sync began.
func TestDiskFillsMeanwhile(t *testing.T) {
	t.Parallel()
	src, disk := dir(t), filepath.Join(dir(t), "disk")
	tmpfs(t, disk, "size=16m")
	fstest.Tree(t, src, release(1))
	dst := disk + "/dst"
	write(t, dst+"/old", "old")
	s := serve(t, src)
	_, url := link(t, s, wan())
	p := call{t: t}.start("sync", "-a", "--delete", url, dst)
	eventually(t, "something is staged", func() bool { return staged(dst) > 500_000 })
	if err := os.WriteFile(disk+"/hog", make([]byte, 32<<20), 0o644); err == nil {
		t.Fatal("the disk is not full")
	}
	if r := p.wait().refuses(fault.Limit); !shortage.MatchString(r.err) {
		t.Errorf("does not say what is needed and what there is: %v", r)
	}
	if got := read(t, dst+"/old"); got != "old" {
		t.Errorf("old: %q", got)
	}
	must(t, os.Remove(disk+"/hog"))
	run(t, "sync", "-a", "--delete", url, dst).ok()
	same(t, src, dst)
}

// TestReadOnly has destinations that cannot be written.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "f")
	s := serve(t, src)
	t.Run("file system", func(t *testing.T) {
		t.Parallel()
		disk := filepath.Join(dir(t), "disk")
		tmpfs(t, disk, "size=1m")
		must(t, os.Mkdir(disk+"/dst", 0o755))
		must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		run(t, "sync", "-a", s.url, disk+"/dst").refuses(fault.Denied, "read-only")
		run(t, "sync", "-a", s.url, disk+"/new").refuses(fault.Denied, "read-only")
		run(t, "sync", "-an", s.url, disk+"/dst").ok()
	})
	t.Run("permission", func(t *testing.T) {
		t.Parallel()
		c, top := unprivileged(t), dir(t)
		must(t, os.Mkdir(top+"/dst", 0o555))
		c.run("sync", "-a", s.url, top+"/dst").refuses(fault.Denied, "permission denied")
		must(t, os.Chmod(top, 0o555))
		c.run("sync", "-a", s.url, top+"/new").refuses(fault.Denied, "permission denied")
	})
	t.Run("module", func(t *testing.T) {
		t.Parallel()
		c, top := unprivileged(t), dir(t)
		must(t, os.Mkdir(top+"/dst", 0o555))
		closed := c.serve(top+"/dst", "--writable")
		run(t, "sync", "-a", src+"/", closed.url).refuses(fault.Denied, "permission denied")
	})
	t.Run("a directory inside", func(t *testing.T) {
		t.Parallel()
		c, top := unprivileged(t), dir(t)
		from, to := top+"/from", top+"/to"
		write(t, from+"/open/f", "new")
		write(t, from+"/others/f", "new")
		write(t, to+"/open/f", "old")
		write(t, to+"/others/f", "old")
		if c.uid == 0 {
			t.Skip("needs root: a directory of another user")
		}
		own(t, top, c.uid)
		own(t, to+"/others", 0)
		r := c.run("sync", "-a", from+"/", to).refuses(fault.Partial)
		if !strings.Contains(r.err, "others/f: ") {
			t.Errorf("does not say which: %v", r)
		}
		if read(t, to+"/open/f") != "new" || read(t, to+"/others/f") != "old" {
			t.Error("the rest did not land")
		}
	})
}

// TestSymlinkedDestination is followed once, and said.
func TestSymlinkedDestination(t *testing.T) {
	t.Parallel()
	src, top := dir(t), dir(t)
	write(t, src+"/f", "f")
	must(t, os.Mkdir(top+"/real", 0o755))
	must(t, os.Symlink("real", top+"/link"))
	s := serve(t, src)
	for _, args := range [][]string{nil, {"--atomic"}} {
		r := run(t, append(append([]string{"sync", "-a", "--delete"}, args...), s.url, top+"/link")...).ok()
		if !strings.Contains(r.err, "symlink to") {
			t.Errorf("does not say so: %v", r)
		}
		if info, err := os.Lstat(top + "/link"); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link is gone: %v", err)
		}
		same(t, src, top+"/real")
		write(t, src+"/f", "changed")
	}
	must(t, os.Symlink("nowhere", top+"/dangling"))
	r := run(t, "sync", "-a", s.url, top+"/dangling")
	if r.code != int(fault.NotFound) && r.code != int(fault.Usage) {
		t.Errorf("%v", r)
	}
}

// TestFileSystemsInside has other file systems mounted inside the destination.
func TestFileSystemsInside(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), dir(t)
	tmpfs(t, dst+"/mnt", "size=8m")
	tmpfs(t, dst+"/mnt/deep/er", "size=8m")
	fstest.Tree(t, src, fstest.Spec{
		"f": fstest.Random(100_000, 1), "mnt/f": fstest.Random(2<<20, 2), "mnt/deep/er/f": fstest.Random(3<<20, 3), "mnt/link": fstest.Link("f"),
	})
	s := serve(t, src)
	run(t, "sync", "-a", "--delete", s.url, dst).ok()
	same(t, src, dst)
	fstest.Tree(t, src, fstest.Spec{"mnt/f": fstest.Random(1<<20, 4), "mnt/deep/er/g": fstest.Random(70_000, 5)})
	must(t, os.Remove(src+"/mnt/deep/er/f"))
	must(t, os.Rename(src+"/f", src+"/mnt/moved"))
	run(t, "sync", "-a", "--delete", s.url, dst).ok()
	same(t, src, dst)
	if out, err := exec.Command("find", dst, "-name", ".ropeway*", "-not", "-path", dst+"/"+stateDir).Output(); err != nil || len(out) > 0 {
		t.Errorf("left behind: %s %v", out, err)
	}
	// What would have to be deleted is a mount point: it stays, and is named.
	must(t, os.RemoveAll(src+"/mnt"))
	r := run(t, "sync", "-a", "--delete", s.url, dst)
	if r.code != int(fault.Partial) || !strings.Contains(r.err, "mnt") {
		t.Errorf("%v", r)
	}
	run(t, "sync", "-a", "--delete", "--atomic", s.url, dst).refuses(fault.Usage, "mnt")
}
