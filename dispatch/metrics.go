package dispatch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters is what dispatching counts of itself.
type meters struct {
	waited *prometheus.HistogramVec
}

func newMeters() meters {
	return meters{waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "corp_dispatch_seconds", Help: "Time from when a run was queued, or due, until it was leased, by plan.",
		Buckets: []float64{0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 60, 300, 1800, 7200},
	}, []string{"plan"})}
}

// Register shows how long runs waited, and whether this server leads.
func (d *Dispatcher) Register(to prometheus.Registerer) error {
	leading := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "corp_leading", Help: "1 on the server that leads."}, func() float64 {
		if d.Leading() {
			return 1
		}
		return 0
	})
	for _, c := range []prometheus.Collector{d.meters.waited, leading} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// observe notes how long a run that was leased had waited, by this server's clock.
func (s *seat) observe(p pick) {
	plan := "unknown"
	if rm := s.rooms[p.item.Workspace]; rm != nil {
		plan = rm.plan
	}
	since := p.item.CreatedAt
	if p.item.NotBefore.After(since) {
		since = p.item.NotBefore
	}
	s.meters.waited.WithLabelValues(plan).Observe(max(time.Since(since), 0).Seconds())
}
