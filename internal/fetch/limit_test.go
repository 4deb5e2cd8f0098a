package fetch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

func TestLimitOfASituation(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	busy := situation{at: at, wanted: true, queued: true, owed: true, lanes: 8, path: PathInfo{RTT: 41 * ms, MinRTT: 40 * ms, Control: "bbr", Measured: true}}
	for name, c := range map[string]struct {
		change func(*situation)
		want   event.Limit
		says   string
	}{
		"nothing to do":         {func(s *situation) { s.wanted, s.dark = false, true }, "", ""},
		"nothing known":         {func(s *situation) { s.path = PathInfo{} }, "", ""},
		"all is well":           {func(*situation) {}, "", ""},
		"blackout":              {func(s *situation) { s.dark, s.since, s.giveUp = true, at.Add(-time.Minute), at.Add(time.Minute) }, event.LimitDown, "since 11:59:00; trying until 12:01:00"},
		"blackout for ever":     {func(s *situation) { s.dark, s.since = true, at }, event.LimitDown, "for as long as it takes"},
		"blackout and refusal":  {func(s *situation) { s.dark, s.refused = true, at.Add(time.Minute) }, event.LimitDown, ""},
		"refused":               {func(s *situation) { s.refused = at.Add(time.Minute) }, event.LimitServer, "until 12:01:00"},
		"was refused":           {func(s *situation) { s.refused = at.Add(-time.Second) }, "", ""},
		"disk":                  {func(s *situation) { s.held, s.reason = .95, "writing to the disk" }, event.LimitReceiver, "writing to the disk for 95% of the time"},
		"disk that keeps up":    {func(s *situation) { s.held = .5 }, "", ""},
		"disk and loss":         {func(s *situation) { s.held, s.path.Loss = .95, .1 }, event.LimitReceiver, ""},
		"rate":                  {func(s *situation) { s.throttled, s.rate = true, 1_500_000 }, event.LimitRate, "1.5 MB/s"},
		"nice":                  {func(s *situation) { s.throttled, s.nice, s.rate = true, true, 64000 }, event.LimitRate, "gives way at 64 kB/s"},
		"plan":                  {func(s *situation) { s.queued, s.owed = false, false }, event.LimitSender, "waiting for the plan"},
		"scan":                  {func(s *situation) { s.queued, s.owed, s.stage = false, false, "scan" }, event.LimitSender, "scan"},
		"sender's disk":         {func(s *situation) { s.path.Starved = .7 }, event.LimitSender, "70%"},
		"receive window":        {func(s *situation) { s.path.Window, s.path.Buffer = .3, .1 }, event.LimitWindow, "receive window held the sender for 30%"},
		"send buffer":           {func(s *situation) { s.path.Buffer = .12 }, event.LimitWindow, "send buffer held the sender for 12%"},
		"window before queue":   {func(s *situation) { s.path.Window, s.path.RTT = .3, 100*ms }, event.LimitWindow, ""},
		"full":                  {func(s *situation) { s.path.RTT = 80 * ms }, event.LimitLink, "for 40ms"},
		"full, with loss":       {func(s *situation) { s.path.RTT, s.path.Loss = 80*ms, .051 }, event.LimitLink, "5.1% of the bytes are sent again"},
		"short way, some delay": {func(s *situation) { s.path.RTT, s.path.MinRTT = 2*ms, ms/2 }, "", ""},
		"grant":                 {func(s *situation) { s.granted = 8 }, event.LimitServer, "grants 8 lanes"},
		"grant not used up":     {func(s *situation) { s.granted = 9 }, "", ""},
		"grant on a full link":  {func(s *situation) { s.granted, s.path.RTT = 8, 80*ms }, event.LimitLink, ""},
		"loss, bbr":             {func(s *situation) { s.path.Loss = .02 }, event.LimitLoss, "2.0% of the bytes are sent again"},
		"little loss, bbr":      {func(s *situation) { s.path.Loss = .005 }, "", ""},
		"little loss, cubic":    {func(s *situation) { s.path.Loss, s.path.Control = .005, "cubic" }, event.LimitLoss, "slows down for it (cubic)"},
		"little loss, unknown":  {func(s *situation) { s.path.Loss, s.path.Control = .005, "" }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := busy
			c.change(&s)
			if got, text := s.limit(); got != c.want || !strings.Contains(text, c.says) || (got == "") != (text == "") {
				t.Errorf("%q, %q; not %q, %q", got, text, c.want, c.says)
			}
		})
	}
}

func TestLimiterIsSteady(t *testing.T) {
	at := time.Unix(1e9, 0)
	s := situation{wanted: true, queued: true, owed: true, path: PathInfo{Measured: true}}
	var l limiter
	look := func(change func(*situation), d time.Duration) {
		change(&s)
		for range d / tick {
			at = at.Add(tick)
			s.at = at
			l.look(s)
		}
	}
	loss := func(x float64) func(*situation) { return func(s *situation) { s.path.Loss = x } }
	look(loss(.05), time.Second)
	if l.now != event.LimitLoss {
		t.Errorf("%q", l.now)
	}
	for range 20 { // once in a while
		look(loss(0), 3*tick)
		if l.now != event.LimitLoss {
			t.Fatalf("%q after a moment", l.now)
		}
		look(loss(.05), 3*tick)
	}
	look(func(s *situation) { s.dark = true }, tick)
	if l.now != event.LimitDown {
		t.Errorf("%q: an outage is said at once", l.now)
	}
	look(func(s *situation) { s.dark = false }, tick)
	if l.now != event.LimitLoss {
		t.Errorf("%q after the outage", l.now)
	}
	look(func(s *situation) { s.path.Starved = 1 }, 3*time.Second)
	if l.now != event.LimitSender || l.mostly != event.LimitLoss {
		t.Errorf("now %q, mostly %q", l.now, l.mostly)
	}
	look(func(*situation) {}, 20*time.Second)
	if l.mostly != event.LimitSender || l.mostlyDetail == "" {
		t.Errorf("mostly %q, %q", l.mostly, l.mostlyDetail)
	}
	look(func(s *situation) { s.wanted = false }, tick)
	if l.now != "" {
		t.Errorf("%q with nothing to do", l.now)
	}
}

