package oci

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

// fixture is a tree that tests build.
type fixture struct{ files fstest.MapFS }

func newFixture() *fixture { return &fixture{fstest.MapFS{}} }

func (f *fixture) source() catalog.Source { return catalog.Files(noLinks{f.files}) }

// noLinks gives a MapFS, which has no links, the methods to look for them.
type noLinks struct{ fstest.MapFS }

func (n noLinks) Lstat(name string) (fs.FileInfo, error) { return fs.Stat(n.MapFS, name) }
func (n noLinks) ReadLink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

func (f *fixture) write(p, data string) {
	f.files[p] = &fstest.MapFile{Data: []byte(data), Mode: 0o644}
}

// d is a descriptor, in a test.
type d map[string]any

// with adds to a copy of a descriptor.
func (x d) with(kv ...any) d {
	out := d{}
	for k, v := range x {
		out[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		out[kv[i].(string)] = kv[i+1]
	}
	return out
}

func (x d) digest() string { return x["digest"].(string) }

// tag names a descriptor.
func (x d) tag(name string) d { return x.with("annotations", d{refName: name}) }

// blob stores bytes in a repository.
func (f *fixture) blob(repository, mediaType, data string) d {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
	f.write(path.Join(repository, "blobs/sha256", sum), data)
	return d{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(data)}
}

func (f *fixture) json(repository, mediaType string, v any) d {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return f.blob(repository, mediaType, string(data))
}

// noLayers and oneLayer are the end of a config. Only of what docker save writes the digests are compared.
const (
	noLayers = `,"rootfs":{"type":"layers","diff_ids":[]}}`
	oneLayer = `,"rootfs":{"type":"layers","diff_ids":["sha256:0"]}}`
)

// config stores a config.
func (f *fixture) config(repository, name string) d {
	return f.blob(repository, ociConfig, `{"os":"linux","architecture":"amd64","name":"`+name+`"`+oneLayer)
}

// image stores a manifest with a config and a layer of its own.
func (f *fixture) image(repository, name string, more ...any) d {
	m := d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.config(repository, name),
		"layers": []d{f.blob(repository, "application/vnd.oci.image.layer.v1.tar+gzip", "layer of "+name)}}
	return f.json(repository, ociManifest, m.with(more...))
}

// list stores an index of images.
func (f *fixture) list(repository string, of ...d) d {
	return f.json(repository, ociIndex, d{"schemaVersion": 2, "mediaType": ociIndex, "manifests": of})
}

// layout writes index.json and oci-layout.
func (f *fixture) layout(repository string, entries ...d) {
	if entries == nil {
		entries = []d{}
	}
	data, err := json.Marshal(d{"schemaVersion": 2, "manifests": entries, "x-unknown": "kept"})
	if err != nil {
		panic(err)
	}
	f.write(path.Join(repository, indexName), string(data))
	f.write(path.Join(repository, layoutName), `{"imageLayoutVersion":"1.0.0"}`)
}

// read returns the catalog, and its findings as lines.
func (f *fixture) read(t *testing.T) (*catalog.Catalog, []string) {
	t.Helper()
	cat, err := Format{}.Read(t.Context(), f.source())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, x := range cat.Findings {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", x.Severity, x.Code, x.Path, x.Message))
	}
	return cat, lines
}

// apply writes documents.
func (f *fixture) apply(docs []catalog.Document) {
	for _, doc := range docs {
		if doc.Data == nil {
			delete(f.files, doc.Path)
		} else {
			f.write(doc.Path, string(doc.Data))
		}
	}
}

