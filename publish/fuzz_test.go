package publish

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/retention"
	"example.com/publish/stage/durable/durabletest"
	"example.com/publish/stage/tree"
)

// The fuzz tests check that reading any file of a repository does not crash; that
// accepted content is safe, and the same after it is written again; and that sealed
// text with one wrong bit is refused. A fuzzer cannot guess a checksum, so the targets
// seal their input.

// FuzzWindows is given the texts of a history's lines.
func FuzzWindows(f *testing.F) {
	f.Add(`{"time":"2030-01-02T03:04:05Z","kind":"revert","generation":3,"from":2,"origin":1,"grace_seconds":4611686018427387904}`)
	f.Fuzz(func(t *testing.T, text string) {
		h := journal.Parse(durabletest.Lines(text))
		w := (&Repo{Config: DefaultConfig(choices)}).window(h)
		if len(h.Events) == 0 || !h.Events[0].Kind.Switch() || h.Newest().IsZero() {
			return
		}
		if e := h.Events[0]; !w.Open(e.Generation, e.Time) {
			t.Errorf("the window of %+v has ended as it began", e)
		}
	})
}

// FuzzConfig checks that any publish.yaml is refused with a message or can be used.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("format: plain\nswitch: rename\nproduction: /srv/www\ngrace: 2d\ngenerations: {keep: 3}\nhooks: " +
		"{timeout: 1m, after_gc: [a, b]}\n"))
	f.Add([]byte("retention:\n - {match: \"a:*\", keep_last: 3, keep_within: 30d, expired: remove}\n - {match: '*', " +
		"keep: all, min_versions: 0}\n"))
	f.Add([]byte("a: &a [1]\ntags: [{x: *a}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := parseConfig(data, choices)
		if err == nil {
			err = c.checkProduction("/no-such-directory/repository")
		}
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("refused without a word")
			}
			return
		}
		if p := filepath.Clean(c.Production); slices.Contains([]string{".", "/", "staging", "generations", ".publish",
			ConfigName}, p) ||
			strings.HasPrefix(p, "staging/") || strings.HasPrefix(p, "generations/") ||
			strings.HasPrefix(p, ".publish/") {
			t.Errorf("production is %q", c.Production)
		}
		if c.Grace < 0 || c.OrphanGrace < 0 || c.Hooks.Timeout <= 0 || c.HealthCheck.Timeout <= 0 ||
			c.Generations.Keep < 0 {
			t.Errorf("%+v", c)
		}
		c.Warnings(choices)
		// Whatever the rules are, each version is either kept or removed, and a
		// version without an age is kept.
		items := []retention.Item{{Product: "a:b", Version: "20290101", Time: epoch.AddDate(-1, 0, 0), Complete: true},
			{Product: "a:b", Version: "x"}}
		res := retention.Apply(items, c.Policy(), epoch)
		if len(res.Keep)+len(res.Remove) != len(items) || slices.ContainsFunc(res.Remove,
			func(d retention.Decision) bool { return d.Version == "x" }) {
			t.Errorf("%+v", res)
		}
	})
}

// FuzzReadPlan checks that a plan file is refused unless it is what was written, and
// that it never deletes a file that is not due.
func FuzzReadPlan(f *testing.F) {
	p := Plan{Time: epoch, Keep: []retention.Decision{}, Remove: []retention.Decision{},
		Orphans: []Orphan{{Path: "../../etc/passwd"}}, Waiting: []Orphan{}, Rules: []RetentionRule{}}
	data, err := json.Marshal(p)
	must(f, err)
	f.Add(data, uint(1))
	f.Add(data[:20], uint(0))
	f.Add([]byte(`{"time":"0000-01-01T00:00:00+24:00"}`), uint(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint) {
		path := filepath.Join(fastDir(t), "plan")
		read := func(data []byte) (*Plan, bool) {
			must(t, os.WriteFile(path, data, 0o644))
			p, err := ReadPlan(path)
			if err != nil && kindOf(err) != Refused {
				t.Error(err)
			}
			return p, err == nil
		}
		if p, ok := read(data); ok && p.PlanHash != p.hash() {
			t.Error("a plan with a wrong hash")
		}
		var p Plan
		if json.Unmarshal(data, &p) != nil {
			return
		}
		if p.PlanHash = p.hash(); p.PlanHash == "" {
			return
		}
		if p.Write(path) != nil {
			return
		}
		written, err := os.ReadFile(path)
		must(t, err)
		back, ok := read(written)
		if !ok {
			t.Fatalf("what was written is refused: %s", written)
		}
		if back.hash() != p.hash() {
			t.Errorf("%+v became %+v", p, back)
		}
		if edited, ok := read(durabletest.Flipped(written, at)); ok && edited.hash() != p.hash() {
			t.Errorf("an edited plan: %s", durabletest.Flipped(written, at))
		}
		now := p
		if now.Orphans = nil; len(p.Orphans) > 0 && p.fits(&now) == nil {
			t.Error("deletes what is not due")
		}
	})
}

// FuzzOrphans is given the texts of the lines.
func FuzzOrphans(f *testing.F) {
	f.Add("1893553445 3 1 2 1 9 images/a b.bin\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := &Repo{Dir: fastDir(t)}
		must(t, os.Mkdir(r.path(".publish"), 0o755))
		must(t, os.WriteFile(string(r.orphans()), durabletest.Lines(text), 0o644))
		seen, err := r.orphans().read()
		if err != nil {
			return
		}
		must(t, r.orphans().write(seen))
		if back, err := r.orphans().read(); err != nil || !seen.equal(back) {
			t.Errorf("%v became %v", seen, back)
		}
		// A file that has changed since it was first seen counts as new.
		for p, s := range seen {
			if got := seen.since(tree.Entry{Path: p, Stat: tree.Stat{Size: s.stat.Size + 1}},
				epoch); !got.Equal(epoch.Truncate(time.Second)) {
				t.Errorf("%s: since %s", p, got)
			}
		}
	})
}
