package auth

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	failBurst  = 20              // failures at once
	failRefill = 3 * time.Second // per further failure
	failTable  = 4096            // addresses
	failFull   = failBurst * failRefill
)

// limiter counts failures per address as token buckets. Guessing 160 bits is
// hopeless anyway; this bounds what the attempts cost us and our logs.
type limiter struct {
	mu sync.Mutex
	// until is when the bucket will be full again; absent means full.
	until map[netip.Prefix]time.Time
}

func newLimiter() *limiter { return &limiter{until: make(map[netip.Prefix]time.Time)} }

// fail takes one from the bucket of the address and reports whether there was
// one.
func (l *limiter) fail(addr string, now time.Time) bool {
	key := prefixOf(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.until[key]
	if !ok && len(l.until) >= failTable {
		l.evict(now)
	}
	if until.Before(now) {
		until = now
	}
	until = until.Add(failRefill)
	if until.Sub(now) > failFull {
		return false
	}
	l.until[key] = until
	return true
}

// evict makes room: the full buckets, or else any one.
func (l *limiter) evict(now time.Time) {
	for k, t := range l.until {
		if !t.After(now) {
			delete(l.until, k)
		}
	}
	for k := range l.until {
		if len(l.until) < failTable {
			return
		}
		delete(l.until, k)
	}
}

// prefixOf returns the address, or the /64 that one IPv6 host can roam in.
func prefixOf(addr string) netip.Prefix {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		addr = h
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
