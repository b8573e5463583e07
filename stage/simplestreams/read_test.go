package simplestreams

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/osarch"

	"example.com/publish/stage/catalog"
)

func TestClass(t *testing.T) {
	for p, want := range map[string]catalog.Class{
		"streams/v1/index.json":           catalog.Index,
		"streams/v1/images.json":          catalog.Index,
		"streams/v1/index.json.gz":        catalog.Other,
		"streams/v1/index.sjson":          catalog.Other,
		"streams/v1/index.json.gpg":       catalog.Other,
		"streams/v1/.json":                catalog.Other,
		"streams/v1/images.tar.xz":        catalog.Other,
		"other/streams/v1/index.json":     catalog.Other,
		"images/a.incus.tar.xz":           catalog.ItemLike,
		"images/a.incus_combined.tar.gz":  catalog.ItemLike,
		"images/a.squashfs":               catalog.ItemLike,
		"images/a.qcow2":                  catalog.ItemLike,
		"images/a.root.tar.xz":            catalog.ItemLike,
		"images/debian/13/rootfs.tar.zst": catalog.ItemLike,
		"images/x/disk1.img":              catalog.ItemLike,
		"images/x/delta.20260101.vcdiff":  catalog.ItemLike,
		"index.html":                      catalog.Other,
		"robots.txt":                      catalog.Other,
		"images/SHA256SUMS":               catalog.Other,
		"images/.squashfs":                catalog.Other,
		"tools/installer.iso":             catalog.Other,
		".htaccess":                       catalog.Other,
		".well-known/security.txt":        catalog.Other,
		".htpasswd2":                      catalog.Other,
		".index.html.backup":              catalog.Other,
		"images/a.squashfs.part":          catalog.InProgress,
		"images/a.squashfs~":              catalog.InProgress,
		"page.html.tmp":                   catalog.InProgress,
		"images/.a.squashfs.Xy12Zz":       catalog.InProgress,
		"images/.a.squashfs1234567":       catalog.InProgress,
		"streams/v1/.images.json.aB3dE6":  catalog.InProgress,
		"streams/v1/.images.json98765":    catalog.InProgress,
		"images/.rsync-partial/a.qcow2":   catalog.InProgress,
		"images/.~tmp~/a.qcow2":           catalog.InProgress,
	} {
		if got := (Format{}).Class(p); got != want {
			t.Errorf("%s is %v, want %v", p, got, want)
		}
	}
}

