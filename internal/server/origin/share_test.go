package origin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// bench is a module with its origin.
type bench struct {
	t   *testing.T
	src string
	o   *Origin
	n   int
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, src: t.TempDir()}
	open := func(p string) *fsys.Dir {
		d, err := fsys.OpenDir(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	state := open(t.TempDir())
	st, err := store.Open(state, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	b.o = New(Config{Module: "m", Root: open(b.src), Store: st, Temp: state, Log: t.Logf})
	t.Cleanup(b.o.Close)
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	p := filepath.Join(b.src, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
		b.t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	_ = os.Chtimes(p, old, old)
}

// got is what a client was told.
type got struct {
	end   wire.End
	kind  wire.Kind
	paths []string
}

// ask asks for a plan as a client does.
func (b *bench) ask(job string, base wire.Base) (got, error) {
	var ask bytes.Buffer
	req := wire.PlanRequest{Job: job, Mask: 31, Recursive: true}
	_ = wire.WriteFrame(&ask, wire.KindRequest, req.Marshal())
	_ = wire.WriteFrame(&ask, wire.KindBase, base.Marshal())
	rec := httptest.NewRecorder()
	b.o.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/m/m/plan", &ask))
	if rec.Code != 200 {
		return got{}, fmt.Errorf("status %d: %s", rec.Code, rec.Body)
	}
	var g got
	r := bufio.NewReader(rec.Body)
	reader := plan.NewReader()
	defer reader.Close()
	for {
		kind, payload, err := wire.ReadFrame(r)
		if err != nil {
			return g, err
		}
		switch kind {
		case wire.KindWork:
		case wire.KindSegment:
			var s wire.Segment
			if err := s.Unmarshal(payload); err != nil {
				return g, err
			}
			if err := reader.Segment(s.Body, func(it *plan.Item) error {
				if it.Record != nil {
					op := "+"
					if it.Record.Op == manifest.Del {
						op = "-"
					}
					g.paths = append(g.paths, op+it.Record.Path)
				}
				return nil
			}); err != nil {
				return g, err
			}
		case wire.KindEnd, wire.KindUnchanged:
			g.kind = kind
			return g, g.end.Unmarshal(payload)
		default:
			return g, fmt.Errorf("%q %q", kind, payload)
		}
	}
}

func (b *bench) must(base wire.Base) got {
	b.t.Helper()
	b.n++
	g, err := b.ask(fmt.Sprintf("job%08d", b.n), base)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// TestAThousandHostsShareScans starts as many requests at once: one scan for
// the first, and one for all who came while it ran. A slow machine may start
// some so late that they need a third.
func TestAThousandHostsShareScans(t *testing.T) {
	b := newBench(t)
	for i := range 2000 {
		b.write(fmt.Sprintf("d%02d/f%04d", i%20, i), fmt.Sprint("content of file ", i, " and of no other, as long as it takes not to stand in the plan itself"))
	}
	// Nothing begins before all have asked.
	for range maxWalks {
		b.o.limits.walks <- struct{}{}
	}
	const hosts = 1000
	var wg sync.WaitGroup
	answers := make([]got, hosts)
	errs := make(chan error, hosts)
	for i := range hosts {
		wg.Go(func() {
			g, err := b.ask(fmt.Sprintf("host%08d", i), wire.Base{})
			if err != nil {
				errs <- err
			}
			answers[i] = g
		})
	}
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		if b.o.Stats().Jobs == hosts {
			tick.Stop()
			break
		}
	}
	for range maxWalks {
		<-b.o.limits.walks
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	for i := range answers {
		if answers[i].end.Tree != answers[0].end.Tree || len(answers[i].paths) != 2021 {
			t.Fatalf("host %d: %d paths, %+v", i, len(answers[i].paths), answers[i].end)
		}
	}
	s := b.o.Stats()
	if s.Scans > 2 || s.Plans > 2 || s.ScansShared < hosts-2 || s.PlansShared < hosts-2 {
		t.Errorf("%+v", s)
	}
}

// TestAPlanIsUsedAgainWhileItsTreeStays: those who come later get the same
// plan, unless the tree or a pack is not there any more.
func TestAPlanIsUsedAgainWhileItsTreeStays(t *testing.T) {
	b := newBench(t)
	text := func(i int) string {
		return fmt.Sprint(i, " is the content of a file that is too long to stand in the plan itself, so it is packed")
	}
	for i := range 3000 {
		b.write(fmt.Sprintf("f%04d", i), text(i))
	}
	waitTrusted(t)
	first := b.must(wire.Base{})
	if again := b.must(wire.Base{}); again.end != first.end || len(again.paths) != len(first.paths) {
		t.Errorf("%+v, then %+v", first.end, again.end)
	}
	if s := b.o.Stats(); s.Plans != 1 || s.Scans != 2 {
		t.Errorf("the plan is not used again: %+v", s)
	}
	if g := b.must(wire.Base{Tree: first.end.Tree}); g.kind != wire.KindUnchanged {
		t.Errorf("who holds the tree is told %q %v", g.kind, g.paths)
	}
	b.write("f0001", "changed: "+text(1))
	waitTrusted(t)
	changed := b.must(wire.Base{Tree: first.end.Tree})
	if len(changed.paths) == 0 || changed.paths[len(changed.paths)-1] != "+f0001" || changed.end.Tree == first.end.Tree {
		t.Errorf("%+v", changed)
	}
	if g := b.must(wire.Base{}); g.end.Tree != changed.end.Tree || len(g.paths) != len(first.paths) {
		t.Errorf("a plan of another tree is used: %+v", g.end)
	}
	// The list of the tree is the index, and a later index another list.
	if err := os.Remove(filepath.Join(b.src, "f0002")); err != nil {
		t.Fatal(err)
	}
	waitTrusted(t)
	g := b.must(wire.Base{Tree: changed.end.Tree})
	if len(g.paths) != 2 || g.paths[0] != "+" || g.paths[1] != "-f0002" {
		t.Errorf("%v", g.paths)
	}
	if g := b.must(wire.Base{Tree: first.end.Tree}); len(g.paths) != 3 {
		t.Errorf("two trees back: %v", g.paths)
	}
}

// waitTrusted waits until what was written is old enough to be remembered, by
// the clock that stamps files.
func waitTrusted(t *testing.T) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "clock")
	began := time.Now()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(p); err != nil || fi.ModTime().Sub(began) > 100*time.Millisecond {
			tick.Stop()
			return
		}
	}
}

func TestPlansWithoutReadersEnd(t *testing.T) {
	b := newBench(t)
	b.write("a", "a")
	b.must(wire.Base{})
	if s := b.o.Stats(); s.Jobs != 1 {
		t.Errorf("%+v", s)
	}
	b.o.Sweep(time.Now().Add(2 * jobIdle))
	b.o.Sweep(time.Now().Add(4 * jobIdle))
	if s := b.o.Stats(); s.Jobs != 0 || len(b.o.all) != 0 || len(b.o.runs) != 0 || len(b.o.tours) != 0 {
		t.Errorf("%+v, %d plans, %d tours", s, len(b.o.all), len(b.o.tours))
	}
}

func TestMessagesAreBounded(t *testing.T) {
	b := newBench(t)
	for _, x := range []struct {
		what string
		body []byte
	}{
		{"a request of 2 MiB", append([]byte{'Q', 0x80, 0x80, 0x80, 0x01}, make([]byte, 1000)...)},
		{"another frame", []byte{'B', 0}},
		{"nothing", nil},
	} {
		rec := httptest.NewRecorder()
		b.o.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/m/m/plan", bytes.NewReader(x.body)))
		if rec.Code != 400 {
			t.Errorf("%s: %d", x.what, rec.Code)
		}
	}
	big := wire.PlanRequest{Job: "job00000001", Mask: 31, Filter: bytes.Repeat([]byte("- x\n"), 10000)}
	var ask bytes.Buffer
	_ = wire.WriteFrame(&ask, wire.KindRequest, big.Marshal())
	_ = wire.WriteFrame(&ask, wire.KindBase, (&wire.Base{Uploads: make([]digest.Digest, wire.MaxUploads)}).Marshal())
	rec := httptest.NewRecorder()
	b.o.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/m/m/plan", &ask))
	if !b.o.limits.held.TryAcquire(maxHeld) {
		t.Error("memory of messages is not given back")
	}
	if rec.Code != 200 || rec.Body.Len() == 0 {
		t.Errorf("%d %d", rec.Code, rec.Body.Len())
	}
	_, _ = io.Discard.Write(rec.Body.Bytes())
}
