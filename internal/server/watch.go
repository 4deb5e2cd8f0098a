package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ropeway/ropeway/internal/server/origin"
)

// Why clients are cut off.
const (
	cutReading = "reading" // it took nothing of an answer for a minute
	cutSending = "sending" // its upload came too slowly
	cutSilent  = "silent"  // it connected and asked for nothing
)

// watch exposes what is asked of the parts at the moment of a scrape.
func (s *server) watch() {
	for _, cause := range []string{cutReading, cutSending, cutSilent} {
		s.metrics.clientsCut.WithLabelValues(cause)
	}
	gauge := func(name, help string, f func() float64) {
		s.metrics.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ropeway_" + name, Help: help}, f))
	}
	counter := func(name, help string, f func() float64) {
		s.metrics.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ropeway_" + name, Help: help}, f))
	}
	gauge("clients", "Clients, told apart by token and address, that made a request lately.", func() float64 {
		all, _, _ := s.clients.count()
		return float64(all)
	})
	gauge("pulls", "Clients with requests under way.", func() float64 {
		_, busy, _ := s.clients.count()
		return float64(busy)
	})
	gauge("lanes_granted", "Connections that each client may have at present.", func() float64 {
		_, _, lanes := s.clients.count()
		return float64(lanes)
	})
	gauge("reads_waiting", "Parts of answers that wait to be read or compressed.", func() float64 { return float64(s.limited.Stats().Reads) })
	gauge("plans_waiting", "Plans that wait for their turn.", func() float64 { return float64(s.limited.Stats().Plans) })
	gauge("answer_bytes", "Memory that answers under way hold.", func() float64 { return float64(s.limited.Stats().Held) })
	sum := func(f func(origin.Stats) int64) func() float64 {
		return func() float64 {
			var n int64
			for _, m := range s.modules {
				n += f(m.origin.Stats())
			}
			return float64(n)
		}
	}
	gauge("plan_jobs", "Requests for plans that are answered or remembered.", sum(func(o origin.Stats) int64 { return o.Jobs }))
	counter("scans_total", "Walks of a module's tree.", sum(func(o origin.Stats) int64 { return o.Scans }))
	counter("scans_shared_total", "Requests that were served by the walk of another.", sum(func(o origin.Stats) int64 { return o.ScansShared }))
	counter("plans_total", "Plans that were made.", sum(func(o origin.Stats) int64 { return o.Plans }))
	counter("plans_shared_total", "Requests that were answered by the plan of another.", sum(func(o origin.Stats) int64 { return o.PlansShared }))
}
