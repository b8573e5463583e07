package simplestreams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	client "github.com/lxc/incus/v6/shared/simplestreams"

	"example.com/publish/stage/catalog"
)

const fuzzIndex = `{"index":{"images":{"datatype":"image-downloads","path":"streams/v1/images.json",
"products":["p"]}},"format":"index:1.0"}`

// FuzzIndex: whatever stands in the index, it is read, with paths that can be
// followed; refused is exactly what the client's decoding refuses; and a
// rewrite loses nothing.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(fuzzIndex))
	f.Add([]byte(`{"INDEX":{"images":{"products":[null,1],"path":"..","datatype":"image-downloads"}}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"index":[]}`))
	f.Fuzz(func(t *testing.T, index []byte) {
		tree := fstest.MapFS{IndexPath: {Data: index}, defaultCatalog: file(treeDoc(metaIncus, unifiedIncus))}
		cat := fuzzRead(t, tree)
		if err := json.Unmarshal(index, &client.Stream{}); (err != nil) != refused(cat, IndexPath) {
			t.Errorf("client says %v, we say %v", err, cat.Findings)
		}
		rewrites(t, tree, cat)
	})
}

// FuzzCatalog is FuzzIndex for a products file behind an index that is good:
// it lists the images that the client lists.
func FuzzCatalog(f *testing.F) {
	f.Add([]byte(wild()))
	f.Add([]byte(treeDoc(metaIncus, unifiedIncus)))
	f.Add([]byte(`{"products":{"p":{"\u0061rch":"amd64","versions":{"20260101":{"items":null}}}}}`))
	f.Add([]byte(`{"products":{"":{"arch":"amd64","supported":0,"requirements":{"a":null},
"versions":{"20260101":{"items":{"a":{"size":-0,"ftype":"incus_combined.tar.gz","sha256":"é\ud800",
"path":"/\u0000"}}}}}}}`))
	f.Add([]byte("{\"products\" : {\"\xff\":{\"arch\":\"arm\"}}} x"))
	f.Fuzz(func(t *testing.T, images []byte) {
		tree := fstest.MapFS{IndexPath: file(fuzzIndex), defaultCatalog: {Data: images}}
		cat := fuzzRead(t, tree)
		var products client.Products
		err := json.Unmarshal(images, &products)
		// The client of this version does not read combined_type.
		typed := slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool {
			return strings.Contains(f.Message, "combined_type is ")
		}) ||
			slices.ContainsFunc(cat.Images, func(i catalog.Image) bool {
				return i.Type == virtualMachine && len(i.Paths) < 2
			})
		if (err != nil) != refused(cat, defaultCatalog) && !typed {
			t.Errorf("client says %v, we say %v", err, cat.Findings)
		}
		if err == nil && !typed && !has(cat, "duplicate-key") && !strings.Contains(string(images), "lxd") {
			var want, got []string
			theirs, _ := products.ToAPI()
			for _, img := range theirs {
				want = append(want, img.Fingerprint+" "+img.Type+" "+img.Properties["serial"])
			}
			for _, img := range cat.Images {
				if img.Skipped != "" {
					continue
				}
				got = append(got, img.Fingerprint+" "+img.Type+" "+img.Version)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("client sees %q, we see %q", want, got)
			}
		}
		rewrites(t, tree, cat)
	})
}

// fuzzRead reads a tree; what its items name can be followed.
func fuzzRead(t *testing.T, tree fstest.MapFS) *catalog.Catalog {
	cat, err := Format{}.Read(context.Background(), catalog.Files(tree))
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range cat.Items {
		if c, _, ok := catalog.Clean(it.Path); !ok || c != it.Path {
			t.Errorf("path %q", it.Path)
		}
	}
	return cat
}

func has(cat *catalog.Catalog, codes ...string) bool {
	return slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool { return slices.Contains(codes, f.Code) })
}

func refused(cat *catalog.Catalog, name string) bool {
	return slices.ContainsFunc(cat.Findings, func(f catalog.Finding) bool {
		return f.Path == name && (f.Code == "bad-type" || f.Code == "bad-json")
	})
}

