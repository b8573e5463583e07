package oci

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

// cutTags takes tags out as a prune does, and returns the record for an undo. Files
// that nothing names stay.
func (f *fixture) cutTags(t *testing.T, pattern string) []byte {
	t.Helper()
	drop := func(n catalog.Name) bool { return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(n.Version) }
	record, err := Format{}.Saved(t.Context(), f.source(), drop)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := Format{}.WithoutVersions(t.Context(), f.source(), drop)
	if err != nil {
		t.Fatal(err)
	}
	f.apply(docs)
	return record
}

func (f *fixture) undo(t *testing.T, record []byte) *catalog.Restoration {
	t.Helper()
	back, err := Format{}.Restore(t.Context(), f.source(), record)
	if err != nil {
		t.Fatal(err)
	}
	f.apply(back.Documents)
	return back
}

// canonical writes every index.json in its canonical form.
func (f *fixture) canonical(t *testing.T) {
	for p, file := range f.files {
		if regexp.MustCompile(`(^|/)index\.json$`).MatchString(p) {
			x, err := parseIndex(file.Data)
			if err != nil {
				t.Fatal(err)
			}
			data, err := x.bytes(x.entries)
			if err != nil {
				t.Fatal(err)
			}
			f.write(p, string(data))
		}
	}
}

// What a prune took out comes back as it was: tags, untagged images, referrers, whole
// repositories, the order, and members that nobody knows.
func TestRestore(t *testing.T) {
	f := newFixture()
	one, two, three := f.image(repo, "one"), f.image(repo, "two"), f.image(repo, "three")
	signature := f.image(repo, "signature", "subject", two)
	multi := f.list(repo, f.image(repo, "amd"), f.image(repo, "arm"))
	old := f.list(repo).tag("sha256-" + three.digest()[7:])
	f.layout(repo, two.tag("v2").with("x-unknown", "<kept>"), one.tag("v1"), signature, three.tag("v3"), old,
		one.tag("v1b"), multi.tag("m"), f.image(repo, "untagged"))
	f.layout("quay.io/x", f.image("quay.io/x", "x").tag("v2"))
	f.canonical(t)
	before := maps.Clone(f.files)
	for _, pattern := range []string{"v2", "v1", "v3|m", ".*", "@.*", "v1|v1b"} {
		record := f.cutTags(t, pattern)
		if maps.EqualFunc(f.files, before, sameFile) {
			t.Fatalf("%s: nothing went", pattern)
		}
		back := f.undo(t, record)
		if !maps.EqualFunc(f.files, before, sameFile) {
			t.Errorf("%s: the tree differs: %s", pattern, f.files[repo+"/index.json"].Data)
		}
		if len(back.There) > 0 || len(back.Images) == 0 {
			t.Errorf("%s: there: %v; images: %d", pattern, back.There, len(back.Images))
		}
		again := f.undo(t, record)
		if len(again.Documents) > 0 || len(again.There) != len(again.Images) {
			t.Errorf("%s: a second time: %+v", pattern, again)
		}
	}
}

func TestRestoreBesideOthers(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.image(repo, "one").tag("v1"), f.image(repo, "two").tag("v2"), f.image(repo, "three").tag("v3"))
	record := f.cutTags(t, "v2")
	var doc map[string]json.RawMessage
	_ = json.Unmarshal(f.files[repo+"/index.json"].Data, &doc)
	var list []d
	_ = json.Unmarshal(doc["manifests"], &list)
	f.layout(repo, append([]d{f.image(repo, "four").tag("v4")}, list...)...)
	f.undo(t, record)
	cat, _ := f.read(t)
	equal(t, "names", names(cat), []string{repo + "/v1", repo + "/v2", repo + "/v3", repo + "/v4"})
	if missing := f.missing(cat); len(missing) > 0 {
		t.Error(missing)
	}
}

// missing are the items that have no file.
func (f *fixture) missing(cat *catalog.Catalog) (out []string) {
	for _, i := range cat.Items {
		if f.files[i.Path] == nil {
			out = append(out, i.Path)
		}
	}
	return out
}

func TestRestoreRefuses(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.image(repo, "one").tag("v1"), f.list(repo, f.image(repo, "two")).tag("v2"))
	record := f.cutTags(t, "v.*")
	f.layout(repo, f.image(repo, "other").tag("v2"))
	_, err := Format{}.Restore(t.Context(), f.source(), record)
	moved := new(catalog.MovedError)
	if !errors.As(err, &moved) || moved.Name.Version != "v2" || moved.Now != f.image(repo, "other").digest() {
		t.Errorf("a tag that moved: %v", err)
	}
	delete(f.files, repo+"/index.json")
	for _, p := range slices.Sorted(maps.Keys(f.files)) { // any file that is gone is missed
		if _, blob := digestAt(p[min(len(p), len(repo)+1):]); !blob || f.files[p].Data[0] != '{' {
			continue
		}
		file := f.files[p]
		delete(f.files, p)
		_, err := Format{}.Restore(t.Context(), f.source(), record)
		other := blobPath(repo, catalog.Digest{Algorithm: catalog.SHA256, Hex: f.image(repo, "other").digest()[7:]})
		if needed := p != other && !regexp.MustCompile(`other`).Match(file.Data); needed && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is gone: %v", p, err)
		}
		f.files[p] = file
	}
	if _, err := (Format{}).Restore(t.Context(), f.source(), []byte("{")); err == nil {
		t.Error("half a record was restored")
	}
}

func sameFile(a, b *fstest.MapFile) bool { return string(a.Data) == string(b.Data) }
