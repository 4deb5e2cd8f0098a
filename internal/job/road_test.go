package job

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

func near(a, b float64) bool { return math.Abs(a-b) < .01 }

// TestReports: shares follow from two reports, and stand while they are fresh.
func TestReports(t *testing.T) {
	var p road
	at := time.Unix(1e9, 0)
	own := lane.Info{RTT: 50 * time.Millisecond, MinRTT: 40 * time.Millisecond, MSS: 1448}
	r := lane.Report{Control: "cubic", RTT: 60 * time.Millisecond, MinRTT: 41 * time.Millisecond}
	p.report(at, r, 0, false)
	if got := p.info(at, own); got.Measured || got.Control != "cubic" || got.RTT != own.RTT {
		t.Errorf("one report: %+v", got)
	}
	at = at.Add(time.Second)
	r.Sent, r.Resent, r.Busy, r.Window, r.Buffer = 1e6, 1e5, 440*time.Millisecond, 110*time.Millisecond, 44*time.Millisecond
	p.report(at, r, time.Second, false)
	got := p.info(at, own)
	if !got.Measured || !near(got.Loss, .1) || !near(got.Window, .25) || !near(got.Buffer, .1) || !near(got.Starved, .5) || got.RTT != r.RTT {
		t.Errorf("two reports: %+v", got)
	}
	at = at.Add(time.Second)
	r.Sent, r.Busy = 2e6, 900*time.Millisecond
	p.report(at, r, 1500*time.Millisecond, false) // nothing stood there half of the time
	if got := p.info(at, own); !near(got.Loss, .1*math.Exp(-1)) || got.Starved > .5*math.Exp(-1)+.01 {
		t.Errorf("smoothed: %+v", got)
	}
	if got := p.info(at.Add(saidFresh+1), own); got.Loss != 0 || got.RTT != own.RTT || got.Control != "cubic" {
		t.Errorf("stale: %+v", got)
	}
	p.report(at.Add(time.Second), r, 2*time.Second, true)
	if got := p.info(at.Add(time.Second), own); got.RTT != own.RTT {
		t.Errorf("two legs: %+v", got)
	}
}

func TestAsked(t *testing.T) {
	var a asked
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	a.begin(at(0))
	a.begin(at(1))
	a.end(at(2))
	if got := a.total(at(3)); got != 3*time.Second {
		t.Error(got)
	}
	a.end(at(4))
	if got := a.total(at(9)); got != 4*time.Second {
		t.Error(got)
	}
}

// TestBook sums up what both ends know, and hints once, where it matters.
func TestBook(t *testing.T) {
	var b book
	one := lane.Report{Control: "cubic", MinRTT: 30 * time.Millisecond, Sent: 1000, Resent: 10}
	two := one
	two.Sent, two.Resent = 5000, 20
	b.report(one, lane.Report{}, lane.Info{MinRTT: 20 * time.Millisecond}, "")
	b.report(two, one, lane.Info{}, "the proxy p:1")
	b.report(lane.Report{Control: "bbr", Sent: 1}, two, lane.Info{}, "") // less than before: nonsense
	var s event.Summary
	b.complete(&s)
	if s.SentTCP != 5000 || s.ResentTCP != 20 || s.RTT != 20*time.Millisecond || s.Congestion != "cubic" || s.Via != "the proxy p:1" {
		t.Errorf("%+v", s)
	}
	var c book
	if c.hint(lane.Report{Control: "bbr", MinRTT: time.Second}, lane.Info{}) || c.hint(lane.Report{MinRTT: time.Second}, lane.Info{}) ||
		c.hint(lane.Report{Control: "cubic", MinRTT: time.Millisecond}, lane.Info{}) {
		t.Error("a hint that is of no use")
	}
	if !c.hint(one, lane.Info{}) || c.hint(one, lane.Info{}) {
		t.Error("not once")
	}
	if text := slowText("h:1", "cubic"); !strings.Contains(text, "modprobe tcp_bbr") || !strings.Contains(text, "/etc/modules-load.d") || !strings.Contains(text, "cubic") {
		t.Error(text)
	}
}

// TestMirrorLocators: a mirror is asked by its own path, and without a tag that
// is another's.
func TestMirrorLocators(t *testing.T) {
	for _, c := range []struct {
		home, mirror string
		one          bool
		path, want   string
	}{
		{"", "", false, "a/b", "a/b"},
		{"", "x/y", false, "a/b", "x/y/a/b"},
		{"site", "", false, "site/a", "a"},
		{"site", "other/copy", false, "site/a", "other/copy/a"},
		{"dir/f", "f", true, "dir/f", "f"},
		{"f", "dir/f", true, "f", "dir/f"},
	} {
		j := &job{o: Options{Path: c.home, One: c.one}}
		home, mirror := &sender{Mirror{Path: c.home}, j, 0}, &sender{Mirror{Path: c.mirror}, j, 1}
		ref := wire.SpanRef{Path: c.path, Offset: 4 << 20, Tag: 7, Tagged: true}
		if got := home.locate(ref.Query()); got != ref.Query() {
			t.Errorf("home: %s", got)
		}
		want := wire.SpanRef{Path: c.want, Offset: 4 << 20, Tag: 7}
		if got := mirror.locate(ref.Query()); got != want.Query() {
			t.Errorf("%+v: %s, want %s", c, got, want.Query())
		}
		j.source.Store(1) // the mirror makes the plan
		want.Tagged, ref.Tagged = true, false
		if got := mirror.locate(wire.SpanRef{Path: c.path, Offset: 4 << 20, Tag: 7, Tagged: true}.Query()); got != want.Query() {
			t.Errorf("%+v: %s, want %s", c, got, want.Query())
		}
		if got := home.locate(wire.SpanRef{Path: c.path, Offset: 4 << 20, Tag: 7, Tagged: true}.Query()); got != ref.Query() {
			t.Errorf("home, not its plan: %s", got)
		}
		if mirror.locate("") != "" || mirror.locate("%") != "%" {
			t.Error("what is no span")
		}
		if manifest.CheckPath(c.want) != nil {
			t.Error(c.want)
		}
	}
}

// TestRateFollowsTheTimetable has a rate that changes while a job runs.
func TestRateFollowsTheTimetable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		j := &job{o: Options{Rate: func(at time.Time) int64 {
			if at.Sub(start) < 10*time.Second {
				return 1000
			}
			return 0
		}}}
		j.pool = fetch.New(fetch.Config{})
		stop := j.keepRate(j.o.Rate(start))
		if j.pace.rate.Load() != 1000 {
			t.Error("not from the start on")
		}
		time.Sleep(10*time.Second + rateEvery)
		synctest.Wait()
		if got := j.pace.rate.Load(); got != 0 {
			t.Error("still", got)
		}
		stop()
	})
}