func TestArchitectures(t *testing.T) {
	for name, want := range architectures {
		id, err := osarch.ArchitectureID(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, _ := osarch.ArchitectureName(id); got != want {
			t.Errorf("%s is %s to the client, not %s", name, got, want)
		}
	}
	for _, name := range osarch.SupportedArchitectures() {
		if got, ok := Architecture(name); !ok || got != name {
			t.Errorf("%s is not known", name)
		}
	}
	if _, ok := Architecture("unknown"); ok {
		t.Error("unknown is known")
	}
}

// wild is a catalog with the layouts that are met in the wild.
func wild() string {
	h := hashOf
	return `{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{
"debian:13:amd64:default":{"aliases":"debian/13/default,debian/13","arch":"amd64","os":"Debian","release":"trixie",
"release_title":"13","requirements":{},"variant":"default",
 "versions":{"20260101_05:24":{"items":{
  "incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/debian/13/amd64/default/20260101_05:24/incus.tar.xz",
"sha256":"` + h("m") + `","size":100,"combined_squashfs_sha256":"` + h("m", "s") + `",
"combined_disk-kvm-img_sha256":"` + h("m", "d") + `","combined_rootxz_sha256":"` + h("m", "x") + `",
"combined_sha256":"` + h("m", "x") + `"},
  "lxd.tar.xz":{"ftype":"lxd.tar.xz","path":"images/debian/13/amd64/default/20260101_05:24/incus.tar.xz",
"sha256":"` + h("m") + `","size":100,"combined_squashfs_sha256":"` + h("m", "s") + `",
"combined_disk-kvm-img_sha256":"` + h("m", "d") + `","combined_rootxz_sha256":"` + h("m", "x") + `"},
  "root.squashfs":{"ftype":"squashfs","path":"./images/debian/13/amd64/default/20260101_05:24/rootfs.squashfs",
"sha256":"` + h("s") + `","size":1000},
  "disk.qcow2":{"ftype":"disk-kvm.img","path":"images/debian/13/amd64/default/20260101_05:24/disk.qcow2",
"sha256":"` + h("d") + `","size":2000},
  "root.tar.xz":{"ftype":"root.tar.xz","path":"images/debian/13/amd64/default/20260101_05:24/rootfs.tar.xz",
"sha256":"` + h("x") + `","size":3000},
  "delta-1":{"ftype":"squashfs.vcdiff","delta_base":"20251231_05:24",
"path":"images/debian/13/amd64/default/20260101_05:24/d.vcdiff","sha256":"` + h("v") + `","size":10}}}}},
"ubuntu:24.04:amd64:default":{"aliases":"ubuntu/24.04","arch":"amd64","os":"ubuntu","release":"noble",
"release_title":"24.04","supported":true,"support_eol":"2029-01-01","version":"24.04",
 "versions":{"20260102":{"label":"release","pubname":"u","items":{
  "incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/u.tar.xz","sha256":"` + h("um") + `",
"md5":"` + strings.Repeat("a", 32) + `","size":5,"combined_sha256":"` + h("um", "ux") + `",
"combined_disk1-img_sha256":"` + h("um", "u1") + `","combined_uefi1-img_sha256":"` + h("um", "uu") + `"},
  "r":{"ftype":"root.tar.xz","path":"images/u.root","sha256":"` + h("ux") + `","size":6},
  "1":{"ftype":"disk1.img","path":"images/u.1","sha256":"` + h("u1") + `","size":7},
  "u":{"ftype":"uefi1.img","path":"images/u.u","sha256":"` + h("uu") + `","size":8}}},
 "20260103.1":{"items":{"incus_combined.tar.gz":{"ftype":"incus_combined.tar.gz","path":"images/all.tar.gz",
"sha256":"` + h("all") + `","size":9}}}}}
}}`
}

func TestReadWild(t *testing.T) {
	tree := treeOf(t, wild())
	clean(t, tree)
	theirs := clientLines(t, tree)
	for i := range theirs { // we clean paths
		theirs[i].paths = strings.ReplaceAll(theirs[i].paths, "./", "")
	}
	if diff := cmp.Diff(theirs, ourLines(t, tree), cmp.AllowUnexported(line{})); diff != "" {
		t.Error(diff)
	}
	cat := mustRead(t, tree)
	if len(cat.Items) != 11 || len(cat.Pairs) != 9 || len(cat.Units) != 5 {
		t.Errorf("%d items, %d pairs, %d units", len(cat.Items), len(cat.Pairs), len(cat.Units))
	}
	var images []string
	for _, img := range cat.Images {
		images = append(images, fmt.Sprint(img.Product, " ", img.Version, " ", img.Type, " ", img.Bytes, " ",
			img.Aliases, " ", img.Created.Format(time.RFC3339)))
	}
	slices.Sort(images)
	want := []string{
		"debian:13:amd64:default 20260101_05:24 container 1100 [debian/13/default debian/13] 2026-01-01T05:24:00Z",
		"debian:13:amd64:default 20260101_05:24 container 3100 [debian/13/default debian/13] 2026-01-01T05:24:00Z",
		"debian:13:amd64:default 20260101_05:24 virtual-machine 2100 [debian/13/default debian/13] 2026-01-01T05:24:00Z",
		"ubuntu:24.04:amd64:default 20260102 container 11 [ubuntu/24.04] 2026-01-02T00:00:00Z",
		"ubuntu:24.04:amd64:default 20260102 virtual-machine 12 [ubuntu/24.04] 2026-01-02T00:00:00Z",
		"ubuntu:24.04:amd64:default 20260102 virtual-machine 13 [ubuntu/24.04] 2026-01-02T00:00:00Z",
		"ubuntu:24.04:amd64:default 20260103.1 container 9 [ubuntu/24.04] 2026-01-03T00:00:00Z",
	}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Error(diff)
	}
}

