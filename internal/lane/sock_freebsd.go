package lane

import (
	"errors"

	"golang.org/x/sys/unix"
)

func tune(fd uintptr, t tuning) {
	setCongestion(fd, congestion)
	if t.maxSeg > 0 {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, t.maxSeg)
	}
	if t.lowEffort {
		setLowEffort(fd)
	}
}

func setCongestion(fd uintptr, name string) error {
	return unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
}

func getCongestion(fd uintptr) string {
	name, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		return ""
	}
	return name
}

func setPacing(uintptr, uint64) error { return errors.ErrUnsupported }

func setLowEffort(fd uintptr) error {
	err4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, lowEffort)
	err6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, lowEffort)
	if err4 != nil {
		return err6
	}
	return nil
}

func readInfo(uintptr) (Info, error) { return Info{}, errors.ErrUnsupported }
