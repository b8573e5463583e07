package simplestreams

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

// What is selected is a tree that clients read without an error, that names no file which
// was not listed, and that can be merged.
func FuzzSelect(f *testing.F) {
	f.Add([]byte(fuzzIndex), []byte(wild()), 1, false)
	f.Add([]byte(fuzzIndex), []byte(treeDoc(metaIncus, unifiedIncus)), 0, true)
	f.Add([]byte(`{"index":{"a":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["p"]},
"b":{"datatype":"image-downloads","path":"streams/v1/images.sjson","products":["p","q"]}}}`),
		[]byte(`{"products":{"p":{"arch":"amd64","versions":{"20260101":{"items":{"a":{"size":1,"path":"x","ftype":"y"},
"b":{"size":1,"path":"x/../y","ftype":"squashfs","sha256":"00"}}}}}}}`), 2, true)
	f.Fuzz(func(t *testing.T, index, images []byte, newest int, signed bool) {
		src := catalog.Files(fstest.MapFS{IndexPath: {Data: index}, defaultCatalog: {Data: images}})
		ctx := context.Background()
		field := func(get func(string) string) bool { return get("ftype") != "disk1.img" }
		sel, err := Select(ctx, src, Want{Newest: newest, Signed: signed, Item: field})
		if err != nil {
			if !errors.As(err, new(*DocumentError)) {
				t.Errorf("error %v", err)
			}
			return
		}
		if len(sel.Versions) == 0 {
			return
		}
		tree := fstest.MapFS{}
		for name, doc := range sel.Documents {
			tree[name] = &fstest.MapFile{Data: doc}
		}
		cat, err := Format{}.Read(ctx, catalog.Files(tree))
		if err != nil {
			t.Fatal(err)
		}
		files, count := map[string]string{}, map[string]int{}
		for _, file := range sel.Files {
			files[file.Path] = file.SHA256
		}
		for _, i := range cat.Items {
			if files[i.Path] == "" || files[i.Path] != i.SHA256 {
				t.Errorf("%s is named, and not listed", i.Path)
			}
		}
		for _, finding := range cat.Findings {
			if finding.Severity == catalog.Error {
				t.Errorf("%+v", finding)
			}
		}
		for _, v := range sel.Versions {
			if count[v.Product]++; newest > 0 && count[v.Product] > newest {
				t.Errorf("%s: more than %d versions", v.Product, newest)
			}
		}
		if _, err := Merge(ctx, catalog.Files(fstest.MapFS{}), catalog.Files(tree)); err != nil {
			t.Errorf("cannot be merged: %v", err)
		}
	})
}
