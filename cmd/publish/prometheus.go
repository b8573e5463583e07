package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
)

// exposition is metrics in the text format of Prometheus, version 0.0.4: of
// each name HELP, TYPE and then all its samples, in one run. All are gauges in
// base units, and each sample has the label repository: two repositories of
// one machine write two files, and node_exporter takes them together.
type exposition struct {
	bytes.Buffer
	repository string
}

// label is a name and a value that may be anything.
type label struct{ name, value string }

// family begins a metric.
func (x *exposition) family(name, help string) {
	fmt.Fprintf(x, "# HELP %s %s\n# TYPE %s gauge\n", name, strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help),
		name)
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (x *exposition) sample(name string, value float64, labels ...label) {
	x.WriteString(name + `{`)
	for i, l := range append([]label{{"repository", x.repository}}, labels...) {
		if i > 0 {
			x.WriteByte(',')
		}
		x.WriteString(l.name + `="` + labelEscape.Replace(strings.ToValidUTF8(l.value, "\uFFFD")) + `"`)
	}
	x.WriteString("} " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
}

// gauge is a metric with one sample.
func (x *exposition) gauge(name, help string, value float64, labels ...label) {
	x.family(name, help)
	x.sample(name, value, labels...)
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

// metricsOf writes the measures as metrics.
func metricsOf(m *publish.Measures) []byte {
	x := &exposition{repository: m.Repository}
	x.gauge("publish_info", "The repository and the version that wrote this; always 1.", 1,
		label{"format", m.Format}, label{"switch", m.Switch}, label{"version", programVersion()})
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
	x.family("publish_lock_held", "Whether another process holds a lock.")
	for _, name := range []string{"prepare", "staging", "production"} {
		held := 0.0
		if slices.ContainsFunc(m.Locks, func(l publish.LockHeld) bool { return l.Name == name }) {
			held = 1
		}
		x.sample("publish_lock_held", held, label{"lock", name})
	}

	st := m.Staging
	x.flag("publish_staging_differs", "Whether staging differs from production: a promote would switch.", !st.Equal)
	x.family("publish_staging_changes", "Versions in which staging differs from production; files of a plain tree.")
	x.sample("publish_staging_changes", float64(st.Added), label{"change", "added"})
	x.sample("publish_staging_changes", float64(st.Changed), label{"change", "changed"})
	x.sample("publish_staging_changes", float64(st.Removed), label{"change", "removed"})
	x.since("publish_staged_changes", "staging or production changed last, while they differ", m.Waiting, m.Time)
	x.family("publish_staging_findings",
		"Findings in staging that need no reading of content; an error stops a promote.")
	x.sample("publish_staging_findings", float64(st.Errors), label{"severity", "error"})
	x.sample("publish_staging_findings", float64(st.Warnings), label{"severity", "warning"})

	x.gauge("publish_staging_bytes", "Size of all files in staging.", float64(m.StagingBytes))
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
	if m.RevertUntil != nil {
		x.gauge("publish_revert_until_timestamp_seconds", "Until when the previous content is kept, in Unix time; "+
			"not there when it is pinned or kept without an end.", unix(*m.RevertUntil))
	}
	x.versions(m)
	return x.Bytes()
}

// versions counts by product: what staging has and production lacks, and the
// other way round, is there with 0.
func (x *exposition) versions(m *publish.Measures) {
	products := map[string]bool{}
	for _, side := range []map[string]int{m.ProductionVersions, m.StagedVersions} {
		for p := range side {
			products[p] = true
		}
	}
	if len(products) == 0 {
		return
	}
	x.family("publish_versions", "Versions of a product that clients can choose from, in either stage.")
	for _, p := range slices.Sorted(maps.Keys(products)) {
		x.sample("publish_versions", float64(m.ProductionVersions[p]), label{"stage", "production"},
			label{"product", p})
		x.sample("publish_versions", float64(m.StagedVersions[p]), label{"stage", "staging"}, label{"product", p})
	}
}

// writeMetrics puts metrics at path for node_exporter's textfile collector:
// atomically, since it reads at any moment, and readable, since it is another
// user. The temporary file's name does not end in .prom.
func writeMetrics(path string, metrics []byte) error {
	// A device or a pipe would be replaced by a file.
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return &publish.Error{Kind: publish.Usage, Path: path, Fact: "is not a regular file",
			Hint: "- is standard output"}
	}
	return durable.WriteFile(path, metrics, 0o644)
}
