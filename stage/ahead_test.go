package stage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// repository is a layout with one manifest and one layer.
func repository(dir, layer string) []string {
	manifest := sum([]byte(layer))
	return []string{dir + "/index", sum([]byte(manifest)), dir + "/blobs/" + sum([]byte(manifest)), manifest,
		dir + "/blobs/" + manifest, layer}
}

// Documents that come while the first ones are read belong to the tree, with all that
// they name. Those that are reached through links do not.
func TestSnapshotReadsLaterDocuments(t *testing.T) {
	s := newStage(t)
	s.Format = layouts{}
	put(t, s, repository("a", "one")...)
	put(t, s, repository("elsewhere/c", "three")...)
	must(t, os.Symlink("elsewhere", filepath.Join(s.Dir, "link")))
	came := false
	s.Progress = func(step string, bytes int64) func(int64) {
		if step == "copy" && bytes > 0 && !came {
			came = true
			put(t, s, repository("b", "two")...)
		}
		return nil
	}
	snap := snapshot(t, s, &Base{})
	if _, r := validate(t, snap); len(found(r, "link")) == 0 && len(r.Errors()) == 0 {
		t.Errorf("%+v", r.Findings)
	}
	if !came {
		t.Fatal("nothing was copied")
	}
	rows := tree.NewRows(snap.Rows())
	for _, dir := range []string{"a", "b", "elsewhere/c"} {
		if _, there := rows.Get(dir + "/index"); !there {
			t.Errorf("%s is not there", dir)
		}
	}
	items := map[string]bool{}
	for _, i := range snap.cat.Items {
		items[i.Product] = true
	}
	if !items["a"] || !items["b"] || !items["elsewhere/c"] || len(items) != 3 {
		t.Errorf("items of %v", items)
	}
}

// A document that is replaced by a link, or by a folder, after it was named is not read
// ahead.
func TestAheadPlainFiles(t *testing.T) {
	s := newStage(t)
	put(t, s, "d/plain", "x", "d/other", "x")
	must(t, os.Symlink("plain", filepath.Join(s.Dir, "d/link")))
	must(t, os.Symlink("d", filepath.Join(s.Dir, "l")))
	src, err := tree.OpenSource(s.Dir)
	must(t, err)
	defer src.Close()
	c := &copier{s: s, src: src, now: time.Now()}
	got := c.plainFiles([]string{"d/plain", "d/link", "l/plain", "d", "d/none", "none/x"})
	if len(got) != 1 || got[0].Path != "d/plain" || got[0].Kind != tree.File || got[0].Stat.Size != 1 {
		t.Errorf("%+v", got)
	}
}

// What is wrong with a document is reported once.
func TestAheadReportsNothing(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "alpha", ""))
	must(t, os.Chmod(filepath.Join(s.Dir, "streams/v1"), 0o755))
	put(t, s, "streams/v1/index.json", "{")
	snap := snapshot(t, s, &Base{})
	_, r := validate(t, snap)
	if n := len(found(r, "bad-json")); n != 1 {
		t.Errorf("%d: %+v", n, r.Findings)
	}
	for _, f := range r.Findings {
		if f.Severity == catalog.Error && f.Code != "bad-json" {
			t.Errorf("%+v", f)
		}
	}
}
