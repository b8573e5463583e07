package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// Tests of this file stand for reports in public. Each has the number of its report;
// those about the clean-up of tags are in a file of their own.

// bring adds an archive to a tree, and returns the catalog of it.
func (f *fixture) bring(t *testing.T, data []byte, name string) *catalog.Catalog {
	t.Helper()
	if _, err := f.add(t, archive(data), name); err != nil {
		t.Fatal(err)
	}
	cat, findings := f.read(t)
	for _, x := range findings {
		if !strings.HasPrefix(x, "warning untagged ") && !strings.Contains(x, "is null; clients take that for nothing") {
			t.Error(x)
		}
	}
	return cat
}

// skopeo #405, #762: a second image in a layout took the tag of the first away; and
// containers/image #1008: a second tag of one image took the place of the first.
func TestSecondTagSkopeo405(t *testing.T) {
	f := newFixture()
	for _, name := range []string{"acme/app:v1", "acme/app:v2", "acme/app:latest"} {
		one := newFixture()
		one.layout("l", one.image("l", name).tag("x"))
		f.bring(t, one.tar(t, "l"), name)
	}
	same := newFixture()
	same.layout("l", same.image("l", "same").tag("x"))
	for _, name := range []string{"acme/app:test1", "acme/app:test2"} {
		f.bring(t, same.tar(t, "l"), name)
	}
	cat, _ := f.read(t)
	equal(t, "images", names(cat), []string{repo + "/latest", repo + "/test1", repo + "/test2", repo + "/v1",
		repo + "/v2"})
}

// skopeo #1936, #2826: a digest was another one after a copy; containers/image #2460:
// an index lost its artifactType on the way. What came in goes out, byte for byte.
func TestDigestStaysSkopeo1936(t *testing.T) {
	from := newFixture()
	config := from.blob("l", ociConfig, `{"os":"linux","architecture":"amd64"`+noLayers)
	odd := from.blob("l", ociManifest, fmt.Sprintf("{ \"schemaVersion\" : 2,\n\"config\":"+
		`{"mediaType":%q,"digest":%q,"size":%d,"x":1},"layers":[],"x-member":{"b":1,"a":2}, "mediaType":%q }`+"\n",
		config["mediaType"], config.digest(), config["size"], ociManifest))
	list := from.blob("l", ociIndex, fmt.Sprintf(`{"schemaVersion":2,"artifactType":"a/b","mediaType":%q,`+
		`"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"c/d","data":"e30="}],"annotations":null}  `,
		ociIndex, ociManifest, odd.digest(), odd["size"]))
	from.layout("l", list.tag("v1"))
	one, two := newFixture(), newFixture()
	data := from.tar(t, "l")
	for _, f := range []*fixture{one, two} {
		cat := f.bring(t, data, "acme/app:v1")
		if got := cat.Images[0].Fingerprint; got != list.digest() {
			t.Fatalf("v1 is %s, was %s", got, list.digest())
		}
		var err error
		if data, _, err = f.export(t, "", repo+":v1"); err != nil {
			t.Fatal(err)
		}
	}
	edit, err := Format{}.Merge(t.Context(), one.source())
	if err != nil {
		t.Fatal(err)
	}
	three := newFixture()
	change, err := edit(t.Context(), three.source())
	if err != nil {
		t.Fatal(err)
	}
	three.apply(change.Documents)
	index, err := parseIndex(three.files[repo+"/index.json"].Data)
	if err != nil || index.entries[0].Digest != list.digest() {
		t.Errorf("merged, v1 is something else: %v", err)
	}
}

// moby #22011: the digest of an image was lost over save and load; hauler #642: what
// only a digest names was. moby #51389: of two such images in one archive one was.
func TestDigestAloneMoby22011(t *testing.T) {
	from := newFixture()
	one, two := from.runs(repo, "linux", "amd64"), from.runs(repo, "linux", "arm64")
	from.layout(repo, one, two, from.image(repo, "other").tag("v1"))
	data, out, err := from.export(t, "", repo+"@"+one.digest(), repo+"@"+two.digest())
	if err != nil || len(out.Images) != 2 {
		t.Fatalf("%+v %v", out, err)
	}
	cat := newFixture().bring(t, data, "")
	if len(cat.Images) != 2 {
		t.Fatalf("%d images, want 2: %q", len(cat.Images), names(cat))
	}
	for _, i := range cat.Images {
		digest := i.Fingerprint
		if i.Product != repo || i.Version != "@"+digest || digest != one.digest() && digest != two.digest() {
			t.Errorf("%+v", i)
		}
	}
}

