package link

import (
	"testing"
	"time"
)

// pings offers a packet each way every 10 ms for d and returns, by direction,
// at which number which arrived when.
func pings(p *Path, d time.Duration) (got [2]map[int]time.Duration) {
	got[0], got[1] = map[int]time.Duration{}, map[int]time.Duration{}
	note := func(all []arrival) {
		for _, x := range all {
			got[x.dir.index()][int(tagOf(x.buf))] = x.at
		}
	}
	n := int(d / (10 * ms))
	for i := range n {
		now := time.Duration(i) * 10 * ms
		note(drain(p, now))
		p.Offer(now, AB, blob(1000, uint32(i)))
		p.Offer(now, BA, blob(1000, uint32(i)))
	}
	note(drain(p, d+time.Hour))
	return got
}

func events(t *testing.T, texts ...string) (all []Event) {
	for _, s := range texts {
		e, err := ParseEvent(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestBlackout(t *testing.T) {
	for text, want := range map[string][2]int{ // how many of 1000 are lost
		"blackout@2s for 3s":    {301, 301}, // one is under way when it begins
		"blackout:ab@2s for 3s": {301, 0},
		"blackout:ba@2s":        {0, 801},
		"blackout@20kB for 1s":  {101, 101},
	} {
		p := NewPath(Profile{AB: Params{Delay: 15 * ms}, BA: Params{Delay: 15 * ms}, Events: events(t, text)}, 1)
		got := pings(p, 10*time.Second)
		c := p.Counters()
		for i, n := range []DirCounters{c.AB, c.BA} {
			if lost := 1000 - len(got[i]); lost < want[i] || lost > want[i]+1 || n.LostBlackout != int64(lost) {
				t.Errorf("%s: direction %d: %d lost, %d counted, want %d", text, i, lost, n.LostBlackout, want[i])
			}
		}
	}
}

func TestBlackoutsAddUp(t *testing.T) {
	p := one(Params{}, 1)
	p.Schedule(0, events(t, "blackout@1s for 3s", "blackout@2s for 1s", "blackout@6s", "blackout@6s for 3s", "clear@7s", "blackout@8s for 1s")...)
	got := pings(p, 10*time.Second)[0]
	for i := range 1000 {
		at := time.Duration(i) * 10 * ms
		dark := at >= time.Second && at < 4*time.Second || at >= 6*time.Second && at < 7*time.Second || at >= 8*time.Second && at < 9*time.Second
		if _, ok := got[i]; ok == dark {
			t.Fatalf("at %s: passes %t", at, ok)
		}
	}
}

func TestStallDelaysAll(t *testing.T) {
	for _, text := range []string{"stall@2s for 3s", "stall:ab@2s for 3s", "stall:ab@2s"} {
		p := one(Params{Rate: mbit, Delay: 15 * ms}, 1)
		p.Schedule(0, events(t, text, "clear@5s")...)
		got := pings(p, 10*time.Second) // .8 Mbit/s
		if len(got[0]) != 1000 || len(got[1]) != 1000 {
			t.Fatalf("%s: %d and %d of 1000 arrive", text, len(got[0]), len(got[1]))
		}
		var last time.Duration
		for i := range 1000 {
			at := got[0][i]
			switch {
			case at > 2*time.Second && at < 5*time.Second:
				t.Fatalf("%s: packet %d arrives at %s, in the stall", text, i, at)
			case i > 0 && at < last+8*ms:
				t.Fatalf("%s: packet %d arrives at %s, %s after the one before: faster than the link", text, i, at, at-last)
			}
			last = at
		}
		if text != "stall@2s for 3s" && got[1][300] != 3023*ms {
			t.Errorf("%s: the other direction stalls: %s", text, got[1][300])
		}
	}
}

func TestSet(t *testing.T) {
	p := one(Params{Delay: 15 * ms}, 1)
	p.Schedule(0, events(t, "set:ab,delay=50ms@2s for 3s", "set:ba,loss=100%@2s")...)
	got := pings(p, 10*time.Second)
	if got[0][100] != 1015*ms || got[0][250] != 2550*ms || got[0][600] != 6015*ms {
		t.Errorf("%s %s %s", got[0][100], got[0][250], got[0][600])
	}
	if n := len(got[1]); n != 200 {
		t.Errorf("%d arrive", n)
	}
	p.Apply(0, Event{Do: Set, Params: "nonsense"})
	if got := p.Params(AB); got != (Params{Delay: 15 * ms}) {
		t.Errorf("%v", got)
	}
}

func TestBytesOfOneDirection(t *testing.T) {
	p := one(Params{}, 1)
	p.Schedule(0, events(t, "blackout:ab@ba:20kB+1s")...)
	got := pings(p, 10*time.Second)
	if n := len(got[0]); n != 119 && n != 120 { // the 20th arrives at 190 ms
		t.Errorf("%d pass", n)
	}
}

func TestSetProfile(t *testing.T) {
	p := one(Params{Delay: 15 * ms}, 1)
	p.SetProfile(time.Second, Profile{AB: Params{Delay: 30 * ms}, Events: events(t, "blackout@5s")})
	p.Offer(time.Second, AB, blob(100, 1))
	p.Offer(time.Second, BA, blob(100, 1))
	p.Offer(6*time.Second, BA, blob(100, 1))
	all := drain(p, time.Hour)
	if len(all) != 2 || all[0].at != 6*time.Second && all[0].dir != BA {
		t.Errorf("%+v", all)
	}
	if n := p.Counters(); n.BA.LostBlackout != 1 || n.Events != 1 {
		t.Errorf("%+v", n)
	}
}

func TestReorderedSurviveChange(t *testing.T) {
	p := one(Params{Rate: mbit, Queue: 1 << 20, Reorder: .5, ReorderBy: 100 * ms}, 1)
	for i := range 100 {
		p.Offer(0, AB, blob(1000, uint32(i)))
	}
	p.Apply(80*ms, Event{Do: Set, Params: "rate=1Gbit"})
	all := drain(p, time.Hour)
	if last := all[len(all)-1].at; len(all) != 100 || last > 190*ms {
		t.Errorf("%d arrive, the last at %s", len(all), last)
	}
}
