package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ropeway/ropeway/internal/lane"
)

// hintControl tells, once, of a system that sends by what lost packets slow
// down, with what to do.
func (s *server) hintControl(control, addr string) {
	if s.hinted || !lane.Slow(control) || isLoopback(addr) {
		return
	}
	s.hinted = true
	s.warn("this system sends by %s: links that lose packets are slow; bbr fills them, and is missing here", control)
	s.warn("to have it: %s", lane.FixCongestion)
}

// tcpSum is what the kernel counted of what was sent on connections.
type tcpSum struct{ sent, resent uint64 }

func (t *tcpSum) add(u tcpSum) {
	t.sent += u.sent
	t.resent += u.resent
}

// readTCP asks the kernel about a connection.
func (n *conn) readTCP() (tcpSum, time.Duration) {
	i, ok := lane.ReadInfo(n.Conn)
	if !ok {
		return tcpSum{}, 0
	}
	return tcpSum{i.BytesSent, i.BytesRetrans}, i.RTT
}

// Descriptions of what is asked of the kernel when it is scraped.
var (
	descSent   = prometheus.NewDesc("ropeway_tcp_sent_bytes_total", "Bytes that TCP sent, with those that it sent again.", nil, nil)
	descResent = prometheus.NewDesc("ropeway_tcp_resent_bytes_total", "Bytes that TCP sent again.", nil, nil)
	descLanes  = prometheus.NewDesc("ropeway_lanes", "Connections that speak the native protocol.", nil, nil)
	descRTT    = prometheus.NewDesc("ropeway_rtt_seconds", "Round trips of the lanes that are open.", nil, nil)
)

// rttBounds returns the upper bounds of the histogram of round trips, in
// seconds.
func rttBounds() []float64 { return []float64{.001, .005, .02, .05, .1, .2, .4, .8} }

// Describe implements prometheus.Collector.
func (g *guard) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSent, descResent, descLanes, descRTT} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *guard) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	sum := g.done
	open := make([]*conn, 0, len(g.open))
	for n := range g.open {
		open = append(open, n)
	}
	g.mu.Unlock()
	var (
		lanes, measured uint64
		total           float64
		buckets         = map[float64]uint64{}
	)
	for _, b := range rttBounds() {
		buckets[b] = 0
	}
	for _, n := range open {
		t, rtt := n.readTCP()
		sum.add(t)
		if !n.lane.Load() {
			continue
		}
		lanes++
		if rtt <= 0 {
			continue
		}
		measured++
		total += rtt.Seconds()
		for b := range buckets {
			if rtt.Seconds() <= b {
				buckets[b]++
			}
		}
	}
	// A connection that closes meanwhile is in neither sum for once; counters
	// must not fall.
	g.mu.Lock()
	g.told.sent, g.told.resent = max(g.told.sent, sum.sent), max(g.told.resent, sum.resent)
	sum = g.told
	g.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descSent, prometheus.CounterValue, float64(sum.sent))
	ch <- prometheus.MustNewConstMetric(descResent, prometheus.CounterValue, float64(sum.resent))
	ch <- prometheus.MustNewConstMetric(descLanes, prometheus.GaugeValue, float64(lanes))
	ch <- prometheus.MustNewConstHistogram(descRTT, measured, total, buckets)
}
