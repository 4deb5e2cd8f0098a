package trial

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

func TestLimit(t *testing.T) {
	for _, x := range []struct {
		p    link.Params
		want float64
	}{
		{link.Params{}, 0},
		{link.Params{Rate: 100e6}, 96_533_333},
		{link.Params{Rate: 100e6, Loss: .1}, 86_880_000},
		{link.Params{Rate: 50e6, Loss: .5, Burst: .5}, 12_066_667},
	} {
		if got := limit(x.p); math.Abs(got-x.want) > 1 {
			t.Errorf("%+v: %f, want %f", x.p, got, x.want)
		}
	}
}

func TestPlans(t *testing.T) {
	all := tools("/bin/true")
	for i := range all {
		all[i].needs = nil // as if all were installed
	}
	for _, full := range []bool{false, true} {
		list, err := plan(BenchOptions{Full: full, Rounds: 1}, all)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		var alone, shared time.Duration
		for i := range list {
			c := &list[i]
			if keys[c.Key()] {
				t.Errorf("twice: %s", c.Key())
			}
			keys[c.Key()] = true
			if c.bound <= 0 || c.bound > 5*time.Minute || c.rounds < 1 || c.Limit <= 0 {
				t.Errorf("%s: %+v", c.name(), c)
			}
			if c.alone {
				alone += c.guess()
			} else {
				shared += c.guess()
			}
		}
		for _, e := range matrix {
			if full && !slices.ContainsFunc(list, func(c cell) bool { return c.Event == e.text && c.Set == report.Events }) {
				t.Errorf("no cell for %s", e.text)
			}
		}
		whole := alone + shared/beside
		t.Logf("full %t: %d cells, %s", full, len(list), whole)
		if most := 10 * time.Minute; !full && whole > most {
			t.Errorf("quick takes %s, more than %s", whole, most)
		}
	}
	for name, o := range map[string]BenchOptions{"tool": {Tools: []string{"ftp"}}, "profile": {Profiles: []string{"moon"}}} {
		if _, err := plan(o, all); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := plan(BenchOptions{Tools: []string{"rsync"}, Sets: []string{"profile"}, Profiles: []string{"awful"}, Rounds: 2}, all)
	if err != nil || len(list) != 1 || list[0].Link != "awful" || list[0].rounds != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestMissingIsNamed has tools whose programs nobody has.
func TestMissingIsNamed(t *testing.T) {
	x := tool{name: "x", needs: []program{{"no-such-program", "its-package", nil}}}
	const want = "no-such-program: not installed: apt-get install its-package"
	if got := x.missing(); got != want {
		t.Errorf("%q", got)
	}
	if d := x.describe(t.Context(), "/bin/true"); d.Missing != want || d.Version != "" {
		t.Errorf("%+v", d)
	}
	if got := missing([]tool{x, x}, nil); got != want {
		t.Errorf("%q", got)
	}
	list, err := plan(BenchOptions{Full: true}, []tool{x})
	if err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

func TestRecovery(t *testing.T) {
	const full = 480_000
	series := func(parts ...int) (s []int64) { // buckets at full speed, without, at full speed ...
		for i, n := range parts {
			for range n {
				s = append(s, int64(full*(1-i%2)))
			}
		}
		return s
	}
	for name, x := range map[string]struct {
		res         report.Run
		at, lasted  time.Duration
		first, whol float64
	}{
		"blackout":                        {report.Run{Seconds: 40, Outcome: report.OK, Series: series(40, 120, 240)}, 4 * time.Second, 10 * time.Second, 2, 2},
		"at once":                         {report.Run{Seconds: 40, Outcome: report.OK, Series: series(400)}, 4 * time.Second, 0, .2, .2},
		"never":                           {report.Run{Seconds: 40, Outcome: report.Hang, Series: series(40, 360)}, 4 * time.Second, 10 * time.Second, -1, 0},
		"ended before the link was back":  {report.Run{Seconds: 12, Outcome: report.Failed, Series: series(40, 80)}, 4 * time.Second, 10 * time.Second, -1, 0},
		"done before a second had passed": {report.Run{Seconds: 16.5, Outcome: report.OK, Series: series(40, 120, 5)}, 4 * time.Second, 10 * time.Second, 2, 0},
		"slow for ever":                   {report.Run{Seconds: 40, Outcome: report.Slow, Series: append(series(40, 120), slices.Repeat([]int64{20_000}, 240)...)}, 4 * time.Second, 10 * time.Second, 2, -1},
		"no series":                       {report.Run{Seconds: 40, Outcome: report.Slow}, 4 * time.Second, 10 * time.Second, -1, 0},
	} {
		recovery(&x.res, x.at, x.lasted, 30*time.Millisecond)
		if math.Abs(x.res.First-x.first) > .11 || math.Abs(x.res.Full-x.whol) > .11 {
			t.Errorf("%s: %.2f and %.2f, want %.2f and %.2f", name, x.res.First, x.res.Full, x.first, x.whol)
		}
	}
}

func TestIdentical(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("src/a", "1")
	put("src/d/b", "2")
	p := &payload{dir: filepath.Join(dir, "src")}
	if err := p.list(); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(dir, "dst")
	check := func(what string, want bool) {
		t.Helper()
		if got, err := p.identical(t.Context(), dst); err != nil || got != want {
			t.Errorf("%s: %t %v", what, got, err)
		}
	}
	check("nothing there", false)
	put("dst/a", "1")
	put("dst/d/b", "2")
	put("dst/index.html", "of a tool")
	check("all there", true)
	put("dst/d/b", "3")
	check("wrong content", false)
	put("dst/d/b", "22")
	check("wrong length", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.identical(ctx, dst); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTranscript(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	f := follow()
	f.file("client", name, 0)
	add := func(text string) {
		t.Helper()
		w, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	f.note("first")
	add("one\n\n 10%\r 20%\r 30%\ntw")
	f.look()
	add("o\n 40%\r")
	f.look()
	add("last")
	var got []string
	for _, l := range f.close() {
		got = append(got, l.Who+":"+l.Text)
	}
	want := "lab:first client:one client: 30% client:two"
	if s := strings.Join(got, " "); s != want && s != want+" client:last" {
		t.Errorf("%q", s)
	}
}

func TestLastLine(t *testing.T) {
	const log = "receiving\n  10%\r  20%\nrsync error: timeout (code 30) at io.c(248)\nbye\n"
	if got := lastLine(log); got != "rsync error: timeout (code 30) at io.c(248)" {
		t.Errorf("%q", got)
	}
	if got := lastLine("a\nb\n"); got != "b" {
		t.Errorf("%q", got)
	}
	if got := lastLine(""); got != "" {
		t.Errorf("%q", got)
	}
}

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100490A:221A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100490A:221A 0200490A:AC34 01 000C7A07:00000000 01:0000161C 00000008     0        0 12346 2 0000000000000000 4800 4 30 10 -1
   2: 0100490A:221A 0200490A:AC35 01 00000000:0000000A 00:00000000 00000000     0        0 12347 2 0000000000000000 20 4 30 10 -1
`

func TestSockets(t *testing.T) {
	list := parseSockets([]byte(procTCP))
	if len(list) != 3 || list[0].State != "LISTEN" || list[0].Local.Port() != 8730 {
		t.Fatalf("%+v", list)
	}
	const dying = "ESTAB      Recv-Q 0  Send-Q 817671  10.73.0.1:8730 -> 10.73.0.2:44084  timer: retransmission, due in 56.6 s, 8 tries"
	if got := list[1].String(); got != dying {
		t.Errorf("%s", got)
	}
	if got := list[2].String(); !strings.HasSuffix(got, "no timer") || !strings.Contains(got, "Recv-Q 10 ") {
		t.Errorf("%s", got)
	}
	six := parseSockets([]byte("0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0\n"))
	if len(six) != 1 || six[0].Local.String() != "[::1]:80" {
		t.Errorf("%+v", six)
	}
}

func FuzzSockets(f *testing.F) {
	f.Add([]byte(procTCP))
	f.Add([]byte("0: 0100490A:221A :: 01 : : :"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, s := range parseSockets(b) {
			_ = s.String()
		}
	})
}

// TestNoRoom wants one clear line where nothing can be made.
func TestNoRoom(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	if _, err := Bench(t.Context(), BenchOptions{Dir: nowhere, Self: "/bin/true", Tools: []string{report.Ropeway}}); fault.HintOf(err) == "" {
		t.Errorf("bench: %v", err)
	}
	if _, err := chosen(IncidentOptions{Scenes: []string{"fire"}}); fault.ClassOf(err) != fault.Usage {
		t.Errorf("scenes: %v", err)
	}
}

// TestScenesAreWhole wants every scene to have what is shown of it.
func TestScenesAreWhole(t *testing.T) {
	for _, quick := range []bool{false, true} {
		for _, s := range scenes(quick) {
			if _, err := link.ParseEvent(s.event); err != nil {
				t.Errorf("%s: %v", s.key, err)
			}
			if s.title == "" || len(s.why) == 0 || s.failed == nil || s.bound <= 0 || s.bound > 3*time.Minute {
				t.Errorf("%s: %+v", s.key, s)
			}
		}
	}
}
