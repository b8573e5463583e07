package publish

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

// imageWorld is a repository of layouts. Its tags v1 to v3 were seen one after another.
func imageWorld(t *testing.T, rules ...TagRule) *world {
	w := newWorld(t, "symlink")
	w.format = oci.Format{}
	w.now = time.Now().Add(time.Hour)
	w.cfg = func(c *Config) { c.Tags, c.OrphanGrace = rules, Duration(time.Hour) }
	for i := range 3 {
		w.images("acme/app", fmt.Sprint("v", i+1))
		if _, err := w.repo().Prune(ctx, PruneOptions{Plan: true}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(2 * time.Hour)
	}
	return w
}

// images adds tags to a repository, each with a config and a layer of its own.
func (w *world) images(repository string, tags ...string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "staging", filepath.FromSlash(repository))
	blob := func(mediaType, data string) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		must(w.t, os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
		must(w.t, os.WriteFile(filepath.Join(dir, "blobs/sha256", sum), []byte(data), 0o644))
		return map[string]any{"mediaType": "application/vnd.oci.image." + mediaType, "digest": "sha256:" + sum,
			"size": len(data)}
	}
	marshal := func(v any) string {
		data, err := json.Marshal(v)
		must(w.t, err)
		return string(data)
	}
	var index struct {
		Manifests     []json.RawMessage `json:"manifests"`
		SchemaVersion int               `json:"schemaVersion"`
	}
	if data, err := os.ReadFile(filepath.Join(dir, "index.json")); err == nil {
		must(w.t, json.Unmarshal(data, &index))
	}
	index.SchemaVersion = 2
	for _, tag := range tags {
		m := blob("manifest.v1+json", marshal(map[string]any{"schemaVersion": 2,
			"config": blob("config.v1+json", `{"os":"linux","architecture":"amd64","x":"`+tag+
				`","rootfs":{"type":"layers","diff_ids":["sha256:0"]}}`),
			"layers": []any{blob("layer.v1.tar", "layer of "+tag)}}))
		m["annotations"] = map[string]string{"org.opencontainers.image.ref.name": tag}
		index.Manifests = append(index.Manifests, json.RawMessage(marshal(m)))
	}
	must(w.t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(marshal(index)), 0o644))
	must(w.t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// blobs are the names of all blobs.
func (w *world) blobs() (out []string) {
	found, err := filepath.Glob(filepath.Join(w.dir, "staging/acme/app/blobs/sha256/*"))
	must(w.t, err)
	for _, p := range found {
		out = append(out, filepath.Base(p))
	}
	return out
}

// layerOf is the path of the layer of a tag.
func (w *world) layerOf(tag string) string {
	return filepath.Join(w.dir, "staging/acme/app/blobs/sha256", fmt.Sprintf("%x", sha256.Sum256([]byte("layer of "+tag))))
}

// A plan from names is the plan from a look at each file.
func TestPlanOutlined(t *testing.T) {
	w := imageWorld(t, TagRule{Repository: "**", Tag: "v.*", KeepLast: 1})
	w.images("acme/two", "v1", "other")
	must(t, os.Remove(w.layerOf("v3"))) // an incomplete tag takes no place
	must(t, os.WriteFile(w.layerOf("never"), []byte("orphan"), 0o644))
	must(t, os.WriteFile(filepath.Join(w.dir, "uses"), []byte("acme/two:v1\n"), 0o644))
	rules := w.cfg
	w.cfg = func(c *Config) { rules(c); c.InUse = []Inventory{{File: "uses"}} }
	r := w.repo()
	s, err := r.load(ctx)
	must(t, err)
	checked, err := r.Stage.Look(ctx)
	must(t, err)
	_, want, err := r.planPrune(ctx, s, checked, nil, tree.ReadCache)
	must(t, err)
	sv, err := r.outlined(ctx, s, true)
	must(t, err)
	if sv == nil {
		t.Fatal("staging is not in the usual form")
	}
	if diff := cmp.Diff(want, r.planned(s, sv)); diff != "" {
		t.Error(diff)
	}
	if len(want.Remove) != 1 || len(want.Waiting) != 1 || want.BytesAfterGrace != 0 { // acme/two has the same blobs
		t.Errorf("%+v", want)
	}
	res, err := r.Prune(ctx, PruneOptions{})
	must(t, err)
	if res.Remove[0].Version != "v1" || res.Verified == nil || !*res.Verified {
		t.Errorf("%+v", res)
	}
}

// Blobs go that only a removed tag needed.
func TestPruneOutlined(t *testing.T) {
	w := imageWorld(t)
	all := w.blobs()
	if _, err := w.repo().Remove(ctx, "acme/app:v2"); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{len(all), len(all) - 3, len(all) - 3} { // the first sees the orphans
		if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil || len(w.blobs()) != left {
			t.Errorf("%d blobs, not %d: %v", len(w.blobs()), left, err)
		}
		w.now = w.now.Add(2 * time.Hour)
	}
	if _, err := os.Lstat(w.layerOf("v2")); err == nil {
		t.Error("the layer of the removed tag is there")
	}
	if report, err := w.repo().Validate(ctx, "", false); err != nil || len(report.Errors()) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// Between the plan and the end of a prune others write, or remove files.
func TestPruneOutlinedBesideOthers(t *testing.T) {
	removed := func() *world {
		w := imageWorld(t)
		if _, err := w.repo().Remove(ctx, "acme/app:v2"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(2 * time.Hour)
		return w
	}
	at := func(w *world, do func()) {
		w.step = func(name string) error {
			if name == "after-prune-history" {
				do()
			}
			return nil
		}
	}
	w := removed()
	had := w.blobs()
	at(w, func() { w.images("acme/app", "v2") }) // a builder that finds all blobs there
	if _, err := w.repo().Prune(ctx, PruneOptions{}); err == nil {
		t.Error("a prune goes on although an index has changed")
	}
	w.step = nil
	if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil || !slices.Equal(had, w.blobs()) {
		t.Errorf("blobs that are named again: %v", err)
	}

	w = removed()
	at(w, func() { must(t, os.Remove(w.layerOf("v2"))) })
	if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil || len(w.blobs()) != len(had)-3 {
		t.Errorf("one has vanished: %v", err)
	}

	w = removed()
	at(w, func() { // a file that is another one by now
		must(t, os.Remove(w.layerOf("v2")))
		must(t, os.Mkdir(w.layerOf("v2"), 0o755))
	})
	if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil || len(w.blobs()) != len(had)-2 {
		t.Errorf("one became a folder: %v", err)
	}
}

// What was learned is no more than a help: a record that is cut off or lies spoils no plan.
func TestPruneOutlinedWithBadFacts(t *testing.T) {
	w := imageWorld(t, TagRule{Repository: "**", Tag: ".*", KeepLast: 2})
	facts := filepath.Join(w.dir, ".publish/facts")
	good, err := os.ReadFile(facts)
	must(t, err)
	want, err := w.repo().Prune(ctx, PruneOptions{DryRun: true})
	must(t, err)
	for name, data := range map[string]string{"none": "", "cut off": string(good[:len(good)/2]),
		"other bytes": strings.ToUpper(string(good))} {
		must(t, os.WriteFile(facts, []byte(data), 0o644))
		got, err := w.repo().Prune(ctx, PruneOptions{DryRun: true})
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(want, got))
		}
	}
}

// A promote adds tags that are new, or stand for something else; all others stay as they are.
func TestTagRecordWith(t *testing.T) {
	line := func(name, digest string, at time.Time) tagLine { return tagLine{name, digest, at.Unix()} }
	now := epoch.Add(time.Hour)
	old := func() *tagRecord {
		return &tagRecord{lines: []tagLine{line("a/v1", "1", epoch), line("a/v2", "2", epoch), line("b/v1", "1", epoch)}}
	}
	image := func(product, version, digest string) catalog.Image {
		return catalog.Image{Product: product, Version: version, Fingerprint: digest}
	}
	for _, c := range []struct {
		images []catalog.Image
		want   []tagLine
	}{
		{nil, nil},
		{[]catalog.Image{image("a", "v1", "1"), image("b", "v1", "1")}, nil},
		{[]catalog.Image{image("a", "v2", "3"), image("a", "v3", "1"), image("b", "v1", "1")}, []tagLine{
			line("a/v1", "1", epoch), line("a/v2", "3", now), line("a/v3", "1", now), line("b/v1", "1", epoch)}},
		{[]catalog.Image{image("a", "v2", "3"), image("a", "v2", "2"), image("c", "", "1"), image("c", "", "1")}, []tagLine{
			line("a/v1", "1", epoch), line("a/v2", "2", now), line("b/v1", "1", epoch), line("c", "1", now)}},
	} {
		switch got := old().with(c.images, now); {
		case (got == nil) != (c.want == nil):
			t.Errorf("%v: %v", c.images, got)
		case got != nil && !slices.Equal(got.lines, c.want):
			t.Errorf("%v: %v", c.images, got.lines)
		}
	}
}

// The record of tags answers as a map does, in any order.
func TestTagRecord(t *testing.T) {
	file := tagFile(filepath.Join(t.TempDir(), "tags"))
	seen := firstTagged{}
	for _, name := range []string{"a/v1", "a-b/v1", "a/b/v1", "a/v2", "a", "a.b/@sha256:0"} {
		seen[catalog.ParseName(name)] = tagSighting{epoch.Add(time.Duration(len(seen)) * time.Hour), "sha256:" + name}
	}
	must(t, file.write(seen))
	again, err := file.read()
	must(t, err)
	if diff := cmp.Diff(seen, again, cmp.AllowUnexported(tagSighting{})); diff != "" {
		t.Error(diff)
	}
	record, err := file.record()
	must(t, err)
	for range 3 {
		for name, s := range seen {
			if got := record.since(name, s.digest, epoch.Add(-time.Hour)); !got.Equal(s.since) {
				t.Errorf("%s: %s", name, got)
			}
			if got := record.since(name, "another", epoch); !got.Equal(epoch) {
				t.Errorf("%s: moved, %s", name, got)
			}
		}
	}
	all := func(yield func(n catalog.Name, digest string) bool) {
		for n, s := range seen {
			if !yield(n, s.digest) {
				return
			}
		}
	}
	if record.next(all, epoch) != nil {
		t.Error("the same tags are news")
	}
	delete(seen, slices.Collect(maps.Keys(seen))[0])
	if next := record.next(all, epoch); next == nil || len(next.lines) != len(seen) {
		t.Errorf("%+v", next)
	}
	// A later line counts, a damaged one does not, and a newer one is an error.
	data, err := os.ReadFile(string(file))
	must(t, err)
	must(t, os.WriteFile(string(file), append(slices.Concat([]byte("damaged\n"), data), data...), 0o644))
	if record, err = file.record(); err != nil || len(record.lines) != 6 {
		t.Errorf("%+v, %v", record, err)
	}
	must(t, os.WriteFile(string(file), durable.Line([]byte("x y")), 0o644))
	if _, err = file.record(); err == nil {
		t.Error("a line of a newer version is read")
	}
}
