package simplestreams

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"example.com/publish/stage/catalog"
)

func without(t testing.TB, tree fstest.MapFS, drop func(catalog.Image) bool) (fstest.MapFS, []catalog.Document) {
	t.Helper()
	docs, err := Format{}.Without(context.Background(), catalog.Files(tree), drop)
	if err != nil {
		t.Fatal(err)
	}
	return apply(tree, docs), docs
}

func TestWithout(t *testing.T) {
	const v1, v2 = "20260101_00:00", "20260102_00:00"
	tree := fstest.MapFS{}
	for _, add := range []Add{
		splitAdd(debian, v1, "m", "squashfs=s", "disk-kvm.img=d"),
		splitAdd(debian, v2, "n", "squashfs=t"),
		splitAdd(debian, v2, "o", "disk-kvm.img=e"),
		unifiedAdd("alpine:edge:default:arm64", v1, "u"),
	} {
		tree, _ = mustAdd(t, tree, add)
	}
	for name, tc := range map[string]struct {
		drop  func(catalog.Image) bool
		want  []string
		items int
		docs  int
	}{
		"nothing": {func(catalog.Image) bool { return false }, []string{"m+s", "m+d", "n+t", "o+e", "u"}, 8, 0},
		"all":     {func(catalog.Image) bool { return true }, nil, 0, 2},
		"version": {func(i catalog.Image) bool { return i.Product == debian && i.Version == v1 },
			[]string{"n+t", "o+e", "u"}, 5, 1},
		"product": {func(i catalog.Image) bool { return i.Product == debian }, []string{"u"}, 1, 2},
		"container": {func(i catalog.Image) bool { return i.Fingerprint == hashOf("m", "s") },
			[]string{"m+d", "n+t", "o+e", "u"}, 7, 1},
		"other vm": {func(i catalog.Image) bool { return i.Fingerprint == hashOf("o", "e") },
			[]string{"m+s", "m+d", "n+t", "u"}, 6, 1},
		"unified": {func(i catalog.Image) bool { return i.Fingerprint == hashOf("u") },
			[]string{"m+s", "m+d", "n+t", "o+e"}, 7, 2},
	} {
		t.Run(name, func(t *testing.T) {
			after, docs := without(t, tree, tc.drop)
			want := []string{}
			for _, w := range tc.want {
				want = append(want, hashOf(strings.Split(w, "+")...))
			}
			slices.Sort(want)
			if got := append([]string{}, fingerprints(agree(t, after))...); !slices.Equal(got, want) {
				t.Errorf("fingerprints %v, want %v", got, want)
			}
			if got := len(mustRead(t, after).Items); got != tc.items {
				t.Errorf("%d items, want %d", got, tc.items)
			}
			if len(docs) != tc.docs || len(docs) > 1 && docs[1].Path != IndexPath {
				t.Errorf("%d documents, want %d", len(docs), tc.docs)
			}
			clean(t, after)
		})
	}
	if docs, err := (Format{}).Without(context.Background(), catalog.Files(fstest.MapFS{}),
		func(catalog.Image) bool { return true }); err != nil || docs != nil {
		t.Errorf("no index: %v, %v", docs, err)
	}
}

// What clients skip goes as everything else does: a version of which they list
// nothing, an item that no image needs, and a product without a version.
func TestWithoutSkipped(t *testing.T) {
	head := `{"products":{"p":{"arch":"z80","versions":{`
	tree := treeOf(t, head+`"odd":{"items":{}},"20260101":{"items":{}}}},"q":{"arch":"amd64","versions":{}}}}`)
	after, _ := without(t, tree, func(i catalog.Image) bool { return i.Version == "odd" })
	if got := string(after[defaultCatalog].Data); got != head+
		`"20260101":{"items":{}}}},"q":{"arch":"amd64","versions":{}}}}` {
		t.Error(got)
	}
	after, _ = without(t, tree, func(i catalog.Image) bool { return i.Product == "q" })
	if got := string(after[defaultCatalog].Data); got != head+`"odd":{"items":{}},"20260101":{"items":{}}}}}}` {
		t.Error(got)
	}
	clean(t, fstest.MapFS{IndexPath: after[IndexPath], defaultCatalog: file(`{"products":{"p":{"arch":"amd64"}}}`)})
	after, _ = without(t, tree, func(catalog.Image) bool { return true })
	if got := string(after[defaultCatalog].Data); got != `{"products":{}}` {
		t.Error(got)
	}

	tree = treeOf(t, strings.Replace(treeDoc(metaIncus, unifiedIncus), `"uni":`,
		`"note":{"ftype":"manifest","path":"images/note"},"uni":`, 1))
	images := len(mustRead(t, tree).Images)
	after, _ = without(t, tree, func(i catalog.Image) bool { return slices.Contains(i.Paths, "images/note") })
	if cat := mustRead(t, after); len(cat.Images) != images || len(cat.Items) != 3 {
		t.Errorf("%d images, %d items\n%s", len(cat.Images), len(cat.Items), after[defaultCatalog].Data)
	}
}

