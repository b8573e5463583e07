package oci

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// What other registries and their cleaners lost, each by the number of its report.

// clean takes out the tags that match and that a rule may decide on, deletes all files
// that nothing names then, and returns what is left, without findings of any kind but
// those that are expected.
func (f *fixture) clean(t *testing.T, pattern string) (left []string) {
	t.Helper()
	cat, _ := f.read(t)
	re := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
	goes := catalog.Names{}
	for _, v := range cat.Versions {
		if v.Exempt == "" && re.MatchString(v.Name) {
			goes[v.Of()] = true
		}
	}
	docs, err := Format{}.WithoutVersions(t.Context(), f.source(), func(n catalog.Name) bool { return goes[n] })
	if err != nil {
		t.Fatal(err)
	}
	f.apply(docs)
	named := map[string]bool{}
	cat, _ = f.read(t)
	for _, i := range cat.Items {
		named[i.Path] = true
	}
	for p := range f.files {
		if (Format{}).Class(p) == catalog.ItemLike && !named[p] {
			delete(f.files, p)
		}
	}
	cat, findings := f.read(t)
	for _, line := range findings {
		if strings.HasPrefix(line, "error ") {
			t.Error(line)
		}
	}
	if missing := f.missing(cat); len(missing) > 0 {
		t.Errorf("named, and gone: %q", missing)
	}
	for _, v := range cat.Versions {
		left = append(left, v.Name)
	}
	return left
}

// has reports whether the blob of a descriptor is there.
func (f *fixture) has(x d) bool { return f.files[repo+"/blobs/sha256/"+x.digest()[7:]] != nil }

// Harbor #8717, #8866: one of two tags on one digest was deleted, and the other went.
func TestCleanTwoTagsHarbor8717(t *testing.T) {
	f := newFixture()
	x := f.image(repo, "x")
	f.layout(repo, x.tag("sha-1"), x.tag("v1"))
	equal(t, "left", f.clean(t, "sha-.*"), []string{"v1"})
}

// Harbor #11273: the children of an index counted as images without a tag, and went.
// oras and zot list children beside their index.
func TestCleanChildrenHarbor11273(t *testing.T) {
	f := newFixture()
	amd, arm := f.image(repo, "amd"), f.image(repo, "arm")
	f.layout(repo, amd, arm, f.list(repo, amd, arm).tag("v1"))
	equal(t, "left", f.clean(t, "@.*"), []string{"v1"})
	if !f.has(amd) || !f.has(arm) {
		t.Error("a child is gone")
	}
}

// gcr-cleaner #130, #143: a child went before its parent, or could not go since the
// parent was there. Parent and children go at once, and a child that another index or
// a tag needs stays.
func TestCleanParentsGCRCleaner130(t *testing.T) {
	f := newFixture()
	shared, tagged, own := f.image(repo, "shared"), f.image(repo, "tagged"), f.image(repo, "own")
	f.layout(repo, shared, own, f.list(repo, shared, tagged, own).tag("sha-1"), f.list(repo, shared).tag("v1"),
		tagged.tag("v2"))
	equal(t, "left", f.clean(t, "sha-.*"), []string{"v1", "v2"})
	if !f.has(shared) || !f.has(tagged) || f.has(own) {
		t.Errorf("shared %v, tagged %v, own %v", f.has(shared), f.has(tagged), f.has(own))
	}
}

// distribution #3004, #3178: garbage collection took the manifests of a list whose
// tag stayed, when the tag of one of them went.
func TestCleanListDistribution3178(t *testing.T) {
	f := newFixture()
	amd, arm := f.image(repo, "amd"), f.image(repo, "arm")
	f.layout(repo, amd.tag("sha-amd64"), arm.tag("sha-arm64"), f.list(repo, amd, arm).tag("v1"))
	equal(t, "left", f.clean(t, "sha-.*"), []string{"v1"})
}

