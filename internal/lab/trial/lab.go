package trial

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/link"
)

// onLab is a network of package lab.
type onLab struct{ lab *lab.Lab }

var _ network = onLab{}

// openLab opens a lab of two hosts.
func openLab(ctx context.Context, s setting) (network, error) {
	l, err := lab.Open(ctx, lab.Config{Profile: s.profile, Seed: s.seed, CC: s.cc, Log: s.log})
	if err != nil {
		return nil, err
	}
	return onLab{l}, nil
}

func (n onLab) hosts() (a, b Host)          { return n.lab.Host(0), n.lab.Host(1) }
func (n onLab) counters() link.Counters     { return n.lab.Counters() }
func (n onLab) schedule(list ...link.Event) { n.lab.Schedule(list...) }
func (n onLab) close() error                { return n.lab.Close() }

func (n onLab) late() (late, packets int64) {
	m := n.lab.Machine()
	return m.Late, m.Forwarded
}

// doer is a host on which functions can run, too.
type doer interface{ Do(f func() error) error }

// sysctl changes a setting of the kernel for one host alone.
func sysctl(h Host, name, value string) error {
	d, ok := h.(doer)
	if !ok {
		return fault.New(fault.Incompatible, "", "host %s has no settings of its own", h.Name())
	}
	err := d.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), []byte(value), 0o644)
	})
	if err != nil {
		return fault.Wrap(fault.Incompatible, err, "", "%s cannot be set on host %s", name, h.Name())
	}
	return nil
}

// kernel is a setting of one host.
type kernel struct {
	host        int // 0 is a
	name, value string
	said        string // what it usually is
}

// configure makes the settings of both hosts.
func configure(list []kernel, hosts ...Host) error {
	for _, k := range list {
		if err := sysctl(hosts[k.host], k.name, k.value); err != nil {
			return err
		}
	}
	return nil
}
