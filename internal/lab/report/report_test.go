package report

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// sample is a campaign in which everything occurs.
func sample() *Bench {
	b := &Bench{
		Command: "ropeway lab bench --full", Begun: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Elapsed: 5400,
		Machine: Machine{OS: "linux", Kernel: "6.18.0", CPU: "Example <CPU> 3 GHz", Cores: 2, Memory: 8 << 30, Load: .4},
	}
	for _, name := range []string{Ropeway, "rsync", "rsync-T60", "wget", "curl", "aria2c"} {
		b.Tools = append(b.Tools, Tool{Name: name, About: name + " URL", Version: name + " 1.2.3"})
	}
	b.Tools = append(b.Tools, Tool{Name: "rclone", Missing: "rclone: not installed: apt-get install rclone"})
	cell := func(set Set, tool string) Cell {
		return Cell{Set: set, Tool: tool, Link: "qa-vpn", Rate: 100e6, RTT: .04, CC: "cubic", Payload: "jar", Bytes: 60_606_801, Limit: 96.5e6, Bound: 30}
	}
	speed := map[string]float64{Ropeway: .95, "rsync": 1, "rsync-T60": 1, "wget": 1.02, "curl": 1.01, "aria2c": 8}
	for _, cc := range []string{"cubic", "bbr"} {
		for _, loss := range []float64{0, .01, .05, .1, .15} {
			for _, t := range b.Tools {
				c := cell(Sweep, t.Name)
				c.CC, c.Loss, c.Link = cc, loss, "loss "+percent(loss)
				f := .95 - loss
				if t.Name != Ropeway && cc == "cubic" && loss > 0 {
					f = min(f, .0006/loss*speed[t.Name])
				}
				for i := range 3 {
					x := f * (1 - .02*float64(i))
					c.Runs = append(c.Runs, Run{Outcome: OK, Seconds: 5.02 / x, Goodput: x * c.Limit, WireAB: 64e6, WireBA: 1e6, Packets: 45_000, Late: int64(i)})
				}
				if f < .1 {
					c.Runs = []Run{{Outcome: Slow, Seconds: 30, Exit: -1, Goodput: f * c.Limit, Packets: 4000}}
				}
				if t.Missing == "" {
					b.Cells = append(b.Cells, c)
				}
			}
		}
	}
	for i, t := range b.Tools[:6] {
		c := cell(Profile, t.Name)
		c.Runs = []Run{{Outcome: OK, Seconds: 6 + 4*float64(i), Goodput: c.Limit / float64(i+1), Packets: 45_000}}
		b.Cells = append(b.Cells, c)
		c = cell(Files, t.Name)
		c.Payload = "tree2k"
		if c.Runs = []Run{{Outcome: OK, Seconds: 3.1, Packets: 45_000}}; t.Name == "curl" {
			c.Runs, c.Why = nil, "fetches single files"
		}
		b.Cells = append(b.Cells, c)
		for k, event := range []string{"forget@20MB", "reset:b@20MB", "blackout@20MB for 30s"} {
			c = cell(Events, t.Name)
			c.Event = event
			outcomes := []Outcome{OK, Failed, Hang, Slow, Damaged}
			r := Run{Outcome: outcomes[(i+k)%5], Seconds: 62.4, Exit: 30, Line: "rsync error: <timeout> in data send/receive (code 30)", EventAt: 4, BackAt: 4, First: 2.2, Full: 2.4, Idle: 58}
			if t.Name == Ropeway {
				r.Outcome = OK
			}
			c.Runs = []Run{r}
			if i == 3 && k == 1 {
				c.Runs = append(c.Runs, Run{Outcome: OK, Seconds: 20})
			}
			b.Cells = append(b.Cells, c)
		}
		c = cell(Timeline, t.Name)
		c.Event = "blackout@20MB for 30s"
		r := Run{Outcome: OK, Seconds: 44 + 3*float64(i), EventAt: 4.3, BackAt: 34.3, First: .2 + float64(i), Full: .4 + float64(i)}
		for at := 0.0; at < r.Seconds; at += .1 {
			v := 480_000 * (1 + .1*math.Sin(at*7))
			if at > 4.3 && at < r.BackAt+r.First {
				v = 0
			}
			r.Series = append(r.Series, int64(v))
		}
		c.Runs = []Run{r}
		b.Cells = append(b.Cells, c)
	}
	return b
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := sample().Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cubic, 1 %", "93 %, 5.4 s", "6.0 %, > 30.0 s", "exit 30, 62.4 s", "hangs, > 62.4 s", "DAMAGED", "damaged or ok",
		"not measured: rclone: not installed: apt-get install rclone", "the machine kept up",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "%!") {
		t.Error(out.String())
	}
}

// TestPage wants all of the page to be in the page.
func TestPage(t *testing.T) {
	var out bytes.Buffer
	if err := sample().HTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{
		"Goodput against loss", "<polyline", "Through an event", "What an event does", "hangs, &gt; 62.4 s", "Example &lt;CPU&gt; 3 GHz",
		"rclone: not installed", "moves again after", "rsync gets", "Small files and an upgrade", "&lt;timeout&gt;",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if outside := regexp.MustCompile(`(?i)(src|href|url)\s*[=(]|<script|@import|ZgotmplZ|NaN|%!`).FindString(page); outside != "" {
		t.Errorf("the page has %q", outside)
	}
	if err := new(Bench).HTML(&out); err != nil {
		t.Errorf("an empty campaign: %v", err)
	}
}

func TestDecode(t *testing.T) {
	var out bytes.Buffer
	b := sample()
	if err := b.Encode(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	again, err := Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(again) != fmt.Sprint(b) {
		t.Error("the JSON form loses something")
	}
	for name, bad := range map[string]struct {
		text  string
		class fault.Class
	}{
		"empty": {"", fault.Usage}, "no JSON": {"<html>", fault.Usage}, "other JSON": {"{}", fault.Usage},
		"a later version": {strings.Replace(text, `"schema":1`, `"schema":2`, 1), fault.Incompatible},
		"half of it":      {text[:len(text)/2], fault.Usage},
	} {
		if _, err := Decode(strings.NewReader(bad.text)); fault.ClassOf(err) != bad.class {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode wants any text to be refused or shown, never to crash.
func FuzzDecode(f *testing.F) {
	var out bytes.Buffer
	if err := sample().Encode(&out); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte(`{"schema":1,"type":"lab-bench","cells":[{"set":"timeline","event":"x","runs":[{"seconds":-1e300,"series":[-9223372036854775808,1]}]}]}`))
	f.Add([]byte(`{"schema":1,"type":"lab-bench","tools":[{"name":"a"}],"cells":[{"set":"sweep","tool":"a","loss":1e308,"limit":1e-308,"runs":[{"goodput":1e308}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		var page, table bytes.Buffer
		if err := b.Table(&table); err != nil {
			t.Error(err)
		}
		if err := b.HTML(&page); err != nil {
			t.Error(err)
		}
	})
}