// zot #2624: a tag of an index went, and with it what another index nests.
func TestCleanNestedZot2624(t *testing.T) {
	f := newFixture()
	inner := f.list(repo, f.image(repo, "amd"))
	f.layout(repo, inner.tag("sha-inner"), f.list(repo, inner, f.image(repo, "arm")).tag("v1"))
	equal(t, "left", f.clean(t, "sha-.*"), []string{"v1"})
	if !f.has(inner) {
		t.Error("the inner index is gone")
	}
}

// zot #3347: what Docker's types name was never collected (and umoci deletes it though
// a tag needs it).
func TestCleanDockerTypesZot3347(t *testing.T) {
	f := newFixture()
	docker := func(name string) d {
		return f.json(repo, dockerManifest, d{"schemaVersion": 2, "mediaType": dockerManifest,
			"config": f.blob(repo, dockerConfig, `{"n":"`+name+`"}`),
			"layers": []d{f.blob(repo, "application/vnd.docker.image.rootfs.diff.tar.gzip", name)}})
	}
	list := func(of ...d) d {
		return f.json(repo, dockerList, d{"schemaVersion": 2, "mediaType": dockerList, "manifests": of})
	}
	gone := docker("gone")
	f.layout(repo, list(gone).tag("sha-1"), list(docker("kept")).tag("v1"))
	before := len(f.files)
	equal(t, "left", f.clean(t, "sha-.*"), []string{"v1"})
	if f.has(gone) || len(f.files) != before-4 {
		t.Errorf("of %d files %d are left", before, len(f.files))
	}
}

// quay pull request 6650: tags of signatures matched the pattern, counted as the newest,
// and went. Harbor #10115, #18014: an image went, and its signature stayed, or the
// other way round.
func TestCleanSignaturesQuay6650(t *testing.T) {
	f := newFixture()
	signed, other := f.image(repo, "signed"), f.image(repo, "other")
	tagFor := func(x d, ending string) string { return "sha256-" + x.digest()[7:] + ending }
	f.layout(repo, signed.tag("sha-1"), other.tag("v1"), f.image(repo, "s").tag(tagFor(signed, ".sig")),
		f.image(repo, "a").tag(tagFor(signed, ".att")), f.list(repo, f.image(repo, "r")).tag(tagFor(other, "")),
		f.image(repo, "b").tag(tagFor(other, ".sbom")), f.image(repo, "n", "subject", other))
	cat, _ := f.read(t)
	equal(t, "versions", names(cat), []string{repo + "/sha-1", repo + "/v1"})
	all := len(f.files)
	equal(t, "left", f.clean(t, "sha256-.*"), []string{"sha-1", "v1"})
	if len(f.files) != all {
		t.Error("a pattern took signatures")
	}
	equal(t, "left", f.clean(t, "sha.*"), []string{"v1"})
	if len(f.files) != all-9 { // three manifests, their configs and layers
		t.Errorf("of %d files %d are left", all, len(f.files))
	}
	// One that has lost its image stays: nobody knows where that is.
	f.layout(repo, f.image(repo, "s").tag(tagFor(signed, ".sig")), f.image(repo, "z", "subject", signed))
	if left := f.clean(t, ".*"); len(left) != 2 || slices.Contains(left, "v1") {
		t.Errorf("left: %q", left)
	}
}

// kube-image-keeper #540, #567: an image in use was deleted, since what a node prints
// is the digest of a platform, or of a config. Images tell all digests by which they
// may be meant; a layer's is none.
func TestDigestsKubeImageKeeper540(t *testing.T) {
	f := newFixture()
	amd, arm := f.image(repo, "amd"), f.image(repo, "arm")
	multi := f.list(repo, amd, arm)
	f.layout(repo, multi.tag("v1"), f.image(repo, "signature", "subject", amd))
	cat, _ := f.read(t)
	want := []string{multi.digest(), amd.digest(), arm.digest(), f.config(repo, "amd").digest(),
		f.config(repo, "arm").digest()}
	got := slices.Clone(cat.Images[0].Digests)
	slices.Sort(want)
	slices.Sort(got)
	equal(t, "digests", got, want)
}
