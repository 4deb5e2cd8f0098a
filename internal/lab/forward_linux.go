package lab

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/lab/netns"
	"github.com/ropeway/ropeway/internal/link"
)

const (
	lateAfter = 5 * time.Millisecond
	// nap is the shortest sleep: packets that are due within it leave together.
	nap = 50 * time.Microsecond
	// A processor that has slept for long wakes late. So a long sleep ends early,
	// and a short one follows.
	longNap = time.Millisecond
	early   = 400 * time.Microsecond
	burst   = 64 // packets read from one device before others have their turn
)

// forwarder moves packets between devices, in one thread.
type forwarder struct {
	start time.Time
	tuns  []*netns.TUN
	taps  []*capture // nil where nobody captures
	polls []unix.PollFd
	wake  int // eventfd, the last of polls
	buf   []byte
	say   func(string, ...any)
	ended chan struct{}
	err   error // valid when ended

	mu     sync.Mutex // guards what follows
	pairs  []pair
	to     [][]int // index in pairs of the link between two hosts
	stats  Machine
	closed bool
}

// pair is the link between hosts i and j, i < j: direction AB is from i to j.
type pair struct {
	i, j   int
	path   *link.Path
	events int64 // that happened, as far as the log knows
}

// startForwarder begins to move packets. broken is called when it cannot go on.
func startForwarder(tuns []*netns.TUN, taps []*capture, c Config, say func(string, ...any), broken func()) (*forwarder, error) {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	f := &forwarder{
		start: time.Now(), tuns: tuns, taps: taps, wake: wake, say: say,
		buf: make([]byte, 1<<16), ended: make(chan struct{}), to: make([][]int, len(tuns)),
	}
	for i, t := range tuns {
		f.polls = append(f.polls, unix.PollFd{Fd: int32(t.FD), Events: unix.POLLIN})
		f.to[i] = make([]int, len(tuns))
	}
	f.polls = append(f.polls, unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
	for i := range tuns {
		for j := i + 1; j < len(tuns); j++ {
			// Every link has chance of its own, the first that of the seed.
			p := link.NewPath(c.Profile, c.Seed+uint64(len(f.pairs))*0x9e3779b97f4a7c15)
			p.Schedule(0, c.Events...)
			f.to[i][j], f.to[j][i] = len(f.pairs), len(f.pairs)
			f.pairs = append(f.pairs, pair{i: i, j: j, path: p})
		}
	}
	go func() {
		defer close(f.ended)
		runtime.LockOSThread() // and the thread, with its priority, ends with it
		f.err = f.run()
		if f.err != nil {
			say("the link broke: %v", f.err)
			go broken()
		}
	}()
	return f, nil
}

func (f *forwarder) now() time.Duration { return time.Since(f.start) }

// run is the loop of the thread.
func (f *forwarder) run() error {
	// As punctual as the system lets us be; where it does not, Late shows it.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	// Niceness alone counts only within a session.
	if unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -19)
	}
	for {
		wait, again, err := f.turn()
		if err != nil || f.isClosed() {
			return err
		}
		var ts *unix.Timespec // nil: until something happens
		if again {
			t := unix.NsecToTimespec(int64(wait))
			ts = &t
		}
		if _, err := unix.Ppoll(f.polls, ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
	}
}

func (f *forwarder) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// turn reads what came, delivers what is due, and returns how long nothing is;
// again is false if that is for ever.
func (f *forwarder) turn() (wait time.Duration, again bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, false, nil
	}
	// Before Offer, which lets time pass in the model: to see what is late.
	now := f.now()
	for k := range f.pairs {
		f.deliver(&f.pairs[k], now)
	}
	more := false
	for i := range f.tuns {
		if f.polls[i].Revents == 0 {
			continue
		}
		full, err := f.read(i)
		if err != nil {
			return 0, false, err
		}
		more = more || full
	}
	if f.polls[len(f.tuns)].Revents != 0 {
		_, _ = unix.Read(f.wake, f.buf[:8])
	}
	now = f.now()
	next := time.Duration(-1)
	for k := range f.pairs {
		p := &f.pairs[k]
		f.deliver(p, now)
		if due, ok := p.path.Next(); ok && (next < 0 || due < next) {
			next = due
		}
	}
	switch {
	case more:
		return 0, true, nil
	case next < 0:
		return 0, false, nil
	}
	if wait = max(next-f.now(), nap); wait > longNap {
		wait -= early
	}
	return wait, true, nil
}

