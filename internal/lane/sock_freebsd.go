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

func readInfo(uintptr) (Info, error) { return Info{}, errors.ErrUnsupported }
