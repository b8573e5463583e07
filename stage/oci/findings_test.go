package oci

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// codes are the findings of the fixture, without their messages.
func (f *fixture) codes(t *testing.T, format Format) (out []string) {
	t.Helper()
	cat, err := format.Read(t.Context(), f.source())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range cat.Findings {
		out = append(out, string(x.Severity)+" "+x.Code)
	}
	return out
}

// With sparse_indexes any index may list what is not here.
func TestSparse(t *testing.T) {
	f := newFixture()
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	f.layout(repo, f.list(repo, arm, amd).tag("v1"))
	delete(f.files, path.Join(repo, "blobs/sha256", arm.digest()[7:]))
	equal(t, "strict", f.codes(t, Format{}), []string{"error partial-index"})
	equal(t, "sparse", f.codes(t, Format{Sparse: true}), []string{"warning partial-index"})

	// The same for what is added.
	opt := catalog.Addition{Name: "acme/other:v1"}
	if _, err := (Format{}).Gather(t.Context(), []catalog.Input{f.input(repo)}, sink{}, opt); err == nil {
		t.Error("a partial layout is added")
	}
	if _, err := (Format{Sparse: true}).Gather(t.Context(), []catalog.Input{f.input(repo)}, sink{}, opt); err != nil {
		t.Error(err)
	}
}

// A tag whose record has another digest than its entry was moved by hand.
func TestPinnedDigest(t *testing.T) {
	f := newFixture()
	x, other := f.image(repo, "x"), f.image(repo, "other")
	notes := d{refName: "v1", imageName: repo + ":v1", requestedNote: "acme/app:v1@" + x.digest(), pinnedNote: x.digest()}
	f.layout(repo, x.with("annotations", notes))
	equal(t, "the pinned one", f.codes(t, Format{}), nil)
	f.layout(repo, other.with("annotations", notes))
	equal(t, "another one", f.codes(t, Format{}), []string{"error pinned-digest"})
	notes[refName] = "v2" // as a tool that tags leaves it
	f.layout(repo, other.with("annotations", notes))
	equal(t, "a copy of the annotations", f.codes(t, Format{}), []string{"warning identity-stale"})
}

// An index.json that ends before its time is one that somebody may be writing.
func TestHalfIndex(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.image(repo, `a"}{`).tag("v1"))
	at := path.Join(repo, indexName)
	whole := string(f.files[at].Data)
	for n := range len(whole) {
		f.write(at, whole[:n])
		cat, err := Format{}.Read(t.Context(), f.source())
		if err != nil || !slices.Equal(cat.Half, []string{at}) {
			t.Fatalf("%q: %v %v", whole[:n], cat.Half, err)
		}
		_, err = Format{}.Without(t.Context(), f.source(), func(catalog.Image) bool { return true })
		if !errors.As(err, new(*catalog.HalfError)) || !errors.As(err, new(*catalog.DocumentError)) {
			t.Fatalf("%q: %v", whole[:n], err)
		}
	}
	for _, bad := range []string{whole, whole + "\n", `{"schemaVersion":1}`, "[]", strings.Replace(whole, ":", "", 1)} {
		f.write(at, bad)
		if cat, err := (Format{}).Read(t.Context(), f.source()); err != nil || len(cat.Half) > 0 {
			t.Errorf("%q counts as half: %v", bad, err)
		}
	}
}
