// Package lab joins hosts, which are network namespaces of this machine, by a
// link as package link models it, in real time: real programs run on a network
// as bad as asked for.
//
// Every host has one TUN device. One thread reads the packets of all of them,
// offers them to the model and writes those that leave it to the device of the
// host that they are for. There are two hosts, a and b, or more; each pair is
// joined by a link of its own with the same profile.
//
// Everything ends with Close: the programs on the hosts, the devices, the
// namespaces. What a killed process leaves behind, the next Open removes.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/netns"
	"github.com/ropeway/ropeway/internal/link"
)

const (
	maxHosts = 26
	device   = "lab0"
	mtu      = 1500
	// txQueue is how many packets the kernel keeps for us to read. What it drops
	// is counted as the machine's fault, not as the link's.
	txQueue = 10000
)

// Config describes a lab. The zero value is two hosts on a perfect link.
type Config struct {
	Profile link.Profile
	Events  []link.Event // besides those of the profile; counted from Open
	Seed    uint64       // of the model's chance
	Hosts   int          // 2 to 26; 0 is 2
	CC      string       // TCP congestion control of the hosts; "" is the system's
	// Pcap names files that get what the hosts of those names send and receive.
	Pcap map[string]string
	// Log gets a line for each thing that the user should know; nil: nobody does.
	// Lines come from several goroutines, one Write each.
	Log io.Writer
}

// Lab is a running network. Safe for concurrent use.
type Lab struct {
	cfg      Config
	start    time.Time
	hosts    []*Host
	captures []*capture
	fwd      *forwarder
	byRoute  bool // congestion control is forced by the routes
	unwatch  func() bool
	closing  sync.Once
	closed   chan struct{}
	err      error // of Close

	mu        sync.Mutex // guards what follows
	profile   string     // name
	control   *control
	isClosing bool
}

// Open makes a lab, which ends with Close or ctx. Errors are one line and have
// a class: Denied without root (see netns.Sandbox), Incompatible where the
// system lacks what is needed.
func Open(ctx context.Context, c Config) (*Lab, error) {
	if c.Hosts == 0 {
		c.Hosts = 2
	}
	if c.Hosts < 2 || c.Hosts > maxHosts {
		return nil, fault.New(fault.Usage, "", "%d hosts: a lab has 2 to %d", c.Hosts, maxHosts)
	}
	if c.CC != "" && strings.Trim(c.CC, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, fault.New(fault.Usage, "", "%q is no congestion control; write for example cubic or bbr", c.CC)
	}
	l := &Lab{cfg: c, start: time.Now(), closed: make(chan struct{}), profile: c.Profile.Name}
	left, err := netns.Clean(false)
	for _, n := range left {
		l.say("removed %s, which process %d left behind, with %d processes in it", n.Name, n.Owner, len(n.Processes))
	}
	if err != nil {
		l.say("what an earlier lab left behind cannot be removed: %v", err)
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.unwatch = context.AfterFunc(ctx, func() { _ = l.Close() }) // who closes again gets the error
	return l, nil
}

func (l *Lab) open() error {
	names := make([]string, l.cfg.Hosts)
	for i := range names {
		names[i] = string(rune('a' + i))
	}
	for name := range l.cfg.Pcap {
		if len(name) != 1 || int(name[0])-'a' < 0 || int(name[0])-'a' >= len(names) {
			return fault.New(fault.Usage, "", "pcap: no host %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	spaces, err := netns.Names(names)
	if err != nil {
		return err
	}
	for i, name := range names {
		h := &Host{lab: l, index: i, name: name, addr: addr4(i), addr6: addr6(i)}
		if err := h.open(spaces[i]); err != nil {
			netns.Unname(spaces[i:]...)
			return err
		}
		l.hosts = append(l.hosts, h)
	}
	if l.byRoute {
		l.say("%s is set by route, as this system does not let us make it the default: also programs that ask for another get it, unless they ask after they connected", l.cfg.CC)
	}
	taps := make([]*capture, len(names))
	for i, name := range names {
		file, ok := l.cfg.Pcap[name]
		if !ok {
			continue
		}
		if taps[i], err = newCapture(file, func(text string) { l.say("host %s: %s", name, text) }); err != nil {
			return err
		}
		l.captures = append(l.captures, taps[i])
	}
	devices := make([]*netns.TUN, len(l.hosts))
	for i, h := range l.hosts {
		devices[i] = h.tun
	}
	l.fwd, err = startForwarder(devices, taps, l.cfg, l.say, func() { _ = l.Close() })
	return err
}

// The addresses of host i. Namespaces see no other network, so that any do.
func addr4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 73, 0, byte(i + 1)}) }

func addr6(i int) netip.Addr {
	a := [16]byte{0: 0xfd, 1: 0x73, 15: byte(i + 1)}
	return netip.AddrFrom16(a)
}

// say writes a line to the log.
func (l *Lab) say(format string, args ...any) {
	if l.cfg.Log != nil {
		fmt.Fprintf(l.cfg.Log, format+"\n", args...)
	}
}

// Host returns host i: 0 is a, 1 is b.
func (l *Lab) Host(i int) *Host { return l.hosts[i] }

// Hosts returns all hosts.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Elapsed is the time since Open; events are counted in it.
func (l *Lab) Elapsed() time.Duration { return time.Since(l.start) }

// Schedule plans events, counted from now, on every link of the lab.
func (l *Lab) Schedule(events ...link.Event) { l.fwd.schedule(events) }

// Apply makes an event happen now, whatever it says about when.
func (l *Lab) Apply(e link.Event) { l.fwd.apply(e) }

// SetProfile changes what the links are from now on. Packets under way are not
// lost. The profile's events begin to count.
func (l *Lab) SetProfile(p link.Profile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.profile = p.Name
	l.fwd.setProfile(p)
}

// Profile returns the name of the present profile.
func (l *Lab) Profile() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.profile
}

