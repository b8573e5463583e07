// Package metrics has what a monitor watches, in the form of Prometheus: for a file that
// node_exporter reads, and for a server that Prometheus asks.
package metrics

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/publish/publish"
)

// Of returns the measures of a repository as metrics. All are gauges in base units, and
// each sample has the label repository: two repositories of one machine write two files,
// and node_exporter takes them together. There is none of what could not be measured.
// version is that of the program.
func Of(m *publish.Measures, version string) prometheus.Collector { return &collector{m, version} }

type collector struct {
	measures *publish.Measures
	version  string
}

// Describe implements [prometheus.Collector]. It tells nothing: which metrics there are
// depends on the measures.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// exposition passes samples on.
type exposition struct {
	to    chan<- prometheus.Metric
	fixed prometheus.Labels // of every sample
}

// label is a name and a value that may be anything.
type label struct{ name, value string }

// valid is a text as a label may have it.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// gauge is a sample of a metric.
func (x *exposition) gauge(name, help string, value float64, labels ...label) {
	names, values := make([]string, len(labels)), make([]string, len(labels))
	for i, l := range labels {
		names[i], values[i] = l.name, valid(l.value)
	}
	x.to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, x.fixed), prometheus.GaugeValue, value,
		values...)
}

func (x *exposition) flag(name, help string, set bool) {
	v := 0.0
	if set {
		v = 1
	}
	x.gauge(name, help, v)
}

// since writes when something was and how long ago. For what never
// was there is no sample, since no age is right.
func (x *exposition) since(name, what string, at *time.Time, now time.Time) {
	if at == nil {
		return
	}
	x.gauge(name+"_timestamp_seconds", "When "+what+", in Unix time.", unix(*at))
	x.gauge(name+"_age_seconds", "How long ago "+what+", when this was written.", max(0, now.Sub(*at).Seconds()))
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	m := c.measures
	x := &exposition{to: to, fixed: prometheus.Labels{"repository": valid(m.Repository)}}
	x.gauge("publish_info", "The repository and the version that wrote this; always 1.", 1,
		label{"format", m.Format}, label{"switch", m.Switch}, label{"version", c.version})
	x.gauge("publish_collected_timestamp_seconds", "When this was written, in Unix time.", unix(m.Time))

	generation, production := 0, publish.Production{}
	var since, hold *time.Time
	if m.Production != nil {
		production, generation, since = *m.Production, m.Production.Generation, &m.Production.Since
	}
	if m.Hold != nil {
		hold = &m.Hold.Since
	}
	x.gauge("publish_generation", "The number of the generation that is production; 0 before the first.",
		float64(generation))
	x.since("publish_production", "production was switched last", since, m.Time)
	x.since("publish_last_promote", "a promote last brought new content and it stayed", m.LastPromote, m.Time)
	x.since("publish_oldest_lock", "the lock was taken that is held the longest", m.OldestLock, m.Time)
	x.since("publish_hold", "promotes were held", hold, m.Time)

	x.flag("publish_hold", "Whether an operator holds promotes.", m.Hold != nil)
	x.flag("publish_recovery_pending", "Whether a command did not end and none is at work.", m.Unfinished)
	x.flag("publish_clock_behind",
		"Whether the clock is behind the newest line of the history: nothing is deleted.", m.ClockBehind)
	for _, name := range []string{"prepare", "staging", "production"} {
		held := 0.0
		if slices.ContainsFunc(m.Locks, func(l publish.LockHeld) bool { return l.Name == name }) {
			held = 1
		}
		x.gauge("publish_lock_held", "Whether another process holds a lock.",
			held, label{"lock", name})
	}

	if m.StagedVersions != nil {
		x.staging(m)
	}
	x.gauge("publish_production_files", "Files of production, without carried ones.", float64(production.Files))
	x.gauge("publish_production_bytes", "Size of production's files, without carried ones.", float64(production.Bytes))
	x.gauge("publish_carried_files", "Files that production serves for clients of earlier generations.",
		float64(m.Carried.Files))
	x.gauge("publish_carried_bytes", "Size of the carried files.", float64(m.Carried.Bytes))
	x.gauge("publish_kept_generations", "Generations that can be reverted to.", float64(len(m.Generations)))
	x.gauge("publish_kept_bytes",
		"Size of the kept generations' files; most are shared with each other and with production.",
		float64(m.KeptBytes))
	if m.FreeBytes >= 0 {
		x.gauge("publish_free_bytes", "What an ordinary user may still write to the repository's file system.",
			float64(m.FreeBytes))
	}
	if m.GC != nil {
		x.gc(m)
	}
	if m.RevertUntil != nil {
		x.gauge("publish_revert_until_timestamp_seconds", "Until when the previous content is kept, in Unix time; "+
			"not there when it is pinned or kept without an end.", unix(*m.RevertUntil))
	}
	x.versions(m)
	if m.Mirror != nil && m.Mirror.Unknown == "" {
		x.mirror(m.Mirror, m.Time)
	}
	if f := m.Foreign; f != nil {
		x.gauge("publish_foreign_objects", "Objects of others below production's prefix, as gc --orphans saw them last.",
			float64(f.Objects))
		x.gauge("publish_foreign_seen_timestamp_seconds", "When gc --orphans saw them, in Unix time.", unix(f.Seen))
	}
	for _, t := range m.Targets {
		of := label{"target", t.Name}
		x.gauge("publish_target_generation", "The generation of a target, as it said last; 0 if that is not known.",
			float64(t.Generation), of)
		x.gauge("publish_target_lag_seconds", "How long ago the oldest switch was that a target does not have; 0 if it "+
			"has all.", float64(t.LagS), of)
	}
}

