package trial

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// socket is a TCP socket as the kernel lists it in /proc/net/tcp (man 5 proc).
type socket struct {
	Local, Remote netip.AddrPort
	State         string // as ss names it
	SendQ, RecvQ  int64
	Timer         string        // "", "retransmission", "keepalive", "time-wait", "zero window probe"
	Expires       time.Duration // of the timer
	Retries       int
}

// states of TCP, by the kernel's numbers.
var states = map[string]string{
	"01": "ESTAB", "02": "SYN-SENT", "03": "SYN-RECV", "04": "FIN-WAIT-1", "05": "FIN-WAIT-2", "06": "TIME-WAIT",
	"07": "CLOSED", "08": "CLOSE-WAIT", "09": "LAST-ACK", "0A": "LISTEN", "0B": "CLOSING", "0C": "SYN-RECV",
}

var timers = map[string]string{"00": "", "01": "retransmission", "02": "keepalive", "03": "time-wait", "04": "zero window probe"}

// ticks of the clock in /proc, in a second.
const ticks = 100

// maxSockets bounds a list, in bytes.
const maxSockets = 1 << 20

// sockets lists the TCP sockets of the network name space that a process is
// in; none where that cannot be read.
func sockets(pid int) (list []socket) {
	for _, name := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net", name))
		if err == nil && len(b) <= maxSockets {
			list = append(list, parseSockets(b)...)
		}
	}
	return list
}

// parseSockets reads a table of the kernel; lines that are none are left out.
func parseSockets(b []byte) (list []socket) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 7 || !strings.HasSuffix(f[0], ":") {
			continue
		}
		local, ok1 := parseEndpoint(f[1])
		remote, ok2 := parseEndpoint(f[2])
		send, recv, ok3 := strings.Cut(f[4], ":")
		timer, when, ok4 := strings.Cut(f[5], ":")
		state, known := states[f[3]]
		if !ok1 || !ok2 || !ok3 || !ok4 || !known {
			continue
		}
		s := socket{Local: local, Remote: remote, State: state, Timer: timers[timer]}
		s.SendQ, _ = strconv.ParseInt(send, 16, 64)
		s.RecvQ, _ = strconv.ParseInt(recv, 16, 64)
		n, _ := strconv.ParseInt(when, 16, 32)
		s.Expires = time.Duration(n) * time.Second / ticks
		r, _ := strconv.ParseInt(f[6], 16, 16)
		s.Retries = int(r)
		list = append(list, s)
	}
	return list
}

// parseEndpoint reads an address as the kernel prints it: words of 32 bits in
// the order of the machine, which is little-endian on all that matter.
func parseEndpoint(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}

// String is a line like that of `ss -tno`.
func (s socket) String() string {
	timer := "no timer"
	if s.Timer != "" {
		timer = fmt.Sprintf("timer: %s, due in %.1f s, %d tries", s.Timer, s.Expires.Seconds(), s.Retries)
	}
	return fmt.Sprintf("%-10s Recv-Q %d  Send-Q %d  %s -> %s  %s", s.State, s.RecvQ, s.SendQ, s.Local, s.Remote, timer)
}

// listening reports whether something accepts connections at the port, in the
// network name space of the process.
func listening(pid int, port uint16) bool {
	for _, s := range sockets(pid) {
		if s.State == "LISTEN" && s.Local.Port() == port {
			return true
		}
	}
	return false
}
