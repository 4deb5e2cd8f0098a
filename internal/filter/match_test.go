package filter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// refMatch is the obvious matcher of wildcards, without bounds on its time:
// it tries every length for each wildcard.
func refMatch(p, s string) bool {
	if p == "" {
		return s == ""
	}
	switch p[0] {
	case '*':
		rest := strings.TrimLeft(p, "*")
		for n := 0; n <= len(s); n++ {
			if len(p)-len(rest) == 1 && strings.Contains(s[:n], "/") {
				return false
			}
			if refMatch(rest, s[n:]) {
				return true
			}
		}
		return false
	case '?':
		return s != "" && s[0] != '/' && refMatch(p[1:], s[1:])
	case '[':
		set, n := parseClass(p[1:])
		return n >= 0 && s != "" && set.has(s[0]) && refMatch(p[1+n:], s[1:])
	case '\\':
		return len(p) > 1 && s != "" && p[1] == s[0] && refMatch(p[2:], s[1:])
	}
	return s != "" && p[0] == s[0] && refMatch(p[1:], s[1:])
}

// refHidden says what "- pattern" does to a path, by the rules of the manual.
func refHidden(pattern, path string, dir bool) bool {
	if len(pattern) > 1 && strings.HasSuffix(pattern, "/") {
		if !dir {
			return false
		}
		pattern = pattern[:len(pattern)-1]
	}
	if !strings.ContainsAny(pattern, "*?[") {
		// Here a backslash stands for itself.
		pattern = strings.ReplaceAll(pattern, `\`, `\\`)
	}
	anchored := strings.HasPrefix(pattern, "/")
	deep := strings.Contains(pattern, "**")
	parts := strings.Split(path, "/")
	slashes := strings.Count(pattern, "/")
	if dir && strings.HasSuffix(pattern, "***") {
		path += "/"
	}
	switch {
	case anchored:
		return refMatch(pattern[1:], path)
	case strings.HasPrefix(pattern, "**"):
		return refMatch(pattern, "/"+path)
	case deep:
		for i := range path {
			if (i == 0 || path[i-1] == '/') && refMatch(pattern, path[i:]) {
				return true
			}
		}
		return false
	case slashes >= len(parts):
		return false
	}
	return refMatch(pattern, strings.Join(parts[len(parts)-slashes-1:], "/"))
}

// checkMatch compares one pattern and one path with the reference.
func checkMatch(t *testing.T, pattern, path string, dir bool) {
	t.Helper()
	var b Builder
	if err := b.Exclude("- " + pattern); err != nil {
		return
	}
	s := done(t, &b)
	if got, want := s.Hidden(path, dir), refHidden(pattern, path, dir); got != want {
		t.Errorf("pattern %q, path %q, directory %v: hidden is %v", pattern, path, dir, got)
	}
	if ops, ok := parseOps(pattern); ok {
		if got, want := simulate(ops, path), search(ops, path); got != want {
			t.Errorf("pattern %q, text %q: simulate says %v, search %v", pattern, path, got, want)
		}
	}
}

func TestMatchReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const patternBytes, pathBytes = `aaabb//***?[]!\-`, "aaabbc/"
	for range 200_000 {
		var pattern, path []byte
		for range 1 + r.IntN(9) {
			pattern = append(pattern, patternBytes[r.IntN(len(patternBytes))])
		}
		for range 1 + r.IntN(9) {
			path = append(path, pathBytes[r.IntN(len(pathBytes))])
		}
		clean, _, err := cleanListed(string(path))
		if err != nil || clean == "" {
			continue
		}
		checkMatch(t, string(pattern), clean, r.IntN(2) == 0)
	}
}

func FuzzMatch(f *testing.F) {
	for _, p := range []string{"*.o", "a/**/b", "/foo/***", "[[:alpha:]-x]", `\**`, "**", "!", "[!a]*/?"} {
		f.Add(p, "a/foo/b.o", true)
	}
	f.Fuzz(func(t *testing.T, pattern, path string, dir bool) {
		path, _, err := cleanListed(path)
		if err != nil || path == "" || len(path) > 16 || len(pattern) > 10 {
			return
		}
		checkMatch(t, pattern, path, dir)
	})
}

// TestMatchBound checks that patterns made to be slow are not: without the
// bound, each of these takes hours.
func TestMatchBound(t *testing.T) {
	for _, pattern := range []string{
		strings.Repeat("*a", 2000) + "b",
		strings.Repeat("**a", 1300) + "b",
		"x" + strings.Repeat("**/*a*", 600) + "b?",
		strings.Repeat("**a*a", 800) + "[b]",
		"**" + strings.Repeat("*?", 2000) + "[b]",
	} {
		for _, path := range []string{strings.Repeat("a", 4096), strings.Repeat("a/", 2047) + "a"} {
			if build(t, "- "+pattern).Hidden(path, false) {
				t.Errorf("%.20q matches", pattern)
			}
		}
	}
}

// TestParseBound checks that a peer's text can not take long to read.
func TestParseBound(t *testing.T) {
	var text strings.Builder
	for i := range MaxRules / 2 {
		fmt.Fprintf(&text, "- %x*\n", i&0xff)
	}
	text.WriteString("only\n")
	for i := range MaxRules / 2 {
		fmt.Fprintf(&text, "= %05d\n", i)
	}
	s, err := Parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if s.Hidden("00100", false) != true || s.Hidden("x", false) != true {
		t.Error("not hidden")
	}
}

// TestText checks with random rules that a Set survives its canonical text.
func TestText(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	have := tree{}.grow(r, nil, 60)
	var paths []string
	for p := range have {
		paths = append(paths, p)
	}
	for range 500 {
		var b Builder
		randomRules(t, r, &b, "", paths)
		b.SetDeleteExcluded(r.IntN(3) == 0)
		if r.IntN(2) == 0 {
			b.SetRecursive(r.IntN(2) == 0)
			if err := b.Only(strings.NewReader(randomList(r, have)), "list", false); err != nil {
				t.Fatal(err)
			}
		}
		s := done(t, &b)
		text := s.AppendText(nil)
		u, err := Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again := u.AppendText(nil); !bytes.Equal(again, text) {
			t.Fatalf("%q became %q", text, again)
		}
		if s.Empty() != u.Empty() {
			t.Fatalf("%q: empty is %v", text, u.Empty())
		}
		s, u = s.At("x/y"), u.At("x/y")
		for p, dir := range have {
			if s.Hidden(p, dir) != u.Hidden(p, dir) || s.HiddenTree(p, dir) != u.HiddenTree(p, dir) ||
				s.Protected(p, dir) != u.Protected(p, dir) || s.ProtectedWithin(p, dir) != u.ProtectedWithin(p, dir) {
				t.Fatalf("%q: %q is judged differently", text, p)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"a", "- a", "\n", "- \n", "-\n", "-x a\n", "-ps a\n", "-sr a\n", "-ss a\n", "- %\n", "- %4\n", "- %41\n", "- %0a\n",
		"- a\x01\n", "- %00\n", "= a\n", "only\n= b\n= a\n", "only\n- a\n", "only\nonly\n", "only\n= a\n= a\n", "only\n= a/\n",
		"only\n=x a\n", "only\n= ..\n", "only\n= /a\n", "only\n", "- a\n\n", "- a\r\n", "only \n", "hide a\n",
		"- " + strings.Repeat("x", MaxPattern+1) + "\n", strings.Repeat("- a\n", MaxRules+1), strings.Repeat("- aaaaaaaaaaaaaaaa\n", MaxText/19+1),
	} {
		_, err := Parse([]byte(text))
		if text == "only\n" {
			if err != nil {
				t.Errorf("an empty list: %v", err)
			}
			continue
		}
		if fault.ClassOf(err) != fault.Usage || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: error %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "- a\n", "+/!srp *%0A/\n-s b\nonly\n=  x\n=* a/b\n=/ c\n", "only\n=* \n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if again := s.AppendText(nil); !bytes.Equal(again, text) {
			t.Errorf("%q became %q", text, again)
		}
		s.At("r").HiddenTree("a/b/c", false)
		s.Protected("a/b", true)
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"- a", "-! */", "merge,- x", ".C", "hide,p foo", "P_x"} {
		f.Add(s, "- a\n+ b\r\n!\n. x\n")
	}
	f.Fuzz(func(t *testing.T, rule, file string) {
		b := Builder{Open: files(map[string]string{"x": file, ".cvsignore": file})}
		for _, err := range []error{b.Filter(rule), b.Exclude(rule), b.ExcludeFrom(strings.NewReader(file), "f"), b.Only(strings.NewReader(file), "f", false)} {
			if err != nil && (fault.ClassOf(err) != fault.Usage || strings.ContainsAny(err.Error(), "\n\r")) {
				t.Errorf("error %q", err)
			}
		}
		s, err := b.Build()
		if err != nil {
			return
		}
		if _, err := Parse(s.AppendText(nil)); err != nil {
			t.Errorf("%q: %v", s.AppendText(nil), err)
		}
	})
}

// BenchmarkHidden judges 100,000 paths by 20 rules of all kinds that rarely
// match, which is the slowest case.
func BenchmarkHidden(b *testing.B) {
	s := build(b, "- *.o", "- *.tmp", "- .git/", "- node_modules/", "- /build/", "- *~", "- core", "- foo*", "- *.sw?", "- [._]*.s[a-w][a-z]",
		"- /src/**/*.gen", "- **/cache/", "- vendor/***", "- docs/*.pdf", "- a/b/c", "P keep", "- __pycache__/", "- *.py[co]", "+ */", "- *.x*z")
	var paths []string
	for i := range 100_000 {
		paths = append(paths, fmt.Sprintf("src/component%d/module%d/file_%d.go", i%10, i%1000, i))
	}
	for b.Loop() {
		for _, p := range paths {
			s.Hidden(p, false)
		}
	}
}
