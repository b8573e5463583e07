package publish

import (
	"errors"
	"testing"
	"time"
)

// Files that a gc deleted do not count as missing when the configured grace is
// increased later.
func TestGraceRaisedAfterGC(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.cfg = func(c *Config) { c.Generations.Keep = 5 }
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		w.now = w.now.Add(3 * time.Hour)
		if g := w.gc(); g.Files != 1 {
			t.Errorf("%+v", g)
		}
		w.cfg = func(c *Config) { c.Generations.Keep = 5; c.Grace = Duration(24 * time.Hour) }
		report, _, err := w.repo().Verify(ctx, "", false)
		if err != nil || len(report.Findings) != 0 {
			t.Errorf("verify: %+v %v", report.Findings, err)
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		_, err = w.repo().Promote(ctx, PromoteOptions{DryRun: true})
		var f *FindingsError
		if errors.As(err, &f) {
			t.Errorf("promote: %+v", f.Report.Findings)
		} else if err != nil {
			t.Errorf("promote: %v", err)
		}
		_, err = w.repo().Revert(ctx, RevertOptions{To: 1})
		if err != nil {
			t.Errorf("revert: %v", err)
		}
	})
}
