package fstest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Part names something that Snapshot can leave out.
type Part uint8

// The parts of an object's description.
const (
	Modes     Part = 1 << iota
	Times          // of everything
	DirTimes       // of directories
	LinkTimes      // of symlinks
)

// Snapshot describes each object below root, and root as ".": type, mode,
// modification time, size and hash of files, target of symlinks. Objects that
// may not be read are described as such.
func Snapshot(t testing.TB, root string, without ...Part) map[string]string {
	t.Helper()
	m, err := Describe(root, without...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Describe is Snapshot without a test.
func Describe(root string, without ...Part) (map[string]string, error) {
	var skip Part
	for _, p := range without {
		skip |= p
	}
	m := map[string]string{}
	var walk func(path, rel string) error
	walk = func(path, rel string) error {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		s, err := describe(path, info, skip)
		if err != nil {
			return err
		}
		if info.IsDir() {
			entries, err := os.ReadDir(path)
			if err != nil {
				s += " unreadable"
			}
			for _, e := range entries {
				if err := walk(filepath.Join(path, e.Name()), filepath.Join(rel, e.Name())); err != nil {
					return err
				}
			}
		}
		m[filepath.ToSlash(rel)] = s
		return nil
	}
	return m, walk(root, ".")
}

func describe(path string, info fs.FileInfo, skip Part) (string, error) {
	mode := info.Mode()
	s := "file"
	switch mode.Type() {
	case 0:
	case fs.ModeDir:
		s = "dir"
	case fs.ModeSymlink:
		s = "link"
	case fs.ModeNamedPipe:
		s = "fifo"
	default:
		s = mode.Type().String()
	}
	timeless := skip&Times != 0
	if s == "dir" && skip&DirTimes != 0 || s == "link" && skip&LinkTimes != 0 {
		timeless = true
	}
	if s != "link" && skip&Modes == 0 {
		s += fmt.Sprintf(" %04o", modeBits(mode))
	}
	if !timeless {
		s += fmt.Sprintf(" %d.%09d", info.ModTime().Unix(), info.ModTime().Nanosecond())
	}
	switch mode.Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return s + fmt.Sprintf(" -> %q", target), err
	case 0:
		sum, err := hash(path)
		if err != nil {
			return s + " unreadable", nil
		}
		return s + fmt.Sprintf(" %d %s", info.Size(), sum), nil
	}
	return s, nil
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// Diff describes, sorted by path, where got differs from want: one line each,
// none if they are equal.
func Diff(want, got map[string]string) []string {
	all := maps.Clone(want)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, got)
	var lines []string
	for _, p := range slices.Sorted(maps.Keys(all)) {
		w, inWant := want[p]
		g, inGot := got[p]
		switch {
		case !inGot:
			lines = append(lines, fmt.Sprintf("%q is missing: %s", p, w))
		case !inWant:
			lines = append(lines, fmt.Sprintf("%q is too much: %s", p, g))
		case w != g:
			lines = append(lines, fmt.Sprintf("%q: want %s, got %s", p, w, g))
		}
	}
	return lines
}

// Equal fails t if the snapshots differ, showing up to 20 differences.
func Equal(t testing.TB, want, got map[string]string) {
	t.Helper()
	lines := Diff(want, got)
	for _, line := range lines[:min(len(lines), 20)] {
		t.Error(line)
	}
	if len(lines) > 20 {
		t.Errorf("and %d more differences", len(lines)-20)
	}
}
