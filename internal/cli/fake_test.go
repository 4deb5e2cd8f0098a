package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/lab/trial"
)

var update = flag.Bool("update", false, "write the golden files")

// engine is a fake whose verbs are functions; those that are nil do nothing.
type engine struct {
	sync  func(context.Context, SyncOptions, event.Func) error
	serve func(context.Context, ServeOptions, ServeHooks) error
	list  func(context.Context, ListOptions, func(ListEntry) error) error
	demo  func(context.Context, DemoOptions, event.Func) error
	make  func(context.Context, PatchOptions, event.Func) (*Difference, error)
	apply func(context.Context, ApplyOptions, event.Func) (*Applied, error)

	labRun   func(context.Context, LabOptions, LabHooks) (LabEnd, error)
	labSet   func(context.Context, int, lab.Change) (lab.Status, error)
	labClean func(context.Context, bool) ([]LabLeftover, error)

	labIncident func(context.Context, trial.IncidentOptions, Again) (bool, int, error)
	labBench    func(context.Context, trial.BenchOptions, Again) (*report.Bench, bool, int, error)
}

func (e engine) MakePatch(ctx context.Context, o PatchOptions, f event.Func) (*Difference, error) {
	if e.make == nil {
		return nil, nil
	}
	return e.make(ctx, o, f)
}

func (e engine) ApplyPatch(ctx context.Context, o ApplyOptions, f event.Func) (*Applied, error) {
	if e.apply == nil {
		return nil, nil
	}
	return e.apply(ctx, o, f)
}

func (e engine) Sync(ctx context.Context, o SyncOptions, f event.Func) error {
	if e.sync == nil {
		return nil
	}
	return e.sync(ctx, o, f)
}

func (e engine) Serve(ctx context.Context, o ServeOptions, h ServeHooks) error {
	if e.serve == nil {
		return nil
	}
	return e.serve(ctx, o, h)
}

func (e engine) List(ctx context.Context, o ListOptions, emit func(ListEntry) error) error {
	if e.list == nil {
		return nil
	}
	return e.list(ctx, o, emit)
}

func (e engine) Demo(ctx context.Context, o DemoOptions, f event.Func) error {
	if e.demo == nil {
		return nil
	}
	return e.demo(ctx, o, f)
}

func (e engine) LabRun(ctx context.Context, o LabOptions, h LabHooks) (LabEnd, error) {
	if e.labRun == nil {
		return LabEnd{}, nil
	}
	return e.labRun(ctx, o, h)
}

func (e engine) LabSet(ctx context.Context, n int, c lab.Change) (lab.Status, error) {
	if e.labSet == nil {
		return lab.Status{}, nil
	}
	return e.labSet(ctx, n, c)
}

func (e engine) LabClean(ctx context.Context, dryRun bool) ([]LabLeftover, error) {
	if e.labClean == nil {
		return nil, nil
	}
	return e.labClean(ctx, dryRun)
}

func (e engine) LabIncident(ctx context.Context, o trial.IncidentOptions, again Again) (bool, int, error) {
	if e.labIncident == nil {
		return false, 0, nil
	}
	return e.labIncident(ctx, o, again)
}

func (e engine) LabBench(ctx context.Context, o trial.BenchOptions, again Again) (*report.Bench, bool, int, error) {
	if e.labBench == nil {
		return nil, false, 0, nil
	}
	return e.labBench(ctx, o, again)
}

// result is what a run left behind.
type result struct {
	code           int
	stdout, stderr string
}

// with runs the command line with an environment of NAME=VALUE.
func with(e Engine, env []string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), args, Env{
		Stdout: &stdout, Stderr: &stderr, Getenv: getenv(env), Dir: "/dir", GOOS: "linux",
		Location: time.UTC, Engine: e,
	})
	return result{code, stdout.String(), stderr.String()}
}

func getenv(env []string) func(string) string {
	return func(name string) string {
		for _, kv := range env {
			if k, v, _ := strings.Cut(kv, "="); k == name {
				return v
			}
		}
		return ""
	}
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s differs (go test -update writes it)\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}

