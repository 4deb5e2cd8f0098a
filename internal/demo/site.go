package demo

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/server"
	"github.com/ropeway/ropeway/internal/wire"
)

// module is the name under which the tree is served.
const module = "release"

// site is a server of a directory on a loopback address. It can be stopped and
// started again, and is then at the same address, with the same key and token.
// Its methods are not safe for concurrent use.
type site struct {
	root  string // what is served
	state string
	warn  func(event.Warn)
	kept  chan int64 // bytes that the server has copied into its history

	url    auth.URL // once it was started
	front  int      // port of what stands in front of the server; 0: nothing
	addr   string   // its own
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	served served // guarded by mu
}

// served is what the server was asked for since the last call of take.
type served struct {
	objects map[string]bool // URL paths
	plans   int64           // bytes of answers that ended well
	cut     int             // answers with content that ended short
}

// grace is how long a server that is stopped lets answers end: as good as not
// at all, since the point is that it may be killed.
const grace = 50 * time.Millisecond

// start returns once the server accepts connections.
func (s *site) start(ctx context.Context) error {
	// Once it runs the server ends by stop alone, so that the end of a sync does
	// not depend on which of the two hears of an interrupt first.
	running, cancel := context.WithCancel(context.Background())
	ready := make(chan server.Ready, 1)
	s.cancel, s.ended = cancel, make(chan error, 1)
	listen := s.addr
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	cfg := server.Config{
		Server: config.Server{
			Listen:  []string{listen},
			Modules: []config.Module{{Name: module, Path: s.root}},
		},
		StateDir: s.state,
		Grace:    grace,
		Hooks: server.Hooks{
			Ready:  func(r server.Ready) { ready <- r },
			Access: s.access,
			Warn:   s.warn,
			Kept: func(_ string, n int64) {
				select {
				case s.kept <- n:
				default:
				}
			},
		},
	}
	go func() { s.ended <- server.Run(running, cfg) }()
	select {
	case r := <-ready:
		url, err := auth.ParseURL(r.Modules[0].URLs[0])
		if err != nil {
			s.stop()
			return err
		}
		if s.front != 0 {
			url.Port = s.front
		}
		s.url, s.addr = url, r.Addrs[0]
		return nil
	case err := <-s.ended:
		cancel()
		s.cancel = nil
		return err
	case <-ctx.Done():
		s.stop()
		return context.Cause(ctx)
	}
}

// stop cuts off whoever is served.
func (s *site) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	<-s.ended //nolint:errcheck // it was told to end: how it did is no news
	s.cancel = nil
}

// restart kills the server and starts it again after a pause.
func (s *site) restart(ctx context.Context, pause time.Duration) error {
	s.stop()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil // the sync has ended, well or not: who needs the server starts it
	}
	if err := s.start(ctx); err != nil && ctx.Err() == nil {
		return fault.Wrap(fault.ClassOf(err), err, "", "the server did not start again")
	}
	return nil
}

// running reports whether the server was started and not stopped.
func (s *site) running() bool { return s.cancel != nil }

func (s *site) access(a server.Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a.Method == http.MethodHead: // our own
	case a.Route == "plan" && a.Outcome == server.OutcomeOK:
		s.served.plans += a.Bytes
	case a.Route == "object":
		if a.Outcome == server.OutcomeCut {
			s.served.cut++
		}
		if s.served.objects == nil {
			s.served.objects = map[string]bool{}
		}
		s.served.objects[a.Path] = true
	}
}

// take returns what was served and begins anew.
func (s *site) take() served {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.served
	s.served = served{}
	return v
}

// weigh returns the bytes that had to come for a sync if nothing went wrong,
// headers and encryption apart: plans, and each object once. The server says
// how large an object is that it has made; the others are spans of the archive,
// which has size bytes.
func (s *site) weigh(ctx context.Context, v served, size int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	direct := s.url
	port, err := netip.ParseAddrPort(s.addr)
	if err != nil {
		return 0, err
	}
	direct.Port = int(port.Port())
	c, err := (&lane.Dialer{Endpoint: direct}).Dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close(nil)
	sum, spans := v.plans, int64(0)
	for path := range v.objects {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://ropeway"+path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set(wire.ProtocolHeader, strconv.Itoa(wire.Protocol))
		resp, err := c.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
			sum += resp.ContentLength
		} else {
			spans += digest.SpanSize
		}
	}
	return sum + min(spans, size), nil
}

// via makes the URL that of something in front of the server.
func (s *site) via(addr net.Addr) error {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return err
	}
	s.front = int(at.Port())
	s.url.Port = s.front
	return nil
}
