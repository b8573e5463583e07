package simplestreams

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// A catalog is the same, however many cores read its products.
func TestProductsOnAllCores(t *testing.T) {
	tree := bigTree(2_000)
	doc := tree[defaultCatalog].Data
	doc = bytes.Replace(doc, []byte(`"aliases":"os00019/1"`), []byte(`"aliases":"os00000/1, "`), 1)
	doc = bytes.ReplaceAll(doc, []byte(`"20200301_00:00"`), []byte(`"odd"`))
	tree[defaultCatalog].Data = doc
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := mustRead(t, tree)
	got := codes(want.Findings)
	if !slices.Equal(got, []string{"warning alias-shared", "warning bad-alias", "warning version-name"}) {
		t.Errorf("findings %v", got)
	}
	for _, p := range want.Pairs {
		first, second := want.Items[p.First], want.Items[p.Second]
		words := strings.Split(strings.TrimSuffix(p.Field, "_sha256"), "_") // combined_squashfs
		if first.Name != "incus.tar.xz" || !strings.Contains(second.Path, words[1]) && second.Name != "disk.qcow2" ||
			first.Of() != second.Of() {
			t.Fatalf("the pair %+v is of %+v and %+v", p, first, second)
		}
	}
	for _, cores := range []int{2, 3, 16} {
		runtime.GOMAXPROCS(cores)
		if diff := cmp.Diff(want, mustRead(t, tree)); diff != "" {
			t.Errorf("on %d cores: %s", cores, diff)
		}
		// What is wrong in the last product is wrong with all.
		at := bytes.LastIndexByte(doc, ':')
		cut := append(append(slices.Clone(doc[:at]), ' '), doc[at+1:]...)
		bad := mustRead(t, apply(tree, []catalog.Document{{Path: defaultCatalog, Data: cut}}))
		if got := codes(bad.Findings); !slices.Equal(got, []string{"error bad-json"}) ||
			len(bad.Items)+len(bad.Images) > 0 {
			t.Errorf("on %d cores, a colon less: %v, %d items", cores, got, len(bad.Items))
		}
	}
}
