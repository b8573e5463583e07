package simplestreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	client "github.com/lxc/incus/v6/shared/simplestreams"

	"example.com/publish/stage/catalog"
)

// FuzzRead: whatever stands in the documents, Read answers, with paths that can
// be followed, refuses exactly what the client's decoding refuses, and lists the
// images that the client lists.
func FuzzRead(f *testing.F) {
	index := `{"index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["p"]}},"format":"index:1.0"}`
	f.Add([]byte(index), []byte(wild()))
	f.Add([]byte(index), []byte(treeDoc(metaIncus, unifiedIncus)))
	f.Add([]byte(`{"INDEX":{"images":{"products":[null,1],"path":"..","datatype":"image-downloads"}}}`), []byte(`{"products":{"p":{"\u0061rch":"amd64","versions":{"20260101":{"items":null}}}}}`))
	f.Add([]byte(`null`), []byte(`{"products":{"":{"arch":"amd64","supported":0,"requirements":{"a":null},"versions":{"20260101":{"items":{"a":{"size":-0,"ftype":"incus_combined.tar.gz","sha256":"é\ud800","path":"/\u0000"}}}}}}}`))
	f.Add([]byte(`{"index":[]}`), []byte("{\"products\" : {\"\xff\":{\"arch\":\"arm\"}}} x"))
	f.Fuzz(func(t *testing.T, index, images []byte) {
		tree := fstest.MapFS{IndexPath: {Data: index}, defaultCatalog: {Data: images}}
		cat, err := Format{}.Read(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range cat.Items {
			if c, _, ok := catalog.Clean(it.Path); !ok || c != it.Path {
				t.Errorf("path %q", it.Path)
			}
		}
		refused := func(name string) bool {
			return slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool {
				return f.Path == name && (f.Code == "bad-type" || f.Code == "bad-json")
			})
		}
		twice := slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool { return f.Code == "duplicate-key" })
		if err := json.Unmarshal(index, &client.Stream{}); (err != nil) != refused(IndexPath) {
			t.Errorf("index: client says %v, we say %v", err, cat.Findings)
		}

		// The catalog again, behind an index that is good.
		tree[IndexPath] = file(`{"index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["p"]}}}`)
		if cat, err = (Format{}).Read(tree); err != nil {
			t.Fatal(err)
		}
		var products client.Products
		err = json.Unmarshal(images, &products)
		if (err != nil) != refused(defaultCatalog) {
			t.Errorf("catalog: client says %v, we say %v", err, cat.Findings)
		}
		twice = twice || slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool { return f.Code == "duplicate-key" })
		if err == nil && !twice && !strings.Contains(string(images), "lxd") {
			var want, got []string
			theirs, _ := products.ToAPI()
			for _, img := range theirs {
				want = append(want, img.Fingerprint+" "+img.Type+" "+img.Properties["serial"])
			}
			for _, img := range cat.Images {
				got = append(got, img.Fingerprint+" "+img.Type+" "+img.Version)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("client sees %q, we see %q", want, got)
			}
		}
		if _, err := AddImage(tree, splitAdd(debian, "20260101_00:00", "m", "squashfs=s")); err != nil && !errors.As(err, new(*DocumentError)) {
			t.Error(err)
		}
		docs, err := Format{}.Without(tree, func(catalog.Image) bool { return true })
		if err != nil && !errors.As(err, new(*DocumentError)) {
			t.Error(err)
		}
		for _, d := range docs {
			if !json.Valid(d.Data) {
				t.Errorf("%s is no JSON: %s", d.Path, d.Data)
			}
		}
	})
}

// FuzzMetadata: whatever the tarball, an answer or an error, and what is
// answered can be added.
func FuzzMetadata(f *testing.F) {
	good := tarball(f, "metadata.yaml", goodYAML)
	for _, kind := range []string{"tar", "gzip", "xz", "zstd"} {
		f.Add(packed(f, kind, good))
	}
	f.Add([]byte("BZh9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMetadata(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, ok := Architecture(m.Arch()); !ok || m.Created.IsZero() || m.Properties == nil {
			t.Errorf("%+v", m)
		}
	})
}

// FuzzYAML is FuzzMetadata without the tarball around it.
func FuzzYAML(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte("architecture: !!str x86_64\ncreation_date: 1\nproperties: {os: |\n  a, \"b\": 'c'}"))
	f.Add([]byte("? - a\n: b\n---\n...\n&a *a <<: 1"))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := parseMetadata(body)
		if (m == nil) == (err == nil) {
			t.Errorf("%v, %v", m, err)
		}
	})
}
