package filter

import (
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// buildOnly returns the Set of a list of paths and filter rules.
func buildOnly(t testing.TB, recursive bool, paths string, rules ...string) *Set {
	t.Helper()
	var b Builder
	b.SetRecursive(recursive)
	if err := b.Only(strings.NewReader(paths), "list", false); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if err := b.Filter(r); err != nil {
			t.Fatal(err)
		}
	}
	return done(t, &b)
}

func TestOnly(t *testing.T) {
	const paths = "# c\n;c\n\na/b\r\nd/\n/e//\n./f//g\nh/."
	tests := []struct {
		name      string
		recursive bool
		paths     string
		rules     []string
		shown     string
		hidden    string
	}{
		{"flat", false, paths, nil,
			"a/ a/b a/b/ d/ d d/x d/x/ e/ e/x f/ f/g h/x", "a a/c a/b/c d/x/y x f f/x h/x/y g"},
		{"recursive", true, "a/b\nd", nil, "a/ a/b/ a/b/c a/b/c/d d/x", "a/c e x/ a"},
		{"root", false, ".", nil, "a a/", "a/b"},
		{"root recursive", true, "./", nil, "a a/ a/b", ""},
		{"empty", true, "#\n", nil, "", "a a/ a/b"},
		{"rules", true, "a/b/x\nc", []string{"- b", "- y"}, "a/ a/b/ a/b/x a/b/x/z c c/z", "a/b a/b/z a/b/x/y c/b/ c/y"},
		{"both", true, "a\na/b/x", []string{"- b"}, "a/ a/c a/b/ a/b/x a/b/x/y", "a/b a/b/c"},
		{"shallow and hidden", false, "a/\na/b/\na/b/x", []string{"- b"}, "a/ a/c a/b/ a/b/x", "a/b/y"},
	}
	for _, tt := range tests {
		s := buildOnly(t, tt.recursive, tt.paths, tt.rules...)
		for want, names := range map[bool]string{false: tt.shown, true: tt.hidden} {
			for name := range strings.FieldsSeq(names) {
				path, dir := strings.CutSuffix(name, "/")
				if got := s.Hidden(path, dir); got != want {
					t.Errorf("%s: %q: hidden is %v", tt.name, name, got)
				}
			}
		}
		if s.Empty() {
			t.Errorf("%s: the Set calls itself empty", tt.name)
		}
	}
}

// TestOnlyProtects checks that a list keeps --delete to the directories whose
// contents it brings.
func TestOnlyProtects(t *testing.T) {
	s := buildOnly(t, false, "a/b\nd/\n", "P keep")
	for path, want := range map[string]bool{
		"x": true, "a": true, "a/x": true, "a/b": true, "a/b/x": true, "d": true, "d/x": false, "d/keep": true, "d/x/y": true,
	} {
		if got := s.Protected(path, false); got != want {
			t.Errorf("flat, %q: protected is %v", path, got)
		}
	}
	if s.ProtectedWithin("d/x/y", false) || !s.ProtectedWithin("d/x/keep", false) {
		t.Error("below a directory to be deleted, only rules protect")
	}
	s = buildOnly(t, true, "a/b\nd/\n", "P keep")
	for path, want := range map[string]bool{"x": true, "a/x": true, "a/b": true, "a/b/x": false, "d/x/y": false, "d/x/keep": true} {
		if got := s.Protected(path, false); got != want {
			t.Errorf("recursive, %q: protected is %v", path, got)
		}
	}
}

func TestRefusedPaths(t *testing.T) {
	for _, line := range []string{"..", "../a", "a/..", "a/../b", "a/./b", "a/.//", "a/./", "a/./.", "a\x00b", strings.Repeat("x", MaxPattern+1)} {
		var b Builder
		if err := b.Only(strings.NewReader(line), "list", false); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%.20q: error %v", line, err)
		}
	}
	var b Builder
	if err := b.Only(strings.NewReader("..a\x00a..\x00...\x00a\nb\x00\x00#c\x00"), "list", true); err != nil {
		t.Fatal(err)
	}
	if got, want := sum(done(t, &b)), "only|= ...|= ..a|= a%0Ab|= a..|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