func names(cat *catalog.Catalog) (out []string) {
	for _, i := range cat.Images {
		out = append(out, i.Of().String())
	}
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Some of what is in the tree, by name.
const repo = "docker.io/acme/app"

func TestClass(t *testing.T) {
	for p, want := range map[string]catalog.Class{
		"docker.io/a/index.json":              catalog.Index,
		"docker.io/a/oci-layout":              catalog.Index,
		"docker.io/a/blobs/sha256/0":          catalog.ItemLike,
		"docker.io/a/blobs/x":                 catalog.ItemLike,
		"docker.io/ingest/index.json":         catalog.Index,
		"docker.io/ingest/blobs/sha256/0":     catalog.ItemLike,
		"docker.io/a/ingest/0a_5":             catalog.InProgress,
		"docker.io/a/.umoci-123/index.json":   catalog.InProgress,
		"docker.io/a/oci-put-blob123":         catalog.InProgress,
		"docker.io/a/index.json.123.tmp":      catalog.InProgress,
		"docker.io/a/index.json.123":          catalog.InProgress,
		"docker.io/a/_uploads/1":              catalog.InProgress,
		"docker.io/a/.uploads/1":              catalog.InProgress,
		"docker.io/a/blobs/sha256/0.tmp":      catalog.InProgress,
		"docker.io/a/blobs/sha256/.0.Ab12cD":  catalog.ItemLike, // no index names it
		"README.html":                         catalog.Other,
		"docker.io/a/blobs/sha256/deep/er":    catalog.Other,
		"docker.io/a/oci-layout.sig":          catalog.Other,
		"docker.io/a/blobs/sha512/0123456789": catalog.ItemLike,
	} {
		if got := (Format{}).Class(p); got != want {
			t.Errorf("%s: class %d, want %d", p, got, want)
		}
	}
}

// A tag, an index with two platforms, one digest under two tags.
func TestRead(t *testing.T) {
	f := newFixture()
	one := f.image(repo, "one")
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	multi := f.list(repo, arm, amd)
	f.layout(repo, one.tag("v1"), one.tag("latest"), multi.tag(repo+":v2"), arm) // a child may be listed, too
	f.layout("docker.io/acme/empty")
	cat, findings := f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/latest", repo + "/v1", repo + "/v2"})
	if n := len(cat.Items); n != 3*3+1 {
		t.Errorf("%d items, want 10", n)
	}
	for _, i := range cat.Images {
		if want := map[string]int{"v1": 3, "latest": 3, "v2": 7}[i.Version]; len(i.Paths) != want {
			t.Errorf("%s needs %d files, want %d", i.Version, len(i.Paths), want)
		}
	}
	for _, i := range cat.Items {
		if data := f.files[i.Path].Data; int64(len(data)) != i.Size || !strings.HasSuffix(i.Path, i.SHA256) {
			t.Errorf("%s: %d bytes, %s", i.Path, i.Size, i.SHA256)
		}
	}
	equal(t, "documents", cat.Documents, []string{repo + "/index.json", repo + "/oci-layout",
		"docker.io/acme/empty/index.json", "docker.io/acme/empty/oci-layout"})
	docs, err := Format{}.Documents(f.source())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "documents", docs, cat.Documents)
}