// Counters returns what became of the packets, of all links together.
func (l *Lab) Counters() link.Counters { return l.fwd.counters() }

// Machine says how well this machine kept up with the link. Where it did not,
// what was measured says little about the link.
type Machine struct {
	Forwarded  int64         `json:"forwarded"`   // packets that reached a host
	Late       int64         `json:"late"`        // of them, more than 5 ms after their time
	WorstLate  time.Duration `json:"worst_late"`  // nanoseconds
	Dropped    int64         `json:"dropped"`     // by the kernel, before we could read them
	Refused    int64         `json:"refused"`     // by the kernel, when we delivered them
	Unroutable int64         `json:"unroutable"`  // for no host of the lab
	PcapMissed int64         `json:"pcap_missed"` // not captured, as the disk was too slow or full
}

// Machine returns the counters of the machine. After Close those of the kernel
// are as they were then.
func (l *Lab) Machine() Machine {
	m := l.fwd.machine()
	for _, h := range l.hosts {
		m.Dropped += h.dropped()
	}
	for _, c := range l.captures {
		m.PcapMissed += c.lost()
	}
	return m
}

// Close kills every program on the hosts and removes the lab. Its error says
// what could not be removed.
func (l *Lab) Close() error {
	l.closing.Do(func() {
		defer close(l.closed)
		if l.unwatch != nil {
			l.unwatch()
		}
		l.mu.Lock()
		l.isClosing = true
		c := l.control
		l.mu.Unlock()
		if c != nil {
			c.close()
		}
		for _, h := range l.hosts {
			h.stop() // while the link still runs: nobody sees it die
		}
		if l.fwd != nil {
			l.err = l.fwd.close()
		}
		for _, h := range l.hosts {
			l.err = errors.Join(l.err, h.close())
		}
		for _, c := range l.captures {
			l.err = errors.Join(l.err, c.close())
		}
	})
	<-l.closed
	return l.err
}

// Done is closed when the lab is closed.
func (l *Lab) Done() <-chan struct{} { return l.closed }
