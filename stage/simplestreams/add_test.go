package simplestreams

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

const debian = "debian:13:default:amd64"

// fingerprints of lines, sorted.
func fingerprints(lines []line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.fingerprint)
	}
	slices.Sort(out)
	return out
}

func sorted(words ...string) []string {
	slices.Sort(words)
	return words
}

func TestAddFirst(t *testing.T) {
	add := splitAdd(debian, "20260101_00:00", "m", "squashfs=s", "disk-kvm.img=d")
	tree, added := mustAdd(t, fstest.MapFS{}, add)
	if len(added.Docs) != 2 || added.Docs[0].Path != defaultCatalog || added.Docs[1].Path != IndexPath {
		t.Fatalf("docs %v", added.Docs)
	}
	want := `{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{"debian:13:default:amd64":{"aliases":"debian/13/default","arch":"amd64","os":"debian","release":"13","release_title":"13","versions":{"20260101_00:00":{"items":{` +
		`"disk-kvm.img":{"ftype":"disk-kvm.img","path":"images/` + hashOf("d") + `.qcow2","sha256":"` + hashOf("d") +
		`","size":1},` +
		`"incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/` + hashOf("m") + `.incus.tar.xz","sha256":"` +
		hashOf("m") + `","size":1,"combined_squashfs_sha256":"` + hashOf("m", "s") +
		`","combined_disk-kvm-img_sha256":"` + hashOf("m", "d") + `"},` +
		`"squashfs":{"ftype":"squashfs","path":"images/` + hashOf("s") + `.squashfs","sha256":"` + hashOf("s") +
		`","size":1}}}},"variant":"default"}}}`
	if got := string(added.Docs[0].Data); got != want {
		t.Errorf("catalog\n%s\nwant\n%s", got, want)
	}
	wantIndex := `{"index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["debian:13:default:amd64"],"format":"products:1.0"}},"format":"index:1.0"}`
	if got := string(added.Docs[1].Data); got != wantIndex {
		t.Errorf("index\n%s\nwant\n%s", got, wantIndex)
	}
	clean(t, tree)
	if got, want := fingerprints(agree(t, tree)), sorted(hashOf("m", "s"), hashOf("m", "d")); !slices.Equal(got, want) {
		t.Errorf("fingerprints %v, want %v", got, want)
	}
	for _, p := range []string{add.Meta.Path, add.Roots[0].Path, add.Roots[1].Path} {
		if (Format{}).Class(p) != 2 {
			t.Errorf("%s is not item-like", p)
		}
	}
}

