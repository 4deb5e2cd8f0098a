package filter

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// build returns the Set of filter rules, or fails the test.
func build(t testing.TB, rules ...string) *Set {
	t.Helper()
	var b Builder
	for _, r := range rules {
		if err := b.Filter(r); err != nil {
			t.Fatalf("Filter(%q): %v", r, err)
		}
	}
	return done(t, &b)
}

func done(t testing.TB, b *Builder) *Set {
	t.Helper()
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		match   string // space-separated, directories end in a slash
		miss    string
	}{
		{"foo", "foo foo/ a/foo a/b/foo/", "xfoo foox foo/x a/xfoo"},
		{"foo/", "foo/ a/foo/", "foo a/foo"},
		{"/foo", "foo foo/", "a/foo foo/foo2 foo/bar"},
		{"/foo/", "foo/", "foo a/foo/"},
		{"foo/bar", "foo/bar a/foo/bar a/b/foo/bar/", "bar xfoo/bar foo/bar/x foo/a/bar"},
		{"/foo/bar", "foo/bar foo/bar/", "a/foo/bar foo/bar/x"},
		{"*.o", "a.o x/a.o .o d.o/", "a.oo a.o/x"},
		{"a*", "a ab x/ab", "ba a/b"},
		{"a*c*e", "ace abcde x/aXcXe acce", "ac/e ace/f"},
		{"?", "a x/a a/", "ab x/ab"},
		{"a?c", "abc x/abc", "ac a/c abbc"},
		{"*/foo", "a/foo a/b/foo", "foo"},
		{"/*/foo", "a/foo", "foo a/b/foo"},
		{"/*", "a a/", "a/b"},
		{"**", "a a/b a/b/c/", ""},
		{"**/foo", "foo a/foo a/b/foo", "xfoo a/xfoo"},
		{"/**/foo", "a/foo a/b/foo", "foo"},
		{"foo/**", "foo/a foo/a/b x/foo/a", "foo foo/ x/foo/"},
		{"foo/***", "foo/ foo/a x/foo/ x/foo/a/b", "foo x/foo xfoo/"},
		{"/foo/***", "foo/ foo/a foo/a/b", "foo x/foo/ x/foo/a"},
		{"foo**bar", "foobar fooxbar foo/a/bar x/foobar x/foo/bar", "xfoobar foobarx"},
		{"**foo", "foo xfoo a/foo a/xfoo", "foox foo/a"},
		{"a/**/b", "a/x/b a/x/y/b z/a/x/b", "a/b ba/x/b"},
		{"[abc]", "a b c x/a", "d ab"},
		{"[a-c]x", "ax bx cx", "dx x"},
		{"[!a-c]x", "dx -x", "ax bx a/x"},
		{"[^a]", "b x/b", "a"},
		{"[]a]", "] a", "b"},
		{"[]-a]", "] ^ _ a", "b -"},
		{"[!]a]", "b", "] a"},
		{"[a-]", "a -", "b"},
		{"[-a]", "a -", "b"},
		{`[\]]`, "]", `\ a`},
		{`[a\-c]`, "a - c", "b"},
		{"[[:digit:]_]", "1 9 _", "a :"},
		{"[![:alpha:]]", "1 _", "a Z"},
		{"[[:alpha:]", "", "a : [:"},
		{"[[:nothing:]]", "", "a n"},
		{"[[:x]", "[ : x", "a"},
		{"[ab", "", "a [ab"},
		{"a]", "a]", "a"},
		{`a\b`, `a\b x/a\b`, "ab"},
		{`a\b*`, "ab abc", `a\b a\bc`},
		{`\*`, "*", "a \\*"},
		{`\**`, "*", `x a \*`},
		{`\**a`, "*a *xa b/*xa", "xa *a/b"},
		{`*\`, "", `a a\`},
		{"/", "", "a a/ a/b"},
		{"//foo", "", "foo a/foo"},
		{"a//", "", "a/ a/b"},
		{"***", "a a/ a/b", ""},
		{"/***", "a a/ a/b", ""},
		{"**/***", "a a/ a/b a/b/", ""},
		{"ä*", "ä äx", "a"},
		{"\xff?", "\xffa", "\xff"},
		{"!x", "!x a/!x", "x"},
		{"a b", "", "a b"}, // no name in this table has a space
	}
	for _, tt := range tests {
		s := build(t, "- "+tt.pattern)
		for want, names := range map[bool]string{true: tt.match, false: tt.miss} {
			for name := range strings.FieldsSeq(names) {
				path, dir := strings.CutSuffix(name, "/")
				if got := s.Hidden(path, dir); got != want {
					t.Errorf("pattern %q, %q: hidden is %v", tt.pattern, name, got)
				}
			}
		}
	}
}

// sum describes the rules of s in one line.
func sum(s *Set) string {
	return strings.TrimSpace(strings.ReplaceAll(string(s.AppendText(nil)), "\n", "|"))
}

func TestSyntax(t *testing.T) {
	tests := []struct{ rule, want string }{
		{"- foo", "- foo|"},
		{"-_foo", "- foo|"},
		{"-  foo", "-  foo|"},
		{"-,/ foo", "-/ foo|"},
		{"-/ foo", "-/ foo|"},
		{"-! */", "-! */|"},
		{"-!/ps x", "-/!sp x|"},
		{"-sr x", "- x|"},
		{"+ foo/", "+ foo/|"},
		{"exclude foo", "- foo|"},
		{"exclude,! foo", "-! foo|"},
		{"include_foo", "+ foo|"},
		{"hide foo", "-s foo|"},
		{"H foo", "-s foo|"},
		{"H,! foo", "-!s foo|"},
		{"show foo", "+s foo|"},
		{"S foo", "+s foo|"},
		{"protect foo", "-r foo|"},
		{"P,p foo", "-rp foo|"},
		{"risk foo", "+r foo|"},
		{"R foo", "+r foo|"},
		{"- 50%\x01", "- 50%25%01|"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := sum(build(t, tt.rule)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.rule, got, tt.want)
		}
	}
	for _, clear := range []string{"!", "clear"} {
		if got := sum(build(t, "- a", clear, "- b")); got != "- b|" {
			t.Errorf("%q: got %q", clear, got)
		}
	}
	if got := sum(build(t, "-C")); strings.Count(got, "|") != 36 || !strings.HasPrefix(got, "-p RCS|") {
		t.Errorf("-C: got %q", got)
	}
}

func TestRefusedRules(t *testing.T) {
	for _, rule := range []string{
		"foo", "-", "- ", "+", "-foo", "x foo", "excludefoo", "exclude\tfoo", "-z foo", "--", "-+ foo", "-e foo", "-n foo",
		"-w x", "-x user.a", "Hs foo", "Pr foo", "HC", "-C foo", "!foo", "! ", "clear x", ": .rules", "dir-merge .rules",
		". file", "merge file", ".! file", "- a\x00b", "- " + strings.Repeat("x", MaxPattern+1), "CC", "-CC", " - foo",
	} {
		var b Builder
		err := b.Filter(rule)
		if fault.ClassOf(err) != fault.Usage {
			t.Errorf("%.40q: error %v", rule, err)
		} else if strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.40q: error of more than one line: %v", rule, err)
		}
	}
}

func TestIncludeExclude(t *testing.T) {
	var b Builder
	for _, err := range []error{
		b.Exclude("dropped"), b.Include("!"),
		b.Exclude("*.o"), b.Exclude("+ keep.o"), b.Include("- x"), b.Include("y"), b.Exclude("!z"), b.Exclude(""),
		b.Exclude("- - a"), b.Exclude("-b"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := sum(done(t, &b)), "- *.o|+ keep.o|- x|+ y|- !z|- - a|- -b|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := b.Exclude("- "); fault.ClassOf(err) != fault.Usage {
		t.Errorf("empty pattern: %v", err)
	}
}

func TestFromFiles(t *testing.T) {
	var b Builder
	if err := b.ExcludeFrom(strings.NewReader("a\r\n\r\n# no\n;no\n+ b\nc #;\rd\n !\ne"), "ex"); err != nil {
		t.Fatal(err)
	}
	if err := b.IncludeFrom(strings.NewReader("f\n- g\n"), "in"); err != nil {
		t.Fatal(err)
	}
	if got, want := sum(done(t, &b)), "- a|+ b|- c #;|- d|-  !|- e|+ f|- g|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b = Builder{}
	b.SetNul(true)
	if err := b.ExcludeFrom(strings.NewReader("a\nb\x00\x00#c\x00d"), "ex"); err != nil {
		t.Fatal(err)
	}
	if got, want := sum(done(t, &b)), "- a%0Ab|- d|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	err := b.ExcludeFrom(strings.NewReader("a\x00b\x00- "), "ex")
	if err == nil || err.Error() != "ex:3: pattern is missing" {
		t.Errorf("error %v", err)
	}
}

// files opens rule files from memory.
func files(m map[string]string) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if text, ok := m[name]; ok {
			return io.NopCloser(strings.NewReader(text)), nil
		}
		return nil, errors.New("no such file")
	}
}

func TestMerge(t *testing.T) {
	open := files(map[string]string{
		"full":       "# c\n- a\n+ b\nmerge x/more\n-p e\n",
		"x/more":     "P c\nH d\n",
		"plain":      "- a\n!\n# c\nb c\n",
		"words":      "-_a +_b\n  H_c\t",
		"cvs":        "a !\nb\t!c",
		".cvsignore": "d",
		"unsided":    "- a\n+p b\n",
		"clears":     "!\n- z\n",
		"loop":       "merge loop\n",
		"bad":        "- a\n\n- b\nnonsense\n",
	})
	tests := []struct{ rule, want string }{
		{". full", "- 0|- a|+ b|-r c|-s d|-p e|"},
		{"merge full", "- 0|- a|+ b|-r c|-s d|-p e|"},
		{"merge,- plain", "- 0|- - a|- !|- b c|"},
		{".+ plain", "- 0|+ - a|+ !|+ b c|"},
		{".-/p plain", "- 0|-/p - a|-/p !|-/p b c|"},
		{".w words", "- 0|- a|+ b|-s c|"},
		{".C cvs", "- b|- !c|"},
		{".C", "- 0|- d|"},
		{".-w cvs", "- 0|- a|- !|- b|- !c|"},
		{".s unsided", "- 0|-s a|+sp b|"},
		{".sr unsided", "- 0|- a|+p b|"},
		{".en x/more", "- 0|- more|-r c|-s d|"},
		{". clears", "- z|"},
	}
	for _, tt := range tests {
		b := Builder{Open: open}
		if err := b.Filter("- 0"); err != nil {
			t.Fatal(err)
		}
		if err := b.Filter(tt.rule); err != nil {
			t.Errorf("%q: %v", tt.rule, err)
			continue
		}
		if got := sum(done(t, &b)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.rule, got, tt.want)
		}
	}
	for rule, want := range map[string]string{
		". loop":    `loop:1: merge of "loop": more than 32 files merge each other`,
		". missing": `filter rule: merge of "missing": no such file`,
		". bad":     `bad:4: "nonsense" is not a rule`,
		".s full":   `x/more:1: "P c" names a side, but so does the merge rule that read this file`,
		".-+ plain": `filter rule: ".-+ plain": a rule of this kind can not have the modifier '+'`,
		".-C plain": `filter rule: ".-C plain": a rule of this kind can not have the modifier 'C'`,
		".x plain":  `filter rule: ".x plain": rules for extended attributes are not supported`,
		".":         `filter rule: merge rule without the name of a file`,
	} {
		b := Builder{Open: open}
		if err := b.Filter(rule); err == nil || err.Error() != want || fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: got %v, want %s", rule, err, want)
		}
	}
}

func TestSides(t *testing.T) {
	s := build(t, "H hid", "P kept", "-p soft", "R both", "- both", "S shown", "- shown")
	tests := []struct {
		path                      string
		hidden, protected, within bool
	}{
		{"hid", true, false, false},
		{"kept", false, true, true},
		{"soft", true, true, false},
		{"both", true, false, false},
		{"shown", false, true, true},
		{"other", false, false, false},
	}
	for _, tt := range tests {
		if h, p, w := s.Hidden(tt.path, false), s.Protected(tt.path, false), s.ProtectedWithin(tt.path, false); h != tt.hidden || p != tt.protected || w != tt.within {
			t.Errorf("%s: hidden %v, protected %v, within %v", tt.path, h, p, w)
		}
	}

	var b Builder
	b.SetDeleteExcluded(true)
	for _, r := range []string{"- a", "P b", "-sr c"} {
		if err := b.Filter(r); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := sum(done(t, &b)), "-s a|-r b|- c|"; got != want {
		t.Errorf("delete excluded: got %q, want %q", got, want)
	}
}

func TestHiddenTree(t *testing.T) {
	s := build(t, "- /a/", "- x")
	for path, want := range map[string]bool{"a": true, "a/b": true, "b/a": false, "b/x/c/d": true, "b": false, "": false} {
		if got := s.HiddenTree(path, true); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
	if s.HiddenTree("a", false) {
		t.Error("a file is not hidden by a rule for directories")
	}
}

func TestNil(t *testing.T) {
	var s *Set
	if s.Hidden("a", true) || s.HiddenTree("a/b", true) || s.Protected("a", false) || s.ProtectedWithin("a", false) ||
		!s.Empty() || s.At("x") != nil || len(s.AppendText(nil)) != 0 {
		t.Error("a nil Set is not neutral")
	}
	if e := build(t); !e.Empty() || len(e.AppendText(nil)) != 0 || e.Hidden("a", true) {
		t.Error("an empty Set is not neutral")
	}
}

func TestAbsolute(t *testing.T) {
	rules := []string{"-/ /srv/data/a", "-/ data/b", "-/ plain", "-/ **/data/c", "-/ ta/d**", "-/ **/srv/data/e", "- /srv"}
	s := build(t, rules...).At("/srv/data/")
	for path, want := range map[string]bool{
		"a": true, "x/a": false, "b": true, "x/b": false, "x/data/b": true, "plain": true, "x/plain": true,
		"c": true, "x/c": false, "x/data/c": true, "d1": false, "ta/d1": true, "e": false, "srv": true,
	} {
		if got := s.Hidden(path, false); got != want {
			t.Errorf("%q below /srv/data: %v", path, got)
		}
	}
	s = s.At("")
	for path, want := range map[string]bool{"a": false, "srv/data/a": true, "data/b": true, "data/c": true, "ta/d1": true} {
		if got := s.Hidden(path, false); got != want {
			t.Errorf("%q at the root: %v", path, got)
		}
	}
}

func TestLimits(t *testing.T) {
	var b Builder
	var err error
	for i := 0; i <= MaxRules && err == nil; i++ {
		err = b.Exclude("x")
	}
	if fault.ClassOf(err) != fault.Usage {
		t.Errorf("too many rules: %v", err)
	}
	b = Builder{}
	for i := range MaxText / 1000 {
		if err := b.Exclude(fmt.Sprintf("%01100d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Build(); fault.ClassOf(err) != fault.Usage {
		t.Errorf("too much text: %v", err)
	}
	if err := (&Builder{}).ExcludeFrom(strings.NewReader(strings.Repeat("\n", maxFile+1)), "big"); fault.ClassOf(err) != fault.Usage {
		t.Errorf("too large a file: %v", err)
	}
}