func TestReadLXDOnly(t *testing.T) {
	lxd := strings.ReplaceAll(treeDoc("lxd.tar.xz", "lxd_combined.tar.gz"), "@", "")
	cat := mustRead(t, treeOf(t, lxd))
	var got []string
	for _, img := range cat.Images {
		got = append(got, img.Fingerprint)
	}
	slices.Sort(got)
	if want := sorted(hashOf("m", "s"), hashOf("u")); !slices.Equal(got, want) {
		t.Errorf("fingerprints %v, want %v", got, want)
	}
	if len(cat.Findings) > 0 {
		t.Errorf("findings %v", cat.Findings)
	}
}

// treeDoc is a small catalog with one split and one unified image.
func treeDoc(meta, unified string) string {
	return `{"products":{"` + debian +
		`":{"aliases":"debian/13","arch":"amd64","os":"debian","release":"13","versions":{"20260101_00:00":{"items":{` +
		`"meta":{"ftype":"` + meta + `","path":"images/m.tar.xz","sha256":"` + hashOf("m") +
		`","size":1,"combined_squashfs_sha256":"` + hashOf("m", "s") + `"},` +
		`"root":{"ftype":"squashfs","path":"images/s.squashfs","sha256":"` + hashOf("s") + `","size":2},` +
		`"uni":{"ftype":"` + unified + `","path":"images/u.tar.gz","sha256":"` + hashOf("u") + `","size":3}}}}}}}`
}