// What is wrong with a tree is a finding, and the rest is read.
func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		make func(f *fixture)
		want string // severity and code; "" for none
	}{
		"a digest that leads out": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("digest", "sha256:../../x").tag("v1"))
		}, "error bad-digest"},
		"an upper-case digest": {func(f *fixture) {
			x := f.image(repo, "x")
			f.layout(repo, x.with("digest", "sha256:"+strings.ToUpper(x.digest()[7:])).tag("v1"))
		}, "error bad-digest"},
		"no size": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("size", nil).tag("v1"))
		}, "error bad-descriptor"},
		"a negative size": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("size", -1).tag("v1"))
		}, "error bad-descriptor"},
		"a size without end": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("size", int64(1)<<60).tag("v1"))
		}, "error bad-descriptor"},
		"no media type": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("mediaType", "").tag("v1"))
		}, "error bad-descriptor"},
		"a bad tag":            {func(f *fixture) { f.layout(repo, f.image(repo, "x").tag("-x")) }, "error bad-tag"},
		"a tag that is a path": {func(f *fixture) { f.layout(repo, f.image(repo, "x").tag("../x")) }, "error bad-tag"},
		"a bad repository": {func(f *fixture) {
			f.layout("docker.io/Acme", f.image("docker.io/Acme", "x").tag("v1"))
		}, "error bad-repository"},
		"one at the root": {func(f *fixture) { f.layout("", f.image("", "x").tag("v1")) }, "error bad-repository"},
		"one among blobs": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").tag("v1"))
			f.layout(repo+"/blobs/x", f.image(repo+"/blobs/x", "x").tag("v1"))
		}, "error repository-overlap"},
		"another version": {func(f *fixture) {
			f.layout(repo)
			f.write(repo+"/oci-layout", `{"imageLayoutVersion":"2.0.0"}`)
		}, "error layout-version"},
		"no oci-layout": {func(f *fixture) { f.layout(repo); delete(f.files, repo+"/oci-layout") }, "error missing"},
		"no index.json": {func(f *fixture) { f.layout(repo); delete(f.files, repo+"/index.json") }, "error missing"},
		"half an index": {func(f *fixture) {
			f.layout(repo)
			f.write(repo+"/index.json", `{"schemaVersion":2,"manif`)
		}, "error schema"},
		"no manifests": {func(f *fixture) {
			f.layout(repo)
			f.write(repo+"/index.json", `{"schemaVersion":2,"manifests":null}`)
		}, "error schema"},
		"an array": {func(f *fixture) { f.layout(repo); f.write(repo+"/index.json", `[]`) }, "error schema"},
		"null":     {func(f *fixture) { f.layout(repo); f.write(repo+"/index.json", `null`) }, "error schema"},
		"one tag for two": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").tag("v1"), f.image(repo, "y").tag("v1"))
		}, "error duplicate-tag"},
		"one tag twice": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").tag("v1"), f.image(repo, "x").tag("v1"))
		}, ""},
		"another type": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x").with("mediaType", dockerManifest).tag("v1"))
		}, "error media-type-mismatch"},
		"both in one": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "manifests", []d{}).tag("v1"))
		}, "error schema"},
		"no config": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "config", nil).tag("v1"))
		}, "error schema"},
		"no layers": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "layers", nil).tag("v1"))
		}, "error schema"},
		"a bad layer": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "layers", []d{{"mediaType": "a/b", "digest": "sha256:0", "size": 1}}).tag("v1"))
		}, "error bad-digest"},
		"a child that is not here": {func(f *fixture) {
			gone := f.image(repo, "gone")
			delete(f.files, repo+"/blobs/sha256/"+gone.digest()[7:])
			f.layout(repo, f.list(repo, f.image(repo, "x"), gone).tag("v1"))
		}, "error partial-index"},
		"too deep": {func(f *fixture) {
			x := f.image(repo, "x")
			for range 3000 {
				x = f.list(repo, x)
			}
			f.layout(repo, x.tag("v1"))
		}, "error too-deep"},
		"too large": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "annotations", d{"a": strings.Repeat("x", maxManifest)}).tag("v1"))
		}, "error too-large"},
		"two sizes": {func(f *fixture) {
			x := f.image(repo, "x")
			f.layout(repo, x.tag("v1"), x.with("size", 5).tag("v2"))
		}, "error bad-descriptor"},
		"no tag": {func(f *fixture) { f.layout(repo, f.image(repo, "x")) }, "warning untagged"},
		"unknown type": {func(f *fixture) {
			f.layout(repo, f.blob(repo, "text/plain", "x").tag("v1"))
		}, "warning unknown-media-type"},
		"foreign layer": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "layers", []d{{"mediaType": "a/b", "size": 1,
				"digest": "sha256:" + strings.Repeat("0", 64), "urls": []string{"https://example.com/l"}}}).tag("v1"))
		}, "warning external-layer"},
		"no subject": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "subject", d{"mediaType": ociManifest, "size": 1,
				"digest": "sha256:" + strings.Repeat("0", 64)}))
		}, "warning dangling-referrer"},
		"fewer layers than in the config": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "layers", []d{}).tag("v1"))
		}, "warning schema"},
		"more layers than in the config": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "config",
				f.blob(repo, dockerConfig, `{"rootfs":{"diff_ids":[]}}`)).tag("v1"))
		}, "warning schema"},
		"one config of two": {func(f *fixture) { // only the manifest that it does not fit is named
			config := f.config(repo, "x")
			f.layout(repo, f.image(repo, "x", "config", config).tag("v1"),
				f.image(repo, "y", "config", config, "layers", []d{}).tag("v2"))
		}, "warning schema"},
		"no layers in the config": {func(f *fixture) {
			f.layout(repo, f.image(repo, "x", "config", f.blob(repo, dockerConfig, `{"rootfs":{"type":"x"}}`)).tag("v1"),
				f.image(repo, "y", "config", f.blob(repo, "application/x-config", `{"rootfs":{"diff_ids":[]}}`)).tag("v2"))
		}, ""},
		"Docker's types": {func(f *fixture) {
			m := f.json(repo, dockerManifest, d{"schemaVersion": 2, "mediaType": dockerManifest,
				"config": f.blob(repo, dockerConfig, "{}"), "layers": []d{}})
			list := d{"schemaVersion": 2, "mediaType": dockerList, "manifests": []d{m}}
			f.layout(repo, f.json(repo, dockerList, list).tag("v1"))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			c.make(f)
			_, got := f.read(t)
			if c.want == "" {
				equal(t, "findings", got, nil)
			} else if len(got) != 1 || !strings.HasPrefix(got[0], c.want+" ") {
				t.Errorf("%q, want %s", got, c.want)
			}
		})
	}
}

