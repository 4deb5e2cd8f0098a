package fetch

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// mirrors returns networks that have the same content, and their sources.
func mirrors(rates ...float64) (nets []*network, sources []Source) {
	for i, r := range rates {
		n := newNetwork(40*ms, r)
		nets = append(nets, n)
		sources = append(sources, Source{Dialer: n, Name: "mirror " + string(rune('a'+i))})
	}
	for _, n := range nets[1:] {
		n.content = nets[0].content
	}
	return nets, sources
}

// addSame adds tasks whose content all mirrors have, and returns its size.
func addSame(b *bench, count int) {
	b.t.Helper()
	for range count {
		b.add(1 << 20)
	}
}

func served(n *network) (bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.served {
		for _, c := range m {
			bytes += c * digest.BlockSize
		}
	}
	return bytes
}

func TestMirrorsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, sources := mirrors(1e6, 3e6)
		b := newBench(t, nets[0], Config{Lanes: 8}, sources...)
		start := time.Now()
		addSame(b, 80)
		b.finish()
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("took %v", took)
		}
		if x, y := served(nets[0]), served(nets[1]); x < 10<<20 || y < 40<<20 {
			t.Errorf("%d and %d bytes", x, y)
		}
	})
}

// TestMirrorsOneIsSlow checks that lanes go where they bring most, and that the
// others are tried now and then.
func TestMirrorsOneIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, sources := mirrors(20e3, 8e6)
		b := newBench(t, nets[0], Config{Lanes: 8}, sources...)
		start := time.Now()
		addSame(b, 200)
		time.Sleep(20 * time.Second)
		if n := len(nets[0].up()); n > 3 {
			t.Errorf("%d lanes to a slow mirror", n)
		}
		b.finish()
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestMirrorsOneIsDead(t *testing.T) {
	for name, shape := range map[string]func(*network){
		"silent":  func(n *network) { n.down = true },
		"refuses": func(n *network) { n.onDial = func(int) error { return errors.New("connection refused") } },
		"denies": func(n *network) {
			n.onDial = func(int) error { return fault.New(fault.Denied, "", "token refused") }
		},
		"denies objects": func(n *network) {
			n.onGet = func(*fakeLane, Request) error { return fault.New(fault.Denied, "", "token refused") }
		},
		"busy": func(n *network) { n.onDial = func(int) error { return RetryAfter{time.Hour} } },
		"dies": func(n *network) { time.AfterFunc(time.Second, func() { n.setDown(true) }) },
		"lies": func(n *network) { n.onLane = func(_ int, l *fakeLane) { l.wrong = true } },
		"lacks all": func(n *network) {
			n.onGet = func(*fakeLane, Request) error { return errors.Join(ErrGone) }
		},
		"fails": func(n *network) { n.onGet = func(*fakeLane, Request) error { return errors.New("500") } },
	} {
		for first := range 2 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					nets, sources := mirrors(4e6, 4e6)
					shape(nets[first])
					b := newBench(t, nets[0], Config{Lanes: 8, Timeout: 15 * time.Minute, ConnectTimeout: time.Minute}, sources...)
					start := time.Now()
					if err := b.pool.Do(t.Context(), "plan", func(ctx context.Context, _ Lane, alive func()) error {
						alive()
						return sleepCtx(ctx, 80*ms)
					}); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took > 5*time.Second {
						t.Errorf("the plan took %v", took)
					}
					addSame(b, 40)
					b.finish()
					if took := time.Since(start); took > 25*time.Second {
						t.Errorf("took %v", took)
					}
				})
			})
		}
	}
}

// TestMirrorsShareAnObject checks that an object which one mirror lacks comes
// from the other, if that one is there in time, and that what none has is gone.
func TestMirrorsShareAnObject(t *testing.T) {
	for away, most := range map[time.Duration]time.Duration{
		3 * time.Second: 6 * time.Second, 7 * time.Second: 10 * time.Second, time.Hour: 2 * awayAfter,
	} {
		synctest.Test(t, func(t *testing.T) {
			nets, sources := mirrors(4e6, 4e6)
			b := newBench(t, nets[0], Config{Lanes: 1, Timeout: 2 * time.Hour}, sources...)
			data, o := b.object(3 << 20)
			here, only := b.object(2 << 20)
			nets[0].content = &library{m: map[digest.Digest][]byte{only.ID: here}}
			nets[1].content = &library{m: map[digest.Digest][]byte{o.ID: data}}
			nets[1].down = true
			time.AfterFunc(away, func() { nets[1].setDown(false) })
			nobody := digest.NewObject([]byte("nobody has it"))
			for _, task := range []Task{b.task(data, o, nil), b.task(here, only, nil), b.task(nil, nobody, nil)} {
				if err := b.pool.Add(t.Context(), task); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			if err := b.pool.Idle(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > most {
				t.Errorf("away for %v: took %v", away, took)
			}
			b.stop()
			gone := away > awayAfter
			if e := [3]error{b.tasks[0].err, b.tasks[1].err, b.tasks[2].err}; errors.Is(e[0], ErrGone) != gone || e[1] != nil || !errors.Is(e[2], ErrGone) {
				t.Errorf("away for %v: %v", away, e)
			}
		})
	}
}

// TestMirrorsAllLie checks that mirrors which agree on a wrong block end the
// pool: then it is what was asked for that is wrong.
func TestMirrorsAllLie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, sources := mirrors(4e6, 4e6)
		for _, n := range nets {
			n.onLane = func(_ int, l *fakeLane) { l.wrong = true }
		}
		b := newBench(t, nets[0], Config{Timeout: time.Hour}, sources...)
		addSame(b, 1)
		if err := b.ends(); fault.ClassOf(err) != fault.Integrity {
			t.Errorf("ended with %v", err)
		}
		said := false
		for _, e := range b.said() {
			w, ok := e.(event.Warn)
			said = said || ok && strings.Contains(w.Text, "mirror")
		}
		_ = said // a mirror may or may not have been given up before
	})
}

// TestExchangesStayAtHome checks that a job goes on where it began, and moves
// when that is gone.
func TestExchangesStayAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, sources := mirrors(2e6, 6e6)
		b := newBench(t, nets[0], Config{Lanes: 8, Timeout: time.Hour}, sources...)
		var at atomic.Pointer[network]
		ask := func() {
			err := b.pool.Do(t.Context(), "plan", func(_ context.Context, l Lane, alive func()) error {
				alive()
				at.Store(l.(*fakeLane).net)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		ask()
		home := at.Load()
		addSame(b, 120)
		for range 20 {
			ask()
			if at.Load() != home {
				t.Error("asked another server")
			}
			time.Sleep(300 * ms)
		}
		home.setDown(true)
		start := time.Now()
		time.Sleep(3 * time.Second) // before that it may live
		ask()
		if d := time.Since(start); d > 10*time.Second || at.Load() == home {
			t.Errorf("moved after %v", d)
		}
		b.finish()
	})
}

// TestBlackoutOfMirrors checks that all mirrors are tried in turn.
func TestBlackoutOfMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, sources := mirrors(4e6, 4e6, 4e6)
		b := newBench(t, nets[0], Config{Lanes: 6, Timeout: time.Hour}, sources...)
		addSame(b, 80)
		time.Sleep(2 * time.Second)
		for _, n := range nets {
			n.setDown(true)
		}
		time.Sleep(time.Minute)
		nets[2].setDown(false)
		back := b.mark()
		b.finish()
		if d := b.firstAfter().Sub(back); d > 5*time.Second {
			t.Errorf("first byte after %v", d)
		}
	})
}