func TestFindings(t *testing.T) {
	good := treeDoc(metaIncus, unifiedIncus)
	with := func(pairs ...string) fstest.MapFS { return treeOf(t, strings.NewReplacer(pairs...).Replace(good)) }
	index := func(old, new string) fstest.MapFS {
		tree := treeOf(t, good)
		tree[IndexPath] = file(strings.Replace(string(tree[IndexPath].Data), old, new, 1))
		return tree
	}
	doc := func(data string) fstest.MapFS {
		tree := treeOf(t, good)
		tree[defaultCatalog] = file(data)
		return tree
	}
	for _, tc := range []struct {
		name string
		tree fstest.MapFS
		want []string
	}{
		{"good", treeOf(t, good), nil},
		{"no index", fstest.MapFS{}, []string{"error no-index"}},
		{"empty tree",
			fstest.MapFS{IndexPath: file(`{"index":{"images":{"datatype":"image-downloads",
"path":"streams/v1/images.json","products":[]}}}`)}, nil},
		{"no catalog", index("images.json", "gone.json"), []string{"error missing"}},
		{"index link", fstest.MapFS{IndexPath: {Data: []byte("x"), Mode: fs.ModeSymlink}},
			[]string{"error through-link"}},
		{"index pipe", fstest.MapFS{IndexPath: {Mode: fs.ModeNamedPipe}}, []string{"error not-a-file"}},
		{"index unsafe", index("streams/v1/images.json", "../../x"), []string{"error unsafe-path"}},
		{"index itself", index("streams/v1/images.json", "./streams/v1/index.json"), []string{"error unsafe-path"}},
		{"index hides", index(`["`+debian+`"]`, `[]`), []string{"error index-mismatch"}},
		{"index names more", index(`["`, `["a","`), []string{"error index-mismatch"}},
		{"index names less", index(debian, "other"), []string{"error index-mismatch"}},
		{"index type", index(`"index:1.0"`, `1`), []string{"error bad-type"}},
		{"other datatype", index(`{"images"`, `{"x":{"datatype":"image-ids","path":"/nowhere"},"images"`), nil},
		{"empty", doc(""), []string{"error bad-json"}},
		{"cut", doc(good[:len(good)/2]), []string{"error bad-json"}},
		{"more", doc(good + "{}"), []string{"error bad-json"}},
		{"deep", doc(strings.Repeat("[", 1<<20)), []string{"error bad-json"}},
		{"array", doc("[]"), []string{"error bad-type", "error index-mismatch"}},
		{"twice", with(`"size":1`, `"size":1,"size":1`), []string{"error duplicate-key"}},
		{"twice in another case", with(`"size":1`, `"size":1,"Size":1`), []string{"error duplicate-key"}},
		{"absolute", with("images/s.squashfs", "/images/s.squashfs"), []string{"error unsafe-path"}},
		{"climbing", with("images/s.squashfs", "images/../../s"), []string{"error unsafe-path"}},
		{"an index", with("images/s.squashfs", "streams/v1/images.json"), []string{"error unsafe-path"}},
		{"reserved", with("images/s.squashfs", ".publish-generation"), []string{"error unsafe-path"}},
		{"no root path", with("images/s.squashfs", ""), []string{"error no-path"}},
		// the unified image is listed
		{"no metadata path", with("images/m.tar.xz", ""), []string{"warning no-fingerprint", "warning no-path"}},
		{"root path of a skipped version", with("images/s.squashfs", "", "20260101_00:00", "v1"),
			[]string{"warning version-name"}},
		{"order", with("20260101_00:00", `20260101.9":{"items":{}},"20260101.10`), []string{"warning no-fingerprint"}},
		{"two hashes", with("images/u.tar.gz", "images/s.squashfs", `"size":3`, `"size":2`),
			[]string{"error path-conflict"}},
		{"two sizes", with("images/u.tar.gz", "./images/s.squashfs", hashOf("u"), hashOf("s")),
			[]string{"error path-conflict"}},
		{"short hash", with(hashOf("s"), "abc"), []string{"error bad-hash"}},
		{"upper case", with(hashOf("s"), strings.ToUpper(hashOf("s"))), []string{"error bad-hash"}},
		{"bad combined", with(hashOf("m", "s"), "abc"), []string{"error bad-hash"}},
		{"negative", with(`"size":1`, `"size":-1`), []string{"error bad-size"}},
		{"no size", with(`,"size":1`, ``), nil},
		{"no hash", with(`"sha256":"`+hashOf("s")+`",`, ""), []string{"error no-hash"}},
		{"no combined", with("combined_squashfs_sha256", "combined_sha256"), []string{"warning no-fingerprint"}},
		{"short name", with("20260101_00:00", "2026"), []string{"warning version-name"}},
		{"no date", with("20260101_00:00", "20261301"), []string{"warning version-name"}},
		{"architecture", with(`"arch":"amd64"`, `"arch":"z80"`), []string{"warning unknown-architecture"}},
		{"alias", with(`debian/13"`, `debian/13, b"`), []string{"warning bad-alias"}},
		{"percent", with("images/s.squashfs", "images/s%20.squashfs"), []string{"warning encoded-path"}},
		{"fingerprint twice", with(`"`+hashOf("m", "s")+`"`, `"`+hashOf("u")+`"`),
			[]string{"warning fingerprint-shared"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cat := mustRead(t, tc.tree)
			if tc.want == nil {
				tc.want = []string{}
			}
			if diff := cmp.Diff(tc.want, codes(cat.Findings)); diff != "" {
				t.Errorf("%s\n%v", diff, cat.Findings)
			}
			for _, f := range cat.Findings {
				if f.Message == "" || strings.ContainsAny(f.Message, "\n\x00") {
					t.Errorf("message %q", f.Message)
				}
			}
		})
	}
}

