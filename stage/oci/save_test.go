package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// member is one of a tar archive in a test.
type member struct{ name, link, data string }

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range members {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.data)), Mode: 0o644}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

const oneSaved = `[{"Config":"c1.json","RepoTags":["acme/app:v1","ghcr.io/x/y:2"],` +
	`"Layers":["a/layer.tar","b/layer.tar"]}]`

// What older engines write: layers in folders, one of them a link to another's, and
// two names for one image.
func TestDockerSave(t *testing.T) {
	data := tarOf(t, member{name: "a/layer.tar", data: "layer a"}, member{name: "a/json", data: "{}"},
		member{name: "c1.json", data: `{"os":"linux","architecture":"amd64"` + noLayers}, member{name: "b/layer.tar", link: "../a/layer.tar"},
		member{name: "manifest.json", data: oneSaved}, member{name: "repositories", data: "{}"})
	f := newFixture()
	change, err := f.add(t, archive(data), "")
	if err != nil || len(change.Images) != 2 || len(change.Findings) != 1 {
		t.Fatalf("%+v %v", change, err)
	}
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/v1", "ghcr.io/x/y/2"})
	if a, b := cat.Images[0].Fingerprint, cat.Images[1].Fingerprint; a != b {
		t.Errorf("one image has the digests %s and %s", a, b)
	}
	if n := len(cat.Items); n != 6 {
		t.Errorf("%d items, want manifest, config and one layer in each repository", n)
	}
	if change, err := newFixture().add(t, archive(data), "acme/other:1"); err != nil || len(change.Images) != 1 {
		t.Errorf("with one name for it: %+v %v", change, err)
	}
	before := string(f.files[repo+"/index.json"].Data)
	if change, err = f.add(t, archive(data), ""); err != nil || len(change.Documents) > 0 {
		t.Errorf("a second time: %v\n%s\n%s", err, before, f.files[repo+"/index.json"].Data)
	}
}

// An index.json that leads to the images of manifest.json counts; one that lists
// none, or lacks a layer, does not.
func TestDockerSaveWithIndex(t *testing.T) {
	from := newFixture()
	config := from.blob("l", ociConfig, `{"os":"linux","architecture":"amd64"`+noLayers)
	layer := from.blob("l", "application/vnd.oci.image.layer.v1.tar", "layer")
	m := func(layers ...d) d {
		return from.json("l", ociManifest,
			d{"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": layers})
	}
	whole := m(layer)
	named := func(x d) d { return x.with("annotations", d{imageName: repo + ":v1"}) }
	at := func(x d) string { return "blobs/sha256/" + x.digest()[7:] }
	list := fmt.Sprintf(`[{"Config":%q,"RepoTags":["acme/app:v1"],"Layers":[%q]}]`, at(config), at(layer))
	for name, c := range map[string]struct {
		entries []d
		digest  string // "" for one that is made
	}{
		"right":         {[]d{named(whole)}, whole.digest()},
		"no entries":    {nil, ""},
		"no layers":     {[]d{named(m())}, ""},
		"a wrong size":  {[]d{named(m(layer.with("size", 7)))}, ""},
		"another image": {[]d{named(from.image("l", "other"))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			from.layout("l", c.entries...)
			from.write("l/manifest.json", list)
			f := newFixture()
			change, err := f.add(t, archive(from.tar(t, "l")), "")
			if err != nil {
				t.Fatal(err)
			}
			cat, findings := f.read(t)
			equal(t, "findings", findings, nil)
			equal(t, "images", names(cat), []string{repo + "/v1"})
			if c.digest != "" && (cat.Images[0].Fingerprint != c.digest || len(change.Findings) != 0) {
				t.Errorf("%s, want %s: %v", cat.Images[0].Fingerprint, c.digest, change.Findings)
			}
			if c.digest == "" && (len(change.Findings) != 2 || change.Findings[0].Code != "archive-index-ignored" ||
				change.Findings[1].Code != "made-manifest") {
				t.Errorf("%v", change.Findings)
			}
			if n := len(cat.Items); n != 3 {
				t.Errorf("%d items, want 3", n)
			}
		})
	}
}

func TestDockerSaveRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"no image":  {[]member{{name: "manifest.json", data: "[]"}}, "lists no image"},
		"no config": {[]member{{name: "manifest.json", data: oneSaved}}, "does not exist"},
		"a link outside": {[]member{{name: "manifest.json", data: oneSaved}, {name: "c1.json", data: "{}"},
			{name: "a/layer.tar", link: "../../etc/passwd"}}, "does not exist"},
		"a ring of links": {[]member{{name: "manifest.json", data: oneSaved}, {name: "c1.json", data: "{}"},
			{name: "a/layer.tar", link: "../b/layer.tar"}, {name: "b/layer.tar", link: "../a/layer.tar"}}, "does not exist"},
		"null":         {[]member{{name: "manifest.json", data: "null"}}, "lists no image"},
		"no JSON":      {[]member{{name: "manifest.json", data: "{"}}, "manifest.json"},
		"twice":        {[]member{{name: "manifest.json", data: "[]"}, {name: "./manifest.json", data: "[]"}}, "twice"},
		"a wrong blob": {[]member{{name: "blobs/sha256/" + strings.Repeat("0", 64), data: "x"}}, "digest"},
	} {
		f := newFixture()
		if _, err := f.add(t, archive(tarOf(t, c.members...)), "a:1"); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
