package oci

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

func TestContentKeys(t *testing.T) {
	want := []string{"v2/docker.io/a/b/blobs/sha256:ab", "v2/docker.io/a/b/manifests/sha256:ab"}
	if got := (Format{}).ContentKeys("docker.io/a/b/blobs/sha256/ab"); !slices.Equal(got, want) {
		t.Error(got)
	}
}

// What documents name is placed, each under the names by which clients ask: not what they
// hold for clients of earlier trees, and nothing of documents that are only carried.
func TestPlace(t *testing.T) {
	f := newFixture()
	one, two := f.image("acme/app", "one"), f.image("acme/app", "two")
	f.layout("acme/app", one.tag("v1"), one.tag("latest"), two)
	f.layout("acme/gone", f.image("acme/gone", "x").tag("v1"))
	held := catalog.Naming{Digest: catalog.Digest{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, MediaType: ociManifest,
		Size: 1, Kind: catalog.NamedHeld, Until: time.Unix(1, 0)}
	document := "acme/app/index.json"
	src := f.source()
	data, err := src.Document(document)
	if err != nil {
		t.Fatal(err)
	}
	f.write(document, string(Format{}.Hold(data, []catalog.Naming{held})))
	p, err := (Format{}).Place(t.Context(), f.source(), func(path string) bool { return !strings.HasPrefix(path, "acme/gone/") })
	if err != nil || len(p.Findings) > 0 || p.Pointer != nil {
		t.Fatal(p, err)
	}
	var got []string
	for _, o := range slices.Concat(p.Objects, p.Beside) {
		got = append(got, o.Key+" "+o.Type+" "+string(o.Data))
	}
	list := []string{one.digest(), two.digest()}
	slices.Sort(list)
	want := []string{"v2/acme/app/manifests/" + list[0] + " " + ociManifest + " ", "v2/acme/app/manifests/" + list[1] + " " +
		ociManifest + " ", "v2/acme/app/manifests/latest " + ociManifest + " ", "v2/acme/app/manifests/v1 " + ociManifest + " ",
		`v2/acme/app/tags/list application/json {"name":"acme/app","tags":["latest","v1"]}` + "\n"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// A media type becomes a header of an answer.
func TestContentType(t *testing.T) {
	for in, want := range map[string]string{ociIndex: ociIndex, "a/b\r\nx: y": "application/octet-stream",
		"": "application/octet-stream", "text/plain; charset=utf-8": "application/octet-stream",
		"application/" + strings.Repeat("x", 200): "application/octet-stream"} {
		if got := contentType(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
