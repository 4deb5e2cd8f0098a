package netsim

import (
	"io"
	"math"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/link"
)

func TestFromProfile(t *testing.T) {
	p, err := link.Find("satellite")
	must(t, err)
	up, down := FromProfile(p)
	if up.Delay != 300*ms || up.Rate != 4826666 || down.Rate != 48266666 || down.Jitter != 10*ms || math.Abs(down.Loss-.005) > 1e-12 {
		t.Errorf("%+v\n%+v", up, down)
	}
	_, down = FromProfile(link.Profile{AB: link.Params{Loss: .1, Burst: .08, BurstLen: 4, Corrupt: .01, CorruptSilent: .02}})
	if math.Abs(down.Loss-(1-.9*.98*.99)) > 1e-12 || down.Corrupt != .02 {
		t.Errorf("%+v", down)
	}
}

func TestFromEvents(t *testing.T) {
	p := link.Profile{AB: link.Params{Rate: 1500}}
	for text, want := range map[string][]Event{
		"blackout:ab@20MB for 70s": {{Do: BlackoutStart, AfterBytes: 20e6, Of: Both, Dir: Down, For: 70 * time.Second}},
		"blackout@ba:5MB+1s":       {{Do: BlackoutStart, AfterBytes: 5e6, Of: Up, At: time.Second, Dir: Both}},
		"clear:ba@5s":              {{Do: BlackoutEnd, At: 5 * time.Second, Of: Both, Dir: Up}},
		"stall for 5s":             {{Do: Stall, For: 5 * time.Second, Of: Both, Dir: Both}},
		"stall":                    {{Do: BlackoutStart, Of: Both, Dir: Both}},
		"forget":                   {{Do: Forget, Of: Both, Dir: Both}},
		"forget:rst":               {{Do: Reset, Of: Both, Dir: Both}},
		"address:a":                {{Do: Forget, Of: Both, Dir: Both}},
		"reset:b":                  {{Do: Reset, Side: Dialer, Of: Both, Dir: Both}},
		"reset:a":                  {{Do: Reset, Side: Listener, Of: Both, Dir: Both}},
		"reset:a,intact":           {{Do: Reset, Side: BothSides, Of: Both, Dir: Both}},
		"age:30s": {{Do: KillTime, For: 30 * time.Second, Silent: true, Of: Both, Dir: Both},
			{Do: KillBytes, For: 30 * time.Second, Silent: true, Of: Both, Dir: Both}},
		"set:ab,delay=5ms@1s for 2s": {
			{Do: ChangeParams, At: time.Second, For: 2 * time.Second, Of: Both, Dir: Down, Params: Params{Rate: 1448, Delay: 5 * ms}},
			{Do: ChangeParams, At: 3 * time.Second, For: 2 * time.Second, Of: Both, Dir: Down, Params: Params{Rate: 1448}}},
	} {
		e, err := link.ParseEvent(text)
		must(t, err)
		got, err := FromEvents(p, e)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%+v\n%+v", text, err, got, want)
		}
	}
	for _, e := range []link.Event{{}, {Do: link.Set, Params: "x"}} {
		if _, err := FromEvents(p, e); err == nil {
			t.Errorf("%+v is translated", e)
		}
	}
	if _, err := NewProfile(link.Profile{Events: []link.Event{{}}}, 1); err == nil {
		t.Error("a link with an impossible event was made")
	}
}

// TestProfileRuns has connections live through what a profile says.
func TestProfileRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := link.ParseEvent("blackout@1MB for 5s")
		must(t, err)
		l, err := NewProfile(link.Profile{AB: link.Params{Rate: 15e6, Delay: 10 * ms}, BA: link.Params{Delay: 10 * ms}, Events: []link.Event{e}}, 1)
		must(t, err)
		ln, err := l.Listen("far:80")
		must(t, err)
		const size = 3_620_000 // 2 s
		go func() {
			c, err := ln.Accept()
			must(t, err)
			_, _ = c.Write(make([]byte, size))
			_ = c.Close()
		}()
		c, err := l.DialContext(t.Context(), "tcp", "far:80")
		must(t, err)
		start := time.Now()
		n, err := io.Copy(io.Discard, c)
		must(t, err)
		if took := time.Since(start); n != size || took < 7*time.Second || took > 12*time.Second {
			t.Errorf("%d bytes in %s", n, took)
		}
		must(t, c.Close())
		must(t, ln.Close())
	})
}

func TestSilentAge(t *testing.T) {
	for _, reset := range []bool{false, true} {
		for _, p := range []link.Profile{{FlowAge: 10 * time.Second, FlowReset: reset}, {FlowBytes: 3000, FlowReset: reset}} {
			synctest.Test(t, func(t *testing.T) {
				l, err := NewProfile(p, 1)
				must(t, err)
				ln, err := l.Listen("far:80")
				must(t, err)
				c, err := l.DialContext(t.Context(), "tcp", "far:80")
				must(t, err)
				far, err := ln.Accept()
				must(t, err)
				_, err = c.Write(make([]byte, 2000))
				must(t, err)
				time.Sleep(11 * time.Second)
				_, _ = c.Write(make([]byte, 2000))
				must(t, far.SetReadDeadline(time.Now().Add(time.Hour)))
				n, err := io.Copy(io.Discard, far)
				if reset {
					wantErr(t, err, syscall.ECONNRESET)
				} else if err == nil || n > 3000 {
					t.Errorf("%d bytes, %v", n, err)
				}
				if st := l.Stats(); st.Killed != 1 || (st.Resets > 0) != reset {
					t.Errorf("%+v", st)
				}
				_ = c.Close()
				_ = far.Close()
				must(t, ln.Close())
			})
		}
	}
}
