package publish

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

func keepLast(n int) func(*Config) {
	return func(c *Config) { c.Retention = []RetentionRule{{Match: "*", KeepLast: Count(n)}} }
}

func (w *world) prune() *PruneResult {
	w.t.Helper()
	res, err := w.repo().Prune(ctx, PruneOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) staging() string { return filepath.Join(w.dir, "staging") }

// staged returns what staging's index names, and checks that each of these files is
// right.
func (w *world) staged() []string {
	w.t.Helper()
	checked, err := w.repo().Stage.Validate(ctx, stage.Checks{Full: true, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	if bad := checked.Report.Errors(); len(bad) > 0 {
		w.t.Fatalf("staging is not valid: %+v", bad)
	}
	out := []string{}
	for _, u := range checked.Catalog.Units {
		out = append(out, u.Key)
	}
	slices.Sort(out)
	return out
}

// bins lists the item-like files in staging.
func (w *world) bins() []string {
	list, _ := filepath.Glob(filepath.Join(w.staging(), "images", "*.bin"))
	return list
}

var threeVersions = map[string]string{"a/20290101": "one", "a/20290102": "two", "a/20290103": "three"}

// pruneWorld has a version to prune, an orphan that is due, and one that is not due.
func pruneWorld(t *testing.T, mode string) *world {
	w := newWorld(t, mode)
	w.cfg = keepLast(3)
	w.put(map[string]string{"b/20290101": "orphan"})
	w.put(threeVersions)
	w.promote()
	w.prune()
	w.now = w.now.Add(3 * time.Hour)
	must(t, os.WriteFile(filepath.Join(w.staging(), "images", "young.bin"), []byte("young"), 0o644))
	return w
}

func must(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPruneLeavesProductionAlone(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := pruneWorld(t, mode)
		before, items := w.served(), w.items()
		w.cfg = keepLast(1)
		dry, err := w.repo().Prune(ctx, PruneOptions{DryRun: true})
		must(t, err)
		res := w.prune()
		if diff := cmp.Diff(dry.Plan, res.Plan); diff != "" {
			t.Errorf("the dry run said otherwise:\n%s", diff)
		}
		if len(res.Remove) != 2 || len(res.Orphans) != 1 || res.BytesNow != 6 || res.BytesAfterGrace != 6 {
			t.Errorf("%+v", res)
		}
		if diff := cmp.Diff(before, w.served()); diff != "" {
			t.Errorf("production changed:\n%s", diff)
		}
		if got := w.staged(); !slices.Equal(got, []string{"a/20290103"}) {
			t.Errorf("staged: %v", got)
		}
		again := w.prune()
		if len(again.Remove)+len(again.Orphans) != 0 || len(again.Waiting) != 3 {
			t.Errorf("a second prune: %+v", again)
		}

		// A client that read the index before still gets the files.
		w.promote()
		served := w.served()
		for _, data := range items {
			if !slices.Contains(slices.Collect(maps.Values(served)), data) {
				t.Errorf("%q is not served any more", data)
			}
		}
		w.now = w.now.Add(2 * time.Hour)
		if last := w.prune(); len(last.Orphans) != 3 || len(w.bins()) != 1 {
			t.Errorf("after the grace: %+v, %v left", last, w.bins())
		}
		checkRecovered(t, w)
	})
}

// The order of versions in the index does not matter.
func TestPruneOrder(t *testing.T) {
	w := newWorld(t, "symlink")
	w.cfg = func(c *Config) { c.Retention = []RetentionRule{{Match: "*", KeepLast: 2, KeepWeekly: 3}} }
	items := map[string]string{}
	for i := range 40 {
		items[fmt.Sprintf("p%d/%s", i%3, epoch.AddDate(0, 0, -i).Format("20060102"))] = fmt.Sprint(i)
	}
	w.put(items)
	path := filepath.Join(w.staging(), "index.json")
	var list []listedItem
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(data, &list))
	var first *PruneResult
	for i := range 5 {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		data, err := json.Marshal(list)
		must(t, err)
		must(t, os.WriteFile(path, data, 0o644))
		res, err := w.repo().Prune(ctx, PruneOptions{DryRun: true})
		must(t, err)
		if first == nil {
			first = res
		}
		if diff := cmp.Diff(first.Keep, res.Keep) + cmp.Diff(first.Remove, res.Remove); diff != "" ||
			len(res.Remove) == 0 {
			t.Fatal(diff)
		}
	}
}

// A broken build does not cause the last good one to be removed.
func TestPruneIncomplete(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing":   os.Remove,
		"cut":       func(p string) error { return os.Truncate(p, 1) },
		"other":     func(p string) error { return os.WriteFile(p, []byte("THREE"), 0o644) },
		"directory": func(p string) error { return os.Rename(filepath.Dir(p), filepath.Dir(p)+"2") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "symlink")
			w.cfg = keepLast(1)
			w.put(threeVersions)
			must(t, spoil(filepath.Join(w.staging(), "images", fmt.Sprintf("%.16s.bin", hash("three")))))
			res := w.prune()
			want := []string{"incomplete: never counts as kept"}
			if name == "directory" {
				if len(res.Remove) != 0 {
					t.Errorf("%+v", res)
				}
			} else if len(res.Keep) != 2 || !slices.Equal(res.Keep[0].Reasons, want) ||
				res.Keep[1].Version != "20290102" {
				t.Errorf("%+v", res)
			}
		})
	}
}

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func TestOrphansStartAnew(t *testing.T) {
	for name, change := range map[string]func(w *world, path string) error{
		"unchanged": func(*world, string) error { return nil },
		"written":   func(w *world, p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o644) },
		"mtime set back": func(w *world, p string) error {
			fi, err := os.Stat(p)
			return errors.Join(err, os.WriteFile(p, []byte("orphaN"), 0o644), os.Chtimes(p, time.Time{}, fi.ModTime()))
		},
		"linked": func(w *world, p string) error { return os.Link(p, filepath.Join(w.dir, "elsewhere")) },
		"named again": func(w *world, p string) error {
			w.put(map[string]string{"b/20290101": "orphan"})
			w.prune()
			w.put(threeVersions)
			return nil
		},
		"state lost": func(w *world, p string) error { return os.Remove(string(w.repo().orphans())) },
		"state damaged": func(w *world, p string) error {
			return os.WriteFile(string(w.repo().orphans()), []byte("x\ny"), 0o644)
		},
		"young": func(w *world, p string) error {
			return os.Chtimes(p, time.Time{}, w.now.Add(-time.Hour))
		},
		"a link": func(w *world, p string) error {
			return os.Symlink("images", filepath.Join(w.staging(), "other"))
		},
		"a link out": func(w *world, p string) error {
			return os.Symlink(w.staging(), filepath.Join(w.staging(), "other"))
		},
		"clock behind": func(w *world, p string) error {
			w.now = w.now.Add(24 * time.Hour)
			r := w.repo()
			must(w.t, r.Hold(ctx, "a line of tomorrow"))
			w.now = w.now.Add(-24 * time.Hour)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := pruneWorld(t, "symlink")
			p := filepath.Join(w.staging(), "images", fmt.Sprintf("%.16s.bin", hash("orphan")))
			must(t, change(w, p))
			res := w.prune()
			goes := name == "unchanged" || name == "linked" || name == "a link"
			if _, err := os.Lstat(p); goes != (err != nil) {
				t.Errorf("%v, %+v", err, res.Plan)
			}
			if name == "linked" && (res.BytesNow != 0 || res.BytesAfterGrace != 6) {
				t.Errorf("bytes of a linked file: %d, %d", res.BytesNow, res.BytesAfterGrace)
			}
			if name == "clock behind" || name == "a link out" {
				return
			}
			w.now = w.now.Add(2*time.Hour + time.Second)
			w.prune()
			if _, err := os.Lstat(p); err == nil {
				t.Error("it never goes")
			}
		})
	}
}

