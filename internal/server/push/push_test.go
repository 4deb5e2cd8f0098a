package push

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestPush(t *testing.T) {
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		if o.Module != "m" || o.Path != "src" || o.Mask != manifest.Times|manifest.Perm || !o.Delete || o.MaxDelete != 7 ||
			o.Timeout != job.DefaultTimeout || o.ConnectTimeout != time.Minute || o.From != "laptop" || !strings.HasSuffix(o.Dest, "in") ||
			string(o.Filter.AppendText(nil)) != "- *.o\n" || !strings.Contains(o.Holder, "192.0.2.1") || o.TempDir != "" {
			t.Errorf("%+v", o)
		}
		o.Events(event.Work{Stage: "scan", Files: 3})
		o.Events(event.Progress{Done: 5, WireIn: 100, WireOut: 1})
		o.Events(event.Item{Path: "a\xff", Change: ">f+++++++++"})
		for i := range 3 {
			if got, err := get(ctx, o.Dial, fmt.Sprint("/x/", i)); err != nil || got != fmt.Sprint("here is /x/", i) {
				t.Error(got, err)
			}
		}
		return &event.Summary{Files: 4, WireIn: 100, WireOut: 1}, fault.New(fault.Partial, "look", "some \x1b failed")
	}, func(t *testing.T, s *site) {
		gen := landed(t, mkdir(t, s.root, "in"), "before")
		c := s.client()
		began := ""
		c.Began = func(g string) { began = g }
		out := <-c.start(t.Context(), Request{
			Path: "in", Source: "src", Mask: manifest.Times | manifest.Perm, Delete: true, MaxDelete: 7,
			Filter: []byte("- *.o\n"), From: "laptop", Items: true, Expect: &gen,
		})
		if fault.ClassOf(out.err) != fault.Partial || out.err.Error() != "server: some ? failed" || fault.HintOf(out.err) != "look" {
			t.Error(out.err)
		}
		if out.sum == nil || *out.sum != (event.Summary{Files: 4, WireIn: 1, WireOut: 100}) {
			t.Errorf("%+v", out.sum)
		}
		if began != gen {
			t.Error(began, gen)
		}
		want := []event.Event{
			event.Work{Peer: true, Stage: "scan", Files: 3}, event.Progress{Done: 5, WireIn: 1, WireOut: 100},
			event.Item{Path: "a\xff", Change: ">f+++++++++"},
		}
		if got := c.events(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Error(got)
		}
	})
}

func TestExpect(t *testing.T) {
	within(t, func(context.Context, job.Options) (*event.Summary, error) { return &event.Summary{}, nil }, func(t *testing.T, s *site) {
		gen := landed(t, mkdir(t, s.root, "in"), "one")
		c, none := s.client(), ""
		for _, want := range []string{none, strings.Repeat("0", len(gen))} {
			out := <-c.start(t.Context(), Request{Path: "in", Expect: &want})
			if fault.ClassOf(out.err) != fault.Busy || out.sum != nil {
				t.Error(out)
			}
		}
		if s.runs.Load() != 0 {
			t.Error("a job ran")
		}
		for path, want := range map[string]string{"in": gen, "new": none} {
			if out := <-c.start(t.Context(), Request{Path: path, Expect: &want}); out.err != nil {
				t.Error(path, out.err)
			}
		}
	})
}

// told is a job that emits an Item a second with rising names.
func told(n int) runFunc {
	return func(ctx context.Context, o job.Options) (*event.Summary, error) {
		for i := range n {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			o.Events(event.Item{Path: fmt.Sprint(i)})
		}
		return &event.Summary{Files: int64(n)}, nil
	}
}

// whole checks that n items came once each, in order.
func whole(t *testing.T, all []event.Event, n int) {
	t.Helper()
	next := 0
	for _, e := range all {
		if it, ok := e.(event.Item); ok {
			if it.Path != fmt.Sprint(next) {
				t.Errorf("item %s where %d was due", it.Path, next)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("%d items of %d", next, n)
	}
}

func TestControlIsCutAndComesBack(t *testing.T) {
	within(t, told(100), func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{Items: true})
		time.Sleep(10500 * time.Millisecond)
		c.link.ResetFlows(99, 0) // told of at once
		time.Sleep(20 * time.Second)
		c.link.ForgetFlows() // found out by silence
		time.Sleep(20 * time.Second)
		c.cut()
		time.Sleep(30 * time.Second)
		c.mend()
		out := <-done
		if out.err != nil || out.sum.Files != 100 || s.runs.Load() != 1 {
			t.Errorf("%+v %v, %d runs", out.sum, out.err, s.runs.Load())
		}
		all := c.events()
		whole(t, all, 100)
		links := 0
		for _, e := range all {
			if l, ok := e.(event.Link); ok {
				if l.Up != (links%2 == 1) || !l.Up && (l.Cause == "" || l.GiveUp.Sub(l.Since) != job.DefaultTimeout) {
					t.Errorf("%+v", l)
				}
				links++
			}
		}
		if links != 6 {
			t.Errorf("%d events of the link", links)
		}
	})
}

