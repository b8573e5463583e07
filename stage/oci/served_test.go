package oci

import (
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

func (f *fixture) layoutAt(t *testing.T, repository string) *layout {
	t.Helper()
	l, err := readSound(t.Context(), f.source(), repository)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What is served names the children and what is held, in the end; what is read of
// it is the tree's own again, byte for byte.
func TestServed(t *testing.T) {
	f, before := newFixture(), newFixture()
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	multi := f.list(repo, arm, amd)
	f.layout(repo, multi.tag("v1"), arm.tag("arm"))
	old := before.image(repo, "old")
	before.layout(repo, old.tag("v1"), before.image(repo, "arm").tag("arm"))

	l := f.layoutAt(t, repo)
	own, err := l.index.bytes(l.index.entries)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	held := before.layoutAt(t, repo).lost(l, until)
	if len(held) != 1 || held[0].Digest.String() != old.digest() {
		t.Fatalf("held are %v, want %s", held, old.digest())
	}
	served, err := l.served(held)
	if err != nil {
		t.Fatal(err)
	}
	text := string(served)
	if at := strings.Index(text, old.digest()); at < strings.Index(text, amd.digest()) ||
		!strings.Contains(text[at:], `"com.example.publish.held-until":"2030-01-02T03:04:05Z"`) {
		t.Errorf("what is held does not stand last, or without its end: %s", text)
	}
	if strings.Count(text, arm.digest()) != 1 {
		t.Errorf("an entry stands there twice: %s", text)
	}
	f.write(repo+"/index.json", text)
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/arm", repo + "/v1"})
	l = f.layoutAt(t, repo)
	again, err := l.index.bytes(l.index.entries)
	if err != nil || string(again) != string(own) {
		t.Errorf("%s, want %s", again, own)
	}
	shorter, err := l.served(nil)
	if err != nil || strings.Contains(string(shorter), old.digest()) ||
		!strings.Contains(string(shorter), amd.digest()) {
		t.Errorf("what is held does not go alone: %s", shorter)
	}
}

// Two windows of one digest: the later end counts. An own entry is not held.
func TestServedHeldTwice(t *testing.T) {
	f := newFixture()
	one := f.image(repo, "one")
	f.layout(repo, one.tag("v1"))
	l := f.layoutAt(t, repo)
	lost := Held{
		Digest:    catalog.Digest{Algorithm: "sha256", Hex: strings.Repeat("0", 64)},
		MediaType: ociManifest,
		Size:      1,
		Until:     time.Unix(100, 0),
	}
	later, own := lost, lost
	later.Until, own.Digest = time.Unix(200, 0), l.entries[0].digest
	served, err := l.served([]Held{lost, later, own})
	if err != nil {
		t.Fatal(err)
	}
	if s := string(served); strings.Count(s, "held-until") != 1 || !strings.Contains(s, "1970-01-01T00:03:20Z") {
		t.Errorf("%s", s)
	}
}
