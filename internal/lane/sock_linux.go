package lane

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func tune(fd uintptr, t tuning) {
	s := int(fd)
	setCongestion(fd, congestion)
	unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	// After an outage the next retransmission comes soon (Linux 6.15).
	unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, 3000)
	if t.maxSeg > 0 {
		unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_MAXSEG, t.maxSeg)
	}
	if t.pacing > 0 {
		setPacing(fd, t.pacing)
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

// setPacing: all ones mean no bound.
func setPacing(fd uintptr, rate uint64) error {
	if rate == 0 || rate > math.MaxUint32 {
		rate = math.MaxUint32
	}
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, int(rate))
}

// setLowEffort sets the code point in the header of either IP version; a socket
// has one or both.
func setLowEffort(fd uintptr) error {
	err4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, lowEffort)
	err6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, lowEffort)
	if err4 != nil {
		return err6
	}
	return nil
}

func readInfo(fd uintptr) (Info, error) {
	t, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Info{}, err
	}
	us := func(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }
	i := Info{
		RTT: us(uint64(t.Rtt)), RTTVar: us(uint64(t.Rttvar)), MinRTT: us(uint64(t.Min_rtt)),
		CWnd: int(t.Snd_cwnd), MSS: int(t.Snd_mss), Backoff: int(t.Backoff), DeliveryRate: t.Delivery_rate,
		BytesSent: t.Bytes_sent, BytesAcked: t.Bytes_acked, BytesRetrans: t.Bytes_retrans,
		BytesReceived: t.Bytes_received, Unsent: uint64(t.Notsent_bytes),
		DSACKDups: uint64(t.Dsack_dups), Reordered: uint64(t.Reord_seen), OutOfOrder: uint64(t.Rcv_ooopack),
		TotalRTO: uint64(t.Total_rto), TotalRehash: uint64(t.Rehash),
		Busy: us(t.Busy_time), RwndLimited: us(t.Rwnd_limited), SndbufLimited: us(t.Sndbuf_limited),
		RTOTime: time.Duration(t.Total_rto_time) * time.Millisecond,
	}
	if t.Min_rtt == math.MaxUint32 { // not measured yet
		i.MinRTT = 0
	}
	return i, nil
}
