//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	ccDefault   = "net.ipv4.tcp_congestion_control"
	ccAvailable = "net.ipv4.tcp_available_congestion_control"
	ccAllowed   = "net.ipv4.tcp_allowed_congestion_control"
)

// CongestionControl makes name the default of TCP in the namespace. Programs
// can still choose another for their sockets.
//
// The kernel gives a namespace only a default that the host lets everybody
// use. Where it does not, and we may, the host's list is lengthened for the
// moment of the call, which needs nothing to be undone later. Where we may not
// byRoute is true: give name to Route, which forces it on connections that
// choose before they connect, too.
func (n *NS) CongestionControl(name string) (byRoute bool, err error) {
	err = n.setDefault(name)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return n.borrow(name)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		have, _ := readSysctl(ccAvailable)
		return false, fault.New(fault.Incompatible, "as root: modprobe tcp_"+name,
			"this kernel has no TCP congestion control %q; it has %s", name, have)
	}
	return false, fmt.Errorf("congestion control: %w", err)
}

func (n *NS) setDefault(name string) error {
	return n.Do(func() error {
		if now, err := readSysctl(ccDefault); err == nil && now == name {
			return nil
		}
		return os.WriteFile(sysctlPath(ccDefault), []byte(name), 0)
	})
}

// borrow sets the default while the host allows it to everybody.
func (n *NS) borrow(name string) (byRoute bool, err error) {
	have, err := readSysctl(ccAvailable)
	if err == nil && !slices.Contains(strings.Fields(have), name) {
		return false, fault.New(fault.Incompatible, "as root: modprobe tcp_"+name,
			"this kernel has no TCP congestion control %q; it has %s", name, have)
	}
	unlock, err := lockDir()
	if err != nil {
		return true, nil // not root, then
	}
	defer unlock()
	allowed, err := readSysctl(ccAllowed)
	if err != nil {
		return true, nil
	}
	if err := os.WriteFile(sysctlPath(ccAllowed), []byte(allowed+" "+name), 0); err != nil {
		return true, nil
	}
	err = n.setDefault(name)
	if back := os.WriteFile(sysctlPath(ccAllowed), []byte(allowed), 0); back != nil {
		return false, fmt.Errorf("congestion control: sysctl %s is left as %q: %w", ccAllowed, allowed+" "+name, back)
	}
	return false, err
}
