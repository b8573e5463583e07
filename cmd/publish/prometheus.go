package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"example.com/publish/publish"
	"example.com/publish/publish/metrics"
)

// gathered has the measures as metrics.
func gathered(m *publish.Measures) prometheus.Gatherer {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.Of(m, programVersion()))
	return r
}

// printMetrics prints metrics in the text format.
func (p *program) printMetrics(g prometheus.Gatherer) error {
	families, err := g.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(p.out, f); err != nil {
			return err
		}
	}
	return nil
}

// writeMetrics puts metrics at path for node_exporter's textfile collector:
// atomically, since it reads at any moment, and readable, since it is another
// user. The temporary file's name does not end in .prom.
func writeMetrics(path string, g prometheus.Gatherer) error {
	// A device or a pipe would be replaced by a file.
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return &publish.Error{Kind: publish.Usage, Path: path, Fact: "is not a regular file",
			Hint: "- is standard output"}
	}
	err := prometheus.WriteToTextfile(path, g)
	if at := new(fs.PathError); errors.As(err, &at) { // it names the temporary file
		return &publish.Error{Path: path, Fact: "cannot be written", Err: at.Err}
	}
	return err
}
