package land

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// mount mounts a small file system in memory on dir.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("land-test", dir, "tmpfs", 0, options); err != nil {
		t.Skip("cannot mount:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestMountInside(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"m": fstest.Dir(), "f": fstest.File("1")}, fstest.Spec{
		"m": fstest.Dir(), "m/a": fstest.File("a").At(5, 6).Mode(0o040), "m/d/b": fstest.Random(200_000, 1), "m/link": fstest.Link("a"), "f": fstest.File("2"),
	})
	mount(t, filepath.Join(dst, "m"), "size=8m,mode=755")
	fstest.Tree(t, filepath.Join(dst, "m"), fstest.Spec{"a": fstest.File("old"), "link": fstest.Link("old"), "d": fstest.File("x"), "gone/x": fstest.File("x")})
	left := filepath.Join(dst, "m", carriedName("m/a"))
	if err := os.WriteFile(left, []byte("a copy that was interrupted"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := newJob(t, src, dst)
	j.protect = "m/" + filepath.Base(left)
	j.must()
	same(t, src, dst)
	checkIndex(t, dst, scan(t, src), false)

	j.o.Atomic = true
	if err := os.WriteFile(filepath.Join(src, "f"), []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := j.run(); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "mounted") {
		t.Error("atomic with a mount inside:", err)
	}
}

func TestReadOnlyMountInside(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"m": fstest.Dir()}, fstest.Spec{"m/a": fstest.File("a"), "f": fstest.File("2")})
	m := filepath.Join(dst, "m")
	mount(t, m, "size=1m,mode=755")
	if err := unix.Mount("", m, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m"); err != nil {
		t.Skip("cannot remount:", err)
	}
	j := newJob(t, src, dst)
	res, err := j.run()
	if err != nil || res.Failed == 0 {
		t.Fatal(res, err)
	}
	if b, err := os.ReadFile(filepath.Join(dst, "f")); string(b) != "2" {
		t.Error("the rest did not land", err)
	}
	if _, err := Open(context.Background(), Options{Dest: m}); fault.ClassOf(err) != fault.Denied {
		t.Error("read-only destination:", err)
	}
}

func TestAtomicRefusesMounts(t *testing.T) {
	dst := t.TempDir()
	mount(t, dst, "size=1m")
	for _, dry := range []bool{false, true} {
		if _, err := Open(context.Background(), Options{Dest: dst, Atomic: true, DryRun: dry}); fault.ClassOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Error(err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{}, fstest.Spec{"big": fstest.Random(3<<20, 1), "small": fstest.File("s")})
	mount(t, dst, "size=2m,mode=755")
	for _, how := range []string{"staged", "bytes"} {
		j := newJob(t, src, dst)
		j.how = how
		_, err := j.run()
		if fault.ClassOf(err) != fault.Limit || !strings.Contains(err.Error(), "full") || fault.HintOf(err) == "" {
			t.Error(how, err)
		}
		if how == "staged" {
			a, err := Open(context.Background(), j.o)
			if err != nil {
				t.Fatal(err)
			}
			s, err := a.Stage("big", 3<<20)
			if err != nil {
				t.Fatal(err)
			}
			kept := int64(0)
			if err := s.Ranges(func(start, end int64) error { kept += end - start; return nil }); err != nil || kept == 0 {
				t.Error("kept", kept, err)
			}
			if err := a.Preflight(3<<20, 1); fault.ClassOf(err) != fault.Limit {
				t.Error(err)
			}
			if err := a.Preflight(0, 1<<40); fault.ClassOf(err) != fault.Limit || !strings.Contains(err.Error(), "inodes") {
				t.Error(err)
			}
			if err := s.Discard(); err != nil {
				t.Error(err)
			}
			a.Close()
		}
	}
}

// TestFullDiskWhileLanding fills a file system inside the destination: the
// landing ends there and goes on when there is room.
func TestFullDiskWhileLanding(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"m": fstest.Dir()}, fstest.Spec{"m/big": fstest.Random(3<<20, 1), "z": fstest.File("z")})
	m := filepath.Join(dst, "m")
	mount(t, m, "size=2m,mode=755")
	j := newJob(t, src, dst)
	if _, err := j.run(); fault.ClassOf(err) != fault.Limit {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), j.o); fault.ClassOf(err) != fault.Limit {
		t.Error(err)
	}
	if err := unix.Mount("", m, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if j.recover() == nil {
		t.Error("not recovered")
	}
	same(t, src, dst)
}

