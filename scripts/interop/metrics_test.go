package interop_test

import (
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Prometheus's own parser takes what status --prometheus writes, of a
// repository whose path would end a label.
func TestPrometheusParsesMetrics(t *testing.T) {
	r := newRepo(t, "symlink")
	odd := r.dir + "\n\"\\} 1"
	r.runIn("", 0, "init", "--format", "plain", odd)
	for _, dir := range []string{r.dir, odd} {
		text := r.runIn("", 0, "--repo", dir, "status", "--prometheus", "-")
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		for _, name := range []string{"publish_info", "publish_generation", "publish_free_bytes",
			"publish_staging_findings", "publish_gc_due_bytes"} {
			if families[name] == nil {
				t.Errorf("%s is missing", name)
			}
		}
		for name, f := range families {
			if f.GetHelp() == "" || f.GetType().String() != "GAUGE" {
				t.Errorf("%s: help %q, type %s", name, f.GetHelp(), f.GetType())
			}
			for _, m := range f.GetMetric() {
				if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
					return l.GetName() == "repository" && l.GetValue() == dir
				}) {
					t.Errorf("%s: labels %v, want the repository %q", name, m.GetLabel(), dir)
				}
			}
		}
	}
}
