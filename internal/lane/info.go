package lane

import (
	"net"
	"time"
)

// Info is what the kernel knows of a TCP connection. Most of it is about what
// this side sent; fields that a system does not have are zero.
type Info struct {
	RTT, RTTVar, MinRTT time.Duration

	CWnd         int    // segments that may be under way
	MSS          int    // bytes of a segment that is sent
	Backoff      int    // retransmission timeouts in a row
	DeliveryRate uint64 // bytes per second, the latest estimate

	BytesSent     uint64 // with retransmissions
	BytesAcked    uint64
	BytesRetrans  uint64
	BytesReceived uint64
	Unsent        uint64 // bytes that wait in the kernel

	DSACKDups   uint64 // segments that were sent twice in vain
	Reordered   uint64 // events
	OutOfOrder  uint64 // segments received
	TotalRTO    uint64 // retransmission timeouts
	TotalRehash uint64 // changes of the path's hash

	Busy          time.Duration // with data to send
	RwndLimited   time.Duration // of that, waiting for the peer's window
	SndbufLimited time.Duration // of that, waiting for our buffer
	RTOTime       time.Duration // in retransmission timeouts
}

// ReadInfo returns what the kernel knows of c or the connection that it wraps.
// ok is false where there is no such thing.
func ReadInfo(c net.Conn) (i Info, ok bool) {
	err := withSocket(c, func(fd uintptr) (err error) {
		i, err = readInfo(fd)
		return err
	})
	return i, err == nil
}
