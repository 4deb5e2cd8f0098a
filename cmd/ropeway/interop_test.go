//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
)

// rsyncSees fails the test if rsync finds a difference between two trees.
func rsyncSees(t *testing.T, src, dst string) {
	t.Helper()
	cmd := exec.Command("rsync", "-aXnic", "--delete", "--exclude=/"+stateDir, "--no-specials", "--no-devices", src+"/", dst+"/")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rsync: %v\n%s", err, out)
	}
	text := ""
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "skipping non-regular file") {
			text += line
		}
	}
	if text != "" {
		t.Errorf("rsync sees differences:\n%s", text)
	}
}

// TestInterop has rsync judge what came: a tree of everything odd is pulled,
// changed, pulled again, changed at the other end and pushed back.
func TestInterop(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("no rsync")
	}
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	spec := fstest.Torture(3, os.Geteuid() == 0)
	fstest.Tree(t, src, spec)
	s := serve(t, src, "--writable")
	run(t, "sync", "-a", "--delete", s.url, dst).ok()
	rsyncSees(t, src, dst)

	change := func(root, mark string) {
		fstest.Tree(t, root, fstest.Spec{
			"new-" + mark + "/a":     fstest.File("new " + mark),
			"sizes/empty":            fstest.File("no longer empty " + mark),
			"sizes/01048577":         fstest.Random(1<<20+1, 99),
			"links/file":             fstest.File("another target"),
			"names/new\nline":        fstest.File("changed"),
			"sparse/striped":         fstest.Sparse(5<<20, 8, fstest.Range{Start: 2 << 20, End: 2<<20 + 5}),
			"times/file-03":          fstest.File("time").At(-77, 7),
			"modes/dir-0755":         fstest.Dir().Mode(0o711),
			"wide/001":               fstest.File("x").Mode(0o600),
			"moved-" + mark + "/x/y": fstest.File("y"),
		})
		must(t, os.RemoveAll(root+"/dirs/ leading"))
		must(t, os.RemoveAll(root+"/empty/a"))
		must(t, os.Rename(root+"/sizes/same-1", root+"/moved-"+mark+"/same"))
		must(t, os.Remove(root+"/links/to-file"))
		must(t, os.Mkdir(root+"/links/to-file", 0o755))
		must(t, os.Remove(root+"/links/dangling"))
		must(t, os.Symlink("elsewhere", root+"/links/dangling"))
	}
	change(src, "one")
	run(t, "sync", "-a", "--delete", s.url, dst).ok()
	rsyncSees(t, src, dst)

	must(t, os.RemoveAll(dst+"/links/to-file"))
	must(t, os.Symlink("file", dst+"/links/to-file"))
	must(t, os.Rename(dst+"/moved-one/same", dst+"/sizes/same-1"))
	must(t, os.MkdirAll(dst+"/empty/a", 0o755))
	change(dst, "two")
	for _, name := range []string{"2755", "4755", "6711"} { // a peer may not leave these
		must(t, os.RemoveAll(dst+"/modes/file-"+name))
	}
	must(t, os.Remove(src+"/special/fifo")) // neither sent nor deleted
	run(t, "sync", "-a", "--delete", dst+"/", s.url).ok()
	rsyncSees(t, dst, src)
	if r := run(t, "sync", "-a", "--delete", s.url, dst).ok(); !strings.Contains(r.out, "nothing to do") {
		t.Errorf("something was to do: %v", r)
	}
}

// TestAtomicPush has the tree that a server serves exchanged under it.
func TestAtomicPush(t *testing.T) {
	t.Parallel()
	src, served, dst := dir(t), filepath.Join(dir(t), "served"), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, release(1))
	fstest.Tree(t, served, fstest.Spec{"old": fstest.File("old")})
	s := serve(t, served, "--writable")
	for n := range 3 {
		write(t, src+"/version", strings.Repeat("v", n))
		run(t, "sync", "-a", "--delete", "--atomic", src+"/", s.url).ok()
		same(t, src, served)
		run(t, "sync", "-a", "--delete", s.url, dst).ok()
		same(t, src, dst)
		if r := run(t, "ls", s.url).ok(); !strings.Contains(r.out, "version") {
			t.Errorf("lists the old tree: %v", r)
		}
	}
}

// TestPushedSetID has a peer that would leave setuid files behind.
func TestPushedSetID(t *testing.T) {
	t.Parallel()
	src, served := dir(t), dir(t)
	fstest.Tree(t, src, fstest.Spec{"suid": fstest.File("x").Mode(0o4755), "sgid": fstest.File("x").Mode(0o2755)})
	s := serve(t, served, "--writable")
	r := run(t, "sync", "-a", src+"/", s.url)
	if r.code != 0 && r.code != int(fault.Partial) {
		t.Errorf("%v", r)
	}
	for _, name := range []string{"suid", "sgid"} {
		info, err := os.Stat(served + "/" + name)
		must(t, err)
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
			t.Errorf("%s is %v", name, info.Mode())
		}
	}
	if r := run(t, "sync", "-a", src+"/", s.url); r.code != 0 {
		t.Errorf("again: %v", r)
	}
}