// TestWithoutLegacyHash: when a root stays for another metadata file, neither
// hash of the dropped image may bring it back.
func TestWithoutLegacyHash(t *testing.T) {
	meta := func(key, word, fields string) string {
		return `"` + key + `":{"ftype":"incus.tar.xz","path":"images/` + word + `","sha256":"` + hashOf(word) +
			`","size":1,` + fields + `},`
	}
	tree := treeOf(t, `{"products":{"p":{"arch":"amd64","versions":{"20260101":{"items":{`+
		meta("a", "m", `"combined_rootxz_sha256":"`+hashOf("m", "x")+`","combined_sha256":"`+hashOf("m", "y")+`"`)+
		meta("b", "n", `"combined_sha256":"`+hashOf("n", "x")+`"`)+
		`"delta":{"ftype":"squashfs.vcdiff","path":"images/v"},
		"squash":{"ftype":"squashfs","path":"images/s","sha256":"`+hashOf("s")+`","size":1},
		"x":{"ftype":"root.tar.xz","path":"images/x","sha256":"`+hashOf("x")+`","size":1}}}}}}}`)
	for fp, want := range map[string]string{hashOf("m", "x"): hashOf("n", "x"), hashOf("n", "x"): hashOf("m", "x")} {
		after, _ := without(t, tree, func(i catalog.Image) bool { return i.Fingerprint == fp })
		if got := fingerprints(agree(t, after)); !slices.Equal(got, []string{want}) {
			t.Errorf("fingerprints %v, want %v\n%s", got, want, after[defaultCatalog].Data)
		}
	}
}

// genTree draws a tree with unknown fields on every level and whatever items.
func genTree(t *rapid.T) fstest.MapFS {
	word := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	pad := rapid.SampledFrom([]string{"", " ", "\n  "})
	var products []string
	for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"p:1:d:amd64", "q:1:d:arm64", "r:1:d:z80"}), 0,
		3, rapid.ID).Draw(t, "products") {
		var versions []string
		for _, v := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"20260101", "20260102_03:04", "20260103",
			"x"}), 0, 3, rapid.ID).Draw(t, "versions") {
			var items []string
			for i, ftype := range rapid.SliceOfN(rapid.SampledFrom([]string{metaIncus, metaIncus, metaLXD, rootSquashfs,
				rootDiskKVM, rootTarXz, unifiedIncus, "squashfs.vcdiff", "other"}), 0, 6).Draw(t, "ftypes") {
				w := word.Draw(t, "content")
				it := fmt.Sprintf(`"ftype":%q,"path":"images/%s.%s","sha256":%q,"size":1,"x-item":%d`, ftype, w, ftype,
					hashOf(w, ftype), i)
				if isMeta(ftype) {
					for f := range combinedFields {
						if rapid.Bool().Draw(t, "combined") {
							it += fmt.Sprintf(`,%q:%q`, combinedFields[f], hashOf(w, fmt.Sprint(f)))
						}
					}
				}
				items = append(items, fmt.Sprintf(`"%d":%s{%s}`, i, pad.Draw(t, "pad"), it))
			}
			versions = append(versions, fmt.Sprintf(`%q:{"x-version":1.0,"items":{%s}}`, v, strings.Join(items, ",")))
		}
		products = append(products, fmt.Sprintf(`%q:%s{"versions":{%s},"arch":%q,"x-product":[{}],"aliases":"a,b"}`, p,
			pad.Draw(t, "pad"), strings.Join(versions, ","), strings.Split(p, ":")[3]))
	}
	doc := fmt.Sprintf(`{"x-doc":"\u00e9","products":{%s}}`, strings.Join(products, ","))
	var d struct{ Products map[string]any }
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for p := range d.Products {
		names = append(names, p)
	}
	slices.Sort(names)
	return fstest.MapFS{defaultCatalog: file(doc),
		IndexPath: file(fmt.Sprintf(`{"x-index":1,"index":{"images":{"x-stream":2,"datatype":"image-downloads",
"path":"streams/v1/images.json","products":%s}}}`, list(names)))}
}

// unknowns are the unknown fields of a tree, by the place they stand in.
func unknowns(t *rapid.T, tree fstest.MapFS) map[string]string {
	found := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		if o, ok := v.(map[string]any); ok {
			for k, x := range o {
				if strings.HasPrefix(k, "x-") {
					found[at+"/"+k] = fmt.Sprint(x)
				}
				walk(at+"/"+k, x)
			}
		}
	}
	for _, name := range []string{IndexPath, defaultCatalog} {
		var v any
		if err := json.Unmarshal(tree[name].Data, &v); err != nil {
			t.Fatal(err)
		}
		walk(name, v)
	}
	return found
}

