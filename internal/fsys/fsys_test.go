package fsys

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// open returns a handle of a directory that holds spec, and its path.
func open(t testing.TB, spec fstest.Spec) (*Dir, string) {
	t.Helper()
	path := t.TempDir()
	fstest.Tree(t, path, spec)
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func list(t testing.TB, d *Dir) []string {
	t.Helper()
	var names []string
	check(t, d.Names(func(b []byte) error { names = append(names, string(b)); return nil }))
	slices.Sort(names)
	return names
}

func TestOnlyLeafNames(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/b": fstest.File("x"), "f": fstest.File("y")})
	mode := uint32(0o700)
	for _, name := range []string{"", ".", "..", "/", "a/b", "/a", "a/", "../x", "a\x00b", "\x00"} {
		for what, f := range map[string]func() error{
			"Child":      func() error { _, err := d.Child(name); return err },
			"Lstat":      func() error { _, err := d.Lstat(name); return err },
			"Readlink":   func() error { _, err := d.Readlink(name); return err },
			"OpenFile":   func() error { _, _, err := d.OpenFile(name); return err },
			"OpenFileRW": func() error { _, err := d.OpenFileRW(name); return err },
			"CreateFile": func() error { _, err := d.CreateFile(name, 0o600); return err },
			"Mkdir":      func() error { return d.Mkdir(name, 0o700) },
			"Symlink":    func() error { return d.Symlink("t", name) },
			"Link":       func() error { return d.Link(name, d, "g") },
			"Link to":    func() error { return d.Link("f", d, name) },
			"Rename":     func() error { return d.Rename(name, d, "g") },
			"Rename to":  func() error { return d.Rename("f", d, name) },
			"Remove":     func() error { return d.Remove(name) },
			"Rmdir":      func() error { return d.Rmdir(name) },
			"RemoveAll":  func() error { return d.RemoveAll(context.Background(), name) },
			"SetAttr":    func() error { return d.SetAttr(name, Attr{Mode: &mode}) },
			"Lock":       func() error { _, err := d.Lock(name); return err },
			"Parent":     func() error { _, _, err := NewTree(d).Parent("a/" + name + "/c"); return err },
		} {
			if err := f(); !errors.Is(err, ErrName) && !(what == "Parent" && IsNotExist(err)) {
				t.Errorf("%s(%q): %v", what, name, err)
			}
		}
	}
	for _, rel := range []string{"/", "/a", "a/", "a//b", "a/../a", "./a", "a/.", ".."} {
		if _, err := d.Descend(rel); !errors.Is(err, ErrName) {
			t.Errorf("Descend(%q): %v", rel, err)
		}
		if _, err := NewTree(d).Dir(rel); !errors.Is(err, ErrName) {
			t.Errorf("Tree.Dir(%q): %v", rel, err)
		}
	}
}

func TestOperations(t *testing.T) {
	d, path := open(t, nil)
	f, err := d.CreateFile("f", 0o640)
	check(t, err)
	_, err = f.WriteString("hello")
	check(t, err)
	check(t, f.Close())
	_, err = d.CreateFile("f", 0o640)
	wantErr(t, err, fs.ErrExist)

	f, info, err := d.OpenFile("f")
	check(t, err)
	b, err := io.ReadAll(f)
	check(t, err)
	check(t, f.Close())
	if string(b) != "hello" || info.Size != 5 || info.Type != manifest.File || info.Mode != 0o640 {
		t.Errorf("%q %+v", b, info)
	}
	f, err = d.OpenFileRW("f")
	check(t, err)
	_, err = f.WriteAt([]byte("J"), 0)
	check(t, err)
	check(t, f.Close())

	check(t, d.Mkdir("sub", 0o755))
	check(t, d.Symlink("../f", "l"))
	sub, err := d.Child("sub")
	check(t, err)
	defer sub.Close()
	if sub.Path() != path+"/sub" {
		t.Errorf("path %q", sub.Path())
	}
	check(t, d.Link("f", sub, "hard"))
	check(t, d.Rename("l", sub, "l"))
	target, err := sub.Readlink("l")
	check(t, err)
	if target != "../f" {
		t.Errorf("target %q", target)
	}
	if got := list(t, sub); !slices.Equal(got, []string{"hard", "l"}) {
		t.Errorf("%q", got)
	}
	wantErr(t, d.Rmdir("sub"), fs.ErrExist) // not empty
	if d.Remove("sub") == nil {
		t.Error("Remove removed a directory")
	}
	wantErr(t, d.Rmdir("f"), ErrNotDir)
	check(t, sub.Remove("hard"))
	check(t, sub.Remove("l"))
	check(t, d.Rmdir("sub"))
	check(t, d.Sync())
	if _, err := d.Lstat("sub"); !IsNotExist(err) || Class(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(path, "f")); string(got) != "Jello" {
		t.Errorf("%q", got)
	}
}

func TestSymlinksAreNotFollowed(t *testing.T) {
	d, _ := open(t, fstest.Spec{
		"real/f": fstest.File("x"), "to-dir": fstest.Link("real"), "to-file": fstest.Link("real/f"),
		"dangling": fstest.Link("new"), "loop": fstest.Link("loop"),
	})
	for _, name := range []string{"to-dir", "to-file", "dangling", "loop"} {
		_, err := d.Child(name)
		wantErr(t, err, ErrNotDir)
		_, err = d.Descend(name + "/f")
		wantErr(t, err, ErrNotDir)
		_, _, err = NewTree(d).Parent(name + "/f")
		wantErr(t, err, ErrNotDir)
		_, _, err = d.OpenFile(name)
		wantErr(t, err, ErrNotRegular)
		_, err = d.OpenFileRW(name)
		wantErr(t, err, ErrNotRegular)
		_, err = d.CreateFile(name, 0o600)
		wantErr(t, err, fs.ErrExist)
		_, err = d.Lock(name)
		if err == nil {
			t.Errorf("lock through the symlink %q", name)
		}
		info, err := d.Lstat(name)
		check(t, err)
		if info.Type != manifest.Symlink {
			t.Errorf("%q is a %v", name, info.Type)
		}
	}
	if _, err := d.Lstat("new"); !IsNotExist(err) {
		t.Errorf("something was created through a symlink: %v", err)
	}
	_, err := d.Descend("real/f")
	wantErr(t, err, ErrNotDir)
}

func TestTortureTree(t *testing.T) {
	d, path := open(t, fstest.Torture(1, os.Geteuid() == 0))
	want := fstest.Snapshot(t, path)
	seen := map[string]bool{".": true}
	var walk func(d *Dir, rel string)
	walk = func(d *Dir, rel string) {
		for _, name := range list(t, d) {
			p := name
			if rel != "" {
				p = rel + "/" + name
			}
			seen[p] = true
			info, err := d.Lstat(name)
			check(t, err)
			std, err := os.Lstat(filepath.Join(path, p))
			check(t, err)
			if !info.ModTime().Equal(std.ModTime()) || info.Size != std.Size() || info.Mode&0o777 != uint32(std.Mode().Perm()) {
				t.Errorf("%q: %+v, os says %v", p, info, std)
			}
			switch info.Type {
			case manifest.Dir:
				child, err := d.Child(name)
				check(t, err)
				walk(child, p)
				check(t, child.Close())
			case manifest.Symlink:
				target, err := d.Readlink(name)
				check(t, err)
				if std, _ := os.Readlink(filepath.Join(path, p)); std != target {
					t.Errorf("%q: target %q", p, target)
				}
			case manifest.File:
				f, _, err := d.OpenFile(name)
				check(t, err)
				check(t, f.Close())
			}
		}
	}
	walk(d, "")
	for p := range want {
		if !seen[p] {
			t.Errorf("%q was not listed", p)
		}
	}
	check(t, d.RemoveAll(context.Background(), "names"))
	for _, name := range list(t, d) {
		check(t, d.RemoveAll(context.Background(), name))
	}
	if left := list(t, d); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestNamesRewindsAndNests(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a": fstest.File(""), "b": fstest.File(""), "c": fstest.File("")})
	stop := errors.New("stop")
	wantErr(t, d.Names(func([]byte) error { return stop }), stop)
	dup, err := d.Descend("")
	check(t, err)
	defer dup.Close()
	count := 0
	check(t, d.Names(func([]byte) error { // inside of it, the same directory and its duplicate from the start
		count += len(list(t, d)) + len(list(t, dup))
		return nil
	}))
	if count != 3*6 {
		t.Errorf("%d names", count)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := len(list(t, d)); got != 3 {
					t.Errorf("%d names", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	d, _ := open(t, fstest.Spec{"f": fstest.File("")})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := d.Lstat("f"); err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	check(t, d.Close())
	wg.Wait()
	_, err := d.Lstat("f")
	wantErr(t, err, fs.ErrClosed)
	wantErr(t, d.Mkdir("x", 0o700), fs.ErrClosed)
	wantErr(t, d.Names(func([]byte) error { return nil }), fs.ErrClosed)
}

func TestCopyFile(t *testing.T) {
	const size = 3<<20 + 5
	d, _ := open(t, fstest.Spec{
		"dense":  fstest.Random(size, 1),
		"sparse": fstest.Sparse(size, 2, fstest.Range{Start: 0, End: 100}, fstest.Range{Start: 2 << 20, End: 2<<20 + 5000}),
		"hole":   fstest.Sparse(size, 3),
		"empty":  fstest.File(""),
		"long":   fstest.Random(2*size, 4),
	})
	for _, name := range []string{"dense", "sparse", "hole", "empty", "long"} {
		src, info, err := d.OpenFile(name)
		check(t, err)
		size := min(info.Size, size)
		dst, err := d.CreateFile("copy", 0o600)
		check(t, err)
		_, err = dst.WriteAt(bytes.Repeat([]byte("old"), 4<<20/3), 0)
		check(t, err)
		reflinked, err := CopyFile(dst, src, size)
		check(t, err)
		t.Logf("%s: reflinked %v", name, reflinked)
		want, err := io.ReadAll(io.NewSectionReader(src, 0, size))
		check(t, err)
		got, err := io.ReadAll(io.NewSectionReader(dst, 0, 1<<30))
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes differ from %d", name, len(got), len(want))
		}
		_, err = CopyFile(dst, src, info.Size+1)
		wantErr(t, err, io.ErrUnexpectedEOF)
		check(t, copyPlain(dst, src, 0, info.Size))
		wantErr(t, copyPlain(dst, src, 0, info.Size+1), io.ErrUnexpectedEOF)
		check(t, src.Close())
		check(t, dst.Close())
		check(t, d.Remove("copy"))
	}
}

func TestRemoveAllStops(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/b/c": fstest.File("")})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantErr(t, d.RemoveAll(ctx, "a"), context.Canceled)
	check(t, d.RemoveAll(context.Background(), "a"))
	check(t, d.RemoveAll(context.Background(), "a")) // gone already
}

func TestRemoveAllDeep(t *testing.T) {
	d, _ := open(t, nil)
	cur, err := d.Descend("")
	check(t, err)
	for range 400 { // far longer than any path that the system takes
		name := strings.Repeat("d", 200)
		check(t, cur.Mkdir(name, 0o755))
		f, err := cur.CreateFile("f", 0o600)
		check(t, err)
		check(t, f.Close())
		next, err := cur.Child(name)
		check(t, err)
		check(t, cur.Close())
		cur = next
	}
	check(t, cur.Close())
	check(t, d.Mkdir("top", 0o755))
	top, err := d.Child("top")
	check(t, err)
	check(t, d.Rename(strings.Repeat("d", 200), top, "x"))
	check(t, top.Close())
	check(t, d.RemoveAll(context.Background(), "top"))
	if left := list(t, d); !slices.Equal(left, []string{"f"}) {
		t.Errorf("left: %q", left)
	}
}

func TestWindowsNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "con1": true, "COM": true, "com10": true, ".a": true, "a b": true, "日本": true, "console.log": true,
		"a:b": false, `a\b`: false, "a.": false, "a ": false, "con": false, "NUL.txt": false, "Com1": false, "lpt9.x.y": false,
		"aux ": false, "COM¹": false, "a\x01": false, "\xff": false, "a|b": false, "con .txt": false, "CONIN$": false,
	} {
		if err := checkWindowsName(name); (err == nil) != ok || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestClass(t *testing.T) {
	for _, c := range []struct {
		err  error
		want fault.Class
	}{
		{nil, fault.OK}, {&LockedError{}, fault.Busy}, {fs.ErrPermission, fault.Denied}, {fs.ErrNotExist, fault.NotFound},
		{ErrNotDir, fault.NotFound}, {io.EOF, fault.Other}, {fault.New(fault.Limit, "", "x"), fault.Limit},
	} {
		if got := Class(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if runtime.GOOS != "windows" && IsFull(io.EOF) {
		t.Error("EOF is not a full disk")
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "a/b", "\x00", "con", "a.", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) == nil && (filepath.Clean("/x/"+name) != "/x/"+name || strings.ContainsAny(name, "/\x00")) {
			t.Errorf("%q is taken for a name", name)
		}
		if checkWindowsName(name) == nil && strings.ContainsAny(name, `\/:`) {
			t.Errorf("%q is taken for a name", name)
		}
	})
}
