// Package fstest makes trees of files for tests, from a description or as
// odd as file systems allow, and compares them. It works on paths and trusts
// them: it is for tests only.
package fstest

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Node describes one object. Make it with File, Random, Sparse, Dir, Link or
// Fifo.
type Node struct {
	kind   kind
	data   string
	size   int64 // random and sparse files
	seed   uint64
	mode   uint32
	timed  bool
	sec    int64
	nsec   int64
	ranges []Range
}

type kind uint8

const (
	text kind = iota
	random
	sparse
	dir
	link
	fifo
)

// Range is a range of bytes of a file, end excluded.
type Range struct{ Start, End int64 }

// Spec is a tree: slash-separated paths to what is there. Directories that
// are only implied have mode 0755. "." is the tree's root.
type Spec map[string]Node

// File is a file of mode 0644 that holds data.
func File(data string) Node { return Node{kind: text, data: data, mode: 0o644} }

// Random is a file of mode 0644 with size bytes that seed determines.
func Random(size int64, seed uint64) Node {
	return Node{kind: random, size: size, seed: seed, mode: 0o644}
}

// Sparse is a file of mode 0644 and size bytes that has random data in the
// ranges and holes elsewhere.
func Sparse(size int64, seed uint64, data ...Range) Node {
	return Node{kind: sparse, size: size, seed: seed, mode: 0o644, ranges: data}
}

// Dir is a directory of mode 0755.
func Dir() Node { return Node{kind: dir, mode: 0o755} }

// Link is a symlink to target.
func Link(target string) Node { return Node{kind: link, data: target} }

// Fifo is a named pipe of mode 0644.
func Fifo() Node { return Node{kind: fifo, mode: 0o644} }

// Mode returns the node with another mode, 07777.
func (n Node) Mode(mode uint32) Node { n.mode = mode; return n }

// At returns the node with a modification time: seconds since 1970 and
// nanoseconds.
func (n Node) At(sec, nsec int64) Node { n.sec, n.nsec, n.timed = sec, nsec, true; return n }

// Tree builds spec in root, which is created where it is missing, and fails
// t if it cannot. Directories without access are opened up when t ends.
func Tree(t testing.TB, root string, spec Spec) {
	t.Helper()
	if err := Build(root, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open(root) })
}

// Build is Tree without a test.
func Build(root string, spec Spec) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	var paths []string
	for p := range spec {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		if err := spec[p].make(filepath.Join(root, filepath.FromSlash(p))); err != nil {
			return fmt.Errorf("fstest: %q: %w", p, err)
		}
	}
	// Attributes come last and from the bottom up, since work inside changes a
	// directory's time and can need access.
	if _, ok := spec["."]; ok {
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == "." })
		paths = slices.Insert(paths, 0, ".")
	}
	for _, p := range slices.Backward(paths) {
		if err := spec[p].setAttrs(filepath.Join(root, filepath.FromSlash(p))); err != nil {
			return fmt.Errorf("fstest: %q: %w", p, err)
		}
	}
	return nil
}

func (n Node) make(path string) error {
	if n.kind == dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch n.kind {
	case link:
		return os.Symlink(n.data, path)
	case fifo:
		return mkfifo(path)
	case text:
		return os.WriteFile(path, []byte(n.data), 0o644)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	ranges := n.ranges
	if n.kind == random {
		ranges = []Range{{0, n.size}}
	} else if err := f.Truncate(n.size); err != nil {
		return err
	}
	for _, r := range ranges {
		_, err := io.Copy(io.NewOffsetWriter(f, r.Start), io.LimitReader(Noise(n.seed+uint64(r.Start)), r.End-r.Start))
		if err != nil {
			return err
		}
	}
	return f.Close()
}

func (n Node) setAttrs(path string) error {
	if n.kind != link {
		if err := os.Chmod(path, fileMode(n.mode)); err != nil {
			return err
		}
	}
	if n.timed {
		return setTime(path, n.sec, n.nsec)
	}
	return nil
}

// Noise returns an endless stream of bytes that do not compress, the same for
// the same seed.
func Noise(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// open makes all directories below root accessible, so that they can be
// removed.
func open(root string) {
	_ = filepath.WalkDir(root, func(p string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			if info, err := e.Info(); err == nil && info.Mode().Perm()&0o700 != 0o700 && os.Chmod(p, 0o700) == nil {
				if strings.Count(p, "/") < 2000 && p != root {
					open(p)
				}
				return nil
			}
		}
		return nil
	})
}
