//go:build !osroot

package fsys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// asUser runs f as a user without privileges; dir is given to that user.
func asUser(t *testing.T, dir string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const uid = 65534
	check(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Lchown(p, uid, uid)) }))
	check(t, os.Chmod(filepath.Dir(dir), 0o755)) // the test's own directory
	done := make(chan struct{})
	dropped := false
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with its identity
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, uid, uid, uid}, {unix.SYS_SETRESUID, uid, uid, uid}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				return
			}
		}
		dropped = true
		f()
	}()
	<-done
	if !dropped {
		t.Skip("root cannot become another user here")
	}
}

// mount mounts a tmpfs with options on path until t ends.
func mount(t *testing.T, path, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		t.Skip("mounting is not allowed:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func TestNamesIsConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("200,000 files")
	}
	d, _ := open(t, nil)
	const count = 200_000
	from := ""
	for i := range count { // links, since new inodes cost more
		name := fmt.Sprintf("%s-%07d", strings.Repeat("n", 20), i)
		if i%(count/8) == 0 {
			check(t, d.Mknod(name, manifest.Fifo, 0o600, 0))
			from = name
			continue
		}
		check(t, d.Link(from, d, name))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	check(t, d.Names(func([]byte) error { n++; return nil }))
	runtime.ReadMemStats(&after)
	if n != count {
		t.Errorf("%d names", n)
	}
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 256<<10 {
		t.Errorf("%d bytes allocated", bytes)
	}
	top, err := OpenDir(filepath.Dir(d.Path()))
	check(t, err)
	defer top.Close()
	check(t, top.RemoveAll(context.Background(), filepath.Base(d.Path())))
}

func TestExchange(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/in-a": fstest.File(""), "b": fstest.Link("x")})
	check(t, d.Exchange("a", d, "b"))
	a, err := d.Lstat("a")
	check(t, err)
	b, err := d.Child("b")
	check(t, err)
	defer b.Close()
	if a.Type != manifest.Symlink || !slices.Equal(list(t, b), []string{"in-a"}) {
		t.Errorf("%+v", a)
	}
	wantErr(t, d.Exchange("a", d, "nowhere"), fs.ErrNotExist)
}

func TestFullDisk(t *testing.T) {
	path := t.TempDir()
	mount(t, path, "size=1m,nr_inodes=20")
	d, err := OpenDir(path)
	check(t, err)
	defer d.Close()
	bytesFree, inodes, err := d.Free()
	check(t, err)
	if bytesFree != 1<<20 || inodes == 0 || inodes > 20 {
		t.Errorf("%d bytes, %d inodes", bytesFree, inodes)
	}
	f, err := d.CreateFile("f", 0o600)
	check(t, err)
	defer f.Close()
	_, err = f.Write(make([]byte, 2<<20))
	if !IsFull(err) {
		t.Errorf("writing: %v", err)
	}
	src, err := os.CreateTemp(t.TempDir(), "")
	check(t, err)
	defer src.Close()
	_, err = src.Write(bytes.Repeat([]byte("x"), 2<<20))
	check(t, err)
	if _, err := CopyFile(f, src, 2<<20); !IsFull(err) {
		t.Errorf("copying: %v", err)
	}
	for i := range 30 {
		if err = d.Mkdir(fmt.Sprint(i), 0o700); err != nil {
			break
		}
	}
	if !IsFull(err) || Class(err).String() != "limit" {
		t.Errorf("directories: %v", err)
	}
	if free, _, err := d.Free(); err != nil || free > 1<<19 {
		t.Errorf("%d bytes free, %v", free, err)
	}
}

func TestFreeAndFineTimes(t *testing.T) {
	d, _ := open(t, nil)
	b, inodes, err := d.Free()
	check(t, err)
	if b == 0 || inodes == 0 || b == math.MaxUint64 {
		t.Errorf("%d bytes, %d inodes", b, inodes)
	}
	t.Logf("fine times: %v", d.FineTimes())
	check(t, d.SyncFS())
	proc, err := OpenDir("/proc")
	check(t, err)
	defer proc.Close()
	if proc.FineTimes() {
		t.Error("/proc has fine times")
	}
}

func TestDataRanges(t *testing.T) {
	const size = 4 << 20
	d, _ := open(t, fstest.Spec{
		"sparse": fstest.Sparse(size, 1, fstest.Range{Start: 1 << 20, End: 1<<20 + 4096}, fstest.Range{Start: 3 << 20, End: size}),
		"dense":  fstest.Random(1000, 2), "empty": fstest.File(""), "hole": fstest.Sparse(size, 3),
	})
	ranges := func(name string) (got [][2]int64, pos int64) {
		f, err := d.OpenFileRW(name)
		check(t, err)
		defer f.Close()
		_, err = f.Seek(7, io.SeekStart)
		check(t, err)
		check(t, DataRanges(f, func(a, b int64) error { got = append(got, [2]int64{a, b}); return nil }))
		pos, err = f.Seek(0, io.SeekCurrent)
		check(t, err)
		return got, pos
	}
	got, pos := ranges("sparse")
	if pos != 7 {
		t.Errorf("position %d", pos)
	}
	sum := int64(0)
	for _, r := range got {
		sum += r[1] - r[0]
	}
	if len(got) == 0 || got[len(got)-1][1] != size || sum < 1<<20 {
		t.Errorf("%v", got)
	}
	t.Logf("data: %v", got)
	if got, _ := ranges("dense"); !slices.Equal(got, [][2]int64{{0, 1000}}) {
		t.Errorf("%v", got)
	}
	if got, _ := ranges("empty"); len(got) != 0 {
		t.Errorf("%v", got)
	}
	src, _, err := d.OpenFile("sparse")
	check(t, err)
	defer src.Close()
	dst, err := d.CreateFile("copy", 0o600)
	check(t, err)
	defer dst.Close()
	_, err = CopyFile(dst, src, size)
	check(t, err)
	var st unix.Stat_t
	check(t, unix.Fstat(int(dst.Fd()), &st))
	if st.Blocks*512 > 2<<20 {
		t.Errorf("the copy takes %d bytes: holes were filled", st.Blocks*512)
	}
	stop := errors.New("stop")
	wantErr(t, DataRanges(src, func(_, _ int64) error { return stop }), stop)
}

func TestHandlesAreClosed(t *testing.T) {
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		check(t, err)
		return len(e)
	}
	before := count()
	path := t.TempDir()
	fstest.Tree(t, path, fstest.Torture(2, false))
	d, err := OpenDir(path)
	check(t, err)
	for range 20 {
		_, _ = d.Descend("links/to-dir/x")
		_, _ = d.Descend("deep/0/1/2/nothing")
		_, _, _ = d.OpenFile("links")
		_, _ = d.Lock("links")
		sub, err := d.Descend("deep/0/1/2/3/4")
		check(t, err)
		check(t, sub.Close())
		wantErr(t, sub.Close(), fs.ErrClosed)
		tree := NewTree(d)
		_, err = tree.Dir("deep/0/1/2/3")
		check(t, err)
		tree.Close()
	}
	check(t, d.RemoveAll(context.Background(), "deep"))
	check(t, d.Close())
	if after := count(); after != before {
		t.Errorf("%d handles, were %d", after, before)
	}
}

