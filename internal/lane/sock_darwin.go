package lane

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

func tune(fd uintptr, t tuning) {
	unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	if t.maxSeg > 0 {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, t.maxSeg)
	}
	if t.lowEffort {
		setLowEffort(fd)
	}
}

func setCongestion(uintptr, string) error { return errors.ErrUnsupported }

func getCongestion(uintptr) string { return "" }

func setPacing(uintptr, uint64) error { return errors.ErrUnsupported }

func setLowEffort(fd uintptr) error {
	err4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, lowEffort)
	err6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, lowEffort)
	if err4 != nil {
		return err6
	}
	return nil
}

func readInfo(fd uintptr) (Info, error) {
	t, err := unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	if err != nil {
		return Info{}, err
	}
	return Info{
		RTT:    time.Duration(t.Srtt) * time.Millisecond,
		RTTVar: time.Duration(t.Rttvar) * time.Millisecond,
		MSS:    int(t.Maxseg), CWnd: int(t.Snd_cwnd / max(1, t.Maxseg)),
		BytesSent: t.Txbytes, BytesRetrans: t.Txretransmitbytes, BytesReceived: t.Rxbytes,
	}, nil
}