// moby #47065: the manifest that docker save wrote had no layers. moby #47072: its
// sizes were wrong. moby #47210: manifests was null. Then manifest.json counts, and a
// warning says so.
func TestSavedIndexMoby47065(t *testing.T) {
	const layer = "a layer"
	from := newFixture()
	c := from.blob("l", ociConfig, configOf(layer))
	l := from.blob("l", "application/vnd.oci.image.layer.v1.tar", layer)
	manifest := func(layers ...d) d {
		return from.json("l", ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": c, "layers": layers})
	}
	at := func(x d) string { return "blobs/sha256/" + x.digest()[7:] }
	index := func(m d) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,`+
			`"annotations":{"io.containerd.image.name":"docker.io/acme/app:v1"}}]}`, ociManifest, m.digest(), m["size"])
	}
	for report, text := range map[string]string{
		"moby 47065":        index(manifest()),
		"moby 47072":        index(manifest(l.with("size", 3584))),
		"moby 47210":        `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":null}`,
		"half of it":        `{"schemaVersion":2,"manif`,
		"one entry too few": `{"schemaVersion":2,"manifests":[]}`,
	} {
		t.Run(report, func(t *testing.T) {
			from.layout("l")
			from.write("l/index.json", text)
			from.write("l/manifest.json", fmt.Sprintf(`[{"Config":%q,"RepoTags":["acme/app:v1"],"Layers":[%q]}]`, at(c), at(l)))
			f := newFixture()
			change, err := f.add(t, archive(from.tar(t, "l")), "")
			if err != nil {
				t.Fatal(err)
			}
			if len(change.Findings) == 0 || change.Findings[0].Code != "archive-index-ignored" {
				t.Errorf("%v", change.Findings)
			}
			cat, _ := f.read(t)
			if len(cat.Items) != 3 || len(cat.Images) != 1 || len(cat.Images[0].Paths) != 3 {
				t.Errorf("%+v", cat.Images)
			}
		})
	}
	// Without manifest.json there is nothing to go by.
	from.write("l/index.json", `{"schemaVersion":2,"manifests":null}`)
	delete(from.files, "l/manifest.json")
	if _, err := newFixture().add(t, archive(from.tar(t, "l")), "a:1"); err == nil ||
		!strings.Contains(err.Error(), "manifests: is null") {
		t.Errorf("%v", err)
	}
}

// moby #49473: layers that another image has were missing from what docker save wrote.
// Nothing comes.
func TestMissingLayerMoby49473(t *testing.T) {
	from := newFixture()
	m := from.image("l", "x")
	from.layout("l", m.tag("v1"))
	for p, file := range from.files {
		if strings.HasPrefix(string(file.Data), "layer of") {
			delete(from.files, p)
		}
	}
	f := newFixture()
	if _, err := f.add(t, archive(from.tar(t, "l")), "a:1"); !errors.Is(err, fs.ErrNotExist) || len(f.files) > 0 {
		t.Errorf("%v, and %d files came", err, len(f.files))
	}
	data := tarOf(t, member{name: "manifest.json", data: `[{"Config":"c","RepoTags":["a:1"],"Layers":["l.tar"]}]`},
		member{name: "c", data: configOf("layer")})
	if _, err := f.add(t, archive(data), ""); err == nil || len(f.files) > 0 {
		t.Errorf("%v, and %d files came", err, len(f.files))
	}
}

// podman #12560: an image got its name from org.opencontainers.image.ref.name, which is
// the tag alone, though io.containerd.image.name had all of it.
func TestNamePodman12560(t *testing.T) {
	for _, c := range []struct{ ref, image, want string }{
		{"v2", "docker.io/acme/app:v1", repo + "/v1"},
		{"latest", "docker.io/acme/app:v1", repo + "/v1"},
		{"docker.io/acme/app:v1", "", repo + "/v1"},
	} {
		from := newFixture()
		notes := d{refName: c.ref}
		if c.image != "" {
			notes[imageName] = c.image
		}
		from.layout("l", from.image("l", "x").with("annotations", notes))
		equal(t, c.ref, names(newFixture().bring(t, from.tar(t, "l"), "")), []string{c.want})
	}
}

