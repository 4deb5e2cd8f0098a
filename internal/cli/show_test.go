package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// tape records what goes to both streams, in order, with the time. It does not
// tell whether a text came in one write or several.
type tape struct {
	mu     sync.Mutex
	start  time.Time
	pieces []piece
}

type piece struct {
	at         time.Duration
	name, text string
}

type tapeEnd struct {
	t    *tape
	name string
}

func (e tapeEnd) Write(p []byte) (int, error) {
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	at := time.Since(e.t.start)
	if n := len(e.t.pieces); n > 0 && e.t.pieces[n-1].at == at && e.t.pieces[n-1].name == e.name {
		e.t.pieces[n-1].text += string(p)
	} else {
		e.t.pieces = append(e.t.pieces, piece{at, e.name, string(p)})
	}
	return len(p), nil
}

func (t *tape) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, p := range t.pieces {
		text := strings.NewReplacer("\r", "<CR>", "\x1b", "<ESC>").Replace(p.text)
		for line := range strings.Lines(text) {
			fmt.Fprintf(&b, "%6.2f %s %s", p.at.Seconds(), p.name, strings.TrimSuffix(line, "\n"))
			if strings.HasSuffix(line, "\n") {
				b.WriteString("<NL>")
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// story is a job over a bad link: work, a transfer, an outage, the landing.
func story(f event.Func) {
	time.Sleep(50 * time.Millisecond) // never at the instant of a tick
	f(event.Start{Verb: "sync", Source: "https://h/m/", Destination: "./m"})
	f(event.Work{Stage: "connect"})
	time.Sleep(500 * time.Millisecond)
	for i := range int64(3) {
		f(event.Work{Peer: true, Stage: "hash", Bytes: i * 1e9, Total: 3e9, Files: i * 10})
		time.Sleep(700 * time.Millisecond)
	}
	p := event.Progress{Total: 20e6, FilesTotal: 40, Lanes: 8}
	f(p)
	for i := range 10 {
		time.Sleep(time.Second)
		p.Done += 4e6
		p.Files += 5
		p.Total = 60e6
		p.FilesTotal = 340
		p.Complete = i > 2
		p.WireIn, p.WireOut = p.Done+p.Done/50, 9000
		p.Reused = p.Done / 10
		f(p)
		if i == 4 {
			f(event.Item{Path: "a/b", Change: ">f+++++++++", Size: 5})
			f(event.Warn{Path: "evil\x1b[2J", Text: "vanished", Partial: true})
			f(event.Progress{Done: 1, Total: 1, Lanes: 7, Retries: 2}) // late news
		}
	}
	p.Retries = 2
	down := time.Now()
	f(event.Lane{ID: 3, Cause: "connection reset by peer"})
	f(event.Link{Since: down, GiveUp: down.Add(15 * time.Minute), Cause: "no answer"})
	time.Sleep(42 * time.Second)
	f(event.Link{Up: true, Since: time.Now(), Resumed: p.Done})
	f(event.Lane{ID: 4, Open: true})
	time.Sleep(7 * time.Second) // the link is there, but nothing comes
	for range 5 {
		p.Done += 4e6
		p.Files += 58
		f(p)
		time.Sleep(time.Second)
	}
	f(event.Work{Stage: "land", Files: 340})
	time.Sleep(time.Second)
	f(event.Summary{
		Files: 340, Bytes: 60e6, Transferred: 340, Created: 340, Literal: 60e6, WireIn: 61.2e6, WireOut: 9000,
		Retries: 2, LinkDown: 42 * time.Second, Elapsed: 68 * time.Second, Tree: "b3:0", Failed: 1,
	})
}

func TestPrinters(t *testing.T) {
	for _, c := range []struct {
		name string
		tty  bool
		env  []string
		args string
	}{
		{"live", true, []string{"TERM=xterm"}, "-a"},
		{"live-names", true, []string{"TERM=xterm", "NO_COLOR=1"}, "-av"},
		{"dumb", true, []string{"TERM=dumb"}, "-av"},
		{"pipe", false, nil, "-a"},
		{"pipe-progress", false, nil, "-aP"},
		{"pipe-itemize", false, nil, "-aih"},
		{"quiet", true, nil, "-aqi"},
		{"json", true, nil, "-a --json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := &tape{start: time.Now()}
				stdout, stderr := tapeEnd{tp, "out"}, tapeEnd{tp, "err"}
				code := Run(context.Background(), append(append([]string{"sync"}, strings.Fields(c.args)...), "src", "dst"), Env{
					Stdout: stdout, Stderr: stderr, Getenv: getenv(c.env), GOOS: "linux", Location: time.UTC,
					IsTerminal: func(any) bool { return c.tty }, Width: func() int { return 100 },
					Engine: engine{sync: func(_ context.Context, _ SyncOptions, f event.Func) error { story(f); return nil }},
				})
				if code != 3 {
					t.Errorf("exit %d", code)
				}
				golden(t, c.name, tp.String())
			})
		})
	}
}