// read offers to the links what host i sent; full: there may be more.
func (f *forwarder) read(i int) (full bool, err error) {
	for range burst {
		n, err := unix.Read(f.tuns[i].FD, f.buf)
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
			continue
		default:
			return false, fmt.Errorf("read %s: %w", f.tuns[i].Name, err)
		}
		pkt := f.buf[:n]
		if tap := f.taps[i]; tap != nil {
			tap.packet(time.Now(), pkt)
		}
		j := destination(pkt)
		if j < 0 || j >= len(f.tuns) || j == i {
			f.stats.Unroutable++
			continue
		}
		d := link.AB
		if j < i {
			d = link.BA
		}
		f.pairs[f.to[i][j]].path.Offer(f.now(), d, pkt)
	}
	return true, nil
}

// destination returns the index of the host that a packet is for, or -1.
func destination(pkt []byte) int {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4 && pkt[16] == 10 && pkt[17] == 73 && pkt[18] == 0:
		return int(pkt[19]) - 1
	case len(pkt) >= 40 && pkt[0]>>4 == 6 && pkt[24] == 0xfd && pkt[25] == 0x73:
		for _, b := range pkt[26:39] {
			if b != 0 {
				return -1
			}
		}
		return int(pkt[39]) - 1
	}
	return -1
}

// deliver gives the hosts of p what is due.
func (f *forwarder) deliver(p *pair, now time.Duration) {
	due, ok := p.path.Next()
	if !ok || due > now {
		return
	}
	if worst := now - due; worst > lateAfter {
		f.stats.WorstLate = max(f.stats.WorstLate, worst)
		before := f.stats.Forwarded
		p.path.Take(now-lateAfter, func(d link.Direction, pkt []byte) { f.write(p, d, pkt) })
		f.stats.Late += f.stats.Forwarded - before
	}
	p.path.Take(now, func(d link.Direction, pkt []byte) { f.write(p, d, pkt) })
	if c := p.path.Counters(); c.Events != p.events {
		p.events = c.Events
		f.say("event %d at %.2f s, after %.2f MB a to b and %.2f MB b to a", c.Events, now.Seconds(),
			float64(c.AB.DeliveredBytes)/1e6, float64(c.BA.DeliveredBytes)/1e6)
	}
}

func (f *forwarder) write(p *pair, d link.Direction, pkt []byte) {
	to := p.j
	if d == link.BA {
		to = p.i
	}
	f.stats.Forwarded++
	if tap := f.taps[to]; tap != nil {
		tap.packet(time.Now(), pkt)
	}
	for {
		_, err := unix.Write(f.tuns[to].FD, pkt)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			f.stats.Refused++
		}
		return
	}
}

// each calls do for every link, at one time, and lets the thread look at what
// is due now.
func (f *forwarder) each(do func(now time.Duration, p *link.Path)) {
	f.mu.Lock()
	now := f.now()
	for _, p := range f.pairs {
		do(now, p.path)
	}
	f.mu.Unlock()
	f.poke()
}

func (f *forwarder) poke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake >= 0 {
		_, _ = unix.Write(f.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func (f *forwarder) schedule(events []link.Event) {
	f.each(func(now time.Duration, p *link.Path) { p.Schedule(now, events...) })
}

func (f *forwarder) apply(e link.Event) {
	f.each(func(now time.Duration, p *link.Path) { p.Apply(now, e) })
}

func (f *forwarder) setProfile(profile link.Profile) {
	f.each(func(now time.Duration, p *link.Path) { p.SetProfile(now, profile) })
}

func (f *forwarder) counters() link.Counters {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sum link.Counters
	for _, p := range f.pairs {
		add(&sum, p.path.Counters())
	}
	return sum
}

func (f *forwarder) machine() Machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// close ends the thread.
func (f *forwarder) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.poke()
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	unix.Close(f.wake)
	f.wake = -1
	return f.err
}