// Referrers live and die with their subject: of a platform, of an index, of another
// referrer, by a tag of older clients.
func TestReferrers(t *testing.T) {
	f := newFixture()
	arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
	multi := f.list(repo, arm, amd)
	sbom := f.image(repo, "sbom", "subject", amd)
	signature := f.image(repo, "signature", "subject", sbom)
	old := f.image(repo, "old signature")
	other := f.image(repo, "other")
	f.layout(repo, signature, sbom, old.tag("sha256-"+multi.digest()[7:]+".sig"), multi.tag("v1"), multi.tag("v2"),
		other.tag("v3"))
	cat, findings := f.read(t)
	equal(t, "images", names(cat), []string{repo + "/v1", repo + "/v2", repo + "/v3"})
	if len(findings) != 1 || !strings.Contains(findings[0], "fallback-tag") {
		t.Errorf("findings %q", findings)
	}
	for _, i := range cat.Images {
		if want := map[string]int{"v1": 16, "v2": 16, "v3": 3}[i.Version]; len(i.Paths) != want {
			t.Errorf("%s needs %d files, want %d", i.Version, len(i.Paths), want)
		}
	}
	drop := func(versions ...string) {
		t.Helper()
		docs, err := Format{}.WithoutVersions(t.Context(), f.source(), func(n catalog.Name) bool {
			return slices.Contains(versions, n.Version)
		})
		if err != nil {
			t.Fatal(err)
		}
		f.apply(docs)
	}
	before := len(cat.Items)
	drop("v2") // the other tag keeps all of it
	cat, _ = f.read(t)
	equal(t, "images", names(cat), []string{repo + "/v1", repo + "/v3"})
	if len(cat.Items) != before {
		t.Errorf("%d items, were %d", len(cat.Items), before)
	}
	drop("v1")
	cat, findings = f.read(t)
	equal(t, "images", names(cat), []string{repo + "/v3"})
	equal(t, "findings", findings, nil)
	if len(cat.Items) != 3 {
		t.Errorf("%d items, want 3", len(cat.Items))
	}
	if !strings.Contains(string(f.files[repo+"/index.json"].Data), `"x-unknown":"kept"`) {
		t.Error("a member that is not known was lost")
	}
	drop("v3")
	cat, findings = f.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "documents", cat.Documents, nil)
}

// A child of an index that has a tag of its own stays when the index goes, and the
// other way round.
func TestWithoutChild(t *testing.T) {
	for version, want := range map[string]int{"arm": 7, "all": 3} {
		f := newFixture()
		arm, amd := f.image(repo, "arm"), f.image(repo, "amd")
		f.layout(repo, arm.tag("arm"), f.list(repo, arm, amd).tag("all"), amd)
		docs, err := Format{}.Without(t.Context(), f.source(),
			func(i catalog.Image) bool { return i.Version == version })
		if err != nil {
			t.Fatal(err)
		}
		f.apply(docs)
		cat, findings := f.read(t)
		equal(t, "findings", findings, nil)
		if len(cat.Items) != want {
			t.Errorf("without %s: %d items, want %d", version, len(cat.Items), want)
		}
	}
}

