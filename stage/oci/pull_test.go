package oci

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// What a served document says: tags of the tree itself, and all that clients may ask for.
func TestRepository(t *testing.T) {
	f := newFixture()
	arm, amd, old := f.image(repo, "arm"), f.image(repo, "amd"), f.image(repo, "old")
	multi := f.list(repo, arm, amd)
	large := multi.with("size", maxManifest+1, "digest", "sha256:"+strings.Repeat("a", 64))
	f.layout(repo, multi.tag("v1"), multi.tag("again"), arm.tag("v1"), amd.tag("B"), old.tag("not a tag"),
		large.tag("large"), d{"digest": "sha256:x", "mediaType": ociManifest, "size": 1}, old.tag("repo/name:full"))
	doc := repo + "/index.json"
	held := naming(t, []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+ociManifest+`","size":5,"digest":"sha512:`+
		strings.Repeat("b", 128)+`"}]}`), "sha512:"+strings.Repeat("b", 128))
	held.Kind, held.Until = catalog.NamedHeld, time.Unix(2e9, 0).UTC()
	data := Format{}.Hold(f.files[doc].Data, []catalog.Naming{held})
	r, err := Format{}.Repository(doc, data)
	if err != nil {
		t.Fatal(err)
	}
	var tags, codes []string
	for _, tag := range r.Tags {
		tags = append(tags, tag.Name+" "+tag.Digest.String())
	}
	for _, finding := range r.Findings {
		codes = append(codes, finding.Code)
	}
	if r.Name != repo {
		t.Errorf("its name is %s", r.Name)
	}
	equal(t, "tags", tags, []string{"B " + amd.digest(), "again " + multi.digest(), "full " + old.digest(),
		"large " + large.digest(), "v1 " + multi.digest()})
	equal(t, "findings", codes, []string{"duplicate-tag", "bad-tag", "too-large", "bad-digest"})
	if fmt.Sprint(r.Named) != fmt.Sprint(Format{}.Names(doc, data)) || !slices.Contains(r.Named, held) {
		t.Errorf("it names %v", r.Named)
	}
	if at := (Format{}).BlobAt(doc, held.Digest); at != held.Path {
		t.Errorf("%s lies at %s, want %s", held.Digest, at, held.Path)
	}
}

func TestNoRepository(t *testing.T) {
	for p, data := range map[string]string{
		"a/index.json":  `{"schemaVersion":2,"manifests":null}`,
		"b/index.json":  `{"schemaVersion":1,"manifests":[]}`,
		"c/index.json":  `null`,
		"d/index.json":  `{"schemaVersion":2,"manifests":[`,
		"index.json":    `{"schemaVersion":2,"manifests":[]}`,
		"UP/index.json": `{"schemaVersion":2,"manifests":[]}`,
		"e/index.json":  `{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 5000) + `{}]}`,
	} {
		if r, err := (Format{}).Repository(p, []byte(data)); err == nil {
			t.Errorf("%s: %+v", p, r)
		}
	}
}

func TestManifest(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	descriptor := `{"mediaType":"application/c","digest":"` + sum + `","size":2}`
	image := `"config":` + descriptor + `,"layers":[]`
	for _, c := range []struct{ data, want string }{ // type, subject, artifact type
		{image, ociManifest + "  application/c"},
		{image + `,"mediaType":"` + dockerManifest + `"`, dockerManifest + "  application/c"},
		{image + `,"artifactType":"x","subject":` + descriptor, ociManifest + " " + sum + " x"},
		{image + `,"subject":{"digest":"x"}`, ociManifest + "  application/c"},
		{image + `,"manifests":null`, ociManifest + "  application/c"},
		{`"manifests":[]`, ociIndex + "  "},
		{`"manifests":[],"mediaType":"` + dockerList + `"`, dockerList + "  "},
		{`"manifests":[],"artifactType":"x","subject":` + descriptor, ociIndex + " " + sum + " x"},
		{`"manifests":[],` + image, "both"},
		{`"manifests":[],"layers":[],"mediaType":"` + ociIndex + `"`, "both"},
		{`"Manifests":[],` + image, "both"},
		{`"manifests":[],"mediaType":"` + ociManifest + `"`, "both"},
		{image + `,"mediaType":"` + ociIndex + `"`, "both"},
		{`"layers":[]`, "none"}, {`"config":` + descriptor, "none"}, {`"manifests":null`, "none"}, {`"manifests":{}`, "none"},
		{`"a":[` + strings.Repeat("{},", 5000) + `{}],` + image, "none"},
	} {
		m, err := Format{}.Manifest([]byte(`{"schemaVersion":2,` + c.data + `}`))
		got := "both"
		switch {
		case errors.Is(err, catalog.ErrNoManifest):
			got = "none"
		case err == nil:
			got = m.MediaType + " " + m.Subject.String() + " " + m.ArtifactType
		}
		if got != c.want {
			t.Errorf("%.200s: %s, want %s", c.data, got, c.want)
		}
	}
	for _, data := range []string{"", "null", "[]", "{}", `{` + image + `}`, `{"schemaVersion":1,` + image + `}`, "\x00"} {
		if m, err := (Format{}).Manifest([]byte(data)); !errors.Is(err, catalog.ErrNoManifest) {
			t.Errorf("%s: %v, %v", data, m, err)
		}
	}
}

func TestMeant(t *testing.T) {
	for _, c := range []struct{ name, registry, namespace, want string }{
		{"a/b", "", "", "a/b"},
		{"a/b", "", "docker.io", "a/b docker.io/a/b"},
		{"alpine", "", "docker.io", "alpine docker.io/alpine docker.io/library/alpine"},
		{"a", "DOCKER.io", "ghcr.io", "docker.io/a docker.io/library/a a ghcr.io/a"},
		{"a", "Host:5000", "", "host_5000/a a"},
		{"host:5000/a", "", "", "host_5000/a"},
	} {
		equal(t, c.name+" "+c.registry, Format{}.Meant(c.name, c.registry, c.namespace), strings.Fields(c.want))
	}
}

func FuzzManifest(f *testing.F) {
	for _, text := range []string{`{"schemaVersion":2,"manifests":[]}`, `{"schemaVersion":2,"config":{},"layers":[]}`,
		`{"schemaVersion":2,"manifests":[],"layers":[]}`, `{"schemaVersion":2,"manifests":null}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Format{}.Manifest(data)
		if (m == nil) != (err != nil) || m != nil && m.MediaType == "" {
			t.Errorf("%+v, %v", m, err)
		}
		if r, err := (Format{}).Repository("a/index.json", data); (r == nil) != (err != nil) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
