package filter

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// randomText returns text that is, or nearly is, a rule.
func randomText(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	text := pick("-", "-", "-", "+", "+", "H", "S", "P", "R", ".", "!", "exclude", "include", "hide", "show", "protect", "risk", "merge", "clear", "", "a", "clea", "#", ";")
	if r.IntN(4) == 0 {
		text += ","
	}
	for range r.IntN(3) * r.IntN(2) {
		text += pick("/", "!", "p", "s", "r", "C", "-", "+", "e", "n", "w", "z", ",", "\t", "/", "!", "p")
	}
	text += pick(" ", " ", " ", " ", "_", "_", "", "  ", "\t")
	return text + pick("a", "b", "*", "c/", "/a", "foo", "*.o", "a b", "", "- a", "+ b", "!", "**", "b/*", ".cvsignore", "more", "\v", " ", "!a", "#a")
}

// TestSyntaxLikeRsync gives rsync and a Builder the same rules, right and
// wrong, as options and in files. Both must refuse or accept them, and the
// accepted ones must mean the same.
func TestSyntaxLikeRsync(t *testing.T) {
	bin := needRsync(t)
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	have := tree{}
	for _, p := range []string{"a", "b/", "b/a", "b/c/", "b/c/x.o", "c/", "c/foo", "foo", "x.o", "!", "!a", "- a", "a b", "#a", "more", ".cvsignore", "b/d"} {
		p, d := strings.CutSuffix(p, "/")
		have[p] = d
	}
	have.write(t, src)
	if err := os.Mkdir(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(*rsyncSeed, 0))
	accepted, refused := 0, 0
	for n := range 7 * *rsyncSets {
		args := []string{"-rlni", "--out-format=%n"}
		b := Builder{Open: func(name string) (io.ReadCloser, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(dir, name)
			}
			return os.Open(name)
		}}
		contents := map[string]string{}
		for _, name := range []string{"a", "b", "more", "foo", ".cvsignore"} {
			var text string
			for range 1 + r.IntN(3) {
				line := randomText(r)
				if r.IntN(2) == 0 {
					line = []string{"a", "b/", "- c", "+ *", "!", "# a", "*.o", "-_a", "-p_b"}[r.IntN(9)]
				}
				text += line + []string{"\n", "\n", "\r\n", "\n\n", "\r"}[r.IntN(5)]
			}
			if r.IntN(2) == 0 {
				text = strings.TrimRight(text, "\r\n")
			}
			contents[name] = text
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		for range 1 + r.IntN(3) {
			text := randomText(r)
			option := []string{"--filter=", "--filter=", "--filter=", "--exclude=", "--include=", "--exclude-from=", "--include-from="}[r.IntN(7)]
			if option == "--filter=" && r.IntN(3) == 0 {
				text = []string{". ", ".- ", ".+ ", ".C ", ".w ", ".e ", ".s ", ".-/p ", "merge "}[r.IntN(9)] + []string{"a", "b", "more"}[r.IntN(3)]
			}
			if strings.HasSuffix(option, "-from=") {
				text = []string{"a", "b", "more"}[r.IntN(3)]
			}
			args = append(args, option+text)
			if err != nil {
				continue
			}
			switch option {
			case "--filter=":
				err = b.Filter(text)
			case "--exclude=":
				err = b.Exclude(text)
			case "--include=":
				err = b.Include(text)
			case "--exclude-from=":
				err = b.ExcludeFrom(strings.NewReader(contents[text]), text)
			case "--include-from=":
				err = b.IncludeFrom(strings.NewReader(contents[text]), text)
			}
		}
		if err != nil && strings.Contains(err.Error(), "takes no pattern") {
			continue // rsync ignores the pattern
		}
		cmd := exec.Command(bin, append(args, "src/", "dst/")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dst, "CVSIGNORE=")
		out, failed := cmd.CombinedOutput()
		if (failed != nil) != (err != nil) {
			t.Errorf("set %d: rsync %q, files %q\nerror of rsync: %v, %s\nhere: %v", n, args, contents, failed, out, err)
		}
		if failed != nil || err != nil {
			refused++
			continue
		}
		accepted++
		got := tree{}
		for line := range strings.Lines(string(out)) {
			p, d := strings.CutSuffix(strings.TrimSuffix(line, "\n"), "/")
			if p != "." {
				got[p] = d
			}
		}
		if d := got.diff(have.shown(done(t, &b).At(src))); d != nil {
			t.Errorf("set %d: rsync %q, files %q\n%s", n, args, contents, strings.Join(d, "\n"))
		}
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted < refused/10 || refused < accepted/10 {
		t.Error("the rules are not varied enough")
	}
}
