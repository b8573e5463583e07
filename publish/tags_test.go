package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// tagged is listed with versions that are tags.
type tagged struct{ listed }

func (f tagged) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	c, err := f.listed.Read(ctx, src)
	if err == nil {
		for i := range c.Images {
			c.Images[i].Digests = []string{"sha256:" + c.Images[i].Fingerprint}
		}
	}
	return c, err
}

func (tagged) CheckHost(string) string { return "" }

func (tagged) Uses(text []byte, _ []string) (out []catalog.Use, err error) {
	for i, line := range strings.Fields(string(text)) {
		if line == "?" {
			return nil, &catalog.UseError{Line: i + 1, Fact: "is odd"}
		}
		out = append(out, catalog.Use{Line: i + 1, Names: []catalog.Name{catalog.ParseName(line)}})
	}
	return out, nil
}

func itemsIn(src catalog.Source) (items []listedItem, err error) {
	data, err := src.Document("index.json")
	if err == nil {
		err = json.Unmarshal(data, &items)
	}
	return items, err
}

func (tagged) Saved(_ context.Context, src catalog.Source, drop func(catalog.Name) bool) ([]byte, error) {
	items, err := itemsIn(src)
	if err != nil {
		return nil, err
	}
	return json.Marshal(slices.DeleteFunc(items, func(i listedItem) bool {
		return !drop(catalog.Name{Group: i.Product, Version: i.Version})
	}))
}

func (tagged) Restore(_ context.Context, src catalog.Source, record []byte) (*catalog.Restoration, error) {
	var saved []listedItem
	if err := json.Unmarshal(record, &saved); err != nil {
		return nil, err
	}
	items, err := itemsIn(src)
	if err != nil {
		return nil, err
	}
	out := &catalog.Restoration{Images: images(saved)}
	n := len(items)
	for _, s := range saved {
		name := catalog.Name{Group: s.Product, Version: s.Version}
		at := slices.IndexFunc(items, func(i listedItem) bool { return i.Product == s.Product && i.Version == s.Version })
		switch {
		case at >= 0 && items[at].SHA256 != s.SHA256:
			return nil, &catalog.MovedError{Name: name, Now: items[at].SHA256}
		case at >= 0:
			out.There = append(out.There, name)
			continue
		}
		d := catalog.Digest{Algorithm: catalog.SHA256, Hex: s.SHA256}
		if _, err := src.Blob(s.Path, d, 1<<20); err != nil {
			return nil, &catalog.GoneError{Path: s.Path, Digest: d}
		}
		items = append(items, s)
	}
	if len(items) > n {
		slices.SortFunc(items, func(a, b listedItem) int { return strings.Compare(a.Version, b.Version) })
		data, err := json.Marshal(items)
		out.Documents = []catalog.Document{{Path: "index.json", Data: data}}
		return out, err
	}
	return out, nil
}

// tagWorld has three tags that were seen one after another, and an orphan that is due.
func tagWorld(t testing.TB, mode string) *world {
	w := newWorld(t, mode)
	w.format = tagged{}
	w.put(map[string]string{"b/20290101": "orphan"})
	have := map[string]string{}
	for _, v := range []string{"20290101", "20290102", "20290103"} {
		have["a/"+v] = v
		w.put(have)
		w.prune()
		w.now = w.now.Add(2 * time.Hour)
	}
	w.promote()
	return w
}

func keepTags(rules ...TagRule) func(*Config) { return func(c *Config) { c.Tags = rules } }

func lastTag(n int) TagRule { return TagRule{Repository: "**", Tag: ".*", KeepLast: Count(n)} }

func (w *world) undo(id string) (*UndoResult, error) { return w.repo().Undo(ctx, id, false) }

