package demo

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func archive(t *testing.T, j jar) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := j.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestJarHasItsSizeAndIsTheSameTwice(t *testing.T) {
	for _, size := range []int64{minJar, minJar + 1, 99_999, 1_000_003} {
		for version := 1; version <= 2; version++ {
			j := jar{size: size, seed: 7, version: version}
			a := archive(t, j)
			if int64(len(a)) != size {
				t.Errorf("%+v has %d bytes", j, len(a))
			}
			if !bytes.Equal(a, archive(t, j)) {
				t.Errorf("%+v is not the same twice", j)
			}
			readAll(t, a)
			j.seed++
			if bytes.Equal(a, archive(t, j)) {
				t.Error("the seed does not matter")
			}
		}
	}
	for _, size := range []int64{-1, 0, minJar - 1, maxJar + 1} {
		if (jar{size: size}).write(io.Discard) == nil {
			t.Errorf("a jar of %d bytes", size)
		}
	}
}

func TestWholeJarHasItsSize(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 60 MB")
	}
	var n counter
	if err := (jar{size: 60_606_801, seed: 1, version: 1}).write(&n); err != nil || n != 60_606_801 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// readAll reads a zip archive as others do, checksums included.
func readAll(t *testing.T, b []byte) map[string][32]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][32]byte{}
	for _, f := range r.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		all[f.Name] = sha256.Sum256(data)
	}
	return all
}

func TestJarVersionsShareMostEntries(t *testing.T) {
	j := jar{size: 2_000_000, seed: 1, version: 1}
	one := readAll(t, archive(t, j))
	j.version = 2
	two := readAll(t, archive(t, j))
	same, changed := 0, 0
	for name, sum := range one {
		if other, ok := two[name]; ok && other == sum {
			same++
		} else {
			changed++
		}
	}
	if changed < 5 || same < 8*changed {
		t.Errorf("%d entries are the same, %d are not", same, changed)
	}
}

// small makes a release of little.
func small(t *testing.T) (root string, j jar) {
	t.Helper()
	root, j = filepath.Join(t.TempDir(), "source"), jar{size: 100_000, seed: 3, version: 1}
	what, err := release(t.Context(), root, j, bounds{files: 400, bytes: 400_000, file: 10_000}, filepath.Join(root, "no such toolchain"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(what, "made-up") {
		t.Errorf("says of its source: %s", what)
	}
	return root, j
}

func look1(t *testing.T, root string) map[string]node {
	t.Helper()
	all, err := census(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMadeUpReleaseIsTheSameTwice(t *testing.T) {
	a, _ := small(t)
	b, _ := small(t)
	one, two := look1(t, a), look1(t, b)
	for _, all := range []map[string]node{one, two} {
		maps.DeleteFunc(all, func(name string, n node) bool { return n.mode.IsDir() || name == jarName }) // made now
	}
	if diff := compare(one, two); len(diff) > 0 {
		t.Error(diff)
	}
	if len(one) < 400 {
		t.Errorf("%d files", len(one))
	}
}

func TestCopyIsBoundedAndCanBeChanged(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	for i, name := range []string{"a/1", "a/2", "b/large", "cmd/x", "vendor/y", "z/3", "z/4"} {
		path := filepath.Join(from, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		size := 100
		if name == "b/large" {
			size = 2000
		}
		if err := os.WriteFile(path, make([]byte, size), 0o444); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1e9+int64(i), 5000)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := copyCode(t.Context(), from, to, bounds{files: 3, bytes: 1e6, file: 1000})
	if err != nil || n != 3 {
		t.Fatalf("%d files, %v", n, err)
	}
	got := look1(t, to)
	for _, name := range []string{"a/1", "a/2", "z/3"} {
		if n, ok := got[name]; !ok || n.mode.Perm()&0o600 != 0o600 || n.time.Unix() < 1e9 || n.time.Unix() > 1e9+9 {
			t.Errorf("%s: %+v", name, n)
		}
	}
	for _, name := range []string{"b/large", "cmd", "vendor", "z/4"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s was copied", name)
		}
	}
	if n, err := copyCode(t.Context(), from, t.TempDir(), bounds{files: 9, bytes: 250, file: 1000}); n != 2 || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := copyCode(ctx, from, t.TempDir(), bounds{files: 9, bytes: 1e6, file: 1000}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUpgradeDoesWhatItSays(t *testing.T) {
	root, j := small(t)
	before := look1(t, root)
	c, err := upgrade(t.Context(), root, j)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c)
	after := look1(t, root)
	if before[jarName].sum == after[jarName].sum || before[jarName].size != after[jarName].size {
		t.Error("the archive was not built anew")
	}
	count := func(all map[string]node) (n int) {
		for _, v := range all {
			if v.mode.IsRegular() {
				n++
			}
		}
		return n
	}
	if got, want := count(after), count(before)+c.added-c.deleted; got != want {
		t.Errorf("%d files instead of %d", got, want)
	}
	moved := 0
	for name := range after {
		if strings.HasPrefix(name, codeDir+"/moved/") && after[name].mode.IsRegular() {
			moved++
		}
	}
	if len(c.renamed) != 2 || moved < 10 || c.edited == 0 || c.added == 0 || c.deleted == 0 || c.modes == 0 {
		t.Errorf("%d moved: %+v", moved, c)
	}
}

func TestVerifierFindsEveryDifference(t *testing.T) {
	for name, change := range map[string]func(root string) error{
		"other content": func(root string) error { // of the same size, with the same times
			path := filepath.Join(root, jarName)
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(path, data, 0o644); err != nil {
				return err
			}
			return os.Chtimes(path, time.Time{}, info.ModTime())
		},
		"missing":           func(root string) error { return os.Remove(filepath.Join(root, jarName)) },
		"not in the source": func(root string) error { return os.Mkdir(filepath.Join(root, "x"), 0o755) },
		"mode":              func(root string) error { return os.Chmod(filepath.Join(root, jarName), 0o600) },
		"modified": func(root string) error {
			return os.Chtimes(filepath.Join(root, jarName), time.Time{}, time.Unix(1e9, 0))
		},
		"another target": func(root string) error {
			path := filepath.Join(root, linkName)
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("elsewhere", path)
		},
		"another type": func(root string) error {
			path := filepath.Join(root, jarName)
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o755)
		},
		"": func(root string) error { // what is not of the tree
			return os.MkdirAll(filepath.Join(root, stateDir, "x"), 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "mode" && os.PathSeparator == '\\' {
				t.Skip("there are none")
			}
			a, b := tree(t), tree(t)
			keep := look1(t, b)["."].time
			if err := change(b); err != nil {
				t.Skip(err)
			}
			if err := os.Chtimes(b, time.Time{}, keep); err != nil { // the change shows by itself
				t.Fatal(err)
			}
			p, err := identical(t.Context(), a, b)
			if name == "" {
				if err != nil || p.files != 1 || p.bytes != 5000 {
					t.Errorf("%+v, %v", p, err)
				}
				return
			}
			if fault.ClassOf(err) != fault.Integrity || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// tree makes a small tree that is the same each time.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	path := filepath.Join(root, jarName)
	if err := os.WriteFile(path, bytes.Repeat([]byte("ropeway!\n"), 600)[:5000], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, fs.FileMode(0o644)); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink(jarName, filepath.Join(root, linkName))
	for _, p := range []string{path, root} {
		if err := os.Chtimes(p, time.Time{}, madeAt); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
