package filter

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var (
	rsyncSets = flag.Int("rsync.sets", 10, "random rule sets to compare with rsync, for each test")
	rsyncSeed = flag.Uint64("rsync.seed", 1, "seed of the rule sets that are compared with rsync")
)

// needRsync returns the path of an rsync of a version whose filters are known,
// or skips the test.
func needRsync(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the names of the test's files are impossible on Windows")
	}
	bin, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("no rsync on this machine to compare with")
	}
	out, err := exec.Command(bin, "--version").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("rsync  version 3.")) {
		t.Skipf("the rsync on this machine is not version 3: %.40q, %v", out, err)
	}
	return bin
}

// tree is a set of paths; true for directories.
type tree map[string]bool

var names = []string{"a", "b", "c", "foo", "bar", "foo.c", "x.o", "ab", "a*b", "a[1]", `a\b`, "A1", " s", "foo bar", "-", "]", "ä", "foo_", "#h", "~"}

// grow adds random entries to a tree, of types that agree with other.
func (tr tree) grow(r *rand.Rand, other tree, entries int) tree {
	dirs := []string{""}
	for p, dir := range tr {
		if dir {
			dirs = append(dirs, p)
		}
	}
	slices.Sort(dirs)
	for range entries {
		p := path.Join(dirs[r.IntN(len(dirs))], names[r.IntN(len(names))])
		if _, ok := tr[p]; ok || strings.Count(p, "/") > 4 {
			continue
		}
		dir, ok := other[p]
		if !ok {
			dir = r.IntN(2) == 0
		}
		if tr[p] = dir; dir {
			dirs = append(dirs, p)
		}
	}
	return tr
}