func TestPruneTags(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := tagWorld(t, mode)
		before := w.served()
		w.cfg = keepTags(lastTag(1))
		dry, err := w.repo().Prune(ctx, PruneOptions{DryRun: true})
		must(t, err)
		res := w.prune()
		if diff := cmp.Diff(dry.Plan, res.Plan); diff != "" {
			t.Errorf("the dry run said otherwise:\n%s", diff)
		}
		if len(res.Remove) != 2 || res.BytesAfterGrace != 16 || res.Verified == nil || !*res.Verified || len(res.ID) != 12 {
			t.Errorf("%+v", res)
		}
		if diff := cmp.Diff(before, w.served()); diff != "" {
			t.Errorf("production changed:\n%s", diff)
		}
		if got := w.staged(); !slices.Equal(got, []string{"a/20290103"}) {
			t.Errorf("staged: %v", got)
		}
		if again := w.prune(); len(again.Remove) != 0 || again.ID != "" || again.Verified != nil {
			t.Errorf("a second prune: %+v", again)
		}
	})
}

// An age counts from when this tag was first seen on this digest.
func TestTagAge(t *testing.T) {
	old := TagRule{Repository: "**", Tag: ".*", OlderThan: Duration(24 * time.Hour)}
	for name, change := range map[string]func(w *world){
		"unchanged": func(*world) {},
		"moved":     func(w *world) { w.put(map[string]string{"a/1": "other", "a/2": "two"}) },
		"gone and back": func(w *world) {
			w.put(map[string]string{"a/2": "two"})
			w.prune()
			w.put(map[string]string{"a/1": "one", "a/2": "two"})
		},
		"only promoted": func(w *world) {
			w.put(map[string]string{"a/2": "two", "a/3": "three"})
			w.promote()
			w.now = w.now.Add(24 * time.Hour)
		},
		"record lost":    func(w *world) { must(w.t, os.Remove(string(w.repo().tagged()))) },
		"record damaged": func(w *world) { must(w.t, os.WriteFile(string(w.repo().tagged()), []byte("x\ny"), 0o644)) },
		"never seen":     func(w *world) { w.put(map[string]string{"a/3": "three", "a/2": "two"}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "symlink")
			w.format, w.cfg = tagged{}, keepTags(old)
			w.put(map[string]string{"a/1": "one", "a/2": "two"})
			w.prune()
			w.now = w.now.Add(24 * time.Hour)
			if res := w.prune(); len(res.Remove) != 0 {
				t.Fatalf("of just this age: %+v", res.Remove)
			}
			change(w)
			w.now = w.now.Add(time.Second)
			want := map[string]int{"unchanged": 2, "only promoted": 2, "record lost": 0, "record damaged": 0}
			n, ok := want[name]
			if !ok {
				n = 1
			}
			if res := w.prune(); len(res.Remove) != n {
				t.Errorf("%d of 2 go, not %d: %+v", len(res.Remove), n, res.Remove)
			}
			w.now = w.now.Add(24*time.Hour + time.Second)
			if w.prune(); len(w.staged()) > 0 {
				t.Errorf("they never go: %v", w.staged())
			}
		})
	}
	t.Run("clock", func(t *testing.T) {
		w := newWorld(t, "symlink")
		w.format, w.cfg = tagged{}, keepTags(old)
		w.put(map[string]string{"a/1": "one"})
		w.now = w.now.Add(24 * 365 * time.Hour)
		w.prune()
		w.now = epoch
		_, err := w.repo().ClockIsRight(ctx)
		must(t, err)
		w.now = w.now.Add(24*time.Hour + time.Second)
		if res := w.prune(); len(res.Remove) != 1 {
			t.Errorf("a tag of the future stays: %+v", res.Keep)
		}
	})
}

