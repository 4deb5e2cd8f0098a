// Package lane makes, accepts and watches lanes. A lane is one TCP connection
// with TLS 1.3 and HTTP/2 on it, dialled exactly once: it is never pooled,
// never retried and never replaced behind the caller's back. What to request
// on how many lanes, and when one is too slow, is for others to decide.
//
// Requests go from the dialling side to the accepting one (Dialer.Dial) or,
// on a reverse lane, from the accepting side to the dialling one
// (Dialer.Serve). Errors are faults; Network ones may pass by themselves.
package lane

import "time"

const (
	// ReverseProto is the ALPN name of a lane on which the accepting side
	// makes the requests.
	ReverseProto = "ropeway-rev/0"

	// ProtocolHeader names the version of the protocol in each request.
	ProtocolHeader = "Ropeway-Protocol"

	// Protocol is the version that this program speaks.
	Protocol = "0"
)

// What a wait may take. TCP's own retries are slower than all of them.
const (
	resolveTimeout   = 5 * time.Second
	dialTimeout      = 3 * time.Second        // one attempt at one address
	dialStagger      = 250 * time.Millisecond // until the next attempt beside it, RFC 8305
	handshakeTimeout = 10 * time.Second       // proxy and TLS
	headTimeout      = 10 * time.Second       // a request head, from its first byte
	idleTimeout      = 3 * time.Minute        // a connection without requests, at the server
	userTimeout      = 30 * time.Second       // data that TCP sent and nobody acknowledged

	// Pings find peers that died behind a proxy, where TCP keepalive does
	// not reach. They queue behind data: on a slow lane 128 KiB of it can
	// take half a minute, and such a lane is not dead.
	pingAfter   = 15 * time.Second
	pingTimeout = 60 * time.Second
)

// What the sockets and HTTP/2 are tuned to.
const (
	maxFrame     = 64 << 10  // larger ones cost nothing less, and show up late
	notSentLowat = 128 << 10 // bytes that wait in the kernel
	maxHeader    = 64 << 10  // bytes of headers
	maxAddrs     = 16        // addresses of one name that are tried
	congestion   = "bbr"     // the sender's; most links that lose need it
	lowEffort    = 1 << 2    // the code point of RFC 8622 in an IP header
)
