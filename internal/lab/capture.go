package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	pcapMagic  = 0xa1b23c4d // times in nanoseconds
	linkRaw    = 101        // LINKTYPE_RAW: IPv4 or IPv6 packets, by their first byte
	pcapLength = 1 << 16
	// backlog is how many bytes wait for the disk before packets are missed.
	backlog = 32 << 20
)

// capture writes packets to a pcap file
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html) without ever
// making who captures wait.
type capture struct {
	file *os.File
	say  func(string)
	more chan struct{} // there is something in buf, or it is the end
	done chan struct{}

	mu     sync.Mutex
	buf    []byte
	missed int64
	ended  bool // by close, or by an error, which was reported
	closed bool
}

func newCapture(name string, say func(string)) (*capture, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "pcap")
	}
	c := &capture{file: f, say: say, more: make(chan struct{}, 1), done: make(chan struct{})}
	h := binary.LittleEndian.AppendUint32(nil, pcapMagic)
	h = binary.LittleEndian.AppendUint16(h, 2) // version 2.4
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...) // reserved
	h = binary.LittleEndian.AppendUint32(h, pcapLength)
	c.buf = binary.LittleEndian.AppendUint32(h, linkRaw)
	c.more <- struct{}{}
	go c.run()
	return c, nil
}

// packet captures one packet.
func (c *capture) packet(at time.Time, pkt []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.buf)+len(pkt) > backlog {
		c.missed++
		return
	}
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(at.Unix()))
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(at.Nanosecond()))
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(len(pkt)))
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(len(pkt)))
	c.buf = append(c.buf, pkt...)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// run writes until the end, or until the disk refuses.
func (c *capture) run() {
	defer close(c.done)
	var spare []byte
	for range c.more {
		c.mu.Lock()
		work, last := c.buf, c.closed
		c.buf = spare[:0]
		c.mu.Unlock()
		if _, err := c.file.Write(work); err != nil {
			c.fail(err)
			return
		}
		if last {
			return
		}
		spare = work
	}
}

// fail ends the capture, but nothing else.
func (c *capture) fail(err error) {
	c.mu.Lock()
	c.ended, c.buf = true, nil
	c.mu.Unlock()
	c.say(fmt.Sprintf("the capture ends here, the lab goes on: %v", err))
}

// lost returns how many packets were not captured.
func (c *capture) lost() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missed
}

// close writes what is left.
func (c *capture) close() error {
	c.mu.Lock()
	failed := c.ended
	c.ended, c.closed = true, true
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	<-c.done
	if n := c.lost(); n > 0 && !failed {
		c.say(fmt.Sprintf("%d packets are missing in the capture: the disk was too slow", n))
	}
	if err := c.file.Close(); err != nil && !failed {
		return fault.Wrap(fault.Other, err, "", "pcap")
	}
	return nil
}