// An undo brings tags back with their age, and their files are no orphans any more.
func TestUndo(t *testing.T) {
	w := tagWorld(t, "symlink")
	w.cfg = keepTags(lastTag(1))
	before, seen := w.staged(), mustRead(t, w)
	id := w.prune().ID
	w.now = w.now.Add(time.Hour)
	res, err := w.undo(id)
	must(t, err)
	if len(res.Restored) != 2 || len(res.There) != 0 || !res.Verified || !slices.Equal(w.staged(), before) {
		t.Errorf("%+v, %v", res, w.staged())
	}
	if diff := cmp.Diff(seen, mustRead(t, w), cmp.AllowUnexported(tagSighting{})); diff != "" {
		t.Errorf("the ages differ:\n%s", diff)
	}
	if res, err = w.undo(id); err != nil || len(res.Restored) != 0 || len(res.There) != 2 {
		t.Errorf("a second time: %+v, %v", res, err)
	}
	// The files have been unnamed twice, each time for less than their grace.
	again := w.prune()
	w.now = w.now.Add(time.Hour + time.Minute)
	if w.prune(); len(w.bins()) != 3 {
		t.Fatalf("%d files", len(w.bins()))
	}
	w.now = w.now.Add(time.Hour)
	w.prune()
	if _, err = w.undo(again.ID); kindOf(err) != NotFound {
		t.Errorf("when the files are gone: %v", err)
	}
	w.put(map[string]string{"a/20290101": "other"})
	if _, err = w.undo(id); kindOf(err) != Refused || !strings.Contains(err.Error(), "a/20290101: stands for") {
		t.Errorf("a tag that moved: %v", err)
	}
}

// Files that were named again in between are orphans anew, whoever named them, and also
// if the prune that took them out again was stopped.
func TestOrphansOfTags(t *testing.T) {
	for name, c := range map[string]struct {
		back func(w *world, id string) error
		stop bool
	}{
		"staged": {func(w *world, _ string) error {
			w.put(map[string]string{"a/20290101": "20290101", "a/20290102": "20290102", "a/20290103": "20290103"})
			return nil
		}, false},
		"undone":          {func(w *world, id string) error { _, err := w.undo(id); return err }, false},
		"undone, stopped": {func(w *world, id string) error { _, err := w.undo(id); return err }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := tagWorld(t, "symlink")
			w.cfg = keepTags(lastTag(1))
			id := w.prune().ID
			w.now = w.now.Add(time.Hour)
			must(t, c.back(w, id))
			if c.stop {
				crash(t, w, "prune tags", 4, "error")
			}
			w.prune()
			w.now = w.now.Add(time.Hour + time.Minute)
			if w.prune(); len(w.bins()) != 3 {
				t.Errorf("%d files", len(w.bins()))
			}
		})
	}
}

func mustRead(t *testing.T, w *world) firstTagged {
	seen, err := w.repo().tagged().read()
	must(t, err)
	return seen
}

// Records of prunes are bounded, and a damaged one is told.
func TestUndoRecords(t *testing.T) {
	w := tagWorld(t, "symlink")
	w.cfg = keepTags(lastTag(1))
	dir := filepath.Dir(w.repo().undoPath("x"))
	must(t, os.MkdirAll(dir, 0o755))
	for i := range maxUndos + 5 {
		p := filepath.Join(dir, fmt.Sprintf("%012x", i))
		must(t, os.WriteFile(p, []byte("x"), 0o644))
		must(t, os.Chtimes(p, time.Time{}, epoch.Add(time.Duration(i)*time.Second)))
	}
	id := w.prune().ID
	list, err := os.ReadDir(dir)
	must(t, err)
	if len(list) != maxUndos || !slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == id }) ||
		slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == fmt.Sprintf("%012x", 5) }) {
		t.Errorf("%d records", len(list))
	}
	if all := w.repo().Undos(); len(all) != 1 || all[0].ID != id || all[0].Tags != 2 {
		t.Errorf("%+v", all)
	}
	_, err = w.undo(fmt.Sprintf("%012x", maxUndos))
	if kindOf(err) != Failed || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	data, err := os.ReadFile(w.repo().undoPath(id))
	must(t, err)
	must(t, os.WriteFile(w.repo().undoPath(id), data[:len(data)/2], 0o644))
	if _, err := w.undo(id); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("cut: %v", err)
	}
}

