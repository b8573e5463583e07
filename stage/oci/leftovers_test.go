package oci

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// A repository may have any name that a client may use: what stands in it is read, or it is
// an error. Nothing of it is published unread.
func TestRepositoriesCalledAsLeftovers(t *testing.T) {
	f := newFixture()
	good := []string{"acme/ingest", "acme/ingest/app", "ingest/x", "acme/tmp", "acme/uploads", "acme/index.json.d",
		strings.TrimSuffix(strings.Repeat("a/", 128), "/")}
	for _, name := range good {
		f.layout(name, f.image(name, "x").tag("v1"))
	}
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	var got, items []string
	for _, i := range cat.Images {
		got = append(got, i.Product)
	}
	for _, i := range cat.Items {
		items = append(items, i.Path)
	}
	slices.Sort(good)
	slices.Sort(got)
	equal(t, "repositories", got, good)
	for p := range f.files {
		if class := (Format{}).Class(p); class == catalog.ItemLike && !slices.Contains(items, p) {
			t.Errorf("%s is no item", p)
		}
	}
	deep := strings.Repeat("a/", 200) + "a"
	f.layout(deep, f.image(deep, "x").tag("v1"))
	equal(t, "a long name", f.codes(t, Format{}), []string{"error bad-repository"})
	for _, name := range []string{"acme/oci-put-blob1", "acme/oci-put-blob/x"} {
		if _, err := ParseReference(name + ":v1"); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Annotations are read in time that grows as they do.
func TestManyAnnotations(t *testing.T) {
	notes := d{}
	for n := range 100_000 {
		notes[fmt.Sprint("key ", n)] = "a short text"
	}
	f := newFixture()
	f.layout(repo, f.image(repo, "x").with("annotations", notes))
	x, err := parseEntries([]byte(f.files[path.Join(repo, indexName)].Data))
	if err != nil || len(x.entries) != 1 || len(x.entries[0].Annotations) != len(notes) {
		t.Fatal(err)
	}
}