func TestTempDirElsewhere(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		src, dst := dirs(t, before, after)
		tmp := t.TempDir()
		mount(t, tmp, "size=8m,mode=755")
		j := newJob(t, src, dst)
		j.o.TempDir, j.o.Atomic = tmp, atomic
		j.must()
		same(t, src, dst)
		checkIndex(t, dst, scan(t, src), false)
		if left, _ := os.ReadDir(tmp); len(left) > 0 {
			t.Error("left", left)
		}
	}
}

func TestTempDirOfOthersIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make something that belongs to others")
	}
	top := t.TempDir()
	dst, tmp := filepath.Join(top, "dst"), filepath.Join(top, "tmp")
	fstest.Tree(t, top, fstest.Spec{"dst": fstest.Dir(), "tmp": fstest.Dir().Mode(0o1777)})
	trap := filepath.Join(tmp, tempName(dst))
	if err := os.Mkdir(trap, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(trap, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Options{Dest: dst, TempDir: tmp}); fault.ClassOf(err) != fault.Denied {
		t.Error(err)
	}
	// So is a state directory that someone else has made, with a list of things to do.
	state := filepath.Join(dst, StateDir)
	fstest.Tree(t, state, fstest.Spec{"ready": fstest.File(`{"Version":0}`)})
	if err := os.Chown(state, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Options{Dest: dst}); fault.ClassOf(err) != fault.Denied {
		t.Error(err)
	}
}

// TestPlantedSymlink swaps directories for symlinks between the mark and the
// burst: nothing may land, be changed or be deleted behind them.
func TestPlantedSymlink(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"d/old": fstest.File("old"), "d/gone": fstest.File("g"), "d/attr": fstest.File("a"), "d/e/f": fstest.File("1")},
		fstest.Spec{"d": fstest.Dir().Mode(0o700), "d/old": fstest.File("new"), "d/attr": fstest.File("a").Mode(0o600), "d/e/f": fstest.File("2"), "d/link": fstest.Link("x"), "z": fstest.File("z")})
	outside := t.TempDir()
	fstest.Tree(t, outside, fstest.Spec{"old": fstest.File("o"), "gone": fstest.File("g"), "attr": fstest.File("a"), "e/f": fstest.File("f")})
	was, _ := fstest.Describe(outside)
	j := newJob(t, src, dst)
	j.before = func(*Area) {
		d := filepath.Join(dst, "d")
		if err := os.Rename(d, d+"-moved"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, d); err != nil {
			t.Fatal(err)
		}
	}
	res, err := j.run()
	if err != nil || res.Failed == 0 {
		t.Fatal(res, err)
	}
	is, _ := fstest.Describe(outside)
	fstest.Equal(t, was, is)
	if b, err := os.ReadFile(filepath.Join(dst, "z")); string(b) != "z" {
		t.Error("the rest did not land", err)
	}
}

func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	modes(t, func(t *testing.T, atomic bool) {
		src, dst := dirs(t, before, after)
		for i, p := range []string{"", "same", "content", "link", "link-to-dir", "closed/new", "attr"} {
			if err := os.Lchown(filepath.Join(src, p), 1000+i, 2000+i); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(src, "content"), 0o4755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(filepath.Join(src, "content"), 0o4755); err != nil {
			t.Fatal(err)
		}
		j := newJob(t, src, dst)
		j.o.Atomic, j.o.NumericIDs = atomic, true
		j.o.Mask |= manifest.Owner | manifest.Group
		res := j.must()
		if res.OwnerSkipped != 0 {
			t.Error(res)
		}
		want, got := scan(t, src), scan(t, dst)
		for i := range want {
			if want[i].Entry != got[i].Entry {
				t.Errorf("want %+v\ngot  %+v", want[i].Entry, got[i].Entry)
			}
		}
	})
}