// A prune and an undo that are killed anywhere leave a valid staging tree, and what
// they left is finished, or undone, by another one.
func TestTagsCrash(t *testing.T) {
	undo := func(t *testing.T, mode string) *world {
		w := tagWorld(t, mode)
		w.cfg = keepTags(lastTag(1))
		w.prune()
		return w
	}
	all := []string{"a/20290101", "a/20290102", "a/20290103"}
	for verb, c := range map[string]struct {
		make  func(t *testing.T, mode string) *world
		steps []string
		want  []string
	}{
		"prune tags": {func(t *testing.T, mode string) *world { return tagWorld(t, mode) }, []string{"after-undo-saved",
			"after-prune-history", "after-prune-indexes", "after-prune-orphans"}, all[2:]},
		"undo": {undo, []string{"after-undo-history", "after-undo-records", "after-undo-indexes"}, all},
	} {
		w := c.make(t, "symlink")
		var steps []string
		w.step = func(name string) error { steps = append(steps, name); return nil }
		must(t, crashVerbs[verb](w.repo()))
		if !slices.Equal(steps, c.steps) {
			t.Fatalf("%v", steps)
		}
		for i, name := range steps {
			for _, how := range []string{"kill", "error"} {
				t.Run(name+"-"+how, func(t *testing.T) {
					w := c.make(t, "symlink")
					before := w.served()
					crash(t, w, verb, i+1, how)
					if diff := cmp.Diff(before, w.served()); diff != "" {
						t.Fatalf("production changed:\n%s", diff)
					}
					w.staged()
					if len(w.repo().Undos()) == 0 {
						t.Error("there is no record for an undo")
					}
					must(t, crashVerbs[verb](w.repo()))
					if got := w.staged(); !slices.Equal(got, c.want) {
						t.Errorf("staged: %v", got)
					}
					// All that any of the prunes took out can be brought back.
					for _, u := range w.repo().Undos() {
						_, err := w.undo(u.ID)
						must(t, err)
					}
					if got := w.staged(); !slices.Equal(got, all) {
						t.Errorf("after the undo: %v", got)
					}
					if seen := mustRead(t, w); len(seen) != 3 || !seen[catalog.ParseName(all[0])].since.Equal(epoch) {
						t.Errorf("the ages: %+v", seen)
					}
					checkRecovered(t, w)
				})
			}
		}
	}
}

