package serve

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/publish/publish"
	"example.com/publish/publish/metrics"
)

// kind is what an answer was about, for the metrics.
type kind int

const (
	kindOther kind = iota // errors, and what is none of the others
	kindIndex
	kindContent
	kindTag
	kindManifest
	kindBlob
	kindPage
	kinds
)

var kindNames = [kinds]string{"other", "index", "content", "tag", "manifest", "blob", "page"}

// codes are the answers that are counted each by itself; any other counts as the first
// code of its hundred.
var codes = []int{200, 206, 301, 304, 400, 403, 404, 405, 414, 416, 500, 502, 503}

// counters are the metrics of the requests. Looking a label up costs more than counting,
// so each is looked up once, here.
type counters struct {
	requests  [kinds]map[int]prometheus.Counter
	bytes     [kinds]prometheus.Counter
	firstByte [kinds]prometheus.Observer
	inFlight  prometheus.Gauge
	damaged   prometheus.Gauge
	carried   prometheus.Counter
	rejected  map[string]prometheus.Counter // by reason
	build     prometheus.Observer
	reloads   map[string]prometheus.Counter // by result

	measured *measured

	registry *prometheus.Registry
}

// Reasons why a connection or request is rejected.
const (
	rejectedConnections = "connections" // too many
	rejectedPerClient   = "per_client"  // too many from one address
	rejectedPath        = "path"
	rejectedMethod      = "method"
	rejectedNoView      = "no_view"
	rejectedExhausted   = "exhausted" // no file descriptor is left
	rejectedStore       = "store"     // the object store does not answer
)

func (s *Server) newCounters() *counters {
	c := &counters{registry: prometheus.NewRegistry(), rejected: map[string]prometheus.Counter{},
		reloads: map[string]prometheus.Counter{}}
	name := func(n string) string { return "publish_serve_" + n }
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("requests_total"),
		Help: "Requests that were answered."}, []string{"kind", "code"})
	sent := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("response_bytes_total"),
		Help: "Bytes of the bodies of answers."}, []string{"kind"})
	first := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("first_byte_seconds"),
		Help:    "Time from the headers of a request to the first byte of its answer.",
		Buckets: []float64{.0001, .001, .005, .025, .1, .5, 2, 10}}, []string{"kind"})
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("rejected_total"),
		Help: "Connections and requests that were not served."}, []string{"reason"})
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("reloads_total"),
		Help: "Attempts to build a view of production."}, []string{"result"})
	build := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name("view_build_seconds"),
		Help: "Time that a view of production took to build.", Buckets: []float64{.01, .05, .25, 1, 5, 30}})
	carried := prometheus.NewCounter(prometheus.CounterOpts{Name: name("carried_hits_total"),
		Help: "Answers with a file that production only keeps for clients of earlier generations."})
	flight := prometheus.NewGauge(prometheus.GaugeOpts{Name: name("in_flight"), Help: "Requests that are being answered."})
	c.damaged = prometheus.NewGauge(prometheus.GaugeOpts{Name: name("damaged_files"),
		Help: "Files of production that are missing or have another size than the manifest says, as far as looked at."})
	for k, label := range kindNames {
		c.requests[k] = map[int]prometheus.Counter{}
		for _, code := range codes {
			c.requests[k][code] = requests.WithLabelValues(label, strconv.Itoa(code))
		}
		c.bytes[k], c.firstByte[k] = sent.WithLabelValues(label), first.WithLabelValues(label)
	}
	for _, reason := range []string{rejectedConnections, rejectedPerClient, rejectedPath, rejectedMethod,
		rejectedNoView, rejectedExhausted, rejectedStore} {
		c.rejected[reason] = rejected.WithLabelValues(reason)
	}
	for _, result := range []string{"ok", "failed"} {
		c.reloads[result] = reloads.WithLabelValues(result)
	}
	c.inFlight, c.carried, c.build, c.measured = flight, carried, build, &measured{server: s}
	gauge := func(n, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name(n), Help: help}, f)
	}
	c.registry.MustRegister(requests, sent, first, rejected, reloads, build, carried, flight, c.damaged,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("connections", "Connections that are open.", func() float64 { return float64(s.conns.count()) }),
		gauge("generation", "The generation that is served; 0 for none.",
			func() float64 { return float64(s.keeper.generation()) }),
		gauge("view_stale", "Whether no view can be built of what production is.", func() float64 {
			if _, err := s.keeper.stale(); err != nil {
				return 1
			}
			return 0
		}),
		c.measured, certificateEnd{s})
	if from, is := s.keeper.from.(*inStore); is {
		c.registry.MustRegister(gauge("last_look_age_seconds",
			"How long ago the object store said what production is; -1 if it never did.", func() float64 {
				at := from.answered()
				if at.IsZero() {
					return -1
				}
				return s.keeper.now().Sub(at).Seconds()
			}))
	}
	return c
}

// count counts an answer that has ended.
func (c *counters) count(w *writer, start time.Time) {
	k, code := w.kind, w.status
	counter := c.requests[k][code]
	if counter == nil {
		counter = c.requests[k][code/100*100]
	}
	if counter != nil {
		counter.Inc()
	}
	c.bytes[k].Add(float64(w.bytes))
	if !w.first.IsZero() {
		c.firstByte[k].Observe(w.first.Sub(start).Seconds())
	}
}

// metrics answers with all metrics. One that cannot be had must not cost the others: they
// say what is wrong.
func (s *Server) metrics() http.Handler {
	return promhttp.HandlerFor(s.count.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelError)})
}

// measureEvery is how often the measures of the repository are taken at most.
const measureEvery = 10 * time.Second

// measured has the measures that status --prometheus writes. Taking them looks at all of
// staging, so several that ask within a moment share them. There are none of what cannot be
// measured: this user may not read it, or it is damaged.
type measured struct {
	server *Server

	mu      sync.Mutex
	at      time.Time
	last    *publish.Measures
	err     error
	trouble trouble
}

var measureFailedDesc = prometheus.NewDesc("publish_serve_measure_failed",
	"Whether some or all of what is measured of the repository cannot be, and is not here.", nil, nil)

// Describe implements [prometheus.Collector].
func (*measured) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (m *measured) Collect(to chan<- prometheus.Metric) {
	last, err := m.take()
	failed := 0.0
	if err != nil {
		failed = 1
	}
	to <- prometheus.MustNewConstMetric(measureFailedDesc, prometheus.GaugeValue, failed)
	if last != nil {
		metrics.Of(last, m.server.Version).Collect(to)
	}
}

func (m *measured) take() (*publish.Measures, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) > measureEvery {
		m.last, m.err = m.server.repo.Measure(context.Background())
		m.at = time.Now()
		m.trouble.now(m.server.log, "not all of the repository can be measured", m.err)
	}
	return m.last, m.err
}

// certificateEnd tells when the certificate ends, if there is one.
type certificateEnd struct{ *Server }

var certificateEndDesc = prometheus.NewDesc("publish_serve_tls_not_after_timestamp_seconds",
	"When the certificate ends, in Unix time.", nil, nil)

// Describe implements [prometheus.Collector].
func (certificateEnd) Describe(to chan<- *prometheus.Desc) { to <- certificateEndDesc }

// Collect implements [prometheus.Collector].
func (c certificateEnd) Collect(to chan<- prometheus.Metric) {
	if end := c.certs.Load().until(); !end.IsZero() {
		to <- prometheus.MustNewConstMetric(certificateEndDesc, prometheus.GaugeValue, float64(end.Unix()))
	}
}
