package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
)

// metrics are what an operator watches the gateway by.
type metrics struct {
	calls     *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	firstByte prometheus.Histogram
	open      prometheus.Gauge
	reserved  prometheus.Gauge
	waiting   prometheus.GaugeFunc
	lag       prometheus.GaugeFunc
}

func newMetrics(g *Gateway) *metrics {
	name := func(s string) string { return "corp_gateway_" + s }
	seconds := []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	return &metrics{
		calls:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("calls_total"), Help: "Model calls by how they ended."}, []string{"outcome"}),
		refusals:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("refusals_total"), Help: "Answers of the gateway's own, by HTTP status."}, []string{"status"}),
		latency:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("call_seconds"), Help: "From the request to the end of the answer.", Buckets: seconds}, []string{"outcome"}),
		firstByte: prometheus.NewHistogram(prometheus.HistogramOpts{Name: name("first_byte_seconds"), Help: "From the request to the beginning of the answer.", Buckets: seconds}),
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: name("open_calls"), Help: "Model calls under way."}),
		reserved:  prometheus.NewGauge(prometheus.GaugeOpts{Name: name("reserved_nanodollars"), Help: "The most that the calls under way can cost."}),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name("ledger_waiting_calls"), Help: "Ended calls that are not yet in the database."}, func() float64 {
			n, _ := g.ledger.lag()
			return float64(n)
		}),
		lag: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name("ledger_lag_seconds"), Help: "How long the oldest of them has waited."}, func() float64 {
			_, oldest := g.ledger.lag()
			return oldest.Seconds()
		}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.refusals, m.latency, m.firstByte, m.open, m.reserved, m.waiting, m.lag}
}

// Describe and Collect make the metrics one collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(out)
	}
}

// Collect sends the present values.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(out)
	}
}

// count notes a call that has ended.
func (m *metrics) count(c corp.Call) {
	const milli = 1000
	m.calls.WithLabelValues(string(c.Outcome)).Inc()
	m.latency.WithLabelValues(string(c.Outcome)).Observe(float64(c.LatencyMS) / milli)
	if c.FirstByteMS > 0 {
		m.firstByte.Observe(float64(c.FirstByteMS) / milli)
	}
}
