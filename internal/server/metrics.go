package server

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ropeway/ropeway/internal/store"
)

// metrics are the numbers of one server; docs/metrics.md explains them. Their
// labels take values of this program and names of modules only, never what a
// client chose.
type metrics struct {
	reg *prometheus.Registry

	accepted, refused, handshakes prometheus.Counter
	received, sent                prometheus.Counter
	panics, throttled             prometheus.Counter
	conns, ready                  prometheus.Gauge
	storeFiles, storeBytes        prometheus.Gauge
	storeFreed                    prometheus.Counter

	requests, cut     *prometheus.CounterVec
	clientsCut        *prometheus.CounterVec
	bytesIn, bytesOut *prometheus.CounterVec
	objects           *prometheus.CounterVec
	denied            *prometheus.CounterVec
	running           *prometheus.GaugeVec
	seconds           *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{reg: prometheus.NewRegistry()}
	add := func(c ...prometheus.Collector) { m.reg.MustRegister(c...) }
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ropeway_" + name, Help: help})
		add(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "ropeway_" + name, Help: help})
		add(g)
		return g
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ropeway_" + name, Help: help}, labels)
		add(c)
		return c
	}
	m.accepted = counter("connections_total", "Connections accepted.")
	m.refused = counter("connections_refused_total", "Connections above a limit.")
	m.handshakes = counter("tls_failures_total", "TLS handshakes that failed.")
	m.received = counter("received_bytes_total", "Bytes received on connections, TLS included.")
	m.sent = counter("sent_bytes_total", "Bytes sent on connections, TLS included.")
	m.panics = counter("panics_total", "Requests that met a bug of the server.")
	m.throttled = counter("throttled_total", "Requests answered with 429: one client had too many under way.")
	m.clientsCut = counters("clients_cut_total", "Clients that were cut off for standing still.", "cause")
	m.conns = gauge("connections", "Connections that are open.")
	m.ready = gauge("ready", "1 while new work is accepted, otherwise 0.")
	m.storeFiles = gauge("store_files", "Files in the store at the last sweep.")
	m.storeBytes = gauge("store_bytes", "Bytes in the store at the last sweep: manifests, indexes and spools.")
	m.storeFreed = counter("store_freed_bytes_total", "Bytes that sweeps removed from the store.")
	m.requests = counters("requests_total", "Requests that ended.", "module", "route", "status")
	m.cut = counters("requests_cut_total", "Requests whose answer ended short.", "module", "route")
	m.bytesIn = counters("request_bytes_total", "Bytes of the bodies of requests.", "module", "route")
	m.bytesOut = counters("response_bytes_total", "Bytes of the bodies of answers.", "module", "route")
	m.objects = counters("objects_served_total", "Object requests answered whole.", "module")
	m.denied = counters("denied_total", "Requests without a token that permits them.", "status")
	m.running = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ropeway_requests_running", Help: "Requests under way; route plan: plans that a client waits for.",
	}, []string{"module", "route"})
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ropeway_request_duration_seconds", Help: "Time from the header of a request to the end of its answer.",
		Buckets: []float64{0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600},
	}, []string{"route"})
	add(m.running, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler exposes the numbers.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// ended counts a request.
func (m *metrics) ended(a *Access) {
	m.requests.WithLabelValues(a.Module, a.Route, strconv.Itoa(a.Status)).Inc()
	m.seconds.WithLabelValues(a.Route).Observe(a.Elapsed.Seconds())
	m.bytesIn.WithLabelValues(a.Module, a.Route).Add(float64(a.In))
	m.bytesOut.WithLabelValues(a.Module, a.Route).Add(float64(a.Bytes))
	switch {
	case a.Outcome == OutcomeCut:
		m.cut.WithLabelValues(a.Module, a.Route).Inc()
	case a.Route == routeObject && a.Outcome == OutcomeOK:
		m.objects.WithLabelValues(a.Module).Inc()
	}
}

// swept notes what a sweep found.
func (m *metrics) swept(st store.SweepStats) {
	m.storeFiles.Set(float64(st.Files))
	m.storeBytes.Set(float64(st.Bytes))
	m.storeFreed.Add(float64(st.Freed))
}