// TestLimitIsReported checks what a pool says in its reports through a transfer
// that meets several limits.
func TestLimitIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   Config
		shape func(*network, *bench)
		want  event.Limit
	}{
		"loss":   {Config{}, func(n *network, _ *bench) { n.path = PathInfo{Control: "cubic", Measured: true, Loss: .01} }, event.LimitLoss},
		"window": {Config{}, func(n *network, _ *bench) { n.path = PathInfo{Measured: true, Window: .4} }, event.LimitWindow},
		"sender": {Config{}, func(n *network, _ *bench) { n.path = PathInfo{Measured: true, Starved: .9} }, event.LimitSender},
		"link":   {Config{}, func(n *network, _ *bench) { n.queues = true }, event.LimitLink},
		"rate":   {Config{BwLimit: 200e3}, func(*network, *bench) {}, event.LimitRate},
		"disk":   {Config{}, func(_ *network, b *bench) { b.slow = time.Second }, event.LimitReceiver},
		"refusal": {Config{}, func(n *network, _ *bench) {
			n.onDial = func(k int) error {
				if k == 1 {
					return RetryAfter{20 * time.Second}
				}
				return nil
			}
		}, event.LimitServer},
		"blackout": {Config{}, func(n *network, _ *bench) {
			time.AfterFunc(time.Second, func() { n.setDown(true) })
			time.AfterFunc(time.Minute, func() { n.setDown(false) })
		}, event.LimitDown},
		"grant": {Config{}, func(_ *network, b *bench) { b.pool.sources[0].Budget.Grant(2) }, event.LimitServer},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(40*ms, 1e6)
				b := newBench(t, n, c.cfg)
				c.shape(n, b)
				for range 4 {
					b.add(2 << 20)
				}
				b.finish()
				seen, all := 0, 0
				for _, e := range b.said() {
					if p, ok := e.(event.Progress); ok {
						all++
						if p.Limit == c.want && p.LimitDetail != "" {
							seen++
						}
					}
				}
				s := b.pool.Stats()
				if seen < all/2 || s.Mostly != c.want || s.MostlyDetail == "" {
					t.Errorf("%q in %d of %d reports; mostly %q, %q", c.want, seen, all, s.Mostly, s.MostlyDetail)
				}
			})
		})
	}
	t.Run("plan", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, newNetwork(40*ms, 1e6), Config{})
			err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, _ Lane, alive func()) error {
				for range 10 {
					b.pool.PeerWorks("hash")
					alive()
					if err := sleepCtx(ctx, time.Second); err != nil {
						return err
					}
				}
				s := b.pool.Stats()
				if s.Limit != event.LimitSender || s.LimitDetail != "hash" {
					t.Errorf("%q, %q", s.Limit, s.LimitDetail)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			b.stop()
		})
	})
}

func TestPathInfo(t *testing.T) {
	p := PathInfo{RTT: time.Hour, MinRTT: -1, Measured: true, Loss: -1, Window: 7, Starved: 1}.clean()
	if p != (PathInfo{RTT: rttMax, Measured: true, Window: 1, Starved: 1}) {
		t.Errorf("%+v", p)
	}
	if p := (PathInfo{RTT: ms, MinRTT: time.Second, Loss: .5}).clean(); p != (PathInfo{RTT: ms, MinRTT: ms}) {
		t.Errorf("%+v", p)
	}
	sum := joinPaths([]PathInfo{
		{RTT: 40 * ms, MinRTT: 20 * ms, Control: "bbr", Measured: true, Loss: .04},
		{}, {RTT: 60 * ms, MinRTT: 30 * ms, Control: "cubic", Measured: true, Loss: .02, Window: .5},
	})
	if sum != (PathInfo{RTT: 50 * ms, MinRTT: 20 * ms, Control: "cubic", Measured: true, Loss: .03, Window: .25}) {
		t.Errorf("%+v", sum)
	}
	for _, c := range []struct{ loss, perRTT float64 }{{.01, 20}, {.05, 20}, {.15, 5}, {.05, 80}, {.3, 1}} {
		// What a receiver sees of it: simulated.
		const segments = 200_000
		r := newBenchRand()
		hole, disordered := 0.0, 0.0
		for i := range segments {
			if float64(i) < hole {
				disordered++
			}
			if r.Float64() < c.loss {
				hole = float64(i) + c.perRTT + 1
			}
		}
		if got := LossFromDisorder(disordered, segments, c.perRTT); got < c.loss*.6 || got > c.loss*1.3 {
			t.Errorf("loss %v, %v segments in a round trip: %v", c.loss, c.perRTT, got)
		}
	}
	for _, x := range [][3]float64{{0, 10, 10}, {10, 0, 10}, {10, 10, 0}, {-1, 10, 10}} {
		if got := LossFromDisorder(x[0], x[1], x[2]); got != 0 {
			t.Errorf("%v: %v", x, got)
		}
	}
}