// TestAsNobody runs the tests without privileges.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("runs as another user already")
	}
	dir, err := os.MkdirTemp("", "land-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "test")
	if err := copyFile(bin, self); err != nil {
		t.Fatal(err)
	}
	for _, tests := range []string{
		"^(TestLand|TestTorture|TestEarly.*|TestWithoutPerm|TestProtected|TestStaging.*|TestOmit.*|TestTempDir|TestClosedFile|TestUnprivileged.*)$",
		"^TestCrashAnywhere$/^(burst|atomic|early|without_perm)$",
		"^TestCrashInRecovery$/^(burst|atomic)$",
	} {
		cmd := exec.Command(bin, "-test.run="+tests, "-test.parallel=8", "-test.v")
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%s: %v\n%s", tests, err, failures(out))
		}
	}
}

// failures leaves out what a verbose test says of success.
func failures(out []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if s := strings.TrimSpace(line); !strings.HasPrefix(s, "===") && !strings.HasPrefix(s, "--- PASS") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

func TestUnprivilegedOwners(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("runs from TestAsNobody")
	}
	src, dst := dirs(t, before, after)
	j := newJob(t, src, dst)
	j.o.Mask |= manifest.Owner | manifest.Group
	j.o.NumericIDs = true
	a, err := Open(context.Background(), j.o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	final, ops := j.plan(a)
	for i := range final {
		final[i].UID, final[i].GID = 0, 0
	}
	n := int64(0)
	for i := range ops {
		op := &ops[i]
		op.Entry.UID, op.Entry.GID = 0, 0
		if op.Kind == OpFile {
			if err := j.stage(a, &op.Entry); err != nil {
				t.Fatal(err)
			}
		}
		if op.Kind != OpDelete {
			n++
		}
		if err := a.Add(op); err != nil {
			t.Fatal(err)
		}
	}
	res, err := a.Land(context.Background(), manifest.Slice(final), final[0].Digest, 7)
	if err != nil || res.Failed != 0 || res.OwnerSkipped < n {
		t.Error(n, res, err)
	}
	same(t, src, dst)
}

func TestUnprivilegedRefusals(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("runs from TestAsNobody")
	}
	ctx := context.Background()
	top := t.TempDir()
	fstest.Tree(t, top, fstest.Spec{"closed": fstest.Dir().Mode(0o555), "closed/dst": fstest.Dir(), "own": fstest.Dir().Mode(0o555)})
	if _, err := Open(ctx, Options{Dest: filepath.Join(top, "closed/dst"), Atomic: true}); fault.ClassOf(err) != fault.Denied || fault.HintOf(err) == "" {
		t.Error("atomic below a closed parent:", err)
	}
	if _, err := Open(ctx, Options{Dest: filepath.Join(top, "closed/new")}); fault.ClassOf(err) != fault.Denied {
		t.Error("new below a closed parent:", err)
	}
	if _, err := Open(ctx, Options{Dest: "/usr"}); fault.ClassOf(err) != fault.Denied {
		t.Error("another's directory:", err)
	}
	a, err := Open(ctx, Options{Dest: filepath.Join(top, "own")})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if info, err := os.Stat(filepath.Join(top, "own")); err != nil || info.Mode().Perm() != 0o555 {
		t.Error("own closed destination:", info.Mode(), err)
	}
}

func TestImmutableFileFailsAlone(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"i": fstest.File("1"), "gone": fstest.File("1")}, fstest.Spec{"i": fstest.File("2"), "z": fstest.File("z")})
	for _, p := range []string{"i", "gone"} {
		f, err := os.Open(filepath.Join(dst, p))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const immutable = 0x10
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
			t.Skip("no immutable files here:", err)
		}
		defer func() { _ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) }()
	}
	j := newJob(t, src, dst)
	res, err := j.run()
	if err != nil || res.Failed != 2 || res.Landed < 1 {
		t.Fatal(res, err)
	}
	if !slices.ContainsFunc(j.events, func(e event.Event) bool { w, ok := e.(event.Warn); return ok && w.Partial && w.Path == "i" }) {
		t.Error("no warning")
	}
}
