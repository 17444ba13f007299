package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// metrics is what the API counts of itself and shows of the installation.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// newMetrics registers the API's metrics; a nil registerer takes none.
func newMetrics(to prometheus.Registerer, counts func(context.Context) (postgres.Counts, error), streams func() int) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "corp_http_requests_total", Help: "Answered requests."}, []string{"route", "status"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "corp_http_request_seconds", Help: "Time until a request was answered; streams and polls are long.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"route"}),
	}
	if to == nil {
		return m, nil
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "corp_streams", Help: "Open streams of server-sent events."}, func() float64 { return float64(streams()) })
	for _, c := range []prometheus.Collector{m.requests, m.seconds, open, &population{counts: counts}} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts an answer. The route is a pattern of ours and never a path, so
// that no caller makes new series.
func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// population shows how many runs, tasks and runners there are, as the database
// knows them at the time of asking.
type population struct {
	counts func(context.Context) (postgres.Counts, error)
}

var (
	runsDesc    = prometheus.NewDesc("corp_runs", "Runs that have not ended, by state.", []string{"state"}, nil)
	tasksDesc   = prometheus.NewDesc("corp_tasks", "Tasks, by state.", []string{"state"}, nil)
	runnersDesc = prometheus.NewDesc("corp_runners_online", "Runners that were heard of lately.", nil, nil)
	slotsDesc   = prometheus.NewDesc("corp_runner_slots", "Slots of the runners that were heard of lately and take new runs.", nil, nil)
	depthDesc   = prometheus.NewDesc("corp_queue_depth", "Runs that are due and wait for a slot, by plan.", []string{"plan"}, nil)
	oldestDesc  = prometheus.NewDesc("corp_queue_oldest_seconds", "For how long the one that has waited longest has been due, by plan.", []string{"plan"}, nil)
	perSlotDesc = prometheus.NewDesc("corp_queue_depth_per_slot", "Runs that are due and wait, for each slot: what the number of runners is scaled by.", nil, nil)
)

// Describe lists the metrics, for prometheus.
func (p *population) Describe(ch chan<- *prometheus.Desc) {
	ch <- runsDesc
	ch <- tasksDesc
	ch <- runnersDesc
	ch <- slotsDesc
	ch <- depthDesc
	ch <- oldestDesc
	ch <- perSlotDesc
}

// Collect asks the database, for prometheus.
func (p *population) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := p.counts(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(runsDesc, err)
		return
	}
	for state, n := range counts.Runs {
		ch <- prometheus.MustNewConstMetric(runsDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	for state, n := range counts.Tasks {
		ch <- prometheus.MustNewConstMetric(tasksDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	ch <- prometheus.MustNewConstMetric(runnersDesc, prometheus.GaugeValue, float64(counts.RunnersOnline))
	ch <- prometheus.MustNewConstMetric(slotsDesc, prometheus.GaugeValue, float64(counts.Slots))
	depth := int64(0)
	for plan, q := range counts.Queue {
		depth += q.Depth
		ch <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(q.Depth), plan)
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, q.Oldest, plan)
	}
	ch <- prometheus.MustNewConstMetric(perSlotDesc, prometheus.GaugeValue, float64(depth)/float64(max(counts.Slots, 1)))
}

// serveMetrics shows the metrics to the machine itself and to the operator. They
// say how much other workspaces do, so nobody else sees them.
func (a *API) serveMetrics(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	if !local(r) {
		var err error
		if x.who, x.hash, err = a.identify(r.Context(), x.presented); err == nil {
			err = allowed(x.who, corp.WorkspaceManage)
		}
		if err != nil {
			x.write(w, r, err)
			return
		}
	}
	if a.Gatherer == nil {
		x.write(w, r, &corp.Error{Kind: corp.KindNotFound, Message: "This server keeps no metrics.", Hint: "Give it a registry."})
		return
	}
	promhttp.HandlerFor(a.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
}

// local says whether a request comes from this machine itself and not through a
// proxy on it, whose callers may be anywhere.
func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && net.ParseIP(host).IsLoopback()
}
