package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/server/origin"
	"github.com/ropeway/ropeway/internal/server/plain"
)

const (
	defaultGrace   = 25 * time.Second
	defaultPerAddr = 1024
	mostConns      = 10000 // by default, however many files may be open
)

// server is a server that has been opened.
type server struct {
	cfg       Config
	state     *state
	modules   map[string]*module
	listeners []net.Listener
	metrics   *metrics
	guard     *guard
	bases     *origin.Bases
	gate      *gate
	plain     http.Handler
	exposed   http.Handler // the metrics
	origins   *http.CrossOriginProtection
	limited   *origin.Limits
	clients   *clients
	moving    *movement
	ready     atomic.Bool
	hinted    bool          // about congestion control
	stopping  chan struct{} // closed when no new work is accepted any more
	closers   []func()      // run from the last to the first
}

// module is a directory with what serves it.
type module struct {
	config.Module
	origin *origin.Origin
	native http.Handler
	pusher Pusher // nil: read only
	push   http.Handler
}

// open acquires everything that a server needs, or nothing.
func open(ctx context.Context, cfg Config) (*server, error) {
	chosen := len(cfg.Listen) > 0 // and not by default
	if !chosen {
		cfg.Listen = []string{net.JoinHostPort("127.0.0.1", fmt.Sprint(config.DefaultPort))}
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &server{
		cfg: cfg, modules: map[string]*module{}, metrics: newMetrics(), origins: http.NewCrossOriginProtection(),
		limited: origin.NewLimits(), clients: newClients(), moving: newMovement(),
		stopping: make(chan struct{}),
	}
	if err := s.open(ctx, chosen); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// complete fills in the defaults and checks what can be checked without
// touching anything.
func (c *Config) complete() error {
	if err := c.Validate(); err != nil {
		return err
	}
	for _, m := range c.Modules {
		if m.Writable && c.NewPusher == nil {
			return fault.New(fault.Usage, "", "module %s: this server takes no pushes", m.Name)
		}
	}
	if c.Grace <= 0 {
		c.Grace = defaultGrace
	}
	if c.Ready == nil {
		c.Ready = func(Ready) {}
	}
	if c.Access == nil {
		c.Access = func(Access) {}
	}
	if c.Conn == nil {
		c.Conn = func(Conn) {}
	}
	if c.Kept == nil {
		c.Kept = func(string, int64) {}
	}
	if c.Warn == nil {
		c.Warn = func(event.Warn) {}
	}
	if c.Getenv == nil {
		c.Getenv = func(string) string { return "" }
	}
	return nil
}

func (s *server) open(ctx context.Context, chosen bool) error {
	s.limits()
	// Before the state: a port that is taken is the commoner mistake, and
	// nothing is accepted before run.
	if err := s.listen(ctx, chosen); err != nil {
		return err
	}
	st, err := openState(&s.cfg, hostsOf(s.cfg, s.listeners), s.warn)
	if err != nil {
		return err
	}
	s.state = st
	s.closers = append(s.closers, st.close)
	if err := s.openBases(); err != nil {
		return err
	}
	for _, m := range s.cfg.Modules {
		if err := s.openModule(m); err != nil {
			return err
		}
	}
	s.plain = plain.New(plain.Options{Lookup: s.lookup})
	s.watch()
	s.exposed = s.metrics.handler()
	return nil
}

func (s *server) openBases() error {
	var dirs []*fsys.Dir
	for _, path := range s.cfg.Bases {
		d, err := fsys.OpenDir(path)
		if err != nil {
			for _, d := range dirs {
				_ = d.Close()
			}
			return fault.New(fsys.Class(err), "give a directory that this user can read", "cannot use %s as a base: %s", path, fsys.Plain(err))
		}
		dirs = append(dirs, d)
	}
	if len(dirs) > 0 {
		s.bases = origin.OpenBases(dirs)
		s.closers = append(s.closers, s.bases.Close)
	}
	return nil
}

// limits derives the bounds from how many files can be open.
func (s *server) limits() {
	requests := mostConns
	if s.cfg.MaxConnsPerAddr <= 0 {
		s.cfg.MaxConnsPerAddr = defaultPerAddr
	}
	most := mostConns
	if files, ok := raiseFiles(); ok {
		if files < fewFiles {
			s.warn("only %d files can be open at once, which limits the connections", files)
			s.warn("raise it by: ulimit -n 65536; in a systemd unit by: LimitNOFILE=65536")
		}
		// One file a connection, and one or two a request.
		spare := int(min(files, 4*mostConns)) - 64
		most = min(most, max(16, spare/2))
		requests = min(requests, max(32, spare/4))
	}
	if s.cfg.MaxConns <= 0 {
		s.cfg.MaxConns = most
	}
	s.gate = newGate(requests)
	s.guard = newGuard(s.cfg.MaxConns, s.cfg.MaxConnsPerAddr, s.metrics, s.cfg.Conn)
}

// fewFiles is how many open files a server should have at least.
const fewFiles = 4096

func (s *server) openModule(m config.Module) error {
	root, err := fsys.OpenDir(m.Path)
	if err != nil {
		return fault.New(fsys.Class(err), "give a directory that this user can read", "cannot serve %s: %s", m.Path, fsys.Plain(err))
	}
	s.closers = append(s.closers, func() { _ = root.Close() })
	if inside, err := contains(root, s.state.path); err != nil {
		return err
	} else if inside {
		hint := "give a state directory outside of it, or serve another directory"
		if s.cfg.Ephemeral {
			hint = "set TMPDIR to a directory outside of it, or serve another directory"
		}
		return fault.New(fault.Usage, hint, "cannot serve %s: the server's own state in %s would be served too", m.Path, s.state.path)
	}
	log := func(format string, args ...any) { s.warn("module %s: %s", m.Name, fmt.Sprintf(format, args...)) }
	mod := &module{Module: m}
	if m.Writable {
		mod.pusher, err = s.cfg.NewPusher(PushModule{
			Name: m.Name, Path: m.Path, Root: root, Store: s.state.store, Temp: s.state.temp, Log: log,
		})
		if err != nil {
			return err
		}
		s.closers = append(s.closers, mod.pusher.Close)
		mod.push = mod.pusher.Handler()
	}
	mod.origin = origin.New(origin.Config{
		Module: m.Name, Root: root, Open: mod.open, Store: s.state.store, Temp: s.state.temp, Bases: s.bases, Log: log,
		Limits: s.limited, Kept: func(n int64) { s.cfg.Kept(m.Name, n) },
	})
	s.closers = append(s.closers, mod.origin.Close)
	mod.native = mod.origin.Handler()
	s.modules[m.Name] = mod
	return nil
}

// open opens the module's directory as it is now: a push or the operator may
// have exchanged it for another.
func (m *module) open() (*fsys.Dir, error) { return fsys.OpenDir(m.Path) }

// close releases everything. Nothing may run any more.
func (s *server) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

func (s *server) warn(format string, args ...any) {
	s.cfg.Warn(event.Warn{Text: fmt.Sprintf(format, args...)})
}
