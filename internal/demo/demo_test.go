package demo

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
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

// TestInterrupted stops the demonstration in the middle of a sync.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	o := options(t)
	o.Quick = true // and no toolchain: the source code is made up
	why := fault.New(fault.Terminated, "", "stopped by the test")
	report, said := show(t)
	err := Run(ctx, o, func(e event.Event) {
		report(e)
		if n, ok := e.(event.Note); ok && strings.Contains(n.Text, "resets all connections") {
			cancel(why)
		}
	})
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if text, sum := said(); sum != nil || !strings.Contains(text, "made-up source code") {
		t.Errorf("%+v\n%s", sum, text)
	}
	if left, _ := filepath.Glob(filepath.Join(o.TempDir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"small":    func(o *Options) { o.Size = minJar - 1 },
		"large":    func(o *Options) { o.Size = maxJar + 1 },
		"slow":     func(o *Options) { o.Rate = 512 },
		"negative": func(o *Options) { o.RTT = -1 },
		"lossy":    func(o *Options) { o.Loss = .6 },
		"nan":      func(o *Options) { o.Loss = math.NaN() },
	} {
		o := options(t)
		change(&o)
		if err := Run(t.Context(), o, event.Discard); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := options(t)
	o.TempDir = filepath.Join(o.TempDir, "missing")
	if err := Run(t.Context(), o, event.Discard); fault.ClassOf(err) != fault.Limit || fault.HintOf(err) == "" {
		t.Error(err)
	}
}

func TestSiteComesBackAsItWas(t *testing.T) {
	s := site{root: t.TempDir(), state: filepath.Join(t.TempDir(), "state"), warn: func(w event.Warn) { t.Log(w.Text) }}
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	url := s.url.String()
	if err := s.restart(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if s.url.String() != url || url == "" {
		t.Error("another address, key or token")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.restart(ctx, time.Hour); err != nil || s.running() {
		t.Errorf("%v, running %v", err, s.running())
	}
}

func TestFindGo(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "src", "fmt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := FindGo(t.Context(), func(string) string { return root }); got != root {
		t.Errorf("found %q", got)
	}
	t.Setenv("PATH", t.TempDir())
	if got := FindGo(t.Context(), func(string) string { return "relative" }); got != "" {
		t.Errorf("found %q", got)
	}
}