// apple/containerization #369: an archive without any annotation could not be loaded.
// Its image gets the name that is given.
func TestNoAnnotationsContainerization369(t *testing.T) {
	from := newFixture()
	from.layout("l", from.image("l", "x"))
	equal(t, "images", names(newFixture().bring(t, from.tar(t, "l"), "acme/app:v1")), []string{repo + "/v1"})
	if _, err := newFixture().add(t, archive(from.tar(t, "l")), ""); !errors.As(err, new(*catalog.UsageError)) {
		t.Errorf("without a name: %v", err)
	}
}

// jdx/mise pull request 11132: the digest sha256:../.. was taken for a path.
func TestDigestIsNoPathMise11132(t *testing.T) {
	const out = "sha256:../../../../etc/passwd"
	from := newFixture()
	from.layout("l", from.image("l", "x").with("digest", out).tag("v1"))
	f := newFixture()
	for name, in := range map[string]catalog.Input{"directory": from.input("l"), "archive": archive(from.tar(t, "l"))} {
		if _, err := f.add(t, in, "a:1"); err == nil || !strings.Contains(err.Error(), "digest") || len(f.files) > 0 {
			t.Errorf("%s: %v, and %d files came", name, err, len(f.files))
		}
	}
	data := tarOf(t, member{name: "blobs/sha256/../../../x", data: "x"})
	if _, err := f.add(t, archive(data), "a:1"); err == nil || len(f.files) > 0 {
		t.Errorf("%v", err)
	}
	f.layout(repo, from.image("l", "y").with("digest", out).tag("v1"))
	cat, findings := f.read(t)
	if len(cat.Items) > 0 || len(findings) != 1 || !strings.HasPrefix(findings[0], "error bad-digest") {
		t.Errorf("%v %q", cat.Items, findings)
	}
}

// zot #3396: what a tag stood for before it moved stayed for ever. It goes with the tag.
// zot #4444: its digest answered 404 at once. It is among what the tree named before, so
// it is held; the test with a registry asks for it.
func TestMovedTagZot3396(t *testing.T) {
	f, one, two := newFixture(), newFixture(), newFixture()
	one.layout("l", one.image("l", "one").tag("x"))
	two.layout("l", two.image("l", "two").tag("x"))
	f.bring(t, one.tar(t, "l"), "acme/app:v1")
	const doc = repo + "/index.json"
	named := func() (out []string) {
		for _, n := range (Format{}).Names(doc, f.files[doc].Data) {
			out = append(out, n.Digest.String())
		}
		return out
	}
	equal(t, "before", named(), []string{one.image("l", "one").digest()})
	change, err := f.add(t, archive(two.tar(t, "l")), "acme/app:v1")
	if err != nil || len(change.Replaced) != 3 {
		t.Fatalf("%+v %v", change, err)
	}
	equal(t, "after", named(), []string{two.image("l", "two").digest()})
}

// cosign #507: who signs again appends to the list of signatures, and the list before
// has no tag any more. It may go; what the new list has of it stays.
func TestAppendedSignatureCosign507(t *testing.T) {
	f := newFixture()
	signed := f.image(repo, "signed")
	signatures := func(n int) d {
		var layers []d
		for i := range n {
			layers = append(layers, f.blob(repo, "application/vnd.dev.cosign.simplesigning.v1+json", fmt.Sprint("signature", i)))
		}
		return f.json(repo, ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "layers": layers,
			"config": f.blob(repo, ociConfig, fmt.Sprintf(`{"os":"linux","architecture":"amd64","n":%d`, n)+noLayers)})
	}
	first, second := signatures(1), signatures(2)
	f.layout(repo, signed.tag("v1"), first, second.tag("sha256-"+signed.digest()[7:]+".sig"))
	equal(t, "left", f.clean(t, "@.*"), []string{"v1"})
	if f.has(first) || !f.has(second) || !f.has(f.blob("elsewhere", "", "signature0")) {
		t.Error("the first list is there, or the second is not whole")
	}
}