// TestWithoutProperty: no dropped image is left, every other is as it was, and
// what nobody knows survives where its place does.
func TestWithoutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := genTree(t)
		before := mustReadRapid(t, tree)
		dropped := map[string]bool{}
		id := func(i catalog.Image) string { return fmt.Sprint(i.Product, i.Version, i.Fingerprint, i.Type) }
		for _, img := range before.Images {
			dropped[id(img)] = dropped[id(img)] || rapid.Bool().Draw(t, "drop")
		}
		docs, err := Format{}.Without(context.Background(), catalog.Files(tree),
			func(i catalog.Image) bool { return dropped[id(i)] })
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Format{}.Without(context.Background(), catalog.Files(tree),
			func(i catalog.Image) bool { return dropped[id(i)] })
		if diff := cmp.Diff(docs, again); diff != "" {
			t.Fatal(diff)
		}
		tree2 := apply(tree, docs)
		after := mustReadRapid(t, tree2)
		var want []catalog.Image
		for _, img := range before.Images {
			if !dropped[id(img)] {
				want = append(want, img)
			}
		}
		if diff := cmp.Diff(want, after.Images, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s\n%s", diff, tree[defaultCatalog].Data, tree2[defaultCatalog].Data)
		}
		old, now := unknowns(t, tree), unknowns(t, tree2)
		for at, v := range now {
			if old[at] != v {
				t.Fatalf("%s was %q and is %q", at, old[at], v)
			}
		}
		if len(docs) == 0 && len(old) != len(now) {
			t.Fatal("unknown fields are gone")
		}
		for _, at := range []string{IndexPath + "/x-index", IndexPath + "/index/images/x-stream",
			defaultCatalog + "/x-doc"} {
			if now[at] == "" {
				t.Fatalf("%s is gone", at)
			}
		}
		for _, img := range after.Images {
			places := []string{"/x-product"}
			if img.Version != "" {
				places = append(places, "/versions/"+img.Version+"/x-version")
			}
			for _, at := range places {
				if at = defaultCatalog + "/products/" + img.Product + at; now[at] == "" {
					t.Fatalf("%s is gone", at)
				}
			}
		}
	})
}

func mustReadRapid(t *rapid.T, tree fstest.MapFS) *catalog.Catalog {
	cat, err := Format{}.Read(context.Background(), catalog.Files(tree))
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// TestAddProperty: whatever a version holds, an added image is there with its
// fingerprint, and no client sees one that was not there before.
func TestAddProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := genTree(t)
		before := map[string]bool{}
		for _, img := range mustReadRapid(t, tree).Images {
			before[img.Product+img.Version+img.Fingerprint] = true
		}
		add := splitAdd("p:1:d:amd64", "20260101", rapid.SampledFrom([]string{"a", "z"}).Draw(t, "meta"),
			rapid.SampledFrom([]string{"squashfs=a", "disk-kvm.img=b", "root.tar.xz=c"}).Draw(t, "root"))
		if rapid.Bool().Draw(t, "same") { // content that the tree may have
			add.Meta.SHA256 = hashOf("a", metaIncus)
			add.Roots[0].SHA256 = hashOf("b", add.Roots[0].Ftype)
		}
		added, err := AddImage(catalog.Files(tree), add)
		if err != nil {
			t.Fatal(err)
		}
		tree = apply(tree, added.Docs)
		found := false
		for _, img := range mustReadRapid(t, tree).Images {
			if img.Fingerprint == add.Roots[0].Combined && img.Product == add.Product {
				found = true
			} else if !before[img.Product+img.Version+img.Fingerprint] {
				t.Fatalf("new image %v\n%s", img, tree[defaultCatalog].Data)
			}
		}
		if !found {
			t.Fatalf("not there\n%s", tree[defaultCatalog].Data)
		}
		if again, err := AddImage(catalog.Files(tree), add); err != nil || !again.Unchanged {
			t.Fatalf("again: %s %v\n%s", again.Docs, err, tree[defaultCatalog].Data)
		}
	})
}

// TestWithoutVersions: to drop a version is to drop every image that has its name.
func TestWithoutVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := genTree(t)
		gone := catalog.Names{}
		for _, v := range mustReadRapid(t, tree).Versions {
			gone[v.Of()] = rapid.Bool().Draw(t, "drop")
		}
		want, err := Format{}.Without(context.Background(), catalog.Files(tree),
			func(i catalog.Image) bool { return gone[i.Of()] })
		if err != nil {
			t.Fatal(err)
		}
		got, err := Format{}.WithoutVersions(context.Background(), catalog.Files(tree),
			func(n catalog.Name) bool { return gone[n] })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
