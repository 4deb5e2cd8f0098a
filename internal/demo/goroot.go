package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// FindGo returns the root of the Go toolchain of this machine, whose source is
// there, or "". It asks the environment and then the go command.
func FindGo(ctx context.Context, getenv func(string) string) string {
	if root := getenv("GOROOT"); hasSource(root) {
		return root
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = os.TempDir()                              // the module here, if any, does not matter
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local") // nor what it would download
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if root := strings.TrimSpace(string(out)); err == nil && hasSource(root) {
		return root
	}
	return ""
}

func hasSource(root string) bool {
	if !filepath.IsAbs(root) {
		return false
	}
	info, err := os.Stat(filepath.Join(root, "src", "fmt"))
	return err == nil && info.IsDir()
}
