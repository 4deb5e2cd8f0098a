package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/link"
)

// labEngine is a fake whose labs end as asked.
func labEngine(got *LabOptions, end LabEnd, err error) engine {
	return engine{labRun: func(_ context.Context, o LabOptions, h LabHooks) (LabEnd, error) {
		*got = o
		h.Note("a note")
		h.Line("b", "stdout", []byte("out\xff"))
		h.Line("a", "stderr", []byte("err"))
		return end, err
	}}
}

func TestLabRun(t *testing.T) {
	var o LabOptions
	end := LabEnd{Exit: 7, Exits: map[string]int{"a": 143, "b": 7}}
	end.Status = lab.Status{
		Profile: "qa-vpn", Elapsed: 12.34,
		Counters: link.Counters{
			AB:    link.DirCounters{Offered: 2036, Delivered: 2013, OfferedBytes: 3030000, DeliveredBytes: 3000000, LostRandom: 21, Held: 2},
			Flows: 2, FlowsCut: 1, Events: 1, RSTs: 2,
		},
		Machine: lab.Machine{Forwarded: 2000, Late: 30, WorstLate: 9 * time.Millisecond, Dropped: 4},
	}
	r := with(labEngine(&o, end, nil), nil, "lab", "run", "--profile=qa-vpn", "--host", "a=srv -x=1", "--host", "b=cli", "--hosts=3",
		"--event", "blackout@20MB for 70s", "--event=forget@5s", "--seed=9", "--cc=bbr", "--pcap=a=x.pcap", "--timeout=30")
	want := "lab: a note\na| err\n" + `lab: 12.34s on link qa-vpn
  a to b  2,013 of 2,036 packets delivered, 3.00 MB of 3.03 MB: 21 lost at random, 2 under way
  b to a  0 of 0 packets delivered, 0 B of 0 B
  link    2 flows, 1 of them cut, 1 event, 2 RSTs by the link
  machine 30 packets (1.50 %) more than 5 ms late, at worst 9 ms: it was busy, mistrust the times
  machine 4 packets dropped by the kernel before the link: the machine is too slow for this
lab: host b ended with exit code 7
`
	if r.code != 7 || r.stdout != "b| out\uFFFD\n" || r.stderr != want {
		t.Errorf("exit %d\n%s\n%s\nwant\n%s", r.code, r.stdout, r.stderr, want)
	}
	if fmt.Sprintln(o.Commands, o.Events, o.Seed, o.CC, o.Hosts, o.Timeout, o.Profile.Name, o.Shell) !=
		"map[a:srv -x=1 b:cli] [blackout@20MB for 70s forget@5s] 9 bbr 3 30s qa-vpn false\n" || o.Pcap["a"] != filepath.Join("/dir", "x.pcap") {
		t.Errorf("options %+v", o)
	}

	r = with(labEngine(&o, end, nil), nil, "lab", "run", "--json", "--host=b=x")
	var types []string
	for line := range strings.Lines(r.stdout) {
		var v struct {
			Type string
			Code int
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		types = append(types, fmt.Sprint(v.Type, v.Code))
	}
	if r.code != 7 || r.stderr != "" || fmt.Sprint(types) != "[note0 output0 output0 lab0 exit7]" {
		t.Errorf("exit %d, %v, %s", r.code, types, r.stderr)
	}
	// What ran once more has said everything.
	r = with(labEngine(&o, LabEnd{Relayed: true, Exit: 5}, nil), nil, "lab", "run", "--json", "--host=b=x")
	if r.code != 5 || strings.Contains(r.stdout, `"exit"`) || fmt.Sprint(o.Again.Args) != "[lab run --json --host=b=x]" {
		t.Errorf("exit %d, %s, again %v", r.code, r.stdout, o.Again.Args)
	}
	r = with(labEngine(&o, LabEnd{}, fault.New(fault.Denied, "run as root", "no")), []string{"ROPEWAY_EVENT=forget@5s\nage:3s\n"}, "lab", "run", "--host=b=x")
	if r.code != int(fault.Denied) || len(o.Events) != 2 {
		t.Errorf("exit %d, events %v", r.code, o.Events)
	}
}

func TestLabShell(t *testing.T) {
	var o LabOptions
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), []string{"lab", "run"}, Env{
		Stdout: &stdout, Stderr: &stderr, IsTerminal: func(any) bool { return true }, Engine: labEngine(&o, LabEnd{}, nil),
	})
	if code != 0 || !o.Shell {
		t.Errorf("exit %d, %+v %s", code, o, stderr.String())
	}
}

