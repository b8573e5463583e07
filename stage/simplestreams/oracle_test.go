package simplestreams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	client "github.com/lxc/incus/v6/shared/simplestreams"

	"example.com/publish/stage/catalog"
)

// A line is one image as the real client lists it: product, version, type,
// fingerprint, and the paths it downloads. ToAPI does not tell the product.
type line struct {
	version, imageType, fingerprint, paths string
}

// clientLines is what the real client makes of a tree. It goes over its maps in
// random order, so it is asked more than once and has to answer the same.
func clientLines(t testing.TB, fsys fs.FS) []line {
	t.Helper()
	var first []line
	for range 5 {
		var index client.Stream
		decode(t, fsys, IndexPath, &index)
		var lines []line
		for _, s := range index.Index {
			if s.DataType != "image-downloads" || len(s.Products) == 0 {
				continue
			}
			var products client.Products
			decode(t, fsys, s.Path, &products)
			images, downloads := products.ToAPI()
			for _, img := range images {
				var paths []string
				for _, d := range downloads[img.Fingerprint] {
					if !strings.HasPrefix(d[2], "root.delta-") {
						paths = append(paths, d[0])
					}
				}
				lines = append(lines, line{img.Properties["serial"], img.Type, img.Fingerprint,
					strings.Join(paths, " ")})
			}
		}
		sortLines(lines)
		if first == nil {
			first = lines
		}
		if !slices.Equal(first, lines) {
			t.Fatalf("the client sees %v, then %v", first, lines)
		}
	}
	return first
}

func decode(t testing.TB, fsys fs.FS, name string, into any) {
	t.Helper()
	doc, err := fs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, into); err != nil {
		t.Fatalf("the client refuses %s: %v\n%s", name, err, doc)
	}
}

func sortLines(lines []line) {
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// ourLines is what Read makes of a tree.
func ourLines(t testing.TB, fsys fs.FS) []line {
	t.Helper()
	var lines []line
	for _, img := range mustRead(t, fsys).Images {
		if img.Skipped != "" {
			continue
		}
		lines = append(lines, line{img.Version, img.Type, img.Fingerprint, strings.Join(img.Paths, " ")})
	}
	sortLines(lines)
	return lines
}

func mustRead(t testing.TB, fsys fs.FS) *catalog.Catalog {
	t.Helper()
	cat, err := Format{}.Read(context.Background(), catalog.Files(fsys))
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// agree fails when we and the client see different images.
func agree(t testing.TB, fsys fs.FS) []line {
	t.Helper()
	ours, theirs := ourLines(t, fsys), clientLines(t, fsys)
	if !slices.Equal(ours, theirs) {
		t.Fatalf("we see    %v\nclient sees %v", ours, theirs)
	}
	return ours
}

// TestClient asks the real client, over HTTP, for what stands in a tree after
// everything that is done to one.
func TestClient(t *testing.T) {
	tree, _ := mustAdd(t, fstest.MapFS{}, splitAdd("tiny:1:default:amd64", "20260101_00:00", "old", "squashfs=olds"))
	tree, _ = mustAdd(t, tree, splitAdd("tiny:1:default:amd64", "20260102_00:00", "tm", "squashfs=ts"))
	tree, _ = mustAdd(t, tree, splitAdd("tiny:1:default:amd64", "20260102_00:00", "tn", "disk-kvm.img=td"))
	tree, _ = mustMerge(t, tree, treeOf(t, wild()))
	tree, _ = without(t, tree, func(i catalog.Image) bool { return i.Fingerprint == hashOf("old", "olds") })

	server := httptest.NewServer(http.FileServerFS(tree))
	defer server.Close()
	c := client.NewClient(server.URL, *server.Client(), "")
	images, err := c.ListImages()
	if err != nil || len(images) != len(mustRead(t, tree).Images) {
		t.Fatalf("%d images, %v", len(images), err)
	}
	for imageType, want := range map[string][2]string{"container": {"tm", "ts"}, "virtual-machine": {"tn", "td"}} {
		alias, err := c.GetAlias(imageType, "tiny/1/default/amd64")
		if err != nil || alias.Target != hashOf(want[0], want[1]) {
			t.Fatalf("%s: %v, %v", imageType, alias, err)
		}
		if _, err := c.GetImage(alias.Target); err != nil {
			t.Error(err)
		}
		files, err := c.GetFiles(alias.Target)
		if err != nil || files["meta"].Sha256 != hashOf(want[0]) || files["root"].Sha256 != hashOf(want[1]) {
			t.Errorf("%s: %v, %v", imageType, files, err)
		}
	}
}

// apply returns the tree after the documents were written.
func apply(fsys fstest.MapFS, docs []catalog.Document) fstest.MapFS {
	out := maps.Clone(fsys)
	for _, d := range docs {
		if d.Data == nil {
			delete(out, d.Path)
			continue
		}
		out[d.Path] = &fstest.MapFile{Data: d.Data, Mode: 0o644}
	}
	return out
}

// codes are the findings of a tree as "severity code".
func codes(findings []catalog.Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, string(f.Severity)+" "+f.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clean fails when a tree has findings.
func clean(t testing.TB, fsys fs.FS) {
	t.Helper()
	for _, f := range mustRead(t, fsys).Findings {
		t.Errorf("%s %s: %s: %s", f.Severity, f.Code, f.Path, f.Message)
	}
}

// hashOf is a sha256 for a word.
func hashOf(words ...string) string {
	h := sha256.Sum256([]byte(strings.Join(words, "+")))
	return hex.EncodeToString(h[:])
}

// split builds an Add of a metadata file and roots, all told by words.
func splitAdd(product, version, meta string, roots ...string) Add {
	p := strings.Split(product, ":")
	a := Add{
		Product: product, OS: p[0], Release: p[1], ReleaseTitle: p[1], Variant: p[2], Arch: p[3],
		Aliases: []string{strings.Join(p[:3], "/")}, Version: version,
		Meta: File{ContentPath(metaIncus, hashOf(meta)), hashOf(meta), int64(len(meta))},
	}
	for _, r := range roots { // ftype=word
		ftype, word, _ := strings.Cut(r, "=")
		a.Roots = append(a.Roots, Root{File{ContentPath(ftype, hashOf(word)), hashOf(word), int64(len(word))}, ftype,
			hashOf(meta, word)})
	}
	return a
}

func unifiedAdd(product, version, word string) Add {
	a := splitAdd(product, version, word)
	a.Unified, a.Meta.Path = true, ContentPath(unifiedIncus, hashOf(word))
	return a
}

func mustAdd(t testing.TB, fsys fstest.MapFS, add Add) (fstest.MapFS, *Added) {
	t.Helper()
	added, err := AddImage(catalog.Files(fsys), add)
	if err != nil {
		t.Fatal(err)
	}
	return apply(fsys, added.Docs), added
}

// tree makes a tree of a catalog, with the index that belongs to it.
func treeOf(t testing.TB, images string) fstest.MapFS {
	t.Helper()
	var doc struct{ Products map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(images), &doc); err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(doc.Products))
	index := fmt.Sprintf(`{"index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json",
"products":%s,"format":"products:1.0"}},"format":"index:1.0"}`, list(names))
	return fstest.MapFS{IndexPath: file(index), defaultCatalog: file(images)}
}

func file(data string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(data), Mode: 0o644} }
