package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/netsim"
)

// flood sends for ever over a link, connection after connection, until ctx
// ends: a link of 1 MB/s.
func flood(ctx context.Context, t *testing.T) *netsim.Link {
	p := netsim.Params{Delay: 10 * time.Millisecond, Rate: 8e6}
	l := netsim.New(p, p, 1)
	ln, err := l.Listen("far:1")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			go func() {
				_, _ = io.Copy(c, zeros{})
				_ = c.Close()
			}()
		}
	}()
	go func() {
		for ctx.Err() == nil {
			c, err := l.DialContext(ctx, "tcp", "far:1")
			if err != nil {
				continue
			}
			drain(ctx, c)
		}
	}()
	return l
}

// drain reads until nothing comes for a second.
func drain(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestDirectorTellsWhatItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := flood(ctx, t)
		var said []string
		dir := director{link: l, say: func(who, text string) { said = append(said, who+" "+text) }}
		d := &demo{o: Options{Size: 10e6, Cut: 3 * time.Second}, link: l, report: event.Discard}
		l.KillEvery(3e6)
		timed, stop := context.WithTimeout(ctx, 25*time.Second)
		defer stop()
		script := d.firstScript()
		if err := dir.play(timed, script[:len(script)-1]); err != nil { // there is no server to kill
			t.Error(err)
		}
		for _, s := range said {
			t.Log(s)
		}
		want := tally{count: [kinds]int{reset: 1, forget: 1, stall: 1, blackout: 1}, dark: 3 * time.Second}
		if dir.count != want.count || dir.dark != want.dark || dir.one == 0 || dir.worst < time.Second || dir.worst > 5*time.Second {
			t.Errorf("%+v", dir.tally)
		}
		all := strings.Join(said, "\n")
		at := 0
		for _, s := range []string{"link resets all", "ropeway goes on after 0.", "link forgets", "ropeway goes on after 1.",
			"link holds two", "link is dead: nothing passes for 3.0 s\nlink works again\nropeway goes on"} {
			i := strings.Index(all[at:], s)
			if i < 0 {
				t.Errorf("%q was not said in its place:\n%s", s, all)
				break
			}
			at += i
		}
		cancel()
		synctest.Wait()
	})
}

func TestDirectorEndsInABlackout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := flood(ctx, t)
		dark := false
		dir := director{link: l, say: func(string, string) {}}
		script := []step{{
			after: 1000, kind: blackout, lasts: time.Hour,
			do: now(func() { dark = true }), undo: func() { dark = false },
		}}
		timed, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		if err := dir.play(timed, script); err != nil || dark || dir.count[blackout] != 1 {
			t.Errorf("%v, dark %v, %+v", err, dark, dir.tally)
		}
		broken := errors.New("broken")
		script[0].do = func(context.Context) error { return broken }
		if err := dir.play(ctx, script); !errors.Is(err, broken) {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
	})
}

func TestFormats(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1,000 B", 9999: "9,999 B", 12345: "12.3 kB", 999_499: "999 kB", 999_500: "1.0 MB", 60_606_801: "60.6 MB",
		5e12: "5.0 TB", 5e15: "5000 TB",
	} {
		if got := amount(n); got != want {
			t.Errorf("amount(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", -1: "-1", -123: "-123", -1234: "-1,234", 123: "123", 1234567: "1,234,567"} {
		if got := commas(n); got != want {
			t.Errorf("commas(%d) = %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{250 * time.Millisecond: "0.25 s", 3 * time.Second: "3.0 s", 75 * time.Second: "75.0 s"} {
		if got := brief(d); got != want {
			t.Errorf("brief(%v) = %s", d, got)
		}
	}
}
