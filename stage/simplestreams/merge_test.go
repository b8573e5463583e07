package simplestreams

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"example.com/publish/stage/catalog"
)

func mustMerge(t testing.TB, dst, src fstest.MapFS) (fstest.MapFS, *Merged) {
	t.Helper()
	m, err := Merge(context.Background(), catalog.Files(dst), catalog.Files(src))
	if err != nil {
		t.Fatal(err)
	}
	return apply(dst, m.Docs), m
}

func treeWith(t testing.TB, adds ...Add) fstest.MapFS {
	t.Helper()
	tree := fstest.MapFS{}
	for _, add := range adds {
		tree, _ = mustAdd(t, tree, add)
	}
	return tree
}

func TestMergeIntoNothing(t *testing.T) {
	src := treeOf(t, wild())
	after, m := mustMerge(t, fstest.MapFS{}, src)
	for _, name := range []string{IndexPath, defaultCatalog} {
		if string(after[name].Data) != string(src[name].Data) {
			t.Errorf("%s has other bytes:\n%s\n%s", name, after[name].Data, src[name].Data)
		}
	}
	if len(m.Replaced) != 0 || m.Docs[len(m.Docs)-1].Path != IndexPath {
		t.Errorf("replaced %v, documents %v", m.Replaced, m.Docs)
	}
	if got := codes(m.Findings); len(got) > 0 {
		t.Errorf("findings %v", got)
	}
	if again, m := mustMerge(t, after, src); len(m.Docs) != 0 || len(again) != len(after) {
		t.Errorf("merged again: %v", m.Docs)
	}
}

func TestMergeOne(t *testing.T) {
	const v = "20260101_00:00"
	s := func(meta string, roots ...string) Add { return splitAdd(debian, v, meta, roots...) }
	for _, tc := range []struct {
		name     string
		dst, src []Add
		want     []string
		replaced []string
	}{
		{"other versions", []Add{s("m", "squashfs=s")}, []Add{splitAdd(debian, "20260102_00:00", "n", "squashfs=t")},
			[]string{"m+s", "n+t"}, nil},
		{"other products", []Add{s("m", "squashfs=s")}, []Add{splitAdd("a:b:c:arm64", v, "n", "squashfs=t")},
			[]string{"m+s", "n+t"}, nil},
		{"the same", []Add{s("m", "squashfs=s")}, []Add{s("m", "squashfs=s")}, []string{"m+s"}, nil},
		{"a vm beside", []Add{s("m", "squashfs=s")}, []Add{s("m", "disk-kvm.img=d")}, []string{"m+s", "m+d"}, nil},
		{"a vm beside, other metadata", []Add{s("m", "squashfs=s")}, []Add{s("n", "disk-kvm.img=d")},
			[]string{"m+s", "n+d"}, nil},
		{"replaced", []Add{s("m", "squashfs=s")}, []Add{s("n", "squashfs=t")}, []string{"n+t"},
			sorted(ContentPath(metaIncus, hashOf("m")), ContentPath("squashfs", hashOf("s")))},
		{"two metadata for two", []Add{s("m", "squashfs=s"), s("n", "disk-kvm.img=d")},
			[]Add{s("n", "squashfs=s"), s("m", "disk-kvm.img=d")}, []string{"n+s", "m+d"}, nil},
		{"a unified image", []Add{s("m", "squashfs=s"), unifiedAdd(debian, v, "u")}, []Add{unifiedAdd(debian, v, "w")},
			[]string{"m+s", "w"}, []string{ContentPath(unifiedIncus, hashOf("u"))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dst, src := treeWith(t, tc.dst...), treeWith(t, tc.src...)
			after, m := mustMerge(t, dst, src)
			var want []string
			for _, w := range tc.want {
				want = append(want, hashOf(strings.Split(w, "+")...))
			}
			slices.Sort(want)
			if got := fingerprints(agree(t, after)); !slices.Equal(got, want) {
				t.Errorf("fingerprints %v, want %v", got, want)
			}
			if !slices.Equal(m.Replaced, tc.replaced) {
				t.Errorf("replaced %v, want %v", m.Replaced, tc.replaced)
			}
			clean(t, after)
			if _, again := mustMerge(t, after, src); len(again.Docs) > 0 {
				t.Errorf("merged again: %s", again.Docs[0].Data)
			}
		})
	}
}

func TestMergeFields(t *testing.T) {
	dst := treeOf(t,
		`{"x-doc":"dst","content_id":"images","products":{"p":{"aliases":"a","arch":"amd64","os":"o","x-both":"dst","x-dst":1,"versions":{
		"20260101":{"x-dst":1,"label":"l","items":{"f":{"ftype":"other","path":"images/f","sha256":"`+hashOf("f")+`","x-dst":1}}}}}}}`)
	src := treeOf(t,
		`{"x-doc":"src","x-src":2,"content_id":"there","products":{"p":{"aliases":"b","arch":"amd64","os":"","x-both":"src","x-src":2,"versions":{
		"20260101":{"x-src":2,"items":{"g":{"ftype":"other","path":"images/g","sha256":"`+hashOf("f")+`","x-src":2}}}}}}}`)
	after, m := mustMerge(t, dst, src)
	want := `{"x-doc":"dst","content_id":"images","products":{"p":{"aliases":"b","arch":"amd64","os":"o","x-both":"src","x-dst":1,"versions":{` +
		`"20260101":{"x-dst":1,"label":"l","items":{"f":{"ftype":"other","path":"images/g","sha256":"` + hashOf("f") +
		`","x-dst":1,"x-src":2}},"x-src":2}},"x-src":2}},"x-src":2}`
	if diff := cmp.Diff(want, string(after[defaultCatalog].Data)); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(m.Replaced, []string{"images/f"}) {
		t.Errorf("replaced %v", m.Replaced)
	}
}