// TestBadTypes: every value of a wrong type is told, with its place.
func TestBadTypes(t *testing.T) {
	doc := `{"content_id":1,"products":{"p":{"arch":true,"supported":"yes","requirements":{"secureboot":false,"n":1},
"versions":{
		"20260101":{"label":[],"items":{"a":{"size":"12"},"b":{"size":1.5,"path":{}},"c":7,
"d":{"size":9223372036854775808}}},"20260102":[]}},"q":"x"}}`
	cat := mustRead(t, treeOf(t, doc))
	var got []string
	for _, f := range cat.Findings {
		if f.Code == "bad-type" {
			what, _, _ := strings.Cut(f.Message, ", not")
			got = append(got, what)
		}
	}
	want := sorted("content_id is the number 1", "p: arch is a boolean", "p: supported is a string",
		"p: requirements.secureboot is a boolean",
		"p: requirements.n is the number 1", "p/20260101: label is an array", "p/20260101/a: size is a string",
		"p/20260101/b: size is the number 1.5",
		"p/20260101/b: path is an object", "p/20260101/c: the item is the number 7",
		"p/20260101/d: size is the number 9223372036854775808",
		"p/20260102: the version is an array", "q: the product is a string")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFindingsAcrossProducts(t *testing.T) {
	v := func(name, meta, root string) string {
		return `"` + name + `":{"items":{"incus.tar.xz":{"ftype":"incus.tar.xz","path":"images/` + meta +
			`","sha256":"` + hashOf(meta) + `","size":1,"combined_squashfs_sha256":"` + hashOf(meta, root) +
			`"},"squashfs":{"ftype":"squashfs","path":"images/` + root + `","sha256":"` + hashOf(root) + `","size":1}}}`
	}
	tree := treeOf(t, `{"products":{"a":{"aliases":"x,y","arch":"amd64","versions":{`+v("20260101_00:00", "m", "s")+`,`+
		v("202601020000", "n", "t")+`}},
		"b":{"aliases":"y","arch":"x86_64","versions":{`+v("20260101", "o", "u")+`}},"c":{"aliases":"x",
"arch":"arm64","versions":{`+v("20260101", "p", "v")+`}}}}`)
	if diff := cmp.Diff([]string{"warning alias-shared", "warning mixed-version-names"},
		codes(mustRead(t, tree).Findings)); diff != "" {
		t.Error(diff)
	}
	tree["streams/v2/images.json"] = file(`{"products":{}}`)
	tree[IndexPath] = file(strings.Replace(string(tree[IndexPath].Data), `{"images"`,
		`{"more":{"datatype":"image-downloads","path":"streams/v2/images.json","products":[]},"images"`, 1))
	if !slices.Contains(codes(mustRead(t, tree).Findings), "warning name-collision") {
		t.Error("no name-collision")
	}
}

// TestReadFiles reads from a directory, where links and permissions are real.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree, _ := mustAdd(t, fstest.MapFS{}, splitAdd(debian, "20260101_00:00", "m", "squashfs=s"))
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	if got := codes(mustRead(t, root.FS()).Findings); len(got) > 0 {
		t.Errorf("findings %v", got)
	}
	if err := os.Rename(filepath.Join(dir, "streams"), filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("s", filepath.Join(dir, "streams")); err != nil {
		t.Fatal(err)
	}
	if got := codes(mustRead(t, root.FS()).Findings); !slices.Equal(got, []string{"error through-link"}) {
		t.Errorf("findings %v", got)
	}
}

// TestUnits: a unit's digest changes with what it says, not with the order of
// its fields or the shape of the document.
func TestUnits(t *testing.T) {
	a := mustRead(t,
		treeOf(t,
			`{"products":{"p":{"arch":"amd64","x":{"a":1,"b":2},
"versions":{"20260101":{"items":{"a":{"path":"images/a","size":1},"b":{"path":"images/b"}}}}}}}`)).Units
	b := mustRead(t,
		treeOf(t,
			`{"products":{"p":{"versions":{"20260101":{"items":{"b":{"path":"images/b"}, "a":{"size":1,
"path":"images/a"}}}},"x":{"b":2,"a":1},"arch":"amd64"}}}`)).Units
	c := mustRead(t,
		treeOf(t,
			`{"products":{"p":{"arch":"arm64","x":{"a":1,"b":2},
"versions":{"20260101":{"items":{"a":{"path":"images/a","size":2},"b":{"path":"images/b"}}}}}}}`)).Units
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	for i := range a {
		if a[i].Key != c[i].Key || a[i].Digest == c[i].Digest {
			t.Errorf("%v and %v", a[i], c[i])
		}
	}
}

// An index without streams hides everything.
func TestIndexWithoutStreams(t *testing.T) {
	for _, text := range []string{`{}`, `{"index":{},"format":"index:1.0"}`} {
		cat := mustRead(t, fstest.MapFS{IndexPath: file(text)})
		if got := codes(cat.Findings); !slices.Equal(got, []string{"error index-mismatch"}) {
			t.Errorf("%s: %v", text, got)
		}
	}
}
