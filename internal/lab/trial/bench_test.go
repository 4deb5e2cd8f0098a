package trial

import (
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
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

// TestOneRun is one run on a real lab, through an event.
func TestOneRun(t *testing.T) {
	needLab(t)
	t.Parallel()
	dir := t.TempDir()
	p, err := (&payloads{dir: dir, made: map[string]*payload{}}).get(t.Context(), Small)
	if err != nil {
		t.Fatal(err)
	}
	event, err := link.ParseEvent("reset:b@4MB")
	if err != nil {
		t.Fatal(err)
	}
	all := tools(self(t))
	r := &run{
		tool: &all[0], payload: p, event: &event, bound: time.Minute, dir: filepath.Join(dir, "run"),
		setting: setting{profile: incidentProfile(), cc: "cubic", seed: 1},
	}
	res, err := r.do(t.Context(), openLab)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", res)
	if res.Outcome != report.OK || res.EventAt == 0 || res.First <= 0 || res.WireAB < p.bytes || res.Packets < p.bytes/1500 || len(res.Series) < 10 {
		t.Errorf("%+v", res)
	}
}

// TestCampaign stops a campaign and goes on with it.
func TestCampaign(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("servers are found by /proc/net/tcp")
	}
	var saved, told int
	o := BenchOptions{
		Tools: []string{report.Ropeway}, Sets: []string{string(report.Sweep)}, Rounds: 2, Dir: t.TempDir(), Self: self(t), Limit: 1,
		Progress: func(p Progress) { told++ },
		Save:     func(*report.Bench) error { saved++; return nil },
	}
	b, err := bench(t.Context(), o, openLoopback)
	if fault.ClassOf(err) != fault.Limit || b == nil || len(b.Cells) != 0 {
		t.Fatalf("stopped: %+v, %v", b, err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	o.Limit = 0
	o.Save = func(*report.Bench) error {
		if saved++; saved == 2 {
			stop(fault.New(fault.Interrupted, "", "Ctrl-C"))
		}
		return nil
	}
	b, err = bench(ctx, o, openLoopback)
	if fault.ClassOf(err) != fault.Interrupted || len(b.Cells) != 2 {
		t.Fatalf("interrupted: %d cells, %v", len(b.Cells), err)
	}
	o.Done = b
	if b, err = bench(t.Context(), o, openLoopback); err != nil {
		t.Fatal(err)
	}
	if saved != len(b.Cells) || told < saved || len(b.Cells) < 4 {
		t.Errorf("%d cells, saved %d times, told %d times", len(b.Cells), saved, told)
	}
	for _, c := range b.Cells {
		if c.Outcome() != report.OK || len(c.Runs) != 2 {
			t.Errorf("%+v", c)
		}
	}
	if !slices.ContainsFunc(b.Tools, func(x report.Tool) bool { return x.Name == report.Ropeway && x.Version != "" }) {
		t.Errorf("%+v", b.Tools)
	}
	b.Tools[0].Version = "ropeway 0.1"
	if _, err := bench(t.Context(), o, openLoopback); fault.ClassOf(err) != fault.Usage {
		t.Errorf("another version: %v", err)
	}
	b.Machine.Kernel = "2.6"
	if _, err := bench(t.Context(), o, openLoopback); fault.ClassOf(err) != fault.Usage {
		t.Errorf("another machine: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestStuckTool bounds a tool that never ends, and kills what it has begun.
func TestStuckTool(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs sh and sleep")
	}
	dir := t.TempDir()
	stuck := tool{
		name:   "stuck",
		serve:  func(context.Context, *stage) error { return nil },
		client: func(*stage) command { return command{argv: []string{"sh", "-c", "trap '' TERM; sleep 1000 & wait"}} },
	}
	r := &run{tool: &stuck, payload: &payload{dir: dir}, bound: 300 * time.Millisecond, dir: filepath.Join(dir, "run")}
	from := time.Now()
	res, err := r.do(t.Context(), openLoopback)
	if err != nil || res.Outcome != report.Hang || res.Exit != -1 {
		t.Errorf("%+v %v", res, err)
	}
	if took := time.Since(from); took > patience {
		t.Errorf("took %s", took)
	}
}
