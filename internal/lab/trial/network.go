package trial

import (
	"context"
	"io"

	"github.com/ropeway/ropeway/internal/link"
)

// network is two hosts and the link between them: a lab, or in tests something
// that stands for it.
type network interface {
	hosts() (a, b Host)
	counters() link.Counters
	late() (late, packets int64) // of those that were forwarded
	schedule(e ...link.Event)
	close() error
}

// setting is what a network is asked to be.
type setting struct {
	profile link.Profile
	seed    uint64
	cc      string // default congestion control of both hosts; "": the kernel's
	log     io.Writer
}

// opener makes a network.
type opener func(ctx context.Context, s setting) (network, error)

// loss is the share of packets that one direction loses in the long run.
func loss(p link.Params) float64 {
	return 1 - (1-p.Loss)*(1-p.Burst)*(1-p.Corrupt)
}

// limit is how much payload one direction can carry, in bit/s: its rate, less
// what is lost, less the headers of IPv4 and TCP with timestamps. 0: no limit.
func limit(p link.Params) float64 {
	return float64(p.Rate) * (1 - loss(p)) * 1448 / 1500
}
