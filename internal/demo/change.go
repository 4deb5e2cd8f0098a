package demo

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// changes counts what version 2 changed.
type changes struct {
	edited, added, deleted, modes int
	moved                         int      // files in the directories below
	renamed                       []string // "from -> to"
}

func (c changes) String() string {
	return fmt.Sprintf("%d files edited, %d added, %d deleted, %d made executable; %d moved with their directories (%s)",
		c.edited, c.added, c.deleted, c.modes, c.moved, strings.Join(c.renamed, ", "))
}

// upgrade turns version 1 below root into version 2, as a release would:
// one file in a hundred is edited, some are deleted and added, two directories
// are renamed, the archive is built anew.
func upgrade(ctx context.Context, root string, j jar) (changes, error) {
	var c changes
	code := filepath.Join(root, codeDir)
	files, tops, err := listCode(ctx, code)
	if err != nil {
		return c, noSpace(err)
	}
	r := stream(j.seed, "upgrade", 0)
	r.Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	part := max(len(files)/100, 1)
	for i, name := range files[:min(len(files), 3*part)] {
		path := filepath.Join(code, name)
		switch i % 3 {
		case 0:
			c.edited++
			err = edit(path, r)
		case 1:
			c.deleted++
			tops[top(name)]--
			err = os.Remove(path)
		case 2:
			c.added++
			err = os.WriteFile(path+".new.go", prose(r, nil, 500+r.IntN(4000)), 0o644)
			if err == nil && i%6 == 5 {
				c.modes++
				err = os.Chmod(path, 0o755)
			}
		}
		if err != nil {
			return c, noSpace(err)
		}
	}
	delete(tops, "")
	for _, dir := range middling(tops) {
		to := "moved/" + dir
		if err := os.MkdirAll(filepath.Join(code, "moved"), 0o755); err != nil {
			return c, noSpace(err)
		}
		if err := os.Rename(filepath.Join(code, dir), filepath.Join(code, to)); err != nil {
			return c, noSpace(err)
		}
		c.moved += tops[dir]
		c.renamed = append(c.renamed, dir+" -> "+to)
	}
	j.version = 2
	return c, noSpace(writeJar(filepath.Join(root, jarName), j))
}

// listCode returns the names of all files, and how many each directory at the
// top has; "" has those that are in none.
func listCode(ctx context.Context, code string) (files []string, tops map[string]int, err error) {
	tops = map[string]int{}
	err = filepath.WalkDir(code, func(path string, d fs.DirEntry, err error) error {
		if e := context.Cause(ctx); e != nil {
			return e
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(code, path)
		files = append(files, name)
		tops[top(name)]++
		return err
	})
	return files, tops, err
}

// top returns the directory at the top that a file is in, or "".
func top(name string) string {
	dir, _, below := strings.Cut(filepath.ToSlash(name), "/")
	if !below {
		return ""
	}
	return dir
}

// middling returns two directories that are neither the largest nor tiny.
func middling(tops map[string]int) []string {
	var names []string
	for n := range tops {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := tops[b] - tops[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	at := min(2, max(0, len(names)-2))
	return names[at:min(at+2, len(names))]
}

// edit inserts a few lines in the middle of a file.
func edit(path string, r source) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	at := len(data) / 2
	data = slices.Concat(data[:at], prose(r, nil, 100), data[at:])
	return os.WriteFile(path, data, info.Mode().Perm())
}