// write creates the tree in an empty directory.
func (tr tree) write(t *testing.T, root string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		full := filepath.Join(root, p)
		err := os.MkdirAll(full, 0o755)
		if !tr[p] {
			if err = os.Remove(full); err == nil {
				if strings.HasSuffix(p, "c") {
					err = os.Symlink("nowhere", full)
				} else {
					err = os.WriteFile(full, []byte(p), 0o644)
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func readTree(t *testing.T, root string) tree {
	t.Helper()
	tr := tree{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != root {
			tr[filepath.ToSlash(p[len(root)+1:])] = d.IsDir()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// children returns the entries of dir.
func (tr tree) children(dir string) (list []string) {
	for p := range tr {
		if p != "" && parent(p) == dir {
			list = append(list, p)
		}
	}
	return list
}

// shown returns what a walk with Hidden takes of the tree.
func (tr tree) shown(s *Set) tree {
	kept := tree{}
	var walk func(dir string)
	walk = func(dir string) {
		for _, p := range tr.children(dir) {
			if !s.Hidden(p, tr[p]) {
				if kept[p] = tr[p]; tr[p] {
					walk(p)
				}
			}
		}
	}
	walk("")
	return kept
}

// synced returns the tree after taking over sent and deleting the rest where s
// allows it.
func (tr tree) synced(sent tree, s *Set) tree {
	after := maps.Clone(sent)
	// keep decides about an entry that was not sent, and reports whether it stays.
	var keep func(p string, protected bool) bool
	keep = func(p string, protected bool) bool {
		if !protected && !tr[p] {
			return false
		}
		stays := protected
		for _, c := range tr.children(p) {
			stays = keep(c, protected || s.ProtectedWithin(c, tr[c])) || stays
		}
		if stays {
			after[p] = tr[p]
		}
		return stays
	}
	for p := range tr {
		if _, ok := sent[p]; ok {
			continue
		}
		if dir, ok := sent[parent(p)]; ok && dir || parent(p) == "" {
			keep(p, s.Protected(p, tr[p]))
		}
	}
	return after
}

// diff describes how got differs from want.
func (tr tree) diff(got tree) (lines []string) {
	for p, dir := range tr {
		if d, ok := got[p]; !ok {
			lines = append(lines, fmt.Sprintf("only rsync has %q (directory: %v)", p, dir))
		} else if d != dir {
			lines = append(lines, fmt.Sprintf("%q is of another type", p))
		}
	}
	for p, dir := range got {
		if _, ok := tr[p]; !ok {
			lines = append(lines, fmt.Sprintf("rsync lacks %q (directory: %v)", p, dir))
		}
	}
	slices.Sort(lines)
	return lines
}

// randomPattern returns a pattern that has a chance to match something in tr.
func randomPattern(r *rand.Rand, paths []string) string {
	pieces := []string{"*", "*", "**", "***", "?", "/", "/", "[a-f]", "[!a]", "[^-b]", "[[:alpha:]]", "[[:punct:]x]", "[]]", "[", "]", `\`, `\*`, "a", "b", "o", ".", "foo", "-", "!", "[*]", "[a/]"}
	var p string
	switch r.IntN(6) {
	case 4, 5: // a path with whole names replaced
		parts := strings.Split(paths[r.IntN(len(paths))], "/")
		for range r.IntN(3) {
			parts[r.IntN(len(parts))] = []string{"*", "**", "***", "?", "[a-f]*", "*[!o]"}[r.IntN(6)]
		}
		parts = parts[r.IntN(len(parts)):]
		p = []string{"", "", "**/", "*/", "**"}[r.IntN(5)] + strings.Join(parts[:1+r.IntN(len(parts))], "/")
	case 0: // made of pieces
		for range 1 + r.IntN(4) {
			p += pieces[r.IntN(len(pieces))]
		}
	case 1: // the end of a path
		p = paths[r.IntN(len(paths))]
		for range r.IntN(3) {
			if _, after, ok := strings.Cut(p, "/"); ok {
				p = after
			}
		}
	default: // a path of which parts are replaced
		p = paths[r.IntN(len(paths))]
		for range 1 + r.IntN(3) {
			i := r.IntN(len(p))
			p = p[:i] + pieces[r.IntN(len(pieces))] + p[min(len(p), i+r.IntN(3)):]
			if r.IntN(3) == 0 {
				p = p[i:]
			}
			if p == "" {
				p = "*"
			}
		}
	}
	if r.IntN(4) == 0 {
		p = "/" + p
	}
	if r.IntN(4) == 0 {
		p += []string{"/", "/", "/*", "/**", "/***"}[r.IntN(5)]
	}
	return p
}

// randomRules gives the same random rules to b and returns them as options.
// The trees are src and dst in root.
func randomRules(t *testing.T, r *rand.Rand, b *Builder, root string, paths []string) (options []string) {
	t.Helper()
	kinds := []string{"-", "-", "-", "+", "+", "H", "S", "P", "R", "-s", "+r", "-p", "P,p", "-!", "+!", "-/", "-/!", "hide,p", "protect", "risk", "include,/"}
	for range 1 + r.IntN(1+r.IntN(6)) {
		pattern := randomPattern(r, paths)
		var option string
		var err error
		switch r.IntN(8) {
		case 0:
			option, err = "--exclude="+pattern, b.Exclude(pattern)
		case 1:
			option, err = "--include="+pattern, b.Include(pattern)
		default:
			kind := kinds[r.IntN(len(kinds))]
			if strings.Contains(kind, "/") && r.IntN(2) == 0 { // where absolute begins
				pattern = []string{root + "/src/", root + "/dst/", "src/", "dst/", "**/src/", "**" + root + "/src/"}[r.IntN(6)] + strings.TrimPrefix(pattern, "/")
			}
			rule := kind + " " + pattern
			if r.IntN(60) == 0 {
				rule = []string{"!", "clear", "-C", "-sC"}[r.IntN(4)]
			}
			option, err = "--filter="+rule, b.Filter(rule)
		}
		if err != nil {
			t.Fatalf("%q: %v", option, err)
		}
		options = append(options, option)
	}
	return options
}

func removeAll(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLikeRsync copies random trees with random rules, lists of paths and
// deletion, and compares what rsync did with what a Set says.
func TestLikeRsync(t *testing.T) {
	bin := needRsync(t)
	for _, with := range []struct {
		name                              string
		del, delExcluded, list, recursive bool
	}{
		{name: "copy", recursive: true},
		{name: "delete", recursive: true, del: true},
		{name: "delete excluded", recursive: true, del: true, delExcluded: true},
		{name: "list", list: true},
		{name: "recursive list", list: true, recursive: true},
		{name: "list and delete", list: true, del: true},
		{name: "recursive list and delete", list: true, recursive: true, del: true},
	} {
		t.Run(with.name, func(t *testing.T) {
			t.Parallel()
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			r := rand.New(rand.NewPCG(*rsyncSeed, 0))
			var have, old tree
			for n := range *rsyncSets {
				if n%10 == 0 {
					have = tree{}.grow(r, nil, 60)
					removeAll(t, src)
					have.write(t, src)
				}
				old = tree{}
				if with.del {
					old.grow(r, have, 20)
					for p, d := range have {
						if r.IntN(3) == 0 && (parent(p) == "" || old[parent(p)]) {
							old[p] = d
						}
					}
					old.grow(r, have, 30)
				}
				removeAll(t, dst)
				if err := os.Mkdir(dst, 0o755); err != nil {
					t.Fatal(err)
				}
				old.write(t, dst)

				all := maps.Clone(have)
				maps.Copy(all, old)
				paths := slices.Sorted(maps.Keys(all))
				var b Builder
				args := append([]string{"-l"}, randomRules(t, r, &b, filepath.ToSlash(dir), paths)...)
				if with.recursive {
					args = append(args, "-r")
					b.SetRecursive(true)
				}
				if with.del {
					args = append(args, "--delete")
				}
				if with.delExcluded {
					args = append(args, "--delete-excluded")
					b.SetDeleteExcluded(true)
				}
				var list string
				if with.list {
					list = randomList(r, have)
					args = append(args, "--files-from=-")
					if err := b.Only(strings.NewReader(list), "list", false); err != nil {
						t.Fatal(err)
					}
				}
				s := done(t, &b)
				cmd := exec.Command(bin, append(args, src+"/", dst+"/")...)
				cmd.Stdin = strings.NewReader(list)
				if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 23 {
					t.Fatalf("%q: %v\n%s", args, err, out)
				}
				sent := have.shown(s.At(src))
				want := maps.Clone(old)
				maps.Copy(want, sent)
				if with.del {
					want = old.synced(sent, s.At(dst))
				}
				got := readTree(t, dst)
				for p := range want {
					if _, ok := got[p]; !ok && with.list && leadsNowhere(s, have, p) {
						delete(want, p)
					}
				}
				if d := got.diff(want); d != nil {
					t.Errorf("set %d: rsync %q\nlist %q\n%s", n, args, list, strings.Join(d, "\n"))
				}
			}
		})
	}
}

// leadsNowhere reports whether p is a directory that leads only to listed paths
// that do not exist, or that are hidden because they are (or are not)
// directories. A Set can not know, so that it takes such a directory and rsync
// does not.
func leadsNowhere(s *Set, have tree, p string) bool {
	if s.only[p]&above == 0 || s.only[p]&listed != 0 && !s.denies(p, true, sender) || s.brings(parent(p)) && !s.denies(p, true, sender) {
		return false
	}
	for q, at := range s.only {
		if dir, ok := have[q]; ok && at&listed != 0 && strings.HasPrefix(q, p+"/") && !s.denies(q, dir, sender) {
			return false
		}
	}
	return true
}

// randomList returns a list of paths of tr, and of some that it does not have.
func randomList(r *rand.Rand, tr tree) string {
	var b strings.Builder
	paths := slices.Sorted(maps.Keys(tr))
	var last string
	for range 1 + r.IntN(5) {
		p := paths[r.IntN(len(paths))]
		if r.IntN(2) == 0 { // rather one that leads to the path before, or is led to
			for _, i := range r.Perm(len(paths)) {
				if q := paths[i]; q != last && (strings.HasPrefix(q, last+"/") || strings.HasPrefix(last, q+"/")) {
					p = q
				}
			}
		}
		last = p
		if tr[p] {
			p += []string{"", "", "/", "//", "/."}[r.IntN(5)]
		}
		switch r.IntN(12) {
		case 0:
			p = "/" + p
		case 1:
			p = "./" + p
		case 2:
			p = "# a comment"
		case 3:
			p = "missing"
		}
		if strings.HasPrefix(p, "#h") {
			p = "./" + p
		}
		b.WriteString(p + "\n")
	}
	return b.String()
}
