package lane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// addresses are those of one name. They are looked up once and kept: a
// resolver that fails later does no harm.
type addresses struct {
	host string

	mu    sync.Mutex
	addrs []netip.Addr // the best first
	stale bool         // none of them worked the last time
}

func (d *Dialer) addresses(host string) *addresses {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.book == nil {
		d.book = make(map[string]*addresses)
	}
	if d.book[host] == nil {
		d.book[host] = &addresses{host: host}
	}
	return d.book[host]
}

// get returns the addresses, at least one, or an error. Concurrent callers
// share one lookup only in that the first result stays.
func (b *addresses) get(ctx context.Context, resolve func(context.Context, string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	b.mu.Lock()
	have, stale := slices.Clone(b.addrs), b.stale
	b.mu.Unlock()
	if len(have) > 0 && !stale {
		return have, nil
	}
	if ip, err := netip.ParseAddr(b.host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := resolve(ctx, b.host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "no address", Name: b.host, IsNotFound: true}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if len(b.addrs) > 0 { // better than nothing
			return slices.Clone(b.addrs), nil
		}
		return nil, err
	}
	if len(b.addrs) == 0 || b.stale {
		b.addrs, b.stale = interleave(found), false
	}
	return slices.Clone(b.addrs), nil
}

// failed makes the next get look the name up again.
func (b *addresses) failed() {
	b.mu.Lock()
	b.stale = true
	b.mu.Unlock()
}

// worked makes the address the first of the next race.
func (b *addresses) worked(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.addrs, a); i > 0 {
		b.addrs = slices.Insert(slices.Delete(b.addrs, i, i+1), 0, a)
	}
}

// interleave alternates between the families, in the order in which the
// resolver gave them, without duplicates and up to maxAddrs.
func interleave(in []netip.Addr) []netip.Addr {
	var same, other []netip.Addr
	for _, a := range in {
		if a = a.Unmap(); slices.Contains(same, a) || slices.Contains(other, a) {
			continue
		}
		if len(same) == 0 || a.Is4() == same[0].Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	var out []netip.Addr
	for i := 0; i < max(len(same), len(other)); i++ {
		for _, list := range [][]netip.Addr{same, other} {
			if i < len(list) && len(out) < maxAddrs {
				out = append(out, list[i])
			}
		}
	}
	return out
}

func without(in []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(in), func(x netip.Addr) bool { return x == a })
}

// attempt is one dial of a race.
type attempt struct {
	addr netip.Addr
	conn net.Conn
	took time.Duration
	err  error
}

// race dials the addresses, each dialStagger after the last or as soon as one
// fails, and returns the first connection. When all are under way, each gets a
// second attempt: its first packet may be what got lost, and the kernel would
// wait a second. The dialling function bounds its attempt in time.
func race(ctx context.Context, addrs []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, 2*len(addrs)) // nobody blocks
	running := 0
	start := func(a netip.Addr) {
		running++
		go func() {
			begin := time.Now()
			c, err := dial(ctx, a)
			results <- attempt{a, c, time.Since(begin), err}
		}()
	}
	// What lost is closed when it comes.
	defer func() {
		if running > 0 {
			go func(n int) {
				for range n {
					if a := <-results; a.conn != nil {
						a.conn.Close()
					}
				}
			}(running)
		}
	}()

	todo := slices.Concat(addrs, addrs)
	var dead []netip.Addr
	next := func() {
		for len(todo) > 0 {
			a := todo[0]
			todo = todo[1:]
			if !slices.Contains(dead, a) {
				start(a)
				return
			}
		}
	}
	timer := time.NewTicker(dialStagger)
	defer timer.Stop()
	var first error
	next()
	for running > 0 {
		select {
		case a := <-results:
			running--
			if a.err == nil {
				return a.conn, a.addr, a.took, nil
			}
			dead = append(dead, a.addr)
			if first == nil || isTimeout(first) && !isTimeout(a.err) {
				first = a.err
			}
			next()
			timer.Reset(dialStagger)
		case <-timer.C:
			next()
		}
	}
	if first == nil {
		first = errors.New("no address")
	}
	return nil, netip.Addr{}, 0, first
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
