package link

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseEvent(t *testing.T) {
	for text, want := range map[string]Event{
		"blackout":                       {Do: Blackout},
		"blackout@20MB for 70s":          {Do: Blackout, AfterBytes: 20e6, For: 70 * time.Second},
		"blackout:ab@10s for 30s":        {Do: Blackout, Dir: AB, At: 10 * time.Second, For: 30 * time.Second},
		"stall@5s for 70s":               {Do: Stall, At: 5 * time.Second, For: 70 * time.Second},
		"stall@0s":                       {Do: Stall},
		"clear@90s":                      {Do: Clear, At: 90 * time.Second},
		"forget@ba:20MiB+3s":             {Do: Forget, AfterBytes: 20 << 20, Of: BA, At: 3 * time.Second},
		"forget:ba,rst@5s":               {Do: Forget, Dir: BA, RST: true, At: 5 * time.Second},
		"reset:b@20MB":                   {Do: Reset, Side: B, AfterBytes: 20e6},
		" reset:both,intact @ 1500 kB ":  {Do: Reset, Side: BothSides, Intact: true, AfterBytes: 1.5e6},
		"age:30s":                        {Do: Age, For: 30 * time.Second},
		"age:5MB,rst":                    {Do: Age, Bytes: 5e6, RST: true},
		"age:off":                        {Do: Age},
		"set:ab,loss=5%,delay=30ms@10s":  {Do: Set, Dir: AB, Params: "loss=5%,delay=30ms", At: 10 * time.Second},
		"set:rate=10Mbit@1MB for 20s":    {Do: Set, Params: "rate=10Mbit", AfterBytes: 1e6, For: 20 * time.Second},
		"address:a@10s":                  {Do: Address, Side: A, At: 10 * time.Second},
		"blackout @ 1h30m0s for 1m0.5s":  {Do: Blackout, At: 90 * time.Minute, For: 60500 * ms},
		"forget:both,rst@both:1B+1000ms": {Do: Forget, Dir: Both, RST: true, AfterBytes: 1, Of: Both, At: time.Second},
	} {
		got, err := ParseEvent(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
			continue
		}
		again, err := ParseEvent(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("%q: printed as %q: %v", text, got, err)
		}
	}
	if e := (Event{Do: Set, Dir: AB, Params: "loss=5%", At: time.Minute, For: time.Hour}); e.String() != "set:ab,loss=5%@1m for 1h" {
		t.Error(e)
	}
}

func TestParseEventErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "no action",
		"explode@5s":              "there are blackout",
		"blackout@":               "write it like @5s",
		"blackout@never":          "write it like @5s",
		"blackout@0MB":            "write it like @5s",
		"blackout@xy:5MB":         "no direction",
		"blackout@-5s":            "write it like @5s",
		"blackout@5MB+x":          "no duration",
		"blackout for x":          "no duration",
		"blackout for 9000h":      "out of range",
		"blackout:b":              "does not go with blackout",
		"blackout:ab,":            "does not go with blackout",
		"reset:ab":                "does not go with reset",
		"reset:b for 5s":          "does not last",
		"stall:rst":               "does not go with stall",
		"set":                     "says no setting",
		"set:ab@5s":               "says no setting",
		"set:lost=5%":             "no such setting",
		"set:loss=500%":           "no probability",
		"age:soon":                "no age",
		"forget for 5s":           "does not last",
		strings.Repeat("x", 2000): "2000 bytes",
		"blackout\n\x00@5s":       "no action",
	} {
		_, err := ParseEvent(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestParamsText(t *testing.T) {
	p := Params{
		Rate: 100e6, QueueTime: 50 * ms, Delay: 15 * ms, Jitter: 2500 * time.Microsecond, Reorder: .02, ReorderBy: 5 * ms, Loss: .015,
		Burst: .08, BurstLen: 3.5, Duplicate: .001, Corrupt: 1e-7, CorruptSilent: 1, MTU: 1400, MTUHole: 1300, UDPRate: 1e9, UDPBlock: true,
	}
	const want = "rate=100Mbit,queue=50ms,delay=15ms,jitter=2.5ms,reorder=2%,reorder_by=5ms,loss=1.5%,burst=8%,burst_len=3.5," +
		"duplicate=0.1%,corrupt=0.0000001,corrupt_silent=100%,mtu=1400,mtu_hole=1300,udp_rate=1Gbit,udp_block=true"
	if p.String() != want {
		t.Errorf("%s\n%s", p, want)
	}
	var q Params
	if err := q.SetAll(want); err != nil || q != p {
		t.Errorf("%+v, %v", q, err)
	}
	if err := q.SetAll("queue=256KiB,udp_block=false,burst_len=0,rate=0"); err != nil || q.Queue != 256<<10 || q.QueueTime != 0 || q.UDPBlock || q.Rate != 0 {
		t.Errorf("%+v, %v", q, err)
	}
	before := q
	if err := q.SetAll("loss=3%,mtu=5"); err == nil || q != before {
		t.Errorf("a list with a mistake was taken in part: %v", err)
	}
	for _, bad := range []string{
		"", "loss", "loss=", "loss=-1%", "loss=101%", "loss=1e-3", "loss=NaN", "rate=-1", "rate=1bit", "rate=fast", "rate=9999Gbit", "queue=-1ms",
		"queue=2GiB", "delay=5", "delay=2h", "mtu=67", "mtu=70000", "mtu_hole=1.5x", "burst_len=.5", "burst_len=nan", "burst_len=1e9",
		"udp_block=yes", "speed=5", "loss=1%,,",
	} {
		if err := q.SetAll(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if n := reflect.TypeFor[Params]().NumField(); n != len(settings)+1 { // the queue has two
		t.Errorf("%d fields, %d settings", n, len(settings))
	}
}

func TestPossible(t *testing.T) {
	nan := float64(0)
	nan /= nan
	p := Params{
		Rate: 5, Queue: -1, QueueTime: -1, Delay: -1, Jitter: 1 << 62, Loss: nan, Burst: 2, BurstLen: .1, MTU: 5, MTUHole: 1 << 30, UDPRate: -5,
	}.possible()
	want := Params{Rate: minRate, Jitter: maxDelay, Burst: 1, BurstLen: 1, MTU: minMTU, MTUHole: maxMTU}
	if p != want {
		t.Errorf("%+v", p)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, s := range []string{"blackout@20MB for 70s", "reset:b,intact@ab:5kB+1s", "set:ab,loss=5%,queue=1MB@10s for 2s", "age:1m,rst", "forget:ba,rst"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEvent(s)
		if err != nil {
			return
		}
		again, err := ParseEvent(e.String())
		if err != nil || again.String() != e.String() {
			t.Fatalf("%q is printed as %q, which is read as %q: %v", s, e, again, err)
		}
		p := NewPath(Profile{Events: []Event{e}}, 1)
		p.Offer(time.Second, AB, make([]byte, 100))
		p.Take(time.Hour, func(Direction, []byte) {})
	})
}
