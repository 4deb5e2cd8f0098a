package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/lab/trial"
)

func aScene() trial.Scene {
	return trial.Scene{
		Key: "hang", Title: "hangs for ever", Link: "40 Mbit/s", Event: "forget@20MB", Settings: []string{"host a: x=5"},
		Why: []string{strings.Repeat("because ", 30)},
		Rsync: trial.Take{
			Commands: []string{"host b$ rsync"}, Transcript: []trial.Line{{At: 4.3, Who: "client", Text: "io\x1b timeout"}},
			Outcome: report.Hang, Exit: -1, Result: "still hanging", Left: []string{"-rw------- .tmp"},
		},
		Ropeway: trial.Take{Outcome: report.OK, Result: "finished by itself"},
		Shown:   true, Survived: true,
	}
}

func incidentEngine(err error) Engine {
	return engine{labIncident: func(_ context.Context, o trial.IncidentOptions, again Again) (bool, int, error) {
		o.Progress(trial.Progress{Done: 1, Total: 2, Now: "hang/rsync"})
		if len(o.Scenes) != 1 || !o.Quick || len(again.Args) == 0 {
			return false, 0, fault.New(fault.Other, "", "%+v %+v", o, again)
		}
		o.Show(aScene())
		return false, 0, err
	}}
}

func TestLabIncident(t *testing.T) {
	r := with(incidentEngine(nil), nil, "lab", "incident", "--quick", "--scenes=hang")
	if r.code != 0 || !strings.Contains(r.stderr, "lab incident: 1 of 2 takes done; now: hang/rsync") {
		t.Errorf("%d %s", r.code, r.stderr)
	}
	for _, want := range []string{"=== 1. hangs for ever", "--- ropeway, under the same event", "   4.3 s  client", "left     -rw-------", "=== In short", `io\#033 timeout`} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	for line := range strings.Lines(r.stdout) {
		if columns(line) > helpWidth+1 {
			t.Errorf("%d columns: %s", columns(line), line)
		}
	}
	r = with(incidentEngine(fault.New(fault.Integrity, "", "ropeway did not survive: hang")), nil, "lab", "incident", "--quick", "--scenes=hang", "--json")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	var scene struct {
		Type     string
		Survived bool
		Rsync    struct{ Exit int }
	}
	if r.code != int(fault.Integrity) || len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &scene) != nil || scene.Type != "scene" || scene.Rsync.Exit != -1 {
		t.Errorf("%d %s", r.code, r.stdout)
	}
	if r := with(incidentEngine(nil), nil, "lab", "incident", "--scenes=,"); r.code != int(fault.Usage) {
		t.Errorf("%d %s", r.code, r.stderr)
	}
}

func TestLabIncidentRelayed(t *testing.T) {
	e := engine{labIncident: func(context.Context, trial.IncidentOptions, Again) (bool, int, error) { return true, 6, nil }}
	if r := with(e, nil, "lab", "incident", "--json"); r.code != 6 || r.stdout != "" {
		t.Errorf("%d %q", r.code, r.stdout)
	}
}

// benchEngine measures one cell a run, after those that are there.
func benchEngine(got *trial.BenchOptions, err error) Engine {
	return engine{labBench: func(_ context.Context, o trial.BenchOptions, _ Again) (*report.Bench, bool, int, error) {
		*got = o
		b := o.Done
		if b == nil {
			b = &report.Bench{Tools: []report.Tool{{Name: report.Ropeway}}}
		}
		o.Progress(trial.Progress{Done: len(b.Cells), Total: 3, Left: 90 * time.Second, Now: "ropeway, clean"})
		b.Cells = append(b.Cells, report.Cell{
			Set: report.Profile, Tool: report.Ropeway, Link: "clean", CC: "cubic", Limit: 1e6, Event: strings.Repeat("x", len(b.Cells)),
			Runs: []report.Run{{Outcome: report.OK, Seconds: 2, Goodput: 9e5}},
		})
		if o.Save != nil {
			if e := o.Save(b); e != nil {
				return b, false, 0, e
			}
		}
		return b, false, 0, err
	}}
}

func TestLabBench(t *testing.T) {
	var o trial.BenchOptions
	dir := t.TempDir()
	file, page := filepath.Join(dir, "b.json"), filepath.Join(dir, "b.html")
	e := benchEngine(&o, fault.New(fault.Limit, "run the same command again to continue", "stopped"))
	args := []string{"lab", "bench", "--full", "--json", file, "--html", page, "--tools=ropeway,rsync", "--limit=4m"}
	for n := 1; n <= 2; n++ {
		r := with(e, nil, args...)
		if r.code != int(fault.Limit) || !strings.Contains(r.stdout, "clean, cubic") || strings.Contains(r.stdout, `"type"`) ||
			!strings.Contains(r.stderr, "about 2m0s left: ropeway, clean") {
			t.Errorf("%d %s %s", r.code, r.stdout, r.stderr)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := report.Decode(f)
		f.Close()
		if err != nil || len(b.Cells) != n {
			t.Errorf("run %d: %v, %+v", n, err, b)
		}
		if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "clean, cubic") {
			t.Errorf("run %d: %v", n, err)
		}
	}
	if o.Rounds != 3 || len(o.Tools) != 2 || o.Limit != 4*time.Minute || !strings.HasPrefix(o.Command, "ropeway lab bench --full") {
		t.Errorf("%+v", o)
	}
}

func TestLabBenchJSON(t *testing.T) {
	var o trial.BenchOptions
	e := benchEngine(&o, nil)
	for _, r := range []result{with(e, nil, "lab", "bench", "--json", "-"), with(e, []string{"ROPEWAY_JSON=1"}, "lab", "bench")} {
		if b, err := report.Decode(strings.NewReader(r.stdout)); r.code != 0 || err != nil || len(b.Cells) != 1 {
			t.Errorf("%d %v %s", r.code, err, r.stdout)
		}
	}
	if o.Rounds != 1 {
		t.Errorf("%d rounds", o.Rounds)
	}
}

func TestLabBenchFaults(t *testing.T) {
	var o trial.BenchOptions
	e := benchEngine(&o, nil)
	other := filepath.Join(t.TempDir(), "notes.json")
	if err := os.WriteFile(other, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, args := range map[string][]string{
		"both sizes": {"--full", "--quick"}, "rounds": {"--rounds=-1"}, "sets": {"--sets=all"}, "no report": {"--json", other},
		"no place": {"--html", filepath.Join(other, "x.html")},
	} {
		r := with(e, nil, append([]string{"lab", "bench"}, args...)...)
		if r.code == 0 || strings.Count(r.stderr, "ropeway: ") != 1 {
			t.Errorf("%s: %d %s", what, r.code, r.stderr)
		}
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "{}" {
		t.Errorf("a file of the user: %q %v", text, err)
	}
}