// An entry that is wrong is nobody's: it stays when all others go.
func TestWithoutKeepsWhatIsWrong(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.image(repo, "x").tag("v1"), f.image(repo, "y").tag("-"))
	docs, err := Format{}.WithoutVersions(t.Context(), f.source(), func(n catalog.Name) bool { return n.Version != "" })
	if err != nil || len(docs) != 1 || docs[0].Data == nil {
		t.Fatalf("%v %v", docs, err)
	}
	f.apply(docs)
	if index, err := parseIndex(f.files[repo+"/index.json"].Data); err != nil || len(index.entries) != 1 {
		t.Errorf("%d entries, want 1: %v", len(index.entries), err)
	}
}

// Nothing is dropped: no document is written.
func TestWithoutNothing(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.image(repo, "x").tag("v1"))
	docs, err := Format{}.Without(t.Context(), f.source(), func(catalog.Image) bool { return false })
	if err != nil || docs != nil {
		t.Errorf("%v %v", docs, err)
	}
}

func FuzzRead(f *testing.F) {
	x := newFixture()
	x.layout(repo, x.list(repo, x.image(repo, "a"), x.image(repo, "b")).tag("v1"))
	f.Add(x.files[repo+"/index.json"].Data, []byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, index, manifest []byte) {
		y := newFixture()
		y.layout(repo)
		y.write(repo+"/index.json", string(index))
		y.blob(repo, ociIndex, string(manifest))
		cat, err := Format{}.Read(t.Context(), y.source())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range cat.Items {
			if !strings.HasPrefix(i.Path, repo+"/blobs/") || path.Clean(i.Path) != i.Path {
				t.Errorf("an item at %q", i.Path)
			}
		}
		docs, err := Format{}.WithoutVersions(t.Context(), y.source(), func(catalog.Name) bool { return true })
		if err != nil || docs == nil {
			return
		}
		y.apply(docs)
		if cat, err = (Format{}).Read(t.Context(), y.source()); err != nil || len(cat.Versions) != 0 {
			t.Errorf("%v are left: %v", cat.Versions, err)
		}
	})
}

func TestRef(t *testing.T) {
	for _, c := range []struct {
		name catalog.Name
		want string
	}{
		{catalog.Name{Group: "host_5000/a/b", Version: "v1"}, "host_5000/a/b:v1"},
		{catalog.Name{Group: "a", Version: "@sha256:01"}, "a@sha256:01"},
		{catalog.Name{Group: "a/b"}, "a/b"},
	} {
		if got := (Format{}).Ref(c.name); got != c.want {
			t.Errorf("%+v is %s", c.name, got)
		}
		if got := (Format{}).ParseRef(c.want); got != c.name {
			t.Errorf("%s is read as %+v", c.want, got)
		}
	}
}

func TestElements(t *testing.T) {
	for text, want := range map[string]string{
		`null`: "no", ``: "no", `{}`: "no", `"[]"`: "no", `[]`: "", " [ \n] ": "", `[1]`: "1",
		` [ {"a":[1,2],"b":"],\"}"} , [ [ ] ] ,"\\" , null ]`: `{"a":[1,2],"b":"],\"}"}|[ [ ] ]|"\\"|null`,
	} {
		list, ok := elements(json.RawMessage(text))
		var parts []string
		for _, e := range list {
			parts = append(parts, string(e))
		}
		got := strings.Join(parts, "|")
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// elements agrees with the decoder on all JSON.
func FuzzElements(f *testing.F) {
	f.Add(`[{"a":"\"]"}, [1,[2]], "x\\", null]`)
	f.Fuzz(func(t *testing.T, text string) {
		var want []json.RawMessage
		if !json.Valid([]byte(text)) {
			return
		}
		err := json.Unmarshal([]byte(text), &want)
		got, ok := elements(json.RawMessage(text))
		if ok != (err == nil && want != nil) || len(got) != len(want) {
			t.Fatalf("%q is %q, %v; the decoder says %q, %v", text, got, ok, want, err)
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	})
}
