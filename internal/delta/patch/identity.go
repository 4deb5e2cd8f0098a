package patch

import (
	"strings"

	"github.com/ropeway/ropeway/internal/digest"
)

// Pair says that the file To of the new tree has the content of From.
type Pair struct {
	To, From string
	New      bool // From is another target of the new tree, not an old file
}

// Identity is what content alone tells of two trees.
type Identity struct {
	Same   []Pair // under the same path
	Copies []Pair // under another one: copied or moved
	Misses []File // of the new tree, to be made: the targets
	Left   []File // of the old tree, whose content the new one has nowhere
}

// Identify compares two trees by content.
func Identify(old, fresh []File) Identity {
	var id Identity
	first := make(map[digest.Digest]string, len(old))
	paths := make(map[string]int, len(old))
	for i, f := range old {
		if _, known := first[f.Digest]; !known {
			first[f.Digest] = f.Path
		}
		paths[f.Path] = i
	}
	used := make(map[digest.Digest]bool)
	made := make(map[digest.Digest]string)
	for _, f := range fresh {
		used[f.Digest] = true
		if i, there := paths[f.Path]; there && old[i].Digest == f.Digest {
			id.Same = append(id.Same, Pair{To: f.Path, From: f.Path})
		} else if from, there := first[f.Digest]; there {
			id.Copies = append(id.Copies, Pair{To: f.Path, From: from})
		} else if from, there := made[f.Digest]; there {
			id.Copies = append(id.Copies, Pair{To: f.Path, From: from, New: true})
		} else {
			made[f.Digest] = f.Path
			id.Misses = append(id.Misses, f)
		}
	}
	for _, f := range old {
		if !used[f.Digest] {
			id.Left = append(id.Left, f)
		}
	}
	return id
}

// bases finds for each target the file of left that is likeliest its older
// version, an index or -1: that of the same path, otherwise one whose path, then
// one whose name alone, differs only in digits. No file is the base of two.
func bases(targets, left []File) []int {
	found := make([]int, len(targets))
	for i := range found {
		found[i] = -1
	}
	taken := make([]bool, len(left))
	for _, key := range []func(string) string{
		func(p string) string { return p },
		stem,
		func(p string) string { return stem(p[strings.LastIndexByte(p, '/')+1:]) },
	} {
		at := make(map[string][]int)
		for i, f := range left {
			if !taken[i] {
				k := key(f.Path)
				at[k] = append(at[k], i)
			}
		}
		for i, f := range targets {
			if found[i] >= 0 {
				continue
			}
			k := key(f.Path)
			if list := at[k]; len(list) > 0 {
				found[i], at[k] = list[0], list[1:]
				taken[list[0]] = true
			}
		}
	}
	return found
}

// stem is a path without what tells versions apart: runs of digits and dots.
func stem(p string) string {
	var b strings.Builder
	in := false
	for i := range len(p) {
		digit := p[i] >= '0' && p[i] <= '9'
		if digit || in && p[i] == '.' && i+1 < len(p) && p[i+1] >= '0' && p[i+1] <= '9' {
			if !in {
				b.WriteByte('0')
			}
			in = true
			continue
		}
		in = false
		b.WriteByte(p[i])
	}
	return b.String()
}
