package plain

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCurlAndWget(t *testing.T) {
	root := tree(t)
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i*7 ^ i>>9)
	}
	must(t, os.WriteFile(root+"/app.jar", content, 0o644))
	h := handler(root)
	strong(t, h, "/m/mod/app.jar")
	srv := httptest.NewServer(h)
	defer srv.Close()
	for name, args := range map[string][]string{
		"curl": {"-sSf", "-C", "-", "-o", "OUT", srv.URL + "/m/mod/app.jar"},
		"wget": {"-q", "-c", "-O", "OUT", srv.URL + "/m/mod/app.jar"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skip(err)
			}
			out := filepath.Join(t.TempDir(), "app.jar")
			must(t, os.WriteFile(out, content[:1<<20+123], 0o644))
			args := strings.Split(strings.ReplaceAll(strings.Join(args, "\n"), "OUT", out), "\n")
			for i := range 2 {
				if i == 1 && name == "curl" {
					break // with -f it takes the 416 for an error
				}
				if b, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, b)
				}
				got, err := os.ReadFile(out)
				must(t, err)
				if !bytes.Equal(got, content) {
					t.Errorf("%d bytes differ from the %d served", len(got), len(content))
				}
			}
		})
	}
	t.Run("wget -r", func(t *testing.T) {
		if _, err := exec.LookPath("wget"); err != nil {
			t.Skip(err)
		}
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "wget", "-q", "-r", "-np", "-nH", "--cut-dirs=2", "-e", "robots=off", "-P", dir, srv.URL+"/m/mod/sub/")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if b, err := os.ReadFile(dir + "/sub/deep/file"); string(b) != "deep" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}