// rewrites adds an image to a tree and takes all images out of it: documents
// that cannot be rewritten are refused, and in those that are rewritten, all
// that the change is not about stands as it stood.
func rewrites(t *testing.T, tree fstest.MapFS, cat *catalog.Catalog) {
	check := func(docs []catalog.Document, err error, mine func(path []string) bool) {
		if err != nil && !errors.As(err, new(*DocumentError)) {
			t.Error(err)
		}
		if err == nil && (refused(cat, IndexPath) || refused(cat, defaultCatalog)) {
			t.Errorf("what no client reads is rewritten: %v", cat.Findings)
		}
		for _, d := range docs {
			if d.Data != nil && !json.Valid(d.Data) {
				t.Errorf("%s is no JSON: %s", d.Path, d.Data)
			}
			old := tree[d.Path]
			if old == nil || has(cat, "duplicate-key") {
				continue
			}
			now := leaves(d.Data)
			for key, value := range leaves(old.Data) {
				if path := strings.Split(key, "\x00"); now[key] != value && !mine(path) {
					t.Errorf("%s: %q was %s, is %s", d.Path, path, value, now[key])
				}
			}
		}
	}
	is := func(path []string, i int, name string) bool { return i < len(path) && strings.EqualFold(path[i], name) }
	added, err := AddImage(catalog.Files(tree), splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	if added == nil {
		added = &Added{}
	}
	check(added.Docs, err, func(path []string) bool {
		return is(path, 0, "updated") ||
			is(path, 0, "products") && (len(path) == 1 || path[1] == debian) ||
			is(path, 0, "index") && (len(path) <= 2 || is(path, 2, "products") || is(path, 2, "updated"))
	})
	docs, err := Format{}.Without(context.Background(), catalog.Files(tree), func(catalog.Image) bool { return true })
	check(docs, err, func(path []string) bool {
		return is(path, 0, "updated") || is(path, 0, "products") ||
			is(path, 0, "index") && (len(path) <= 2 || is(path, 2, "products") || is(path, 2, "updated"))
	})
}

// leaves are the values of a document that hold no others, by the names above
// each; lists count as values.
func leaves(doc []byte) map[string]string {
	out := map[string]string{}
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		if fields, ok := v.(map[string]any); ok && len(fields) > 0 {
			for name, v := range fields {
				walk(append(slices.Clone(path), name), v)
			}
			return
		}
		if text, err := json.Marshal(v); err == nil && len(path) > 0 {
			out[strings.Join(path, "\x00")] = string(text)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) == nil {
		walk(nil, v)
	}
	return out
}

// maxFuzzed bounds the memory that a small tarball may cost, in bytes: the
// window of its compression, and what its metadata.yaml makes of it.
const maxFuzzed = maxWindow + 512<<20

// FuzzMetadata: whatever the tarball, an answer within bounds or an error that
// callers know, and what is answered can be added.
func FuzzMetadata(f *testing.F) {
	good := tarball(f, "metadata.yaml", goodYAML)
	for _, kind := range []string{"tar", "gzip", "xz", "zstd"} {
		f.Add(packed(f, kind, good))
	}
	f.Add(packed(f, "gzip", tarball(f, "a", strings.Repeat("\x00", 1<<20), "metadata.yaml", goodYAML)))
	f.Add([]byte("BZh9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := ReadMetadata(bytes.NewReader(data))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > maxFuzzed {
			t.Errorf("%d bytes of memory for a file of %d", used, len(data))
		}
		usable(t, m, err)
	})
}

// FuzzYAML is FuzzMetadata without the tarball around it.
func FuzzYAML(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte("architecture: !!str x86_64\ncreation_date: 1\nproperties: {os: |\n  a, \"b\": 'c'}"))
	f.Add([]byte("? - a\n: b\n---\n...\n&a *a <<: 1"))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := parseMetadata(body)
		usable(t, m, err)
	})
}

// usable holds an answer of ReadMetadata to what it promises: either an error
// of those it names, or an image that can be added to a tree, which a client
// then sees.
func usable(t *testing.T, m *Metadata, err error) {
	if err != nil {
		for _, known := range []error{ErrNotTarball, ErrDamaged, ErrTooLarge, ErrNoMetadata, ErrBadMetadata} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("an error of no kind: %v", err)
	}
	if _, ok := Architecture(m.Architecture); !ok || m.Created.IsZero() || m.Properties == nil {
		t.Fatalf("%+v", m)
	}
	add, err := describe(m, catalog.Addition{}, "metadata.yaml")
	if err != nil {
		return // of a name that it does not have, or that cannot be one
	}
	if _, ok := Architecture(add.Arch); !ok {
		t.Fatalf("clients know no architecture %q", add.Arch)
	}
	add.Unified = true
	add.Meta = File{ContentPath(unifiedIncus, hashOf("u")), hashOf("u"), 1}
	added, err := AddImage(catalog.Files(fstest.MapFS{}), add)
	if errors.Is(err, ErrBadAdd) {
		return // names that no catalog can have
	}
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for _, d := range added.Docs {
		tree[d.Path] = &fstest.MapFile{Data: d.Data}
	}
	cat := fuzzRead(t, tree)
	for _, f := range cat.Findings {
		if f.Severity == catalog.Error {
			t.Errorf("what was added is not valid: %+v", f)
		}
	}
	if len(cat.Images) != 1 {
		t.Errorf("no client sees %+v", add)
	}
}
