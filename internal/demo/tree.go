package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// The names in the tree that is served.
const (
	jarName  = "app.jar"
	linkName = "current.jar" // a symlink to it, where the system lets us
	codeDir  = "src"
)

// bounds of the source tree that is copied or made.
type bounds struct {
	files int
	bytes int64
	file  int64 // of one file
}

const fewFiles = 100 // a Go tree with less is not one

// release makes version 1 below root and says what the source code is.
func release(ctx context.Context, root string, j jar, most bounds, goroot string) (what string, err error) {
	code := filepath.Join(root, codeDir)
	if err := os.MkdirAll(code, 0o755); err != nil {
		return "", noSpace(err)
	}
	n := 0
	if goroot != "" {
		n, err = copyCode(ctx, filepath.Join(goroot, "src"), code, most)
		what = "the Go toolchain's own source"
	}
	if err == nil && n < fewFiles {
		if err = os.RemoveAll(code); err == nil {
			err = makeCode(ctx, code, j.seed, most)
		}
		what = "made-up source code, as there is no Go toolchain here"
	}
	if err != nil {
		return "", noSpace(err)
	}
	if err := writeJar(filepath.Join(root, jarName), j); err != nil {
		return "", noSpace(err)
	}
	// Without symlinks the demonstration is none the worse.
	_ = os.Symlink(jarName, filepath.Join(root, linkName))
	return what, nil
}

// noSpace classifies what goes wrong with files of our own: nearly always the
// disk is full. The end of a context stays what it is.
func noSpace(err error) error {
	if fault.ClassOf(err) != fault.Other || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(fault.Limit, err, "set TMPDIR to a directory with room, or use --quick", "cannot make the files to show")
}

// copyCode copies regular files until a bound is reached, in the order of
// their names, and returns how many. What cannot be read is left out.
func copyCode(ctx context.Context, from, to string, most bounds) (int, error) {
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if e := context.Cause(ctx); e != nil {
			return e
		}
		if err != nil {
			return skip(d)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			if rel == "cmd" || rel == "vendor" {
				return fs.SkipDir
			}
			return os.MkdirAll(target, 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > most.file {
			return nil
		}
		if files++; files > most.files || bytes+info.Size() > most.bytes {
			files--
			return fs.SkipAll
		}
		data, err := os.ReadFile(path)
		if err != nil {
			files--
			return nil
		}
		bytes += int64(len(data))
		// Toolchains are often read-only; ours is to be changed and removed.
		if err := os.WriteFile(target, data, 0o644|info.Mode().Perm()&0o111); err != nil {
			return err
		}
		return os.Chtimes(target, time.Time{}, info.ModTime())
	})
	return files, err
}

func skip(d fs.DirEntry) error {
	if d == nil || d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// madeAt is when made-up files were last changed.
var madeAt = time.Date(2025, 3, 14, 15, 9, 26, 535897900, time.UTC)

// makeCode makes a tree that looks like source code.
func makeCode(ctx context.Context, to string, seed uint64, most bounds) error {
	typical := max(most.bytes/int64(most.files), 256)
	var text []byte
	for i := range most.files {
		if e := context.Cause(ctx); e != nil {
			return e
		}
		r := stream(seed, "code", i)
		pkg := words[(i/8)%len(words)]
		dir := filepath.Join(to, pkg)
		if i%3 == 0 {
			dir = filepath.Join(dir, "internal")
		}
		if i%8 < 3 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		text = fmt.Appendf(text[:0], "package %s\n\n", pkg)
		text = prose(r, text, int(typical/4+r.Int64N(typical*3/2)))
		mode := fs.FileMode(0o644)
		if i%97 == 0 {
			mode = 0o755
		}
		name := filepath.Join(dir, fmt.Sprintf("%s%d.go", word(r), i))
		if err := os.WriteFile(name, text, mode); err != nil {
			return err
		}
		if err := os.Chtimes(name, time.Time{}, madeAt.Add(-time.Duration(r.Int64N(1e17)))); err != nil {
			return err
		}
	}
	return nil
}

// writeJar puts a jar in place of whatever has the name, in one step.
func writeJar(path string, j jar) error {
	temp := path + ".new"
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	err = j.write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}