// A plan of tags that was read can be carried out, with rules or without, and one that
// was edited cannot.
func TestTagPlan(t *testing.T) {
	for name, c := range map[string]struct {
		rules []TagRule
		forge func(p *Plan)
	}{
		"honest":   {[]TagRule{lastTag(1)}, func(*Plan) {}},
		"no rules": {nil, func(*Plan) {}},
		"version":  {[]TagRule{lastTag(1)}, func(p *Plan) { p.Remove[0].Version = "20290103" }},
		"digest":   {[]TagRule{lastTag(1)}, func(p *Plan) { p.Remove[0].Digest = "x" }},
		"more": {[]TagRule{lastTag(2)}, func(p *Plan) {
			p.Remove, p.Keep = append(p.Remove, p.Keep[0]), p.Keep[1:]
		}},
		"fewer": {[]TagRule{lastTag(2)}, func(p *Plan) { p.Keep = p.Keep[1:] }},
		"rules": {[]TagRule{lastTag(1)}, func(p *Plan) { p.Tags[0].KeepLast = 0 }},
		"time":  {[]TagRule{lastTag(1)}, func(p *Plan) { p.Time = p.Time.AddDate(1, 0, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := tagWorld(t, "symlink")
			w.cfg = keepTags(c.rules...)
			res, err := w.repo().Prune(ctx, PruneOptions{Plan: true})
			must(t, err)
			plan := res.Plan
			c.forge(&plan)
			plan.PlanHash = plan.hash()
			path := filepath.Join(t.TempDir(), "plan.json")
			must(t, plan.Write(path))
			read, err := ReadPlan(path)
			must(t, err)
			staged := w.staged()
			_, err = w.repo().Prune(ctx, PruneOptions{Apply: read})
			if name == "honest" || name == "no rules" {
				must(t, err)
			} else if kindOf(err) != Refused || !slices.Equal(staged, w.staged()) {
				t.Errorf("%v; %v", err, w.staged())
			}
		})
	}
}

// What is not as it should be afterwards is an error, and not verified.
func TestPruneProof(t *testing.T) {
	image := func(w *world, of, text string) string {
		return filepath.Join(w.dir, of, "images", fmt.Sprintf("%.16s.bin", hash(text)))
	}
	for name, spoil := range map[string]func(w *world){
		"a kept tag moved": func(w *world) { w.put(map[string]string{"a/20290103": "other"}) },
		"a kept tag went":  func(w *world) { w.put(map[string]string{"a/20290199": "other"}) },
		"one came back": func(w *world) {
			w.put(map[string]string{"a/20290103": "20290103", "a/20290101": "20290101"})
		},
		"a file went": func(w *world) {
			must(w.t, os.Remove(image(w, "staging", "20290103")))
		},
		"production": func(w *world) {
			must(w.t, os.Remove(image(w, "production", "20290101")))
		},
		"production, by a gc": func(w *world) {
			s, err := w.repo().load(ctx)
			must(w.t, err)
			e := w.repo().note(s, journal.KindGC, "")
			e.Body = &journal.Freed{Generations: []int{}, Items: []journal.FreedItem{}}
			must(w.t, w.repo().log(s.history, e))
			must(w.t, os.Remove(image(w, "production", "20290101")))
		},
		"nothing": func(*world) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := tagWorld(t, "symlink")
			w.now = w.now.Add(2 * time.Hour) // after the promote
			w.cfg = keepTags(lastTag(1))
			w.step = func(at string) error {
				if at == "after-prune-orphans" {
					spoil(w)
				}
				return nil
			}
			res, err := w.repo().Prune(ctx, PruneOptions{})
			good := name == "nothing" || name == "production, by a gc"
			if res == nil || *res.Verified != good || (err == nil) != good {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

// 100,000 tags, of which each has a manifest, a config, and a layer of its own.
func BenchmarkPlanTags(b *testing.B) {
	const n = 100_000
	sv := &survey{checked: &stage.Checked{Catalog: &catalog.Catalog{}, Report: &stage.Report{}}, now: epoch,
		grace: time.Hour, sure: true, format: tagged{}, tags: &tagSurvey{tagger: tagged{}, seen: &tagRecord{},
			rules: []TagRule{{Repository: "docker.io/**", Tag: "sha-[0-9a-f]+", KeepLast: 5, Protect: []string{"sha-00000.*"}}}}}
	c := sv.checked.Catalog
	var uses strings.Builder
	for i := range n {
		i := catalog.Image{Product: fmt.Sprintf("docker.io/acme/app%04d", i/100), Version: fmt.Sprintf("sha-%08x", i)}
		for k := range 3 {
			hex := hash(fmt.Sprint(i.Version, k))
			p := fmt.Sprintf("%s/blobs/sha256/%s", i.Product, hex)
			i.Paths = append(i.Paths, p)
			i.Digests = append(i.Digests, "sha256:"+hex)
			i.Fingerprint = hex
			sv.checked.Rows = append(sv.checked.Rows, tree.Row{Path: p, Size: 1000, SHA256: hex})
		}
		fmt.Fprintf(&uses, "%s\n", i.Of())
		c.Images = append(c.Images, i)
		c.Versions = append(c.Versions, catalog.Version{Product: i.Product, Name: i.Version})
	}
	tree.SortRows(sv.checked.Rows)
	list, _ := tagged{}.Uses([]byte(uses.String()), nil)
	u := newUses()
	u.add("pods.txt", list[:1000])
	b.ReportAllocs()
	for b.Loop() {
		sv.tags.used = u.find(c.Images)
		p, _ := sv.plan()
		if len(p.Keep)+len(p.Remove) != n || len(p.Remove) < n/2 {
			b.Fatal(len(p.Keep), len(p.Remove))
		}
	}
}