func TestResultIsKept(t *testing.T) {
	within(t, told(20), func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{Items: true})
		time.Sleep(5 * time.Second)
		c.cut()
		time.Sleep(9 * time.Minute)
		c.mend()
		out := <-done
		if out.err != nil || out.sum.Files != 20 || s.runs.Load() != 1 {
			t.Errorf("%+v, %d runs", out, s.runs.Load())
		}
		whole(t, c.events(), 20)
		s.push.Load().Sweep(time.Now().Add(9 * time.Minute)) // 18 after the end
		if n := len(s.push.Load().jobs); n != 0 {
			t.Errorf("%d jobs are kept", n)
		}
	})
}

func TestReportsAreBounded(t *testing.T) {
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		time.Sleep(5 * time.Second)
		for i := range 3 * ringItems {
			o.Events(event.Item{Path: fmt.Sprint(i)})
		}
		time.Sleep(5 * time.Second)
		return nil, nil
	}, func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{Items: true})
		time.Sleep(3 * time.Second)
		c.cut()
		time.Sleep(20 * time.Second)
		c.mend()
		if out := <-done; out.err != nil {
			t.Error(out.err)
		}
		all := c.events()
		i := index(all, func(e event.Event) bool { _, ok := e.(event.Warn); return ok })
		if i < 0 || all[i].(event.Warn).Text != fmt.Sprint(2*ringItems, " reports were lost while the server could not be reached") {
			t.Fatal(all[:4])
		}
		if got := len(all) - i - 1; got != ringItems || all[i+1] != (event.Item{Path: fmt.Sprint(2 * ringItems)}) {
			t.Error(got, all[i+1])
		}
	})
}

func TestBusy(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		a, b := s.client(), s.client()
		ctx, cancel := context.WithCancelCause(t.Context())
		mkdir(t, s.root, "x")
		began := time.Now()
		first := a.start(ctx, Request{Path: "x"})
		time.Sleep(time.Hour)
		for _, path := range []string{"x", "", "x/y"} {
			out := <-b.start(t.Context(), Request{Path: path})
			if fault.ClassOf(out.err) != fault.Busy || !strings.Contains(out.err.Error(), "by 192.0.2.1, since "+began.UTC().Format("2006-01-02T15:04:")) {
				t.Error(path, out.err)
			}
		}
		other, stop := context.WithCancel(t.Context())
		second := b.start(other, Request{Path: "xy"})
		time.Sleep(time.Second)
		if s.runs.Load() != 2 {
			t.Error("a push beside another one waits")
		}
		stop()
		<-second
		left := errors.New("the user left")
		at := time.Now()
		cancel(left)
		if out := <-first; !errors.Is(out.err, left) || time.Since(at) > 2*time.Second {
			t.Error(out.err, time.Since(at))
		}
		if _, ended := s.only("x").endedAt(); !ended {
			t.Error("the server was not told")
		}
	})
}

// only returns the one job of a path.
func (s *site) only(path string) (found *running) {
	p := s.push.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		if j.Path == path {
			found = j
		}
	}
	return found
}

func TestSupersede(t *testing.T) {
	var active, most atomic.Int32
	var publish atomic.Value
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		most.Store(max(most.Load(), active.Add(1)))
		defer active.Add(-1)
		select {
		case <-time.After(5 * time.Minute):
		case <-ctx.Done():
			time.Sleep(5 * time.Second) // it takes its time
			return nil, context.Cause(ctx)
		}
		publish.Store(o.From)
		return &event.Summary{}, nil
	}, func(t *testing.T, s *site) {
		a, b := s.client(), s.client()
		first := a.start(t.Context(), Request{From: "a"})
		time.Sleep(time.Minute)
		a.cut()
		time.Sleep(8 * time.Second)
		if out := <-b.start(t.Context(), Request{From: "b"}); fault.ClassOf(out.err) != fault.Busy {
			t.Error("superseded too early", out.err)
		}
		time.Sleep(3 * time.Second)
		second := b.start(t.Context(), Request{From: "b"})
		time.Sleep(20 * time.Second)
		a.mend() // the second one still runs
		out := <-first
		if fault.ClassOf(out.err) != fault.Busy || !strings.Contains(out.err.Error(), "superseded by a push from 192.0.2.1") {
			t.Error(out.err)
		}
		if out := <-second; out.err != nil {
			t.Error(out.err)
		}
		if most.Load() != 1 || publish.Load() != "b" || s.runs.Load() != 2 {
			t.Error(most.Load(), publish.Load(), s.runs.Load())
		}
	})
}

