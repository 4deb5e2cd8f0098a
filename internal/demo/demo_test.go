package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options are those of the command line.
func options(t *testing.T) Options {
	return Options{Size: 60_606_801, Rate: 5e6, RTT: 40 * time.Millisecond, Loss: .01, Cut: 6 * time.Second, Seed: 1, TempDir: t.TempDir()}
}

// show prints the narration.
func show(t *testing.T) (event.Func, func() (string, *event.Summary)) {
	var mu sync.Mutex
	var all strings.Builder
	var sum *event.Summary
	return func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e := e.(type) {
			case event.Summary:
				sum = &e
			case event.Warn:
				t.Logf("warning: %s: %s", e.Path, e.Text)
			case event.Note:
				t.Log(e.Text)
				all.WriteString(e.Text + "\n")
			}
		}, func() (string, *event.Summary) {
			mu.Lock()
			defer mu.Unlock()
			return all.String(), sum
		}
}

func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	o := options(t)
	o.Quick = true
	o.GoRoot = func(ctx context.Context) string { return FindGo(ctx, os.Getenv) }
	report, said := show(t)
	if err := Run(t.Context(), o, report); err != nil {
		t.Fatal(err)
	}
	text, sum := said()
	if n := strings.Count(text, "identical by SHA-256"); n != 3 {
		t.Errorf("verified %d times", n)
	}
	if _, err := exec.LookPath("go"); err == nil && !strings.Contains(text, "the Go toolchain's own source") {
		t.Error("the toolchain's source was not found")
	}
	if sum == nil || sum.Failed != 0 || sum.Moved == 0 {
		t.Errorf("summary %+v", sum)
	}
	if left, _ := filepath.Glob(filepath.Join(o.TempDir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