// A plan that was edited and has a new hash is detected, because the plan is computed
// again.
func TestForgedPlan(t *testing.T) {
	for name, forge := range map[string]func(p *Plan){
		"honest":  func(*Plan) {},
		"version": func(p *Plan) { p.Remove[0].Version = "20290103" },
		"more": func(p *Plan) {
			p.Remove = append(slices.Clone(p.Keep), p.Remove...)
			p.Keep = []retention.Decision{}
		},
		"time":    func(p *Plan) { p.Time = p.Time.AddDate(1, 0, 0) },
		"orphan":  func(p *Plan) { p.Orphans[0].Path = "images/young.bin" },
		"index":   func(p *Plan) { p.Orphans[0].Path = "index.json" },
		"outside": func(p *Plan) { p.Orphans[0].Path = "../publish.yaml" },
		"rules":   func(p *Plan) { p.Rules = []RetentionRule{} },
		"since":   func(p *Plan) { p.Orphans[0].Since = p.Orphans[0].Since.Add(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := pruneWorld(t, "symlink")
			w.cfg = keepLast(1)
			res, err := w.repo().Prune(ctx, PruneOptions{Plan: true})
			must(t, err)
			plan := res.Plan
			forge(&plan)
			plan.PlanHash = plan.hash()
			path := filepath.Join(t.TempDir(), "plan.json")
			must(t, plan.Write(path))
			read, err := ReadPlan(path)
			must(t, err)
			staged, bins := w.staged(), w.bins()
			_, err = w.repo().Prune(ctx, PruneOptions{Apply: read})
			if name == "honest" {
				must(t, err)
				return
			}
			if kindOf(err) != Refused || !slices.Equal(staged, w.staged()) || !slices.Equal(bins, w.bins()) {
				t.Errorf("%v; %v, %v", err, w.staged(), w.bins())
			}
		})
	}
}

