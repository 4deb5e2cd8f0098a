package patchfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func silent(string, int64, int64) error { return nil }

// plant makes a tree: names that end with "/" are directories, contents that
// begin with "->" symlinks.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(root, 0o755))
	for name, content := range files {
		p := filepath.Join(root, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(p, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if target, is := strings.CutPrefix(content, "->"); is {
			must(t, os.Symlink(target, p))
			continue
		}
		must(t, os.WriteFile(p, []byte(content), 0o644))
		stamp(t, p, time.Unix(1_700_000_000, 0))
	}
	return root
}

func stamp(t *testing.T, p string, at time.Time) {
	t.Helper()
	must(t, os.Chtimes(p, at, at))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// describe lists what a tree holds.
func describe(t *testing.T, root string, times bool) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fmt.Fprintf(&b, "%s %s", rel, info.Mode())
		if times {
			fmt.Fprintf(&b, " %d", info.ModTime().UnixNano())
		}
		switch {
		case info.Mode().IsRegular():
			c, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", c)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			b.WriteString(" " + to)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func makePatch(t *testing.T, old, fresh string, o Options) ([]byte, *Report) {
	t.Helper()
	a, err := Walk(t.Context(), "OLD", old, true, silent)
	must(t, err)
	defer a.Close()
	b, err := Walk(t.Context(), "NEW", fresh, true, silent)
	must(t, err)
	defer b.Close()
	var buf bytes.Buffer
	r, err := Make(t.Context(), a, b, o, &buf, silent)
	must(t, err)
	if r.Patch != int64(buf.Len()) {
		t.Errorf("reported %d bytes, wrote %d", r.Patch, buf.Len())
	}
	return buf.Bytes(), r
}

func apply(t *testing.T, old string, p []byte, dest string) (*Result, error) {
	t.Helper()
	a, err := Walk(t.Context(), "OLD", old, false, silent)
	must(t, err)
	defer a.Close()
	r, err := Apply(t.Context(), a, bytes.NewReader(p), ApplyOptions{}, silent)
	if err != nil {
		if dest != "" {
			_, err2 := Apply(t.Context(), a, bytes.NewReader(p), ApplyOptions{Dest: dest, Name: "DEST"}, silent)
			if err2 == nil {
				t.Error("a dry run fails, the run does not")
			}
		}
		return nil, err
	}
	r2, err := Apply(t.Context(), a, bytes.NewReader(p), ApplyOptions{Dest: dest, Name: "DEST"}, silent)
	if err == nil && *r != *r2 {
		t.Errorf("a dry run says %+v, the run %+v", r, r2)
	}
	return r2, err
}

var oldTree = map[string]string{
	"same":   strings.Repeat("nothing happens here\n", 100),
	"edited": strings.Repeat("something happens here\n", 100),
	"moved":  "this file moves" + strings.Repeat(".", 300),
	"twice":  "this one is copied" + strings.Repeat("-", 300),
	"gone/a": "a", "gone/b/c": "c",
	"kind":      "a file becomes a directory",
	"dir/":      "",
	"was/inner": "a directory becomes a file",
	"link":      "->same",
	"stale":     "->gone",
	"empty":     "",
	"script":    "#!/bin/sh\n",
	"touched":   "only its time changes",
}

var newTree = map[string]string{
	"same":         oldTree["same"],
	"edited":       strings.Replace(oldTree["edited"], "happens", "has happened", 3),
	"sub/moved to": oldTree["moved"],
	"twice":        oldTree["twice"], "twice.2": oldTree["twice"],
	"kind/inner": "a file becomes a directory",
	"was":        "a directory became a file",
	"dir/":       "",
	"dir/new":    "new content", "dir/newer": "new content",
	"link":  "->edited",
	"empty": "", "empty2": "",
	"script":  "#!/bin/sh\n",
	"touched": oldTree["touched"],
}

func TestTree(t *testing.T) {
	old, fresh := plant(t, oldTree), plant(t, newTree)
	must(t, os.Chmod(filepath.Join(fresh, "script"), 0o755))
	must(t, os.Chmod(filepath.Join(fresh, "dir"), 0o700))
	stamp(t, filepath.Join(fresh, "touched"), time.Unix(1_600_000_000, 123))
	for _, o := range []Options{{}, {NoTimes: true}, {Window: 400}} {
		p, r := makePatch(t, old, fresh, o)
		again, _ := makePatch(t, old, fresh, o)
		if !bytes.Equal(p, again) {
			t.Error("two patches differ")
		}
		dest := filepath.Join(t.TempDir(), "made")
		res, err := apply(t, old, p, dest)
		must(t, err)
		times := !o.NoTimes && runtime.GOOS != "windows"
		if got, want := describe(t, dest, times), describe(t, fresh, times); got != want {
			t.Errorf("%+v: made\n%s\nwant\n%s", o, got, want)
		}
		if res.Tree != r.Tree {
			t.Error("another tree")
		}
		if _, err := apply(t, old, p, dest); fault.ClassOf(err) != fault.Usage {
			t.Errorf("onto a directory: %v", err)
		}
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	_, r := makePatch(t, old, fresh, Options{})
	want := map[string]Method{
		"same": Same, "edited": Dict, "sub/moved to": Moved, "twice": Same, "twice.2": Copied, "kind/inner": Moved,
		"dir/newer": Copied, "touched": Same, "empty2": Copied,
	}
	for _, c := range r.Content {
		if m := want[c.Path]; m != "" && m != c.Method && (m != Dict || c.Method != ByteDiff) {
			t.Errorf("%s: %s, want %s", c.Path, c.Method, m)
		}
	}
	if r.Deleted != 4 || r.Attributes < 2 {
		t.Errorf("%d deleted, %d attributes", r.Deleted, r.Attributes)
	}
}

func TestFile(t *testing.T) {
	dir := plant(t, map[string]string{"a": oldTree["same"], "b": oldTree["same"] + "and more", "c": "in the way"})
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	p, r := makePatch(t, a, b, Options{})
	if r.Patch > 250 {
		t.Errorf("%d bytes", r.Patch)
	}
	for _, dest := range []string{c, filepath.Join(dir, "d"), a} { // replaced, new, in place
		_, err := apply(t, a, p, dest)
		must(t, err)
		if got, _ := os.ReadFile(dest); string(got) != newFile(b) {
			t.Errorf("%s holds %q", dest, got)
		}
	}
	must(t, os.WriteFile(a, []byte("something else"), 0o644))
	if _, err := apply(t, a, p, ""); fault.ClassOf(err) != fault.Integrity {
		t.Error(err)
	}
	same, _ := makePatch(t, b, b, Options{})
	_, err := apply(t, b, same, c)
	must(t, err)
	if _, err := apply(t, dir, p, ""); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}

func newFile(p string) string {
	b, _ := os.ReadFile(p)
	return string(b)
}

// TestDamaged flips, cuts and mixes up: never is anything made but the right tree.
func TestDamaged(t *testing.T) {
	old, fresh := plant(t, oldTree), plant(t, newTree)
	p, want := makePatch(t, old, fresh, Options{Window: 400})
	a, err := Walk(t.Context(), "OLD", old, false, silent)
	must(t, err)
	defer a.Close()
	if _, err := Apply(t.Context(), a, bytes.NewReader(append(bytes.Clone(p), 0)), ApplyOptions{}, silent); fault.ClassOf(err) != fault.Integrity {
		t.Errorf("with something behind: %v", err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		bad := bytes.Clone(p)
		if i%4 == 0 {
			bad = bad[:r.IntN(len(bad))]
		} else {
			bad[r.IntN(len(bad))] ^= byte(1 + r.IntN(255))
		}
		res, err := Apply(t.Context(), a, bytes.NewReader(bad), ApplyOptions{}, silent)
		var f *fault.Error
		switch {
		case err == nil && (res.Tree != want.Tree || len(bad) < len(p)):
			t.Fatalf("round %d: a damaged patch makes %v", i, res)
		case err != nil && !errors.As(err, &f):
			t.Errorf("round %d: %v has no class", i, err)
		}
	}
}

func TestAltered(t *testing.T) {
	fresh := plant(t, newTree)
	for name, alter := range map[string]func(t *testing.T, root string){
		"edited": func(t *testing.T, root string) {
			must(t, os.WriteFile(filepath.Join(root, "edited"), []byte("other"), 0o644))
		},
		"not ours": func(t *testing.T, root string) {
			must(t, os.WriteFile(filepath.Join(root, "same"), []byte("other"), 0o644))
		},
		"gone":  func(t *testing.T, root string) { must(t, os.Remove(filepath.Join(root, "moved"))) },
		"extra": func(t *testing.T, root string) { must(t, os.WriteFile(filepath.Join(root, "extra"), nil, 0o644)) },
	} {
		old := plant(t, oldTree)
		p, _ := makePatch(t, old, fresh, Options{})
		alter(t, old)
		dest := filepath.Join(t.TempDir(), "made")
		if _, err := apply(t, old, p, dest); fault.ClassOf(err) != fault.Integrity {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(dest); err == nil {
			t.Errorf("%s: something is there", name)
		}
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*"))
		if len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

func TestCancelled(t *testing.T) {
	old, fresh := plant(t, oldTree), plant(t, newTree)
	p, _ := makePatch(t, old, fresh, Options{})
	a, err := Walk(t.Context(), "OLD", old, false, silent)
	must(t, err)
	defer a.Close()
	dest := filepath.Join(t.TempDir(), "made")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Apply(ctx, a, bytes.NewReader(p), ApplyOptions{Dest: dest, Name: "DEST"}, func(_ string, files, _ int64) error {
		if files > 0 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if names, _ := os.ReadDir(filepath.Dir(dest)); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func FuzzApply(f *testing.F) {
	root := f.TempDir()
	old := filepath.Join(root, "old")
	if err := os.Mkdir(old, 0o755); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(old, name), []byte("content of "+name), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	tree, err := Walk(f.Context(), "OLD", old, true, silent)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(tree.Close)
	next := filepath.Join(root, "next")
	if err := os.CopyFS(next, os.DirFS(old)); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(next, "b"), []byte("content of new b"), 0o644); err != nil {
		f.Fatal(err)
	}
	fresh, err := Walk(f.Context(), "NEW", next, true, silent)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(fresh.Close)
	var buf bytes.Buffer
	if _, err := Make(f.Context(), tree, fresh, Options{}, &buf, silent); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add([]byte(magic + "\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := Apply(t.Context(), tree, bytes.NewReader(p), ApplyOptions{}, silent); err == nil && r.Files > 1000 {
			t.Error(r)
		}
	})
}
