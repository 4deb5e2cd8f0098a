package fsys

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestTree(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/b/f": fstest.File("1"), "a/c/f": fstest.File("22"), "a/f": fstest.File("333"), "z": fstest.File("4444")})
	tree := NewTree(d)
	defer tree.Close()
	for _, c := range []struct {
		path string
		size int64
	}{{"a/b/f", 1}, {"a/c/f", 2}, {"a/f", 3}, {"z", 4}, {"a/b/f", 1}} {
		dir, leaf, err := tree.Parent(c.path)
		check(t, err)
		info, err := dir.Lstat(leaf)
		check(t, err)
		if info.Size != c.size {
			t.Errorf("%q: %d bytes", c.path, info.Size)
		}
	}
	_, _, err := tree.Parent("")
	wantErr(t, err, ErrName)
	root, err := tree.Dir("")
	check(t, err)
	if root != d {
		t.Error("\"\" is not the root")
	}
	_, _, err = tree.Parent("a/nowhere/f")
	if !IsNotExist(err) {
		t.Error(err)
	}
	_, _, err = tree.Parent("a/f/x")
	wantErr(t, err, ErrNotDir)
}

func TestTreeForgets(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/b/old": fstest.File(""), "new/b/new": fstest.File("")})
	tree := NewTree(d)
	defer tree.Close()
	has := func(path string, want bool) {
		t.Helper()
		dir, leaf, err := tree.Parent(path)
		check(t, err)
		if _, err := dir.Lstat(leaf); (err == nil) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
	has("a/b/old", true)
	tree.Forget("a/bb")
	tree.Forget("a/b/c/d")
	tree.Forget("x")
	if len(tree.stack) != 2 {
		t.Errorf("%d levels after forgetting others", len(tree.stack))
	}
	tree.Forget("a")
	check(t, d.RemoveAll(context.Background(), "a"))
	check(t, d.Rename("new", d, "a"))
	has("a/b/new", true)
	has("a/b/old", false)
	tree.Forget("")
	if len(tree.stack) != 0 {
		t.Error("something is left")
	}
}

func TestTreeBoundsHandles(t *testing.T) {
	d, _ := open(t, nil)
	tree := NewTree(d)
	defer tree.Close()
	var paths []string
	path := ""
	for range manifest.MaxDepth - 1 {
		dir, err := tree.Dir(path)
		check(t, err)
		check(t, dir.Mkdir("d", 0o755))
		path = strings.TrimPrefix(path+"/d", "/")
		paths = append(paths, path)
		if tree.open > maxOpen {
			t.Fatalf("%d handles", tree.open)
		}
	}
	for len(paths) > 0 { // on the way back, levels are opened again
		last := paths[len(paths)-1]
		paths = paths[:len(paths)-1]
		dir, leaf, err := tree.Parent(last)
		check(t, err)
		check(t, dir.Rmdir(leaf))
		if tree.open > maxOpen {
			t.Fatalf("%d handles", tree.open)
		}
	}
}

// TestTreeAgrees compares a Tree with descending anew for each path.
func TestTreeAgrees(t *testing.T) {
	d, _ := open(t, fstest.Spec{"a/a/a/a": fstest.Dir(), "a/b/a": fstest.Dir(), "b/a/b": fstest.Dir(), "b/b": fstest.File("")})
	tree := NewTree(d)
	defer tree.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var parts []string
		for range rng.IntN(6) {
			parts = append(parts, []string{"a", "b", "c"}[min(rng.IntN(7)/3, 2)])
		}
		path := strings.Join(parts, "/")
		if rng.IntN(10) == 0 {
			tree.Forget(path)
		}
		got, gotErr := tree.Dir(path)
		want, wantErr := d.Descend(path)
		if (gotErr == nil) != (wantErr == nil) || errors.Is(gotErr, ErrNotDir) != errors.Is(wantErr, ErrNotDir) {
			t.Fatalf("%q: %v, want %v", path, gotErr, wantErr)
		}
		if gotErr != nil {
			continue
		}
		a, err := got.Stat()
		check(t, err)
		b, err := want.Stat()
		check(t, err)
		if a != b {
			t.Fatalf("%q: %+v, want %+v", path, a, b)
		}
		check(t, want.Close())
	}
}
