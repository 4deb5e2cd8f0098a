package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/auth"
)

// TestPrintedCommands runs what the server says to paste.
func TestPrintedCommands(t *testing.T) {
	cfg := tree(t)
	s := serve(t, cfg)
	run := func(t *testing.T, line string) (string, string, error) {
		t.Helper()
		name, _, _ := strings.Cut(line, " ")
		for _, need := range []string{"sh", name} {
			if _, err := exec.LookPath(need); err != nil {
				t.Skip(err)
			}
		}
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		return dir, string(out), err
	}
	lines := s.ready.Modules[0].Commands
	if len(lines) != 5 || !strings.HasPrefix(lines[3], "# ") || lines[0] != "ropeway sync -a '"+s.url.String()+"' mod" {
		t.Fatal(lines)
	}
	other, err := auth.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.NewReplacer(s.url.Pin.String(), other.Pin.String())
	t.Run("curl", func(t *testing.T) {
		if _, out, err := run(t, lines[1]); err != nil || !strings.Contains(out, `"hello.txt"`) || strings.Contains(out, ".ropeway") {
			t.Errorf("%s: %v: %s", lines[1], err, out)
		}
		if _, out, err := run(t, wrong.Replace(lines[1])); err == nil {
			t.Errorf("another pin: %s", out)
		}
	})
	t.Run("netrc", func(t *testing.T) {
		bare := strings.Replace(lines[1], "x:"+s.url.Token+"@", "", 1)
		bare = "umask 077; echo machine 127.0.0.1 login x password " + s.url.Token + " >~/.netrc; " + strings.Replace(bare, "curl ", "curl -n ", 1)
		if _, out, err := run(t, bare); err != nil || !strings.Contains(out, `"hello.txt"`) {
			t.Errorf("%s: %v: %s", bare, err, out)
		}
	})
	t.Run("wget", func(t *testing.T) {
		dir, out, err := run(t, lines[2])
		got, _ := os.ReadFile(filepath.Join(dir, "mod", "sub", "deep.txt"))
		if err != nil && !strings.Contains(out, "404") || string(got) != "deep" { // robots.txt does not exist
			t.Errorf("%s: %v: %s", lines[2], err, out)
		}
		if _, out, err := run(t, wrong.Replace(lines[2])); err == nil {
			t.Errorf("another pin: %s", out)
		}
	})
}
