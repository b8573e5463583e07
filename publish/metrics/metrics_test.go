package metrics

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.com/publish/publish"
	"example.com/publish/stage/lock"
)

// hostile is a name that would end a label, a line or a file.
const hostile = "a\"b\\c\nd{x=\"y\"} 1\n# TYPE\xffé"

func hostileMeasures() *publish.Measures {
	at := time.Date(2026, 1, 10, 12, 0, 0, 500e6, time.UTC)
	return &publish.Measures{
		Status: &publish.Status{Repository: "/srv/" + hostile, Format: "simplestreams", Switch: "symlink",
			Production:  &publish.Production{Generation: 7, Since: at.Add(-time.Hour), Files: 3, Bytes: 1 << 53},
			Hold:        &publish.HoldState{Since: at.Add(-2 * time.Hour)},
			Locks:       []publish.LockHeld{{Name: "prepare", Holder: lock.Holder{PID: 1}}},
			RevertUntil: &at, Mirror: &publish.MirrorState{Jobs: map[string]int{"pending": 2, "failed": 1},
				Failed: map[string]int{hostile: 1}, Due: 1, DueSince: &at, Oldest: &at, LastSuccess: &at,
				Hosts: map[string]time.Time{hostile: at}, Damaged: []string{hostile}}},
		Time: at, LastPromote: &at, OldestLock: &at, Waiting: &at, NextExpiry: &at, FreeBytes: 5,
		GC: &publish.GCResult{}, GCNext: &publish.GCResult{},
		StagedVersions: map[string]int{hostile: 2, "b": 1}, ProductionVersions: map[string]int{"c": 3},
	}
}

// written are the metrics as text.
func written(t *testing.T, m *publish.Measures) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Of(m, "1"))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&buf, f); err != nil {
			t.Fatal(err)
		}
	}
	return buf.String()
}

// samples reads metrics as Prometheus does: by name, and by the other labels than
// repository, as name=value.
func samples(t *testing.T, text, repository string) map[string]map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	out := map[string]map[string]float64{}
	for name, f := range families {
		out[name] = map[string]float64{}
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["repository"] != repository || m.Gauge == nil {
				t.Errorf("%s: %v", name, m)
			}
			delete(labels, "repository")
			var key []string
			for _, l := range slices.Sorted(maps.Keys(labels)) {
				key = append(key, l+"="+labels[l])
			}
			out[name][strings.Join(key, ",")] = m.Gauge.GetValue()
		}
	}
	return out
}

func TestValues(t *testing.T) {
	name := strings.ToValidUTF8(hostile, "\uFFFD")
	got := samples(t, written(t, hostileMeasures()), "/srv/"+name)
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"publish_generation", "", 7},
		{"publish_info", "format=simplestreams,switch=symlink,version=1", 1},
		{"publish_production_age_seconds", "", 3600},
		{"publish_production_timestamp_seconds", "", 1768042800.5},
		{"publish_production_bytes", "", 1 << 53},
		{"publish_hold", "", 1},
		{"publish_hold_age_seconds", "", 7200},
		{"publish_lock_held", "lock=prepare", 1},
		{"publish_lock_held", "lock=staging", 0},
		{"publish_mirror_jobs", "state=pending", 2},
		{"publish_mirror_failures", "class=" + name, 1},
		{"publish_mirror_failed_jobs", "", 1},
		{"publish_mirror_due_age_seconds", "", 0},
		{"publish_mirror_last_success_timestamp_seconds", "", 1768046400.5},
		{"publish_mirror_hosts_waiting", "", 1},
		{"publish_mirror_damaged_files", "", 1},
		{"publish_versions", "product=c,stage=production", 3},
		{"publish_versions", "product=c,stage=staging", 0},
		{"publish_versions", "product=" + name + ",stage=staging", 2},
	} {
		if v, ok := got[c.name][c.labels]; !ok || v != c.want {
			t.Errorf("%s{%s} is %v, want %v, in %v", c.name, c.labels, v, c.want, got[c.name])
		}
	}
}

// What never was has no age, and every other metric is there.
func TestEmptyRepository(t *testing.T) {
	m := &publish.Measures{Status: &publish.Status{Repository: "/r"}, FreeBytes: -1, GC: &publish.GCResult{}}
	got := samples(t, written(t, m), "/r")
	for name, want := range map[string]bool{
		"publish_production_age_seconds": false, "publish_last_promote_timestamp_seconds": false,
		"publish_free_bytes": false, "publish_versions": false, "publish_mirror_jobs": false, "publish_gc_next_timestamp_seconds": false,
		"publish_generation": true, "publish_hold": true,
	} {
		if (got[name] != nil) != want {
			t.Errorf("%s is there: %t", name, !want)
		}
	}
}

// promtool also reports what is valid but against the conventions.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(written(t, hostileMeasures()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The sample alerts ask for nothing that is not written. Those about the server are
// checked in its package.
func TestAlerts(t *testing.T) {
	rules, err := os.ReadFile("../../scripts/prometheus/publish.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	got := samples(t, written(t, hostileMeasures()), "/srv/"+strings.ToValidUTF8(hostile, "\uFFFD"))
	names := regexp.MustCompile(`publish_[a-z_]+`).FindAllString(string(rules), -1)
	if len(names) < 10 {
		t.Fatalf("the rules name %v", names)
	}
	for _, name := range names {
		if got[name] == nil && !strings.HasPrefix(name, "publish_serve_") {
			t.Errorf("%s is in the rules and is not written", name)
		}
	}
}