// TestLineStaysInPlace plays the live line back and looks at what a terminal
// would show.
func TestLineStaysInPlace(t *testing.T) {
	for _, width := range []int{20, 40, 79, 200} {
		synctest.Test(t, func(t *testing.T) {
			var raw lockedBuffer
			Run(context.Background(), []string{"sync", "-av", "src", "dst"}, Env{
				Stdout: &raw, Stderr: &raw, Location: time.UTC,
				IsTerminal: func(any) bool { return true }, Width: func() int { return width },
				Engine: engine{sync: func(_ context.Context, _ SyncOptions, f event.Func) error { story(f); return nil }},
			})
			last := -1
			for _, piece := range strings.Split(raw.String(), "\r") {
				text := strings.TrimRight(piece, " \n")
				if !strings.Contains(piece, "\n") && columns(piece) > width-1 {
					t.Errorf("width %d: %d columns: %q", width, columns(piece), piece)
				}
				before, _, found := strings.Cut(text, "%")
				if !found {
					continue
				}
				percent, err := strconv.Atoi(before[strings.LastIndexByte(before, ' ')+1:])
				if err != nil || percent < last {
					t.Errorf("width %d: %d%% after %d%%: %q", width, percent, last, text)
				}
				last = percent
			}
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestJSONLines checks what readers of --json rely on.
func TestJSONLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout lockedBuffer
		code := Run(context.Background(), []string{"sync", "--json", "-vi", "src", "dst"}, Env{
			Stdout: &stdout,
			Engine: engine{sync: func(_ context.Context, _ SyncOptions, f event.Func) error {
				for i := range 100 { // a burst
					f(event.Work{Stage: fmt.Sprint(i), Files: int64(i)})
					f(event.Progress{Done: int64(i), Total: 100})
				}
				f(event.Item{Path: "\xff\n", Change: ">f+++++++++", Target: "é"})
				story(f)
				return fault.New(fault.Network, "try again", "no route to <host>")
			}},
		})
		types := map[string]int{}
		var last map[string]any
		for line := range strings.Lines(stdout.String()) {
			last = nil
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if last["schema"] != 1.0 {
				t.Errorf("no schema: %s", line)
			}
			kind, _ := last["type"].(string)
			types[kind]++
			if last["path_b64"] == "/wo=" && (last["path"] != nil || last["target"] != "é") {
				t.Errorf("item: %s", line)
			}
		}
		if code != 5 || last["type"] != "exit" || last["code"] != 5.0 || last["retryable"] != true || last["message"] != "no route to <host>" {
			t.Errorf("exit %d, last line %v", code, last)
		}
		if types["work"] > 12 || types["status"] > 70 || types["item"] != 2 || types["summary"] != 1 || types["exit"] != 1 {
			t.Errorf("lines: %v", types)
		}
	})
}

func TestRateIsCalm(t *testing.T) {
	var r rate
	if _, ok := r.perSecond(0); ok {
		t.Error("a rate from nothing")
	}
	// 1 MB/s in bursts of 3 s, then ten times as fast.
	var done int64
	at := time.Duration(0)
	step := func(n int64) { at += 100 * time.Millisecond; done += n; r.add(at, done) }
	low, high := 1e12, 0.0
	for i := range 1200 {
		n := int64(0)
		if i%30 == 29 {
			n = 3e6
		}
		step(n)
		if v, ok := r.perSecond(at); ok && i > 300 {
			low, high = min(low, v), max(high, v)
		}
	}
	if low < 0.75e6 || high > 1.25e6 {
		t.Errorf("1 MB/s in bursts: %.0f to %.0f", low, high)
	}
	for range 300 {
		step(1e6)
	}
	if v, _ := r.perSecond(at); v < 9e6 || v > 11e6 {
		t.Errorf("10 MB/s: %.0f", v)
	}
	if len(r.samples) > int(rateMax/rateStep)+2 {
		t.Errorf("%d samples", len(r.samples))
	}
	if v, _ := r.perSecond(at + time.Minute); v > 4e6 {
		t.Errorf("a minute without news: %.0f", v)
	}
}

func TestEtaCountsDown(t *testing.T) {
	var e eta
	now := time.Unix(0, 0)
	if _, ok := e.left(now, 100, 0); ok {
		t.Error("an end without a rate")
	}
	if d, _ := e.left(now, 100e6, 1e6); d != 100*time.Second {
		t.Errorf("%s", d)
	}
	// Estimates that differ by less than a tenth do not move it.
	now = now.Add(10 * time.Second)
	for _, perSecond := range []float64{0.93e6, 1.07e6, 1e6} {
		if d, _ := e.left(now, 90e6, perSecond); d != 90*time.Second {
			t.Errorf("%g: %s", perSecond, d)
		}
	}
	if d, _ := e.left(now, 90e6, 2e6); d != 45*time.Second {
		t.Errorf("%s", d)
	}
	if _, ok := e.left(now, 1<<60, 1); ok {
		t.Error("an end in 36 billion years")
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本": "plain é 日本", "a\nb": `a\#012b`, "\x1b[2J": `\#033[2J`, "\xff": `\#377`, `a\b`: `a\b`,
		`\#012`: `\#134#012`, "\u202e": `\#342\#200\#256`, "\u009b": `\#302\#233`, "\ufffd": "\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 9999: "10.0 kB", 99950: "100 kB", 999499: "999 kB", 999500: "1.00 MB",
		31200113: "31.2 MB", -5: "-5 B", 9223372036854775807: "9.22 EB", -9223372036854775808: "-9.22 EB",
	} {
		if got := human(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := commas(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{
		0: "0:00", 7 * time.Second: "0:07", 3599500 * time.Millisecond: "1:00:00", 50 * time.Hour: "2d 02:00", -time.Second: "0:00",
	} {
		if got := clock(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{
		800 * time.Millisecond: "0.8 s", 9960 * time.Millisecond: "10 s", 59600 * time.Millisecond: "1 min 0 s",
		3*time.Hour + 5*time.Minute: "3 h 5 min",
	} {
		if got := span(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[0m\\#033\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		for _, r := range got {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e {
				t.Fatalf("%q: %q", s, got)
			}
		}
		if !isPrintable(s) && !strings.Contains(s, "\ufffd") && got == s {
			t.Fatalf("%q is unchanged", s)
		}
		if w := 10; columns(cut(got, w)) > w {
			t.Fatalf("%q is not cut", got)
		}
	})
}