func TestMergeStreams(t *testing.T) {
	dst := treeWith(t, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	src := fstest.MapFS{
		IndexPath: file(`{"x":1,"index":{
			"ids":{"datatype":"image-ids","path":"streams/v1/ids.json"},
			"daily":{"datatype":"image-downloads","path":"streams/v1/daily.json","x-stream":1,"products":["` + debian + `"]},
			"web":{"datatype":"image-downloads","path":"streams/v2/images.json","products":["q"]}}}`),
		"streams/v1/daily.json":  file(`{"products":{"` + debian + `":{"arch":"amd64","versions":{}}}}`),
		"streams/v2/images.json": file(`{"products":{"q":{"arch":"arm64","versions":{}}}}`),
	}
	after, m := mustMerge(t, dst, src)
	index := string(after[IndexPath].Data)
	if !strings.Contains(index, `"web":`) || strings.Contains(index, "ids") || strings.Contains(index, "daily") {
		t.Errorf("the product of daily is in images already: %s", index)
	}
	if diff := cmp.Diff([]string{"warning name-collision"}, codes(m.Findings)); diff != "" {
		t.Error(diff)
	}
	agree(t, after)

	after, _ = mustMerge(t, fstest.MapFS{}, src)
	index = string(after[IndexPath].Data)
	if strings.Contains(index, "ids") || !strings.Contains(index, `"x":1`) || !strings.Contains(index, `"x-stream":1`) {
		t.Errorf("index %s", index)
	}
	clean(t, fstest.MapFS{IndexPath: after[IndexPath], "streams/v1/daily.json": after["streams/v1/daily.json"],
		"streams/v2/images.json": file(`{"products":{"q":{"arch":"arm64"}}}`)})
}

// TestMergeConflict: both trees name one path, for different files.
func TestMergeConflict(t *testing.T) {
	a, b := splitAdd(debian, "20260101_00:00", "m", "squashfs=s"), splitAdd(debian, "20260102_00:00", "n", "squashfs=t")
	b.Roots[0].Path = a.Roots[0].Path
	_, m := mustMerge(t, treeWith(t, a), treeWith(t, b))
	if diff := cmp.Diff([]string{"error path-conflict"}, codes(m.Findings)); diff != "" {
		t.Error(diff)
	}
}

func TestMergeRefuses(t *testing.T) {
	good := treeWith(t, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	cut := apply(good, nil)
	cut[defaultCatalog] = file(`{"products":`)
	lost := apply(good, nil)
	delete(lost, defaultCatalog)
	for name, tc := range map[string]struct {
		dst, src fstest.MapFS
		code     string
	}{
		"no source":  {good, fstest.MapFS{}, "no-index"},
		"cut source": {good, cut, "bad-json"},
		"cut here":   {cut, good, "bad-json"},
		"half there": {good, lost, "missing"},
	} {
		_, err := Merge(context.Background(), catalog.Files(tc.dst), catalog.Files(tc.src))
		var bad *DocumentError
		if !errors.As(err, &bad) || bad.Code != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMergeProperty: every image of the source is there afterwards, and none
// that neither tree had.
func TestMergeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dst, src := genTree(t), genTree(t)
		m, err := Merge(context.Background(), catalog.Files(dst), catalog.Files(src))
		if err != nil {
			t.Fatal(err)
		}
		had := map[string]bool{}
		for _, img := range append(mustReadRapid(t, dst).Images, mustReadRapid(t, src).Images...) {
			had[img.Product+img.Version+img.Fingerprint] = true
		}
		after := apply(dst, m.Docs)
		now := map[string]bool{}
		for _, img := range mustReadRapid(t, after).Images {
			now[img.Product+img.Version+img.Fingerprint] = true
			if img.Fingerprint != "" && !had[img.Product+img.Version+img.Fingerprint] {
				t.Fatalf("new image %v\n%s\n%s\n%s", img, dst[defaultCatalog].Data, src[defaultCatalog].Data,
					after[defaultCatalog].Data)
			}
		}
		for _, img := range mustReadRapid(t, src).Images {
			if img.Fingerprint != "" && !now[img.Product+img.Version+img.Fingerprint] {
				t.Fatalf("lost %v\n%s\n%s\n%s", img, dst[defaultCatalog].Data, src[defaultCatalog].Data,
					after[defaultCatalog].Data)
			}
		}
	})
}

// Of a root.tar.xz clients read combined_rootxz_sha256 before combined_sha256:
// what src says counts, whichever field says it.
func TestMergeCombinedFallback(t *testing.T) {
	doc := func(field, fingerprint string) string {
		return `{"products":{"` + debian + `":{"arch":"amd64","versions":{"20260101_00:00":{"items":{` +
			`"m":{"ftype":"incus.tar.xz","path":"images/m","sha256":"` + hashOf("m") + `","` + field + `":"` +
			hashOf(fingerprint) + `"},` +
			`"r":{"ftype":"root.tar.xz","path":"images/r","sha256":"` + hashOf("r") + `"}}}}}}}`
	}
	for _, fields := range [][2]string{
		{"combined_rootxz_sha256", "combined_sha256"}, {"combined_sha256", "combined_rootxz_sha256"},
	} {
		after, _ := mustMerge(t, treeOf(t, doc(fields[0], "old")), treeOf(t, doc(fields[1], "new")))
		if got := mustRead(t, after).Images; len(got) != 1 || got[0].Fingerprint != hashOf("new") {
			t.Errorf("%s over %s: %v", fields[1], fields[0], got)
		}
	}
}
