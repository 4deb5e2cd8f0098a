//go:build !linux

package lab

import (
	"github.com/ropeway/ropeway/internal/lab/netns"
	"github.com/ropeway/ropeway/internal/link"
)

// forwarder needs TUN devices, which this system does not have: no lab gets so
// far.
type forwarder struct{}

func startForwarder([]*netns.TUN, []*capture, Config, func(string, ...any), func()) (*forwarder, error) {
	return new(forwarder), nil
}

func (*forwarder) schedule([]link.Event)       {}
func (*forwarder) apply(link.Event)            {}
func (*forwarder) setProfile(link.Profile)     {}
func (*forwarder) counters() (c link.Counters) { return c }
func (*forwarder) machine() (m Machine)        { return m }
func (*forwarder) close() error                { return nil }
