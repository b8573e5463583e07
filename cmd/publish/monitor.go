package main

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

// checkAnswer is what status --check says.
type checkAnswer struct {
	OK     bool            `json:"ok"`
	Checks []publish.Check `json:"checks"`
}

// thresholdSet reports whether a flag was given that only --check uses.
func thresholdSet(c *cli.Context) bool {
	return slices.ContainsFunc([]string{"max-age", "max-wait", "min-free", "max-errors", "max-queue"}, c.IsSet)
}

// monitor is status for machines: --prometheus, --check, or both at once.
func (p *program) monitor(c *cli.Context) error {
	file, check := c.String("prometheus"), c.Bool("check")
	switch {
	case thresholdSet(c) && !check:
		return usage("add --check",
			"--max-age, --max-wait, --min-free, --max-errors and --max-queue: mean nothing without --check")
	case c.IsSet("prometheus") && file == "":
		return usage("- is standard output", "--prometheus: is empty")
	case file == "-" && (check || p.json):
		return usage("name a file", "--prometheus -: standard output carries another answer already")
	}
	limits, err := thresholds(c)
	if err != nil {
		return err
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	limits.MaxLag = time.Duration(r.Config.MaxLag)
	m, err := r.Measure(c.Context)
	if err != nil {
		return err
	}
	switch {
	case file == "-":
		return p.printMetrics(gathered(m))
	case file != "":
		if err := writeMetrics(file, gathered(m)); err != nil {
			return err
		}
	}
	switch {
	case check:
		return p.printChecks(m.Check(limits))
	case p.json:
		return p.object(m.Status)
	}
	return nil
}

// printChecks prints lines for Nagios and similar monitors: they show the first
// line in full, the others on demand.
func (p *program) printChecks(checks []publish.Check) error {
	failed := slices.DeleteFunc(slices.Clone(checks), func(c publish.Check) bool { return c.OK })
	err := p.answer(checkAnswer{len(failed) == 0, checks}, func() {
		for _, c := range failed {
			p.say("CRITICAL %s: %s", c.Name, oneLine(c.Message))
		}
		if len(failed) > 0 {
			return
		}
		var texts []string
		for _, c := range checks {
			texts = append(texts, oneLine(c.Message))
		}
		p.say("OK: %s", strings.Join(texts, ", "))
	})
	if err == nil && len(failed) > 0 {
		err = exitFindings
	}
	return err
}

// thresholds reads the limits that a check compares the repository with.
func thresholds(c *cli.Context) (t publish.Thresholds, err error) {
	for _, l := range []struct {
		name string
		to   **time.Duration
	}{{"max-age", &t.MaxAge}, {"max-wait", &t.MaxWait}, {"max-queue", &t.MaxQueue}} {
		if c.IsSet(l.name) {
			d, err := publish.ParseDuration(c.String(l.name))
			if err != nil {
				return t, usage("", "--%s: %s", l.name, err)
			}
			*l.to = (*time.Duration)(&d)
		}
	}
	if c.IsSet("min-free") {
		n, err := humanize.ParseBytes(c.String("min-free"))
		if err != nil || n > math.MaxInt64 {
			return t, usage("", "--min-free: %q is not a size such as 500MB or 20GiB", c.String("min-free"))
		}
		free := int64(n)
		t.MinFree = &free
	}
	if c.IsSet("max-errors") {
		n := int64(c.Int("max-errors"))
		if n < 0 {
			return t, usage("", "--max-errors: %d is negative", n)
		}
		t.MaxErrors = &n
	}
	return t, nil
}
