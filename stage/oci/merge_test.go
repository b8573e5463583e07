package oci

import (
	"slices"
	"strings"
	"testing"
)

// merge brings theirs into f, files too, and returns what no index names any more.
func (f *fixture) merge(t *testing.T, theirs *fixture) (replaced []string, changed bool) {
	t.Helper()
	edit, err := Format{}.Merge(t.Context(), theirs.source())
	if err != nil {
		t.Fatal(err)
	}
	change, err := edit(t.Context(), f.source())
	if err != nil {
		t.Fatal(err)
	}
	for p, file := range theirs.files {
		if strings.Contains(p, "/blobs/") {
			f.files[p] = file
		}
	}
	f.apply(change.Documents)
	return change.Replaced, len(change.Documents) > 0
}

func TestMerge(t *testing.T) {
	ours, theirs := newFixture(), newFixture()
	one, two := ours.image(repo, "one"), ours.image(repo, "two")
	ours.layout(repo, one.tag("v1"), two.tag("latest"), ours.image(repo, "sbom", "subject", two))
	ours.layout("docker.io/acme/only", ours.image("docker.io/acme/only", "x").tag("v1"))
	three := theirs.image(repo, "three")
	theirs.layout(repo, three.tag("latest"), theirs.image(repo, "one").tag("v1"), three.tag("v3"))
	theirs.layout("docker.io/acme/new", theirs.image("docker.io/acme/new", "y").tag("v1"))

	replaced, changed := ours.merge(t, theirs)
	if len(replaced) != 6 || !changed {
		t.Errorf("%d files are not named any more, want those of latest and its sbom: %q", len(replaced), replaced)
	}
	cat, findings := ours.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/latest", repo + "/v1", repo + "/v3", "docker.io/acme/new/v1",
		"docker.io/acme/only/v1"})
	for _, i := range cat.Images {
		if i.Version == "latest" && i.Fingerprint != three.digest() {
			t.Errorf("latest is %s, want theirs", i.Fingerprint)
		}
	}
	if _, changed := ours.merge(t, theirs); changed {
		t.Error("a second merge changes something")
	}
	index := string(ours.files[repo+"/index.json"].Data)
	if strings.Index(index, `"v1"`) > strings.Index(index, `"latest"`) {
		t.Error("what stood there has not kept its order")
	}
}

// There is nothing to merge, or nothing that can be read.
func TestMergeRefuses(t *testing.T) {
	ours, theirs := newFixture(), newFixture()
	ours.layout(repo)
	if _, err := (Format{}).Merge(t.Context(), theirs.source()); err == nil {
		t.Error("an empty tree is merged")
	}
	theirs.layout(repo)
	theirs.write(repo+"/index.json", "{")
	if _, err := (Format{}).Merge(t.Context(), theirs.source()); err == nil {
		t.Error("half an index is merged")
	}
	theirs.layout(repo, theirs.image(repo, "x").tag("v1"))
	edit, err := Format{}.Merge(t.Context(), theirs.source())
	if err != nil {
		t.Fatal(err)
	}
	ours.write(repo+"/index.json", "{")
	if _, err := edit(t.Context(), ours.source()); err == nil {
		t.Error("half an index is rewritten")
	}
}

// What was merged is what a merge into nothing makes.
func TestMergeIntoNothing(t *testing.T) {
	ours, theirs := newFixture(), newFixture()
	theirs.layout(repo, theirs.image(repo, "x").tag("v1"), theirs.image(repo, "y"))
	ours.merge(t, theirs)
	a, _ := ours.read(t)
	b, _ := theirs.read(t)
	if !slices.Equal(names(a), names(b)) {
		t.Errorf("%v, want %v", names(a), names(b))
	}
}
