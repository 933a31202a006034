package daemon

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lotse-project/lotse/internal/awswire"
)

// metrics are what GET /metrics shows of this process.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lotse_api_requests_total", Help: "Requests to the AWS API by operation and error code."},
			[]string{"service", "operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lotse_api_request_duration_seconds", Help: "How long requests to the AWS API took.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10}}, []string{"service"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observe is awswire.MuxOptions.Observe.
func (m *metrics) observe(api *awswire.API, op, code string, took time.Duration) {
	m.requests.WithLabelValues(api.SigningName, op, code).Inc()
	m.seconds.WithLabelValues(api.SigningName).Observe(took.Seconds())
}

// handler serves them, and those of the balancer's process. Should that one not answer, its own are missing.
func (m *metrics) handler(balancer func(context.Context) ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		other := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			text, err := balancer(ctx)
			if err != nil {
				return nil, err
			}
			p := expfmt.NewTextParser(model.UTF8Validation)
			all, err := p.TextToMetricFamilies(bytes.NewReader(text))
			return slices.Collect(maps.Values(all)), err
		})
		promhttp.HandlerFor(prometheus.Gatherers{m.registry, other}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	})
}
