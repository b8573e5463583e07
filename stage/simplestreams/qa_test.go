package simplestreams

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

// A tarball that was cut behind metadata.yaml would be staged in peace, and no
// client could unpack it.
func TestCutTarball(t *testing.T) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	yaml := "architecture: x86_64\ncreation_date: 1767225600\nproperties:\n  os: a\n  release: b\n"
	for _, f := range [][2]string{{"metadata.yaml", yaml}, {"templates/x", strings.Repeat("template ", 100)}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plain": plain.Bytes(), "gz": packed.Bytes()} {
		if _, err := ReadMetadata(bytes.NewReader(data)); err != nil {
			t.Fatalf("%s, whole: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"gz without its end": packed.Bytes()[:packed.Len()-1], "gz and garbage": append(bytes.Clone(packed.Bytes()), "garbage"...),
		"plain, in a file": plain.Bytes()[:1700],
	} {
		if m, err := ReadMetadata(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// An index without streams hides everything.
func TestIndexWithoutStreams(t *testing.T) {
	for _, text := range []string{`{}`, `{"index":{},"format":"index:1.0"}`} {
		cat, err := Format{}.Read(context.Background(), catalog.Files(fstest.MapFS{IndexPath: &fstest.MapFile{Data: []byte(text)}}))
		if err != nil {
			t.Fatal(err)
		}
		bad := false
		for _, f := range cat.Findings {
			bad = bad || f.Severity == catalog.Error
		}
		if !bad {
			t.Errorf("%s: no error", text)
		}
	}
}

// A version is written as the product's others are, or clients could not tell
// which is the newest.
func TestAddInTheProductsStyle(t *testing.T) {
	add := Add{Product: "a:b:default:amd64", OS: "a", Release: "b", Variant: "default", Arch: "amd64", Version: "202601010000", Unified: true,
		Meta: File{Path: "images/x.incus_combined.tar.gz", SHA256: strings.Repeat("ab", 32), Size: 1}}
	tree := fstest.MapFS{}
	put := func(add Add) *Added {
		did, err := AddImage(catalog.Files(tree), add)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range did.Docs {
			tree[d.Path] = &fstest.MapFile{Data: d.Data}
		}
		return did
	}
	put(add)
	add.Version = "20260101_00:00"
	if did := put(add); !did.Unchanged || did.Version != "202601010000" {
		t.Errorf("the same image: %+v", did)
	}
	add.Version, add.Meta.SHA256 = "20260102_00:00", strings.Repeat("cd", 32)
	add.Meta.Path = "images/y.incus_combined.tar.gz"
	if did := put(add); did.Version != "202601020000" {
		t.Errorf("a newer one: %+v", did)
	}
	var doc struct {
		Products map[string]struct{ Versions map[string]any }
	}
	if err := json.Unmarshal(tree[defaultCatalog].Data, &doc); err != nil || len(doc.Products[add.Product].Versions) != 2 {
		t.Errorf("%s, %v", tree[defaultCatalog].Data, err)
	}
}
