package lane

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// keepAlive finds peers that vanished while nothing was sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// Listen returns a TCP listener whose connections send by bbr where the system
// has it, give up a peer that acknowledges nothing for 30 s, and are counted.
// No option of a socket is worth an error.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: control(tuning{})}
	lc.SetMultipathTCP(false) // options and TCP_INFO would be those of another socket
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		control := ""
		_ = withDescriptor(l, func(fd uintptr) error {
			control = getCongestion(fd)
			return nil
		})
		return listener{l, control}, nil
	case errors.Is(err, errInUse):
		return nil, fault.Wrap(fault.Busy, err, "stop the other server or use another port", "%s is in use", addr)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return nil, fault.Wrap(fault.Denied, err, "use a port above 1023", "cannot listen on %s", addr)
	}
	return nil, fault.Wrap(fault.Usage, err, "check the address", "cannot listen on %s", addr)
}

type listener struct {
	net.Listener
	control string // congestion control, "" when not known
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if Slow(l.control) { // by now there may be a better one
		_ = SetCongestion(c, congestion)
	}
	return newMeter(c), nil
}

// ListenerControl returns the congestion control by which the connections of a
// listener from Listen send, "" when that cannot be known.
func ListenerControl(l net.Listener) string {
	if l, ok := l.(listener); ok {
		return l.control
	}
	return ""
}

// tuning is what differs between sockets; zero values mean no bound.
type tuning struct {
	maxSeg    int    // bytes
	pacing    uint64 // bytes per second
	lowEffort bool   // RFC 8622
}

// control returns a function for net.Dialer and net.ListenConfig. Accepted
// sockets inherit what the listening one has.
func control(t tuning) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { tune(fd, t) })
	}
}

// withSocket calls f with the socket at the bottom of c.
func withSocket(c net.Conn, f func(fd uintptr) error) error {
	for c != nil {
		if _, ok := c.(syscall.Conn); ok {
			return withDescriptor(c, f)
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = w.NetConn()
	}
	return errors.ErrUnsupported
}

// withDescriptor calls f with the socket of c.
func withDescriptor(c any, f func(fd uintptr) error) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	rc, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = f(fd) }); err != nil {
		return err
	}
	return ferr
}

// SetCongestion sets the algorithm that this side of c sends by, and verifies
// it. It returns errors.ErrUnsupported where the system has no such option.
func SetCongestion(c net.Conn, name string) error {
	return withSocket(c, func(fd uintptr) error {
		if err := setCongestion(fd, name); err != nil {
			return err
		}
		if got := getCongestion(fd); got != name {
			return errors.New("the system kept " + got)
		}
		return nil
	})
}

// CongestionControl returns the name of the algorithm that this side of c
// sends by, "" where that cannot be known.
func CongestionControl(c net.Conn) (name string) {
	_ = withSocket(c, func(fd uintptr) error {
		name = getCongestion(fd)
		return nil
	})
	return name
}

// SetLowEffort marks what this side of c sends as less urgent than anything
// else (RFC 8622). It returns errors.ErrUnsupported where the system has no
// such option.
func SetLowEffort(c net.Conn) error { return withSocket(c, setLowEffort) }

// SetPacing bounds what this side of c sends, in bytes per second; 0 lifts it.
// It returns errors.ErrUnsupported where the system has no such option.
func SetPacing(c net.Conn, rate uint64) error {
	return withSocket(c, func(fd uintptr) error { return setPacing(fd, rate) })
}
