// Package server assembles and runs one ropeway server: state, keys and
// tokens, the modules with the native protocol and plain HTTP on the same
// port, health and metrics, limits, the access log, and an orderly end.
package server

import (
	"context"
	"net/http"
	"time"

	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/store"
)

// Config says what a server serves, and how. Modules is the only field that
// must be set.
type Config struct {
	// Server holds the modules, the addresses and whether anything is kept.
	// Without addresses the server listens on 127.0.0.1:8873 or, if that is
	// taken, on another port.
	config.Server

	// StateDir keeps the key, the tokens and the store. "": the place that
	// config.Locate finds by Getenv. Ephemeral servers have none.
	StateDir string

	// Getenv looks up the environment. nil: there is none.
	Getenv func(string) string

	// NewPusher makes what takes pushes for a writable module. It must be set
	// if there is one.
	NewPusher func(PushModule) (Pusher, error)

	// MinTLS is the least version of TLS that plain HTTP clients may use, as in
	// tls.Config; the native protocol always needs 1.3. 0: TLS 1.3.
	MinTLS uint16

	// Grace is how long requests may take to end once the server stops. 0:
	// 25 s, within which service managers do not yet kill.
	Grace time.Duration

	// MaxConns and MaxConnsPerAddr bound the connections, all and those of
	// one address (of one /64 for IPv6). 0: what the limit of open files
	// allows, and 256.
	MaxConns, MaxConnsPerAddr int

	// Store bounds what is kept; see store.Options.
	Store store.Options

	// Bases are directories with contents that clients may have.
	Bases []string

	Hooks
}

// Hooks is how a server reports. Each may be nil, may be called from several
// goroutines and must return quickly.
type Hooks struct {
	Ready  func(Ready)      // once, when connections are accepted
	Access func(Access)     // each request that ended
	Conn   func(Conn)       // each connection that was opened, refused or closed
	Warn   func(event.Warn) // anything else that the operator should know
	// Kept is told whenever a module's tree has been copied into the history, and
	// how many bytes that took.
	Kept func(module string, bytes int64)
}

// Access is one request that ended.
type Access struct {
	Time    time.Time // when it began
	Conn    uint64    // number of the connection, as in Conn
	Reused  bool      // the connection had carried requests before
	Remote  string    // host:port
	User    string    // name of the token; "" if there was none
	Method  string
	Path    string // without query and secrets
	Module  string // "" if there is no such module, or it may not be known
	Route   string // "plan", "object", "upload", "push", "reverse", "file", "health", ...
	Proto   string // "HTTP/2.0"
	Status  int
	Bytes   int64 // of the answer's body
	In      int64 // bytes of the request's body
	Elapsed time.Duration
	Outcome string // OutcomeOK and its like
	Cause   string // why the outcome is not OK, one line
}

// The outcomes of requests.
const (
	OutcomeOK      = "ok"
	OutcomeRefused = "refused" // answered with what is wrong about the request, or with "not now"
	OutcomeFailed  = "failed"  // the server could not
	OutcomeCut     = "cut"     // the answer ended short
)

// Conn is what happened to a connection.
type Conn struct {
	Time     time.Time
	ID       uint64 // counts from 1; 0 in a "tls" event
	Remote   string // host:port
	Event    string // "open", "close", "refused" (too many), "tls" (the handshake failed)
	Cause    string // of "refused" and "tls"
	In, Out  int64  // "close": bytes, TLS included
	Requests int64  // "close"
	Elapsed  time.Duration
}

// PushModule is what a Pusher works on. All of it outlives the Pusher.
type PushModule struct {
	Name  string
	Path  string    // of the root, absolute
	Root  *fsys.Dir // the same, open
	Store *store.Store
	Temp  *fsys.Dir                        // for files without a name
	Log   func(format string, args ...any) // server-side trouble, one line each
}

// Pusher takes pushes for one module. Its callers have verified that the
// request's token permits writing to the module. It is safe for concurrent
// use.
type Pusher interface {
	// Handler serves what is below /v1/m/{module}/push. It flushes and sets
	// deadlines by http.ResponseController.
	Handler() http.Handler
	// Reverse decides about a reverse lane, as lane.ServerOptions has it. The
	// function that it returns may never be called: the lane can end first.
	Reverse(*http.Request) (use func(*lane.Conn), err error)
	// Close ends what is under way and waits for it.
	Close()
}

// Run serves until ctx ends, and then for as long as Config.Grace lets running
// requests end; that is no error. What is wrong with the configuration is a
// Usage fault; a state directory or an address in use is a Busy one.
func Run(ctx context.Context, cfg Config) error {
	s, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx)
}