// TestAddOneVersion adds to one version, in every order that matters; each
// entry of want is metadata+root of an image that a client has to see.
func TestAddOneVersion(t *testing.T) {
	const v = "20260101_00:00"
	s := func(meta string, roots ...string) Add { return splitAdd(debian, v, meta, roots...) }
	for _, tc := range []struct {
		name     string
		adds     []Add
		want     []string
		replaced []string // by the last add
	}{
		{"container then vm, same metadata", []Add{s("m", "squashfs=s"), s("m", "disk-kvm.img=d")},
			[]string{"m+s", "m+d"}, nil},
		{"container then vm, other metadata", []Add{s("m", "squashfs=s"), s("n", "disk-kvm.img=d")},
			[]string{"m+s", "n+d"}, nil},
		{"vm then container, other metadata", []Add{s("n", "disk-kvm.img=d"), s("m", "squashfs=s")},
			[]string{"m+s", "n+d"}, nil},
		{"three roots, three metadata", []Add{s("a", "squashfs=s"), s("b", "disk-kvm.img=d"), s("c", "root.tar.xz=x")},
			[]string{"a+s", "b+d", "c+x"}, nil},
		{"another root", []Add{s("m", "squashfs=s"), s("m", "squashfs=t")}, []string{"m+t"},
			[]string{ContentPath("squashfs", hashOf("s"))}},
		{"another metadata, same root", []Add{s("m", "squashfs=s"), s("n", "squashfs=s")}, []string{"n+s"},
			[]string{ContentPath(metaIncus, hashOf("m"))}},
		{"both other", []Add{s("m", "squashfs=s"), s("n", "squashfs=t")}, []string{"n+t"},
			sorted(ContentPath(metaIncus, hashOf("m")), ContentPath("squashfs", hashOf("s")))},
		{"other metadata for one of two", []Add{s("m", "squashfs=s", "disk-kvm.img=d"), s("n", "squashfs=t")},
			[]string{"n+t", "m+d"},
			[]string{ContentPath("squashfs", hashOf("s"))}},
		{"joined again", []Add{s("m", "squashfs=s"), s("n", "disk-kvm.img=d"), s("n", "squashfs=s")},
			[]string{"n+s", "n+d"},
			[]string{ContentPath(metaIncus, hashOf("m"))}},
		{"unified beside split", []Add{s("m", "squashfs=s"), unifiedAdd(debian, v, "u")}, []string{"m+s", "u"}, nil},
		{"split beside unified", []Add{unifiedAdd(debian, v, "u"), s("m", "squashfs=s")}, []string{"m+s", "u"}, nil},
		{"another unified", []Add{unifiedAdd(debian, v, "u"), unifiedAdd(debian, v, "w")}, []string{"w"},
			[]string{ContentPath(unifiedIncus, hashOf("u"))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			var added *Added
			for _, add := range tc.adds {
				tree, added = mustAdd(t, tree, add)
			}
			var want []string
			for _, w := range tc.want {
				want = append(want, hashOf(strings.Split(w, "+")...))
			}
			slices.Sort(want)
			if got := fingerprints(agree(t, tree)); !slices.Equal(got, want) {
				t.Errorf("fingerprints %v, want %v\n%s", got, want, tree[defaultCatalog].Data)
			}
			if !slices.Equal(added.Replaced, tc.replaced) {
				t.Errorf("replaced %v, want %v", added.Replaced, tc.replaced)
			}
			cat := mustRead(t, tree)
			for _, p := range cat.Pairs {
				m, r := cat.Items[p.First], cat.Items[p.Second]
				if !strings.HasSuffix(m.Path, ".incus.tar.xz") || m.Of() != r.Of() || !slices.Contains(want, p.SHA256) {
					t.Errorf("pair %v of %v and %v", p, m, r)
				}
			}
			clean(t, tree)

			last := tc.adds[len(tc.adds)-1]
			again, err := AddImage(catalog.Files(tree), last)
			if err != nil || !again.Unchanged || len(again.Docs) != 0 || !slices.Equal(again.Fingerprints,
				last.fingerprints()) {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

// TestAddLegacyHash: root.tar.xz falls back to combined_sha256, which a
// metadata item may carry for another root.
func TestAddLegacyHash(t *testing.T) {
	legacy := `{"products":{"` + debian + `":{"aliases":"x","arch":"amd64","versions":{"20260101_00:00":{"items":{
		"incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/m","sha256":"` + hashOf("m") + `","size":1,"combined_sha256":"` + hashOf("m", "s") + `","combined_squashfs_sha256":"` + hashOf("m", "s") + `"},
		"squashfs":{"ftype":"squashfs","path":"images/s","sha256":"` + hashOf("s") + `","size":1}}}}}}}`
	tree := treeOf(t, legacy)
	for _, add := range []Add{
		splitAdd(debian, "20260101_00:00", "n", "root.tar.xz=x"),
		splitAdd(debian, "20260101_00:00", "m", "root.tar.xz=x"),
	} {
		after, _ := mustAdd(t, tree, add)
		want := sorted(hashOf("m", "s"), add.Roots[0].Combined)
		if got := fingerprints(agree(t, after)); !slices.Equal(got, want) {
			t.Errorf("fingerprints %v, want %v", got, want)
		}
	}
}

func TestAddKeepsUnknownFields(t *testing.T) {
	tree := treeOf(t, `{
  "content_id": "mine", "x-doc": [1, 2],
  "products": {
    "zoo:1:default:amd64": {"arch": "amd64", "x-p": {"a": null}, "versions": {}},
    "`+debian+`": {"aliases": "debian/13,old", "arch": "amd64", "x-product": 1.50, "requirements": {"secureboot": "false"},
      "versions": {"20250101_00:00": {"x-version": true, "items": {"incus.tar.xz": {"x-item": "\u00e9", "ftype": "incus.tar.xz", "path": "images/m", "sha256": "`+hashOf("m")+`", "size": 1}}}}}
  }
}
`)
	add := splitAdd(debian, "20250101_00:00", "m", "squashfs=s")
	add.Requirements = map[string]string{"secureboot": "true", "cdrom_agent": "true"}
	after, added := mustAdd(t, tree, add)
	doc := string(after[defaultCatalog].Data)
	for _, want := range []string{`"content_id":"mine"`, `"x-doc":[1,2]`, `"x-p":{"a":null}`, `"x-product":1.50`,
		`"x-version":true`, `"x-item":"\u00e9"`,
		`"aliases":"debian/13,old,debian/13/default"`, `"requirements":{"cdrom_agent":"true","secureboot":"true"}`,
		`"path":"images/m"`} {
		if !strings.Contains(doc, want) {
			t.Errorf("%s is not in %s", want, doc)
		}
	}
	if strings.ContainsAny(doc, "\n") || strings.HasSuffix(doc, "\n") {
		t.Errorf("not compact: %s", doc)
	}
	if len(added.Docs) != 1 {
		t.Errorf("the index names the same products, but is written: %v", added.Docs)
	}
	again, _ := AddImage(catalog.Files(tree), add)
	if string(again.Docs[0].Data) != doc {
		t.Error("two calls give different bytes")
	}
	agree(t, after)
}

func TestAddStreams(t *testing.T) {
	tree := fstest.MapFS{
		IndexPath: file(`{"index":{
			"daily":{"datatype":"image-downloads","path":"streams/v1/daily.json","products":["` + debian + `"]},
			"ids":{"datatype":"image-ids","path":"streams/v1/ids.json","products":["a"]},
			"web":{"datatype":"image-downloads","path":"streams/v1/web.json","products":[]}}}`),
		"streams/v1/daily.json": file(`{"products":{"` + debian + `":{"arch":"amd64","versions":{}}}}`),
	}
	after, added := mustAdd(t, tree, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	if len(added.Docs) != 1 || added.Docs[0].Path != "streams/v1/daily.json" {
		t.Errorf("the product is in daily: %v", added.Docs)
	}
	after, added = mustAdd(t, after, splitAdd("other:1:default:amd64", "20260101_00:00", "m2", "squashfs=s2"))
	if len(added.Docs) != 2 || added.Docs[0].Path != "streams/v1/daily.json" {
		t.Errorf("the first stream is daily: %v", added.Docs)
	}
	agree(t, after)

	// What is left when a first add is interrupted between its documents.
	first, _ := mustAdd(t, fstest.MapFS{}, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	delete(first, IndexPath)
	after, _ = mustAdd(t, first, splitAdd(debian, "20260102_00:00", "m", "squashfs=s"))
	if got := len(agree(t, after)); got != 2 {
		t.Errorf("%d images, want 2", got)
	}
	after, added = mustAdd(t, first, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	if len(added.Docs) != 1 || added.Unchanged {
		t.Errorf("the index has to be written: %+v", added)
	}
	agree(t, after)
}

func TestAddRefuses(t *testing.T) {
	good := splitAdd(debian, "20260101_00:00", "m", "squashfs=s")
	for name, damage := range map[string]func(*Add){
		"arch":     func(a *Add) { a.Arch = "z80" },
		"version":  func(a *Add) { a.Version = "1" },
		"product":  func(a *Add) { a.Product = "" },
		"roots":    func(a *Add) { a.Roots = nil },
		"unified":  func(a *Add) { a.Unified = true },
		"alias":    func(a *Add) { a.Aliases = []string{"a,b"} },
		"ftype":    func(a *Add) { a.Roots[0].Ftype = "iso" },
		"combined": func(a *Add) { a.Roots[0].Combined = "x" },
		"path":     func(a *Add) { a.Meta.Path = "../m" },
		"index":    func(a *Add) { a.Meta.Path = "streams/v1/x.json" },
		"hash":     func(a *Add) { a.Meta.SHA256 = strings.ToUpper(a.Meta.SHA256) },
		"size":     func(a *Add) { a.Meta.Size = -1 },
	} {
		add := good
		add.Roots = slices.Clone(good.Roots)
		damage(&add)
		if _, err := AddImage(catalog.Files(fstest.MapFS{}), add); !errors.Is(err, ErrBadAdd) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tree := range map[string]fstest.MapFS{
		"bad-json":    {IndexPath: file(`{"index":{"images":`)},
		"bad-type":    treeOf(t, `{"products":{"a":{"versions":{"20260101":{"items":{"x":{"size":"1"}}}}}}}`),
		"unsafe-path": {IndexPath: file(`{"index":{"images":{"datatype":"image-downloads","path":"../x.json"}}}`)},
	} {
		_, err := AddImage(catalog.Files(tree), good)
		var bad *DocumentError
		if !errors.As(err, &bad) || bad.Code != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A version is written as the product's others are, or clients could not tell
// which is the newest.
func TestAddInTheProductsStyle(t *testing.T) {
	const product = "a:b:default:amd64"
	tree, _ := mustAdd(t, fstest.MapFS{}, unifiedAdd(product, "202601010000", "x"))
	tree, did := mustAdd(t, tree, unifiedAdd(product, "20260101_00:00", "x"))
	if !did.Unchanged || did.Version != "202601010000" {
		t.Errorf("the same image: %+v", did)
	}
	tree, did = mustAdd(t, tree, unifiedAdd(product, "20260102_00:00", "y"))
	if did.Version != "202601020000" {
		t.Errorf("a newer one: %+v", did)
	}
	var doc struct {
		Products map[string]struct{ Versions map[string]any }
	}
	if err := json.Unmarshal(tree[defaultCatalog].Data, &doc); err != nil || len(doc.Products[product].Versions) != 2 {
		t.Errorf("%s, %v", tree[defaultCatalog].Data, err)
	}
}
