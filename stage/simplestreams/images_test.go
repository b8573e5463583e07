package simplestreams

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.com/publish/stage/catalog"
)

func vmAdd(product, version, word string) Add {
	a := unifiedAdd(product, version, word)
	a.VM = true
	return a
}

// types are the images of a tree, each as fingerprint and type.
func types(t *testing.T, tree fstest.MapFS) []string {
	t.Helper()
	var out []string
	for _, i := range mustRead(t, tree).Images {
		out = append(out, i.Type+" "+i.Fingerprint[:8])
	}
	slices.Sort(out)
	return out
}

// TestCombinedType: a unified image is what its combined_type says, wherever
// images are told, added, united and taken away.
func TestCombinedType(t *testing.T) {
	const v = "20260101_00:00"
	vm, box := "virtual-machine "+hashOf("d")[:8], "container "+hashOf("c")[:8]
	tree := treeWith(t, unifiedAdd(debian, v, "c"), vmAdd(debian, v, "d"))
	if got := types(t, tree); !slices.Equal(got, []string{box, vm}) {
		t.Fatalf("both types beside each other: %v", got)
	}
	clean(t, tree)
	if _, again := mustAdd(t, tree, vmAdd(debian, v, "d")); !again.Unchanged {
		t.Errorf("added again: %s", again.Docs[0].Data)
	}
	// Another one of a type replaces that of the same type only.
	next, added := mustAdd(t, tree, vmAdd(debian, v, "e"))
	if got := types(t, next); !slices.Equal(got, sorted(box, "virtual-machine "+hashOf("e")[:8])) ||
		len(added.Replaced) != 1 {
		t.Errorf("replaced %v: %v", added.Replaced, got)
	}
	// A merge takes the field along, and does not lose it to a tree without it.
	merged, _ := mustMerge(t, treeWith(t, unifiedAdd(debian, v, "c")), treeWith(t, vmAdd(debian, v, "d")))
	if got := types(t, merged); !slices.Equal(got, []string{box, vm}) {
		t.Errorf("merged: %v", got)
	}
	merged, _ = mustMerge(t, treeWith(t, vmAdd(debian, v, "d")), treeWith(t, unifiedAdd(debian, v, "d")))
	if got := types(t, merged); !slices.Equal(got, []string{vm}) {
		t.Errorf("merged over one that has the type: %v", got)
	}
	// What an older program staged without the field is told anew.
	tree, _ = mustAdd(t, treeWith(t, unifiedAdd(debian, v, "d")), vmAdd(debian, v, "d"))
	if got := types(t, tree); !slices.Equal(got, []string{vm}) {
		t.Errorf("added over one without the type: %v", got)
	}
	left, _ := without(t, treeWith(t, unifiedAdd(debian, v, "c"), vmAdd(debian, v, "d")),
		func(i catalog.Image) bool { return i.Type == virtualMachine })
	if got := types(t, left); !slices.Equal(got, []string{box}) {
		t.Errorf("without virtual machines: %v", got)
	}
}

// TestCombinedTypeFindings: aliases are shared within a type only, and a type
// that nobody knows is told.
func TestCombinedTypeFindings(t *testing.T) {
	const v = "20260101_00:00"
	other := func(a Add) Add { a.Product, a.Variant = "debian:1:vm:amd64", "vm"; return a }
	for name, tc := range map[string]struct {
		adds []Add
		want []string
	}{
		"a container and a machine": {[]Add{unifiedAdd(debian, v, "c"), other(vmAdd(debian, v, "d"))}, nil},
		"two machines": {[]Add{vmAdd(debian, v, "c"), other(vmAdd(debian, v, "d"))},
			[]string{"warning alias-shared"}},
		"a split one, and a unified": {[]Add{splitAdd(debian, v, "m", "disk-kvm.img=k"), other(vmAdd(debian, v, "d"))},
			[]string{"warning alias-shared"}},
	} {
		if got := codes(mustRead(t, treeWith(t, tc.adds...)).Findings); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	tree := treeWith(t, vmAdd(debian, v, "d"))
	edit := func(value string) fstest.MapFS {
		doc := strings.Replace(string(tree[defaultCatalog].Data), `"combined_type":"virtual-machine"`,
			`"combined_type":`+value, 1)
		return fstest.MapFS{IndexPath: tree[IndexPath], defaultCatalog: {Data: []byte(doc)}}
	}
	for value, want := range map[string]string{`"container"`: "", `""`: "", `null`: "", `"vm"`: "warning combined-type",
		`1`: "error bad-type"} {
		if got := strings.Join(codes(mustRead(t, edit(value)).Findings), " "); got != want {
			t.Errorf("combined_type %s: %q, not %q", value, got, want)
		}
	}
	// A diff tells when the type alone changes.
	before, after := mustRead(t, edit(`""`)).Units, mustRead(t, tree).Units
	if slices.Equal(before, after) {
		t.Error("a diff does not tell a change of combined_type")
	}
}

func TestMetadataVM(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		want  bool
	}{
		"no root":         {[]string{"metadata.yaml", goodYAML}, false},
		"a folder":        {[]string{"metadata.yaml", goodYAML, "rootfs/", "", "rootfs/rootfs.img", "x"}, false},
		"behind":          {[]string{"metadata.yaml", goodYAML, "rootfs.img", "QFI\xfb"}, true},
		"before":          {[]string{"./rootfs.img", "QFI\xfb", "./metadata.yaml", goodYAML}, true},
		"a folder of it":  {[]string{"metadata.yaml", goodYAML, "rootfs.img/", ""}, false},
		"metadata, twice": {[]string{"metadata.yaml", goodYAML, "metadata.yaml", "x", "rootfs.img", "QFI\xfb"}, true},
	} {
		m, err := ReadMetadata(strings.NewReader(string(tarball(t, tc.files...))))
		if err != nil || m.VM != tc.want {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
