package origin_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/store"
)

// site is a source tree with its origin, and a destination.
type site struct {
	t        testing.TB
	src, dst string
	state    string
	lanes    *lane.Local
	org      *origin.Origin
}

func newSite(t testing.TB) *site { return newSiteAt(t, t.TempDir()) }

func newSiteAt(t testing.TB, src string) *site {
	t.Helper()
	s := &site{t: t, src: src, dst: filepath.Join(t.TempDir(), "dst")}
	open := func(p string) *fsys.Dir {
		d, err := fsys.OpenDir(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	s.state = t.TempDir()
	state := open(s.state)
	st, err := store.Open(state, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	s.org = origin.New(origin.Config{Module: "m", Root: open(s.src), Store: st, Temp: state, Log: t.Logf})
	t.Cleanup(s.org.Close)
	s.lanes = lane.Pipe(s.org.Handler())
	t.Cleanup(func() { _ = s.lanes.Close() })
	return s
}

func (s *site) options() job.Options {
	return job.Options{
		Dial: s.lanes.Dial, Module: "m", Dest: s.dst, Recursive: true, MaxDelete: -1,
		Mask: manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links,
		Events: func(e event.Event) {
			switch e := e.(type) {
			case event.Warn:
				s.t.Logf("warning: %s: %s", e.Path, e.Text)
			}
		},
	}
}

func (s *site) sync(change func(*job.Options)) *event.Summary {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := s.options()
	if change != nil {
		change(&o)
	}
	sum, err := job.Run(ctx, o)
	if err != nil {
		s.t.Fatalf("sync: %v", err)
	}
	return sum
}

func (s *site) same(without ...fstest.Part) {
	s.t.Helper()
	want, got := fstest.Snapshot(s.t, s.src, without...), fstest.Snapshot(s.t, s.dst, without...)
	for p := range got {
		if p == ".ropeway" || strings.HasPrefix(p, ".ropeway/") {
			delete(got, p)
		}
	}
	for p, what := range want {
		if strings.HasPrefix(what, "fifo") { // neither sent nor missed
			delete(want, p)
		}
	}
	for _, d := range fstest.Diff(want, got) {
		s.t.Error(d)
	}
}

func TestTortureTreeArrivesWhole(t *testing.T) {
	s := newSite(t)
	fstest.Tree(t, s.src, fstest.Torture(1, false))
	sum := s.sync(nil)
	t.Logf("%+v", sum)
	s.same()
	sum = s.sync(nil)
	if !sum.Unchanged {
		t.Errorf("second run: %+v", sum)
	}
}

type jobConn = *lane.Conn
