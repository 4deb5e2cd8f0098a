package trial

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
)

// needLab skips where there can be no lab.
func needLab(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("labs are made of Linux namespaces")
	}
	net, err := openLab(t.Context(), setting{})
	if err != nil {
		if c := fault.ClassOf(err); c == fault.Denied || c == fault.Incompatible {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if err := net.close(); err != nil {
		t.Fatal(err)
	}
}

// TestOneCell measures one cell on a real lab: an event, and us.
func TestOneCell(t *testing.T) {
	needLab(t)
	var saved int
	o := BenchOptions{
		Tools: []string{report.Ropeway}, Sets: []string{string(report.Events)}, Rounds: 1, Dir: t.TempDir(), Self: self(t),
		Progress: func(p Progress) { t.Log(p) },
		Save:     func(*report.Bench) error { saved++; return nil },
	}
	if dir := os.Getenv("SCRATCH"); dir != "" {
		o.Dir, o.Keep = dir, true
	}
	b, err := Bench(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if saved != len(quickEvents) {
		t.Errorf("saved %d times", saved)
	}
	for _, c := range b.Cells {
		t.Logf("%+v", c)
		if c.Outcome() != report.OK {
			t.Errorf("%s: %s", c.Event, c.Outcome())
		}
		if r := c.Runs[0]; r.EventAt == 0 || r.First <= 0 || r.WireAB < JarSize || r.Packets < JarSize/1500 {
			t.Errorf("%s: %+v", c.Event, r)
		}
	}
	if !slices.ContainsFunc(b.Tools, func(x report.Tool) bool { return x.Name == report.Ropeway && x.Version != "" }) {
		t.Errorf("%+v", b.Tools)
	}
	_ = time.Second
}