func TestLabUsage(t *testing.T) {
	for args, want := range map[string]string{
		"lab":                                    "no verb was given",
		"lab rnu":                                `did you mean run?`,
		"lab run":                                "no terminal for a shell",
		"lab run --profile=qa --host=b=x":        "no profile",
		"lab run --profile=./no/file --host=b=x": "link file",
		"lab run --event=explode --host=b=x":     "no action",
		"lab run --host=b=x --host=b=y":          "given twice",
		"lab run --host=bx":                      "want a host's letter",
		"lab run --host=c=x --host=b=x":          "no host c",
		"lab run --pcap=z=f --host=b=x":          "no host z",
		"lab run --hosts=1":                      "from 2 to 26",
		"lab run --timeout=0 --host=b=x":         "more than 0",
		"lab profiles x":                         "no profile",
		"lab set --lab=x":                        "--lab",
		"lab clean now":                          "too many arguments",
	} {
		r := with(engine{}, nil, strings.Fields(args)...)
		if r.code != int(fault.Usage) || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: exit %d, %s", args, r.code, r.stderr)
		}
	}
}

func TestLabProfiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	text := "name='x'\nabout='y'\nflow_age='5m'\nevents=['forget@5s']\n[ab]\nloss='1%'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := with(engine{}, nil, "lab", "profiles", file)
	if want := "x: y\n  a to b  loss=1%\n  b to a  perfect\n  flows   cut silently after 5m0s\n  event   forget@5s\n"; r.stdout != want || r.code != 0 {
		t.Errorf("%d %s%s", r.code, r.stdout, r.stderr)
	}
	for _, args := range [][]string{{"lab", "profiles", "--json"}, {"lab", "profiles"}} {
		r = with(engine{}, nil, args...)
		for _, p := range link.Profiles() {
			if !strings.Contains(r.stdout, p.Name) {
				t.Errorf("%v lacks %s", args, p.Name)
			}
		}
	}
}

func TestLabSetAndClean(t *testing.T) {
	var c lab.Change
	e := engine{
		labSet: func(_ context.Context, n int, change lab.Change) (lab.Status, error) {
			c = change
			return lab.Status{Lab: n, Profile: "awful"}, nil
		},
		labClean: func(_ context.Context, dry bool) ([]LabLeftover, error) {
			return []LabLeftover{{What: "namespace", Name: "ropeway-x", Owner: 5, Processes: []int{6, 7}}, {What: "socket", Name: "s"}}, nil
		},
	}
	r := with(e, nil, "lab", "set", "--profile=awful", "--event=forget", "--lab=3", "--json")
	if r.code != 0 || !strings.Contains(r.stdout, `"lab":3`) || c.Profile == nil || c.Profile.Name != "awful" || len(c.Events) != 1 {
		t.Errorf("%d %s%s %+v", r.code, r.stdout, r.stderr, c)
	}
	if r = with(e, nil, "lab", "set"); r.code != 0 || !strings.HasPrefix(r.stdout, "lab: 0s on link awful\n") || c.Profile != nil {
		t.Errorf("%d %s%s %+v", r.code, r.stdout, r.stderr, c)
	}
	if r = with(e, nil, "lab", "clean", "-n"); r.stdout != "would remove namespace ropeway-x, and in it the processes [6 7]\nwould remove socket s\n" {
		t.Errorf("%d %s%s", r.code, r.stdout, r.stderr)
	}
	if r = with(e, nil, "lab", "clean", "--json"); strings.Count(r.stdout, `"leftover"`) != 2 {
		t.Errorf("%d %s%s", r.code, r.stdout, r.stderr)
	}
	if r = with(engine{}, nil, "lab", "clean"); r.stdout != "nothing was left behind\n" {
		t.Errorf("%d %s%s", r.code, r.stdout, r.stderr)
	}
}

// TestLabIsDocumented holds docs/manual.md against the parts of the verb.
func TestLabIsDocumented(t *testing.T) {
	manual := document(t, "manual.md")
	for _, c := range newApp(Env{}).root().Commands() {
		if c.Name() != "lab" {
			continue
		}
		for _, part := range c.Commands() {
			if !strings.Contains(manual, "ropeway lab "+part.Name()) {
				t.Errorf("docs/manual.md lacks lab %s", part.Name())
			}
			part.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !strings.Contains(manual, "`--"+f.Name) {
					t.Errorf("docs/manual.md lacks --%s of lab %s", f.Name, part.Name())
				}
			})
		}
	}
}
