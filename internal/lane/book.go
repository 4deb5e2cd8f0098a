package lane

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// lookupTimeout ends a lookup. Who waits for it has a shorter patience;
	// the result serves the next one.
	lookupTimeout = 20 * time.Second
	// refreshAfter is how old addresses may be before they are looked up again,
	// refreshSoon the same when none of them works.
	refreshAfter = time.Minute
	refreshSoon  = 5 * time.Second
)

type resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// addresses are those of one name. They are kept for the whole job: a lookup
// that is due runs beside it and adds to them, and one that fails does no harm.
type addresses struct {
	host    string
	resolve resolver

	mu    sync.Mutex // guards the rest
	addrs []netip.Addr
	err   error         // of the last lookup
	at    time.Time     // of its end
	stale bool          // none of the addresses worked the last time
	done  chan struct{} // of the lookup that runs; nil when none does
}

func newAddresses(host string, resolve resolver) *addresses {
	b := &addresses{host: host, resolve: resolve}
	if resolve == nil {
		b.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		b.addrs, b.resolve = []netip.Addr{ip}, nil
	}
	return b
}

// get returns the addresses, at least one, or an error. It waits only while
// none was ever known.
func (b *addresses) get(ctx context.Context) ([]netip.Addr, error) {
	b.mu.Lock()
	if b.due() {
		b.lookup(ctx)
	}
	addrs, done := slices.Clone(b.addrs), b.done
	b.mu.Unlock()
	if len(addrs) > 0 {
		return addrs, nil
	}
	if done != nil {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.addrs) == 0 {
		return nil, b.err
	}
	return slices.Clone(b.addrs), nil
}

// due reports whether a lookup should begin. Called with the mutex held.
func (b *addresses) due() bool {
	if b.resolve == nil || b.done != nil {
		return false
	}
	age := time.Since(b.at)
	return len(b.addrs) == 0 || age >= refreshAfter || b.stale && age >= refreshSoon
}

// lookup starts one, which outlives who asked first. Called with the mutex
// held.
func (b *addresses) lookup(ctx context.Context) {
	done := make(chan struct{})
	b.done = done
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		found, err := b.resolve(ctx, b.host)
		if err == nil && len(found) == 0 {
			err = &net.DNSError{Err: "no address", Name: b.host, IsNotFound: true}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.done, b.at, b.err = nil, time.Now(), err
		if err == nil {
			b.addrs, b.stale = merge(interleave(found), b.addrs), false
		}
		close(done)
	}()
}

// failed says that no address worked.
func (b *addresses) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stale = true
}

// merge returns the fresh addresses and then those that were known, up to
// maxAddrs.
func merge(fresh, known []netip.Addr) []netip.Addr {
	for _, a := range known {
		if len(fresh) < maxAddrs && !slices.Contains(fresh, a) {
			fresh = append(fresh, a)
		}
	}
	return fresh
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
