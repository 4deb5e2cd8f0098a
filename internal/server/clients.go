package server

import (
	"net/http"
	"net/netip"
	rtm "runtime/metrics"
	"strconv"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/wire"
)

const (
	// mostLanes is what a client may have while there is plenty.
	mostLanes = 64
	// lanesInAll is shared by the clients: 8 get all they may have, 128 get 4
	// each, and more than 512 get one.
	lanesInAll = 512
	// requestsInAll bounds the requests for content under way, which are shared
	// likewise, but leastRequests are everybody's.
	requestsInAll, mostRequests, leastRequests = 8192, 512, 16
	// clientIdle is how long a client counts after its last request.
	clientIdle = 30 * time.Second
	// highMemory is how much the program holds, in bytes, when clients get half
	// of what they would, and twice of it a quarter, and so on.
	highMemory = 384 << 20
)

// clients are those who hold a token, told apart by it and their address: a
// token may be shared by a thousand hosts, and an address by as many behind a
// NAT. They share lanes and requests.
type clients struct {
	mu     sync.Mutex // guards the rest
	by     map[clientID]*client
	swept  time.Time
	memory uint64 // bytes in use, as of memoryAt
	at     time.Time
	lanes  int // what is granted at present, for the metrics
	now    func() uint64
}

type clientID struct {
	user string
	addr netip.Prefix
}

type client struct {
	id   clientID
	name string
	// requests for content that are under way, and all of them.
	content, all int
	last         time.Time
}

func newClients() *clients {
	return &clients{by: map[clientID]*client{}, now: memoryInUse}
}

// enter counts a request of a client, and returns how many lanes it may have.
// content says that it is one of those that are bounded; ok is false if there
// are too many of them. Otherwise leave is to be called.
func (c *clients) enter(user, remote string, content bool) (cl *client, lanes int, ok bool) {
	id := clientID{user, prefixOf(remote)}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(now)
	cl = c.by[id]
	if cl == nil {
		cl = &client{id: id, name: user + "@" + id.addr.String()}
		c.by[id] = cl
	}
	cl.last = now
	lanes = c.grant(now)
	if content && cl.content >= c.share(requestsInAll, mostRequests, leastRequests) {
		return nil, lanes, false
	}
	if content {
		cl.content++
	}
	cl.all++
	return cl, lanes, true
}

func (c *clients) leave(cl *client, content bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl.last = time.Now()
	cl.all--
	if content {
		cl.content--
	}
}

// share divides what there is among the clients. Called with the mutex held.
func (c *clients) share(all, most, least int) int {
	return min(max(all/max(len(c.by), 1), least), most)
}

// grant returns the lanes that each client may have. Called with the mutex
// held.
func (c *clients) grant(now time.Time) int {
	if now.Sub(c.at) >= time.Second {
		c.memory, c.at = c.now(), now
	}
	n := c.share(lanesInAll, mostLanes, 1)
	for m := c.memory; m >= highMemory && n > 1; m /= 2 {
		n /= 2
	}
	c.lanes = n
	return n
}

// sweep forgets clients that make no requests any more. Called with the mutex
// held.
func (c *clients) sweep(now time.Time) {
	if now.Sub(c.swept) < time.Second {
		return
	}
	c.swept = now
	for id, cl := range c.by {
		if cl.all == 0 && now.Sub(cl.last) > clientIdle {
			delete(c.by, id)
		}
	}
}

// count returns how many clients there are, how many of them have requests
// under way, and the lanes that each may have.
func (c *clients) count() (all, busy, lanes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.sweep(now)
	for _, cl := range c.by {
		if cl.all > 0 {
			busy++
		}
	}
	return len(c.by), busy, c.grant(now)
}

// memoryInUse returns the bytes that the program has and has not given back.
func memoryInUse() uint64 {
	s := []rtm.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	rtm.Read(s)
	if s[0].Value.Kind() != rtm.KindUint64 || s[1].Value.Kind() != rtm.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// grants tells a client how many lanes it may have.
func grants(w http.ResponseWriter, lanes int) { w.Header().Set(wire.LanesHeader, strconv.Itoa(lanes)) }

// bounded reports whether a route's requests are bounded for each client.
func bounded(route string) bool {
	return route == routeObject || route == routeDelta || route == routeUpload
}