func TestLockAcrossProcesses(t *testing.T) {
	if dir := os.Getenv("FSYS_TEST_LOCK"); dir != "" { // the other process
		d, err := OpenDir(dir)
		check(t, err)
		l, err := d.Lock("lock")
		var locked *LockedError
		if errors.As(err, &locked) {
			fmt.Printf("held by %q\n", locked.Text)
			return
		}
		check(t, err)
		text, err := l.ReadText()
		check(t, err)
		fmt.Printf("free, was %q\n", text)
		check(t, l.SetText("child"))
		return // and dies with it
	}
	d, path := open(t, nil)
	other := func(want string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestLockAcrossProcesses$")
		cmd.Env = append(os.Environ(), "FSYS_TEST_LOCK="+path)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
	l, err := d.Lock("lock")
	check(t, err)
	check(t, l.SetText("a longer parent"))
	check(t, l.SetText("parent"))
	other(`held by "parent"`)
	_, err = d.Lock("lock") // nor twice in one process
	wantErr(t, err, ErrLocked)
	check(t, l.Unlock())
	other(`free, was "parent"`)
	l, err = d.Lock("lock")
	check(t, err)
	text, err := l.ReadText()
	check(t, err)
	if text != "child" {
		t.Errorf("%q", text)
	}
	// A file that is removed while it is locked locks nobody out.
	check(t, d.Remove("lock"))
	l2, err := d.Lock("lock")
	check(t, err)
	check(t, errors.Join(l.Unlock(), l2.Unlock()))
	info, err := d.Lstat("lock")
	check(t, err)
	if info.Mode != 0o600 {
		t.Errorf("mode %o", info.Mode)
	}
}

func FuzzDirent(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(make([]byte, 16), 24, 0, 4, 'a', 0, 0, 0, 0))
	f.Add(append(make([]byte, 16), 0, 0, 4, 'a', 0, 0, 0, 0))
	f.Add(append(make([]byte, 16), 255, 255, 4, 'a', 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, size, ok := dirent(b)
		if ok && (size <= 0 || size > len(b) || len(name) > size || bytes.IndexByte(name, 0) >= 0) {
			t.Errorf("%q, %d", name, size)
		}
	})
}

func BenchmarkLstat(b *testing.B) {
	d, _ := open(b, fstest.Spec{"some-usual-name.txt": fstest.File("")})
	b.Run("fstatat", func(b *testing.B) {
		for b.Loop() {
			_, _ = d.Lstat("some-usual-name.txt")
		}
	})
	b.Run("statx", func(b *testing.B) {
		for b.Loop() {
			var st unix.Statx_t
			_ = unix.Statx(d.fd, "some-usual-name.txt", unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st)
		}
	})
}
