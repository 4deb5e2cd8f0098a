package demo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// stateDir is what a destination holds beside the tree.
const stateDir = ".ropeway"

// proof says what two trees were found to have in common: everything.
type proof struct {
	files, dirs, links int
	bytes              int64
}

func (p proof) String() string {
	s := fmt.Sprintf("%s files, %s bytes, %s directories", commas(int64(p.files)), commas(p.bytes), commas(int64(p.dirs)))
	switch p.links {
	case 0:
	case 1:
		s += ", 1 symlink"
	default:
		s += fmt.Sprintf(", %d symlinks", p.links)
	}
	return s
}

// node is what is compared of a name. Symlinks have no times here: not every
// system can set them.
type node struct {
	mode   fs.FileMode
	size   int64 // files
	sum    [sha256.Size]byte
	time   time.Time
	target string
}

// identical reads both trees, by nothing that a sync uses, and compares names,
// types, content, permissions, times and targets. A difference is an Integrity
// fault.
func identical(ctx context.Context, want, got string) (proof, error) {
	a, err := census(ctx, want)
	if err != nil {
		return proof{}, err
	}
	b, err := census(ctx, got)
	if err != nil {
		return proof{}, err
	}
	if diff := compare(a, b); len(diff) > 0 {
		return proof{}, fault.New(fault.Integrity, "this is a defect: please report it, with the output",
			"the result differs from the source in %d places: %s", len(diff), strings.Join(diff[:min(len(diff), 5)], "; "))
	}
	var p proof
	for _, n := range a {
		switch {
		case n.mode.IsDir():
			p.dirs++
		case n.mode.IsRegular():
			p.files++
			p.bytes += n.size
		default:
			p.links++
		}
	}
	return p, nil
}

func compare(want, got map[string]node) (diff []string) {
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			diff = append(diff, name+": missing")
		} else if what := w.differs(g); what != "" {
			diff = append(diff, name+": "+what)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			diff = append(diff, name+": not in the source")
		}
	}
	slices.Sort(diff)
	return diff
}

// differs says in what; "" is nothing.
func (n node) differs(o node) string {
	switch {
	case n.mode.Type() != o.mode.Type():
		return "another type"
	case n.size != o.size || n.sum != o.sum:
		return "other content"
	case n.target != o.target:
		return "another target"
	case n.mode.Type() == fs.ModeSymlink:
		return ""
	case n.mode != o.mode && runtime.GOOS != "windows":
		return fmt.Sprintf("mode %v instead of %v", o.mode, n.mode)
	case !n.time.Equal(o.time):
		return fmt.Sprintf("modified %v instead of %v", o.time.UTC(), n.time.UTC())
	}
	return ""
}

// census reads a tree.
func census(ctx context.Context, root string) (map[string]node, error) {
	all := map[string]node{}
	buf := make([]byte, 256<<10)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if e := context.Cause(ctx); e != nil {
			return e
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if name == stateDir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{mode: info.Mode(), time: info.ModTime()}
		switch {
		case n.mode.IsRegular():
			n.size = info.Size()
			n.sum, err = sum(path, buf)
		case n.mode.Type() == fs.ModeSymlink:
			n.target, err = os.Readlink(path)
		}
		all[filepath.ToSlash(name)] = n
		return err
	})
	return all, err
}

func sum(path string, buf []byte) (s [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, buf); err != nil {
		return s, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
