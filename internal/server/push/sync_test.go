package push_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/netsim"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/server/push"
	"github.com/ropeway/ropeway/internal/store"
)

// pair is a client with a tree and a server with a place for it.
type pair struct {
	t        *testing.T
	src, dst string // dst is the path "in" of the module
	client   *push.Client
	link     *netsim.Link // nil: loopback
}

const all = manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links

func newPair(t *testing.T, link *netsim.Link) *pair {
	t.Helper()
	root := t.TempDir()
	p := &pair{t: t, src: t.TempDir(), dst: filepath.Join(root, "in"), link: link}
	open := func(path string) *fsys.Dir {
		d, err := fsys.OpenDir(path)
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
	org := origin.New(origin.Config{Module: "m", Root: open(p.src), Store: st, Temp: state, Log: t.Logf})
	t.Cleanup(org.Close)

	id, err := auth.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	s := push.New(push.Config{Module: "m", Root: root, Log: t.Logf, Harden: func(*job.Options) {}})
	hs := lane.Server(s.Handler(), id, lane.ServerOptions{Reverse: s.Reverse})
	ln, err := lane.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(ln.Addr().String())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = hs.ServeTLS(ln, "", "")
	}()
	t.Cleanup(func() {
		s.Close()
		_ = hs.Shutdown(context.Background())
		<-served
	})
	if link != nil {
		ctx, cancel := context.WithCancel(context.Background())
		proxy, err := netsim.Proxy(ctx, "127.0.0.1:0", addr.String(), link)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cancel()
			proxy.Wait()
		})
		addr = netip.MustParseAddrPort(proxy.Addr().String())
	}
	p.client = &push.Client{
		Dialer: &lane.Dialer{Endpoint: auth.URL{Host: "127.0.0.1", Port: int(addr.Port()), Pin: id.Pin}},
		Module: "m", Origin: org.Handler(), Timeout: time.Minute, ConnectTimeout: time.Minute,
	}
	return p
}

func (p *pair) push(change func(*push.Request)) *event.Summary {
	p.t.Helper()
	sum, err := p.try(change)
	if err != nil {
		p.t.Fatalf("push: %v", err)
	}
	return sum
}

func (p *pair) try(change func(*push.Request)) (*event.Summary, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := push.Request{Path: "in", Mask: all, Recursive: true, Delete: true, MaxDelete: -1, Items: true}
	if change != nil {
		change(&r)
	}
	return p.client.Run(ctx, r, func(e event.Event) {
		switch e.(type) {
		case event.Warn, event.Link:
			p.t.Logf("%+v", e)
		}
	})
}

func (p *pair) same() {
	p.t.Helper()
	want, got := fstest.Snapshot(p.t, p.src), fstest.Snapshot(p.t, p.dst)
	for path := range got {
		if path == ".ropeway" || strings.HasPrefix(path, ".ropeway/") {
			delete(got, path)
		}
	}
	for path, what := range want {
		if strings.HasPrefix(what, "fifo") { // neither sent nor missed
			delete(want, path)
		}
	}
	for _, d := range fstest.Diff(want, got) {
		p.t.Error(d)
	}
}

func TestTortureTreeIsPushed(t *testing.T) {
	p := newPair(t, nil)
	fstest.Tree(t, p.src, fstest.Torture(1, false))
	first := p.push(nil)
	p.same()
	again := p.push(func(r *push.Request) { r.Expect = &first.Tree })
	if !again.Unchanged || again.Tree != first.Tree {
		t.Errorf("%+v", again)
	}
	none := ""
	if _, err := p.try(func(r *push.Request) { r.Expect = &none }); fault.ClassOf(err) != fault.Busy {
		t.Error(err)
	}
	fstest.Tree(t, p.src, fstest.Spec{"new": fstest.Random(3<<20, 7), "other/one": fstest.File("x")})
	if sum := p.push(nil); sum.Transferred != 2 {
		t.Errorf("%+v", sum)
	}
	p.same()
}

func TestOneFileIsPushed(t *testing.T) {
	p := newPair(t, nil)
	fstest.Tree(t, p.src, fstest.Spec{"d/a": fstest.Random(1<<20, 1), "d/b": fstest.File("b")})
	p.push(func(r *push.Request) { r.Source, r.One, r.OmitRoot, r.Delete = "d/a", true, true, false })
	got := fstest.Snapshot(t, p.dst)
	if _, ok := got["a"]; !ok || got["b"] != "" {
		t.Error(got)
	}
}

// All connections are reset again and again while a tree is pushed.
func TestPushSurvivesResets(t *testing.T) {
	delay := netsim.Params{Delay: 5 * time.Millisecond}
	p := newPair(t, netsim.New(delay, delay, 1))
	p.link.KillEvery(1 << 20)
	fstest.Tree(t, p.src, fstest.Spec{"big": fstest.Random(12<<20, 1), "d/a": fstest.File("a"), "d/b": fstest.Random(100_000, 2)})
	p.push(nil)
	p.same()
	if st := p.link.Stats(); st.Killed < 5 {
		t.Errorf("%+v", st)
	}
}