// staging writes what is known only if staging can be read.
func (x *exposition) staging(m *publish.Measures) {
	st := m.Staging
	x.flag("publish_staging_differs", "Whether staging differs from production: a promote would switch.", !st.Equal)
	for change, n := range map[string]int{"added": st.Added, "changed": st.Changed, "removed": st.Removed} {
		x.gauge("publish_staging_changes", "Versions in which staging differs from production; files of a tree "+
			"without indexes.", float64(n), label{"change", change})
	}
	x.since("publish_staged_changes", "staging or production changed last, while they differ", m.Waiting, m.Time)
	for severity, n := range map[string]int{"error": st.Errors, "warning": st.Warnings} {
		x.gauge("publish_staging_findings",
			"Findings in staging that need no reading of content; an error stops a promote.", float64(n),
			label{"severity", severity})
	}
	x.gauge("publish_staging_bytes", "Size of all files in staging.", float64(m.StagingBytes))
}

// gc writes what gc would delete.
func (x *exposition) gc(m *publish.Measures) {
	x.gauge("publish_gc_due_generations", "Generations that gc would delete now.", float64(len(m.GC.Generations)))
	x.gauge("publish_gc_due_files", "Carried files that gc would delete now.", float64(m.GC.Files))
	x.gauge("publish_gc_due_bytes", "What gc would free now, of files that no other tree or stage has.",
		float64(m.GC.Bytes))
	if m.NextExpiry != nil {
		x.gauge("publish_gc_next_timestamp_seconds",
			"When the next grace window ends and gc has more to delete, in Unix time.", unix(*m.NextExpiry))
		x.gauge("publish_gc_next_generations",
			"Generations that gc would delete then, those that are due now included.",
			float64(len(m.GCNext.Generations)))
		x.gauge("publish_gc_next_files", "Carried files that gc would delete then, those that are due now included.",
			float64(m.GCNext.Files))
		x.gauge("publish_gc_next_bytes", "What gc would free then, what is due now included.", float64(m.GCNext.Bytes))
	}
}

// versions counts by product: what staging has and production lacks, and the
// other way round, is there with 0. Of a tree that cannot be read there is nothing.
func (x *exposition) versions(m *publish.Measures) {
	products := maps.Clone(m.ProductionVersions)
	if products == nil {
		products = map[string]int{}
	}
	maps.Copy(products, m.StagedVersions)
	for p := range products {
		for stage, of := range map[string]map[string]int{"production": m.ProductionVersions, "staging": m.StagedVersions} {
			if of != nil {
				x.gauge("publish_versions", "Versions of a product that clients can choose from, in either stage.",
					float64(of[p]), label{"stage", stage}, label{"product", p})
			}
		}
	}
}
