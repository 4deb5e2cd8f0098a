//go:build unix

package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
)

// paths lists what a tree has, but its top.
func paths(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	for p := range snapshot(t, root) {
		if p != "." {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

func wantPaths(t *testing.T, root string, want ...string) {
	t.Helper()
	if got := paths(t, root); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFilesFrom(t *testing.T) {
	t.Parallel()
	src := dir(t)
	for _, name := range []string{"a", "b", "d/x", "d/y", "d/e/z", "new\nline", "-odd", "other/q"} {
		write(t, src+"/"+name, name)
	}
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(dir(t), "dst")
			from, to := route(t, way, src, dst)
			with := func(list string, args ...string) *result {
				return call{t: t, stdin: list}.run(append(append([]string{"sync", "-a", "--files-from=-"}, args...), from, to)...)
			}
			with("a\nd/x\n").ok()
			wantPaths(t, dst, "a", "d", "d/x")
			with("d\n").ok() // without -r the directory alone
			wantPaths(t, dst, "a", "d", "d/x")
			with("d/\n").ok()
			wantPaths(t, dst, "a", "d", "d/e", "d/x", "d/y")
			with("new\nline\x00-odd\x00", "--from0").ok()
			wantPaths(t, dst, "-odd", "a", "d", "d/e", "d/x", "d/y", "new\nline")
			with("d\n", "-r").ok()
			wantPaths(t, dst, "-odd", "a", "d", "d/e", "d/e/z", "d/x", "d/y", "new\nline")
			r := with("b\nnothing\nd/nothing\n")
			r.refuses(fault.Partial)
			for _, name := range []string{"nothing", "d/nothing"} {
				if !strings.Contains(r.err, "warning: "+name+": ") {
					t.Errorf("does not name %s: %v", name, r)
				}
			}
			wantPaths(t, dst, "-odd", "a", "b", "d", "d/e", "d/e/z", "d/x", "d/y", "new\nline")
		})
	}
}

func TestMaxDelete(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/keep", "keep")
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(dir(t), "dst")
			for _, name := range []string{"1", "2", "3", "4", "5"} {
				write(t, dst+"/"+name, name)
			}
			from, to := route(t, way, src, dst)
			run(t, "sync", "-a", "--delete", "--max-delete=2", from, to).refuses(fault.Limit, "--max-delete")
			if n := len(paths(t, dst)); n != 4 {
				t.Errorf("%d entries are left", n)
			}
			run(t, "sync", "-a", "--delete", "--max-delete=3", from, to).ok()
			wantPaths(t, dst, "keep")
		})
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	src := dir(t)
	fstest.Tree(t, src, fstest.Spec{"new": fstest.Random(1<<20, 1), "changed": fstest.File("changed"), "d/x": fstest.File("x"), "link": fstest.Link("new")})
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(dir(t), "dst")
			from, to := route(t, way, src, dst)
			if way != "push" {
				run(t, "sync", "-ain", from, to).ok()
				if _, err := filepath.Glob(dst); err != nil || len(entries(t, filepath.Dir(dst))) > 0 {
					t.Error("a dry run made the destination")
				}
			}
			fstest.Tree(t, dst, fstest.Spec{"changed": fstest.File("old"), "gone": fstest.File("gone")})
			before := fstest.Snapshot(t, dst)
			dry := run(t, "sync", "-ain", "--delete", from, to).ok()
			fstest.Equal(t, before, fstest.Snapshot(t, dst))
			real := run(t, "sync", "-ai", "--delete", from, to).ok()
			items := func(r *result) (lines []string) {
				for line := range strings.Lines(r.out) {
					if len(line) > 12 && strings.Contains(".<>ch*", line[:1]) {
						lines = append(lines, line)
					}
				}
				slices.Sort(lines)
				return lines
			}
			if a, b := items(dry), items(real); len(a) == 0 || !slices.Equal(a, b) {
				t.Errorf("the dry run said\n%q, the real one\n%q", a, b)
			}
			same(t, src, dst)
		})
	}
}

// TestJSON has every line of every verb and ending parse, with an exit line.
func TestJSON(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	fstest.Tree(t, src, fstest.Spec{"a": fstest.File("a"), "b\xff\n": fstest.File("b"), "d/l": fstest.Link("x\x80")})
	s := serve(t, src, "--writable", "--json")
	var ready struct {
		Type, Pin string
		URLs      []string
	}
	must(t, json.Unmarshal([]byte(s.url), &ready))
	if ready.Type != "ready" || len(ready.URLs) == 0 {
		t.Fatalf("%+v", ready)
	}
	s.url = ready.URLs[0]
	for _, c := range []struct {
		args  []string
		class fault.Class
		types string
	}{
		{[]string{"sync", "-a", s.url, dst}, fault.OK, "start item summary exit"},
		{[]string{"sync", "-a", dst + "/", s.url}, fault.OK, "start summary exit"},
		{[]string{"sync", "-a", src + "/", dst}, fault.OK, "start summary exit"},
		{[]string{"ls", "-r", s.url}, fault.OK, "entry exit"},
		{[]string{"sync", "-a", s.at("nope/"), dst}, fault.NotFound, "start exit"},
		{[]string{"sync", "-a"}, fault.Usage, "exit"},
		{[]string{"sync", "--nope"}, fault.Usage, "exit"},
	} {
		r := run(t, append(c.args, "--json")...).wants(c.class)
		types := map[string]bool{}
		last := ""
		for line := range strings.Lines(r.out) {
			var e struct {
				Schema    int
				Type      string
				Code      *int
				Class     string
				Retryable *bool
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Schema != 1 || e.Type == "" {
				t.Errorf("%q: %v", line, err)
			}
			types[e.Type], last = true, e.Type
			if e.Type == "exit" && (e.Code == nil || *e.Code != r.code || e.Class != c.class.String() || e.Retryable == nil) {
				t.Errorf("exit line %q of %v", line, r)
			}
		}
		if last != "exit" {
			t.Errorf("the last line is %q: %v", last, r)
		}
		for _, name := range strings.Fields(c.types) {
			if !types[name] {
				t.Errorf("no line of type %s: %v", name, r)
			}
		}
	}
	s.kill()
	for line := range strings.Lines(s.out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the server printed %q", line)
		}
	}
}

// TestOneFile brings single files and directories, with and without a slash.
func TestOneFile(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/d/f", "f")
	write(t, src+"/d/g", "g")
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(dir(t), "dst")
			from, to := src, dst
			s := (*server)(nil)
			bring := func(path, into string, args ...string) *result {
				a, b := from+"/"+path, to+"/"+into
				switch {
				case way == "pull":
					a = s.at(path)
				case way == "push":
					b = s.at(into)
				}
				return run(t, append(append([]string{"sync", "-a"}, args...), a, b)...)
			}
			switch way {
			case "pull":
				s = serve(t, src)
			case "push":
				must(t, mkdir(dst))
				s = serve(t, dst, "--writable")
			}
			must(t, mkdir(dst))
			write(t, dst+"/mine", "mine")
			bring("d/f", "", "--delete").ok()
			wantPaths(t, dst, "f", "mine")
			bring("d", "", "--delete").ok()
			wantPaths(t, dst, "d", "d/f", "d/g", "f", "mine")
			bring("d/", "e/").ok()
			wantPaths(t, dst, "d", "d/f", "d/g", "e", "e/f", "e/g", "f", "mine")
			if r := bring("d/f", "").ok(); !strings.Contains(r.out, "nothing to do") && !strings.Contains(r.out, "0 files transferred") {
				t.Errorf("again: %v", r)
			}
		})
	}
}