func TestPruneCrash(t *testing.T) {
	w := pruneWorld(t, "symlink")
	var steps []string
	w.step = func(name string) error { steps = append(steps, name); return nil }
	must(t, crashVerbs["prune"](w.repo()))
	if want := []string{"after-prune-history", "after-prune-indexes", "after-prune-orphans"}; !slices.Equal(steps,
		want) {
		t.Fatalf("%v", steps)
	}
	for i, name := range steps {
		for _, how := range []string{"kill", "error"} {
			t.Run(name+"-"+how, func(t *testing.T) {
				w := pruneWorld(t, "symlink")
				before := w.served()
				crash(t, w, "prune", i+1, how)
				if diff := cmp.Diff(before, w.served()); diff != "" {
					t.Fatalf("production changed:\n%s", diff)
				}
				w.staged()
				must(t, crashVerbs["prune"](w.repo()))
				if got := w.staged(); !slices.Equal(got, []string{"a/20290103"}) {
					t.Errorf("staged: %v", got)
				}
				if n := len(w.bins()); n != 4 {
					t.Errorf("%d files, not the one that is named and the three that wait", n)
				}
				checkRecovered(t, w)
				w.promote()
				checkRecovered(t, w)
			})
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			sv := &survey{checked: &stage.Checked{Catalog: &catalog.Catalog{}, Report: &stage.Report{}}, now: epoch,
				grace: time.Hour, sure: true, format: listed{},
				rules: []RetentionRule{{Match: "*", KeepLast: 3, KeepDaily: 7, KeepMonthly: 12}}}
			c := sv.checked.Catalog
			for p := range n / 100 {
				for v := range 100 {
					built := epoch.AddDate(0, 0, v-200)
					product, version := fmt.Sprintf("os%04d:1:default:amd64", p), built.Format("20060102_15:04")
					c.Versions = append(c.Versions, catalog.Version{Product: product, Name: version, Time: built,
						Rank: v})
					for _, ending := range []string{"disk.qcow2", "incus.tar.xz", "root.squashfs"} {
						path := fmt.Sprintf("images/%s/%s/%s", product, version, ending)
						c.Items = append(c.Items, catalog.Item{Path: path, Product: product, Version: version,
							Name: ending})
						sv.checked.Rows = append(sv.checked.Rows, tree.Row{Path: path, Size: 1000,
							SHA256: strings.Repeat("0", 64), Role: catalog.Content})
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				p, _ := sv.plan()
				if len(p.Keep)+len(p.Remove) != n || p.BytesAfterGrace != 3000*int64(len(p.Remove)) {
					b.Fatal(len(p.Keep), len(p.Remove), p.BytesAfterGrace)
				}
			}
		})
	}
}

// What goes frees a content once, and only if nothing that stays has it.
func TestPlanCountsContentOnce(t *testing.T) {
	row := func(path, content string) tree.Row {
		return tree.Row{Path: path, Size: int64(len(content)), SHA256: content, Role: catalog.Content}
	}
	rows := []tree.Row{row("a/1", "one"), row("a/2", "three"), row("b/1", "one"), row("b/2", "three"), row("c/1", "one")}
	var items []catalog.Item
	var images []catalog.Image
	for _, r := range rows {
		product := r.Path[:1]
		items = append(items, catalog.Item{Path: r.Path, Product: product, Version: "v"})
		images = append(images, catalog.Image{Product: product, Version: "v", Paths: []string{r.Path}})
	}
	sv := &survey{checked: &stage.Checked{Rows: rows, Catalog: &catalog.Catalog{Items: items, Images: images}}}
	for gone, want := range map[string]int64{"": 0, "a": 0, "ab": 5, "abc": 8} {
		drop := func(n catalog.Name) bool { return strings.Contains(gone, n.Group) }
		if got := sv.only(drop); got != want {
			t.Errorf("%q: %d", gone, got)
		}
		if got := sv.onlyTags(drop); got != want {
			t.Errorf("%q by tags: %d", gone, got)
		}
	}
}
