package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

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
			RevertUntil: &at},
		Time: at, LastPromote: &at, OldestLock: &at, Waiting: &at, NextExpiry: &at, FreeBytes: 5,
		GC: &publish.GCResult{}, GCNext: &publish.GCResult{},
		StagedVersions: map[string]int{hostile: 2, "b": 1}, ProductionVersions: map[string]int{"c": 3},
	}
}

// metric is a family as a parser sees it.
type metric struct {
	help, kind bool
	samples    map[string]float64 // by labels
}

// parseMetrics is a small and strict reader of the text format. It fails on
// what Prometheus would refuse.
func parseMetrics(text string) (map[string]*metric, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line does not end")
	}
	var (
		meta   = regexp.MustCompile(`^# (HELP|TYPE) (publish_[a-z_]+) (.+)$`)
		sample = regexp.MustCompile(`^(publish_[a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)$`)
		out    = map[string]*metric{}
		now    string
	)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if f := meta.FindStringSubmatch(line); f != nil {
			m := out[f[2]]
			switch {
			case f[1] == "HELP" && m == nil:
				now = f[2]
				out[now] = &metric{help: true, samples: map[string]float64{}}
			case f[1] == "TYPE" && f[2] == now && !m.kind && f[3] == "gauge" && len(m.samples) == 0:
				m.kind = true
			default:
				return nil, fmt.Errorf("out of order: %s", line)
			}
			continue
		}
		f := sample.FindStringSubmatch(line)
		if f == nil {
			return nil, fmt.Errorf("neither a comment nor a sample: %q", line)
		}
		v, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			return nil, err
		}
		m := out[f[1]]
		if _, twice := m.samples[f[2]]; f[1] != now || !m.kind || twice || !strings.HasPrefix(f[2], "repository=") {
			return nil, fmt.Errorf("out of order, twice, or without a repository: %s", line)
		}
		m.samples[f[2]] = v
	}
	for name, m := range out {
		if len(m.samples) == 0 {
			return nil, fmt.Errorf("%s has no sample", name)
		}
	}
	return out, nil
}

func TestMetricsAreWellFormed(t *testing.T) {
	text := string(metricsOf(hostileMeasures()))
	got, err := parseMetrics(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	repository := `repository="/srv/a\"b\\c\nd{x=\"y\"} 1\n# TYPE` + "\uFFFD" + `é"`
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"publish_generation", "", 7},
		{"publish_production_age_seconds", "", 3600},
		{"publish_production_timestamp_seconds", "", 1768042800.5},
		{"publish_production_bytes", "", 1 << 53},
		{"publish_hold", "", 1},
		{"publish_hold_age_seconds", "", 7200},
		{"publish_lock_held", `,lock="prepare"`, 1},
		{"publish_lock_held", `,lock="staging"`, 0},
		{"publish_versions", `,stage="production",product="c"`, 3},
		{"publish_versions", `,stage="staging",product="c"`, 0},
		{"publish_versions", `,stage="staging",product="` + strings.TrimPrefix(repository, `repository="/srv/`), 2},
	} {
		if v, ok := got[c.name].samples[repository+c.labels]; !ok || v != c.want {
			t.Errorf("%s%s is %v, want %v, in %v", c.name, c.labels, v, c.want, got[c.name].samples)
		}
	}
}

// What never was has no age, and every other metric is there.
func TestMetricsOfAnEmptyRepository(t *testing.T) {
	m := &publish.Measures{Status: &publish.Status{Repository: "/r"}, FreeBytes: -1, GC: &publish.GCResult{}}
	got, err := parseMetrics(string(metricsOf(m)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"publish_production_age_seconds": false, "publish_last_promote_timestamp_seconds": false,
		"publish_free_bytes": false, "publish_versions": false, "publish_gc_next_timestamp_seconds": false,
		"publish_generation": true, "publish_hold": true,
	} {
		if (got[name] != nil) != want {
			t.Errorf("%s is there: %t", name, !want)
		}
	}
}

// promtool also reports what is valid but against the conventions.
func TestPromtoolTakesTheMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(metricsOf(hostileMeasures()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The sample alerts ask for nothing that is not written.
func TestAlertsNameRealMetrics(t *testing.T) {
	rules, err := os.ReadFile("../../scripts/prometheus/publish.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseMetrics(string(metricsOf(hostileMeasures())))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`publish_[a-z_]+`).FindAllString(string(rules), -1)
	if len(names) < 10 {
		t.Fatalf("the rules name %v", names)
	}
	for _, name := range names {
		if got[name] == nil {
			t.Errorf("%s is in the rules and is not written", name)
		}
	}
}