// A pusher that comes back after another one has landed changes nothing,
// however long it was away.
func TestStalePusherNeverPublishes(t *testing.T) {
	for _, away := range []time.Duration{30 * time.Second, 2 * time.Minute, 14 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			var s *site
			var published []string
			within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
				wait := 10 * time.Minute
				if o.From == "b" {
					wait = 5 * time.Second
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
				published = append(published, o.From)
				return &event.Summary{Tree: landed(t, s.root, o.From)}, nil
			}, func(t *testing.T, here *site) {
				s = here
				a, b := s.client(), s.client()
				first := a.start(t.Context(), Request{From: "a"})
				time.Sleep(time.Minute)
				a.cut()
				time.Sleep(min(away, time.Minute+20*time.Second) - 10*time.Second)
				if out := <-b.start(t.Context(), Request{From: "b"}); out.err != nil {
					t.Error(out.err)
				}
				time.Sleep(away - min(away, time.Minute+20*time.Second))
				a.mend()
				if out := <-first; fault.ClassOf(out.err) != fault.Busy {
					t.Error(out.err)
				}
				if len(published) != 1 || published[0] != "b" {
					t.Error(published)
				}
			})
		})
	}
}

func TestAbandoned(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		c := s.client()
		c.Timeout = 3 * time.Minute
		done := c.start(t.Context(), Request{})
		time.Sleep(time.Hour)
		j := s.only("")
		if _, ended := j.endedAt(); ended || s.runs.Load() != 1 {
			t.Fatal("ended while it is followed")
		}
		at := time.Now()
		c.cut()
		<-j.done
		if d := time.Since(at); d < 59*time.Second || d > 61*time.Second || !j.again() {
			t.Error(d, j.res)
		}
		out := <-done
		if d := time.Since(at); fault.ClassOf(out.err) != fault.Network || d < 3*time.Minute-2*time.Second || d > 3*time.Minute+dialLimit {
			t.Error(out.err, d)
		}
	})
}

// An abandoned job is started again by its own client, as one with the same
// reports.
func TestLongBlackout(t *testing.T) {
	within(t, told(100), func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{Items: true})
		time.Sleep(30*time.Second + 500*time.Millisecond)
		c.cut()
		time.Sleep(5 * time.Minute)
		c.mend()
		if out := <-done; out.err != nil || out.sum.Files != 100 || s.runs.Load() != 2 {
			t.Errorf("%+v %d", out, s.runs.Load())
		}
		items := 0
		for _, e := range c.events() {
			if _, ok := e.(event.Item); ok {
				items++
			}
		}
		if items != 30+100 {
			t.Error(items)
		}
	})
}

func TestServerRestart(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{Items: true})
		time.Sleep(time.Minute)
		s.push.Load().Close()
		time.Sleep(10 * time.Second)
		select {
		case out := <-done:
			t.Fatal(out.err)
		default:
		}
		s.start(told(3))
		if out := <-done; out.err != nil || out.sum.Files != 3 {
			t.Error(out)
		}
		whole(t, c.events(), 3)
	})
}

func TestNobodyThere(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		c := s.client()
		c.link.DropDials(true)
		at := time.Now()
		out := <-c.start(t.Context(), Request{})
		if d := time.Since(at); fault.ClassOf(out.err) != fault.Network || d < time.Minute || d > time.Minute+dialLimit {
			t.Error(out.err, d)
		}
		c.link.RefuseDials(true)
		at = time.Now()
		out = <-c.start(t.Context(), Request{})
		if d := time.Since(at); fault.ClassOf(out.err) != fault.Network || d < time.Minute || d > time.Minute+jitterMax ||
			!strings.Contains(out.err.Error(), "refused") {
			t.Error(out.err, d)
		}
	})
}

func TestPermanentErrorsEndAtOnce(t *testing.T) {
	within(t, func(context.Context, job.Options) (*event.Summary, error) {
		return nil, fault.New(fault.Limit, "make room", "the disk is full")
	}, func(t *testing.T, s *site) {
		c := s.client()
		at := time.Now()
		if out := <-c.start(t.Context(), Request{}); fault.ClassOf(out.err) != fault.Limit || fault.HintOf(out.err) != "make room" {
			t.Error(out.err)
		}
		if out := <-c.start(t.Context(), Request{Path: "no/such"}); fault.ClassOf(out.err) != fault.NotFound {
			t.Error(out.err)
		}
		c.Module = "other"
		if out := <-c.start(t.Context(), Request{}); fault.ClassOf(out.err) != fault.NotFound {
			t.Error(out.err)
		}
		c.Dialer.Endpoint.Pin[0] ^= 1
		if out := <-c.start(t.Context(), Request{}); fault.ClassOf(out.err) != fault.Integrity {
			t.Error(out.err)
		}
		if d := time.Since(at); d > 3*time.Second {
			t.Error(d)
		}
	})
}

func TestLateLanesServeTheNext(t *testing.T) {
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		short, cancel := context.WithTimeout(ctx, 30*time.Millisecond) // less than a round trip
		defer cancel()
		if _, err := get(short, o.Dial, "/"); fault.ClassOf(err) != fault.Network {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		at := time.Now()
		if _, err := get(ctx, o.Dial, "/"); err != nil || time.Since(at) > 50*time.Millisecond {
			t.Error(err, time.Since(at))
		}
		time.Sleep(time.Minute)
		return &event.Summary{}, nil
	}, func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if out := <-done; out.err != nil {
			t.Error(out.err)
		}
	})
}