// scripted is the engine of the scripts in testdata. FAKE chooses how it ends.
func scripted() Engine {
	end := func() error {
		switch fake := os.Getenv("FAKE"); {
		case fake == "panic":
			panic("made to")
		case fake == "plain":
			return fmt.Errorf("it broke")
		case fake != "":
			return fault.New(fault.Parse(fake), "do this", "fake: made to end as %s", fake)
		}
		return nil
	}
	return engine{
		sync: func(ctx context.Context, o SyncOptions, f event.Func) error {
			if name := os.Getenv("DUMP"); name != "" {
				o.Stdin, o.Dir = nil, ""
				b, err := json.Marshal(o)
				if err != nil {
					return err
				}
				if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
					return err
				}
			}
			f(event.Start{Verb: "sync", Source: o.Sources[0], Destination: o.Dest, DryRun: o.DryRun})
			f(event.Item{Change: ".d..t......", Dir: true})
			f(event.Item{Path: "dir", Change: "cd+++++++++", Dir: true})
			f(event.Item{Path: "dir/a\nb", Change: ">f+++++++++", Size: 10})
			f(event.Item{Path: "link", Change: "cL+++++++++", Target: "dir/\xff"})
			f(event.Item{Path: "times", Change: ".f..t......", Size: 3})
			f(event.Item{Path: "old", Change: "*deleting  "})
			f(event.Warn{Path: "dev", Text: "device left out"})
			if os.Getenv("VANISH") != "" {
				f(event.Warn{Path: "gone", Text: "vanished while it was read", Partial: true})
			}
			f(event.Summary{
				DryRun: o.DryRun, Files: 3, Dirs: 1, Symlinks: 1, Bytes: 60606801, Transferred: 1, Created: 3, Deleted: 1,
				Literal: 31000000, Reused: 29606801, Moved: 1, WireIn: 31200113, WireOut: 1234, Retries: 3,
				LinkDown: 42 * time.Second, Elapsed: 66 * time.Second, Tree: "b3:0123", Skipped: 1,
			})
			return end()
		},
		serve: func(ctx context.Context, o ServeOptions, h ServeHooks) error {
			h.Ready(Ready{Module: "m", Root: o.Root, Addrs: []string{"127.0.0.1:8730"}, URLs: []string{"https://host:8730/m/"}, Pin: "PIN", Writable: o.Writable, Commands: []string{"ropeway sync -a 'https://host:8730/m/' m"}})
			h.Access(Access{Time: time.Unix(0, 0), Remote: "10.0.0.1:99", Method: "GET", Path: "/m/\x1b", Status: 200, Bytes: 5, Elapsed: time.Second})
			h.Warn(event.Warn{Text: "bbr is not available"})
			if name := os.Getenv("COPY_READY"); name != "" {
				b, err := os.ReadFile("ready")
				if err != nil {
					return err
				}
				if err := os.WriteFile(name, b, 0o600); err != nil {
					return err
				}
			}
			return end()
		},
		list: func(ctx context.Context, o ListOptions, emit func(ListEntry) error) error {
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			for _, e := range []ListEntry{
				{Path: "bin", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Size: 4096, ModTime: at},
				{Path: "bin/su", Mode: fs.ModeSetuid | 0o755, Size: 1234567, ModTime: at},
				{Path: "link\x1b", Mode: fs.ModeSymlink | 0o777, Size: 2, ModTime: at, Target: "to"},
			} {
				if err := emit(e); err != nil {
					return err
				}
			}
			return end()
		},
		demo: func(ctx context.Context, o DemoOptions, f event.Func) error {
			f(event.Warn{Text: fmt.Sprintf("loss %g rtt %s rate %d size %d cut %s", o.Loss, o.RTT, o.Rate, o.Size, o.Cut)})
			f(event.Note{Text: "a note"})
			f(event.Summary{Bytes: o.Size})
			return end()
		},
	}
}

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){
		"ropeway": func() {
			env := OS(scripted())
			env.Location, env.GOOS = time.UTC, "linux"
			os.Exit(Run(context.Background(), os.Args[1:], env))
		},
	})
}

// leakless fails the tests if goroutines are left behind.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", UpdateScripts: *update, Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise each command takes a second
		return nil
	}})
}
