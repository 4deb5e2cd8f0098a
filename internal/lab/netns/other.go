//go:build !linux

package netns

import (
	"context"
	"io"
	"net/netip"
	"os/exec"
	"runtime"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Dir is where namespaces have names, as iproute2 has it.
const Dir = "/run/netns"

// NS is a network namespace, which this system does not have.
type NS struct{}

// TUN is a network interface whose packets a program reads and writes.
type TUN struct {
	FD   int
	Name string
}

// Leftover is a namespace whose maker is dead.
type Leftover struct {
	Name      string `json:"name"`
	Owner     int    `json:"owner"`
	Processes []int  `json:"processes"`
}

func none() error {
	return fault.New(fault.Incompatible, "run it on Linux", "the lab needs Linux network namespaces; this is %s", runtime.GOOS)
}

// New fails.
func New(string) (*NS, error) { return nil, none() }

// Name returns "".
func (*NS) Name() string { return "" }

// Do fails.
func (*NS) Do(func() error) error { return none() }

// Run fails.
func (*NS) Run(func() error) error { return none() }

// Start fails.
func (*NS) Start(*exec.Cmd) error { return none() }

// Sysctl fails.
func (*NS) Sysctl(string, string) error { return none() }

// Route fails.
func (*NS) Route(string, netip.Prefix, string) error { return none() }

// TUN fails.
func (*NS) TUN(string, int, int, ...netip.Prefix) (*TUN, error) { return nil, none() }

// CongestionControl fails.
func (*NS) CongestionControl(string) (bool, error) { return false, none() }

// Listens is false.
func (*NS) Listens() bool { return false }

// Kill does nothing.
func (*NS) Kill() error { return nil }

// Close does nothing.
func (*NS) Close() error { return nil }

// Close does nothing.
func (*TUN) Close() {}

// Dropped fails.
func (*TUN) Dropped() (int64, error) { return 0, none() }

// Names fails.
func Names([]string) ([]string, error) { return nil, none() }

// Unname does nothing.
func Unname(...string) {}

// Clean finds nothing.
func Clean(bool) ([]Leftover, error) { return nil, nil }

// Need is false: no sandbox helps.
func Need() bool { return false }

// Sandbox fails.
func Sandbox(context.Context, []string, []string, io.Reader, io.Writer, io.Writer, time.Duration, time.Duration) (int, error) {
	return 0, none()
}

// Enter does nothing.
func Enter() error { return nil }
