package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.com/publish/stage/catalog"
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

// configOf is a config of an image with these layers, which are not packed.
func configOf(layers ...string) string {
	list := []string{}
	for _, data := range layers {
		list = append(list, fmt.Sprintf(`"sha256:%x"`, sha256.Sum256([]byte(data))))
	}
	return `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[` + strings.Join(list, ",") + `]}}`
}

// What older engines write: layers in folders, one of them a link to another's, and
// two names for one image.
func TestDockerSave(t *testing.T) {
	data := tarOf(t, member{name: "a/layer.tar", data: "layer a"}, member{name: "a/json", data: "{}"},
		member{name: "c1.json", data: configOf("layer a", "layer a")}, member{name: "b/layer.tar", link: "../a/layer.tar"},
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
	config := from.blob("l", ociConfig, configOf("layer"))
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

// What does not come is not told of.
func TestDockerSaveOnly(t *testing.T) {
	data := tarOf(t, member{name: "a", data: "layer a"}, member{name: "b", data: "layer b"},
		member{name: "c1", data: configOf("layer a")}, member{name: "c2", data: configOf("layer b")},
		member{name: "manifest.json", data: `[{"Config":"c1","RepoTags":["acme/app:1","acme/app:3"],"Layers":["a"]},` +
			`{"Config":"c2","RepoTags":["acme/app:2"],"Layers":["b"]}]`})
	for _, c := range []struct {
		only []string
		want int
	}{{nil, 2}, {[]string{"2"}, 1}, {[]string{"1", "3"}, 1}} {
		opt := catalog.Addition{Only: c.only}
		edit, err := Format{}.Gather(t.Context(), []catalog.Input{archive(data)}, sink{}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if change, err := edit(t.Context(), newFixture().source()); err != nil || len(change.Findings) != c.want {
			t.Errorf("of %v: %+v %v", c.only, change, err)
		}
	}
}

func TestDockerSaveRefuses(t *testing.T) {
	twoLayers := configOf("a", "b")
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"no image":  {[]member{{name: "manifest.json", data: "[]"}}, "lists no image"},
		"no config": {[]member{{name: "manifest.json", data: oneSaved}}, "does not exist"},
		"a link outside": {[]member{{name: "manifest.json", data: oneSaved}, {name: "c1.json", data: twoLayers},
			{name: "a/layer.tar", link: "../../etc/passwd"}}, "does not exist"},
		"a ring of links": {[]member{{name: "manifest.json", data: oneSaved}, {name: "c1.json", data: twoLayers},
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

// A blob of an OCI archive may be a link to another file of it, which has to have its bytes.
func TestLinkedBlobs(t *testing.T) {
	from := newFixture()
	m := from.image("l", "x")
	from.layout("l", m.tag("v1"))
	at := "blobs/sha256/" + m.digest()[7:]
	data := string(from.files["l/"+at].Data)
	delete(from.files, "l/"+at)
	body := from.tar(t, "l")
	for name, c := range map[string]struct {
		link, file string
		good       bool
	}{
		"by name":     {"../../x", data, true},
		"other bytes": {"../../x", data + " ", false},
		"to itself":   {m.digest()[7:], data, false},
		"outside":     {"/etc/passwd", data, false}, "to nothing": {"y", data, false},
	} {
		f := newFixture()
		head := tarOf(t, member{name: at, link: c.link}, member{name: "x", data: c.file})
		_, err := f.add(t, archive(append(head[:len(head)-1024], body...)), "a:1")
		if (err == nil) != c.good || !c.good && !errors.As(err, new(*catalog.InputError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Engines refuse an archive whose layers are not those that its config names: so such a one
// is not staged.
func TestDockerSaveComparesWithConfig(t *testing.T) {
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	if _, err := z.Write([]byte("layer b")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	both := configOf("layer a", "layer b")
	named := fmt.Sprintf("%x.json", sha256.Sum256([]byte(both)))
	blob := fmt.Sprintf("blobs/sha256/%x", sha256.Sum256([]byte(both)))
	for name, c := range map[string]struct {
		name, config, layers string
		a, b                 string
		want                 string // "": it is taken
	}{
		"whole":            {named, both, `"a","b"`, "layer a", "layer b", ""},
		"another name":     {"c", both, `"a","b"`, "layer a", "layer b", ""},
		"a builder's name": {"sha256:" + named[:64], both, `"a","b"`, "layer a", "layer b", ""},
		"a blob":           {blob, both, `"a","b"`, "layer a", "layer b", ""},
		"packed by gzip":   {named, both, `"a","b"`, "layer a", gz.String(), ""},
		"packed by zstd":   {named, both, `"a","b"`, "layer a", string(encoder.EncodeAll([]byte("layer b"), nil)), ""},
		"no layers":        {"c", "{}", ``, "layer a", "layer b", ""},
		"one layer twice":  {"c", configOf("layer a", "layer a"), `"a","a"`, "layer a", "layer b", ""},
		"other bytes":      {named, both, `"a","b"`, "layer a", "layer c", "b: does not have the digest"},
		"other bytes, packed": {"c", configOf("layer a", "layer"), `"a","b"`, "layer a", gz.String(),
			"b: does not have the digest"},
		"cut, packed":     {named, both, `"a","b"`, "layer a", gz.String()[:gz.Len()-9], "EOF"},
		"another order":   {named, both, `"b","a"`, "layer a", "layer b", "b: does not have the digest"},
		"fewer":           {named, both, `"a"`, "layer a", "layer b", "digests of 2 layers"},
		"more":            {named, both, `"a","b","b"`, "layer a", "layer b", "lists 3"},
		"no digests":      {"c", "{}", `"a"`, "layer a", "layer b", "digests of 0 layers"},
		"no JSON":         {"c", "not json", `"a","b"`, "layer a", "layer b", "is no JSON object"},
		"half a config":   {"c", both[:40], `"a","b"`, "layer a", "layer b", "unexpected end"},
		"a wrong digest":  {"c", `{"rootfs":{"diff_ids":["md5:0"]}}`, `"a"`, "layer a", "layer b", "md5:0"},
		"a wrong name":    {strings.Repeat("0", 64) + ".json", both, `"a","b"`, "layer a", "layer b", "its name says"},
		"too many things": {"c", "{" + strings.Repeat("{},", 1<<20), `"a","b"`, "layer a", "layer b", "objects"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			_, err := f.add(t, archive(tarOf(t, member{name: c.name, data: c.config}, member{name: "a", data: c.a},
				member{name: "b", data: c.b}, member{name: "manifest.json",
					data: `[{"Config":"` + c.name + `","Layers":[` + c.layers + `]}]`})), "a:1")
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "":
				if _, findings := f.read(t); len(findings) > 1 { // a config without a platform is odd
					t.Error(findings)
				}
			case !errors.As(err, new(*catalog.InputError)) || !strings.Contains(err.Error(), c.want) || len(f.files) > 0:
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
