package push

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/netsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runFunc is a job in place of job.Run.
type runFunc func(ctx context.Context, o job.Options) (*event.Summary, error)

// site is a server on simulated links, all in one bubble of synctest.
type site struct {
	t    *testing.T
	root string
	id   *auth.Identity
	push atomic.Pointer[Server]
	http *http.Server
	wg   sync.WaitGroup
	runs atomic.Int32
}

// within runs f in a bubble with a server whose jobs are run.
func within(t *testing.T, run runFunc, f func(t *testing.T, s *site)) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		id, err := auth.Ephemeral()
		if err != nil {
			t.Fatal(err)
		}
		s := &site{t: t, root: root, id: id}
		s.start(run)
		s.http = lane.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.push.Load().Handler().ServeHTTP(w, r)
		}), id, lane.ServerOptions{Reverse: func(r *http.Request) (func(*lane.Conn), error) {
			return s.push.Load().Reverse(r)
		}})
		f(t, s)
		s.push.Load().Close()
		_ = s.http.Shutdown(t.Context())
		_ = s.http.Close()
		s.wg.Wait()
	})
}

// start puts a new push server in place.
func (s *site) start(run runFunc) {
	s.push.Store(New(Config{
		Module: "m", Root: s.root, Log: s.t.Logf,
		Harden: func(*job.Options) {},
		Run: func(ctx context.Context, o job.Options) (*event.Summary, error) {
			s.runs.Add(1)
			return run(ctx, o)
		},
	}))
}

// end is a client of its own with a link of its own.
type end struct {
	*Client
	link *netsim.Link
	got  chan event.Event
}

func (s *site) client() *end {
	s.t.Helper()
	link := netsim.New(netsim.Params{Delay: 20 * time.Millisecond}, netsim.Params{Delay: 20 * time.Millisecond}, 1)
	ln, err := link.Listen("198.51.100.1:8730")
	if err != nil {
		s.t.Fatal(err)
	}
	s.wg.Go(func() { _ = s.http.ServeTLS(ln, "", "") })
	return &end{
		Client: &Client{
			Dialer: &lane.Dialer{
				Endpoint:    auth.URL{Host: "198.51.100.1", Port: 8730, Pin: s.id.Pin, Token: "rw_test"},
				Resolve:     func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no names here") },
				DialContext: link.DialContext,
			},
			Module: "m", Timeout: job.DefaultTimeout, ConnectTimeout: time.Minute,
			Origin: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "here is "+r.URL.Path) }),
		},
		link: link, got: make(chan event.Event, 100_000),
	}
}

// cut makes the link dead as if by a NAT that forgot, and dark.
func (e *end) cut() {
	e.link.Blackout(netsim.Both, true)
	e.link.ForgetFlows()
}

func (e *end) mend() { e.link.Blackout(netsim.Both, false) }

// outcome is what Run returned.
type outcome struct {
	sum *event.Summary
	err error
}

// start runs a push in the background.
func (e *end) start(ctx context.Context, r Request) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		sum, err := e.Run(ctx, r, func(ev event.Event) { e.got <- ev })
		done <- outcome{sum, err}
	}()
	return done
}

// events returns those received so far.
func (e *end) events() (all []event.Event) {
	for {
		select {
		case ev := <-e.got:
			all = append(all, ev)
		default:
			return all
		}
	}
}

// index returns where the first event that match likes is, or -1.
func index(all []event.Event, match func(event.Event) bool) int { return slices.IndexFunc(all, match) }

func isLink(up bool) func(event.Event) bool {
	return func(e event.Event) bool {
		l, ok := e.(event.Link)
		return ok && l.Up == up
	}
}

// get requests a path over a lane.
func get(ctx context.Context, dial job.Dial, path string) (string, error) {
	c, err := dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close(nil)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// landed makes dest one that was landed as a tree that name stands for.
func landed(t testing.TB, dest, name string) string {
	t.Helper()
	a, err := land.Open(context.Background(), land.Options{Dest: dest})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	tree := digest.Sum([]byte(name))
	root := manifest.Record{Entry: manifest.Entry{Type: manifest.Dir, Mode: 0o755}}
	if _, err := a.Land(context.Background(), manifest.Slice([]manifest.Record{root}), tree, 0); err != nil {
		t.Fatal(err)
	}
	return tree.String()
}

func mkdir(t testing.TB, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(p, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func idle(ctx context.Context, _ job.Options) (*event.Summary, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}
