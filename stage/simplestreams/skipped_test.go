package simplestreams

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// Every version is there, with the reason why clients skip it.
func TestSkipped(t *testing.T) {
	it := func(ftype, word, more string) string {
		return fmt.Sprintf(`%q:{"ftype":%q,"path":"images/%s.%s","sha256":%q,"size":2%s}`, ftype, ftype, word, ftype,
			hashOf(word), more)
	}
	meta := it(metaIncus, "m", `,"combined_squashfs_sha256":"`+hashOf("m", "s")+`"`)
	root := it(rootSquashfs, "s", "")
	for _, tc := range []struct{ arch, version, items, want string }{
		{"amd64", "20260101", meta + "," + root, ""},
		{"amd64", "v1", meta + "," + root, "its name does not start with a date, YYYYMMDD"},
		{"amd64", "2026", meta + "," + root, "its name does not start with a date, YYYYMMDD"},
		{"weird", "v1", meta + "," + root, "clients know no architecture weird"},
		{"", "20260101", meta + "," + root, `clients know no architecture ""`},
		{"amd64", "20260101", "", "it has no items"},
		{"amd64", "20260101", root, "it has no metadata item"},
		{"amd64", "20260101", meta, "it has no root item"},
		{"amd64", "20260101", it(metaIncus, "m", "") + "," + root,
			"no metadata item has a combined hash for a root item"},
		{"amd64", "20260101", strings.Replace(meta, "images/m.incus.tar.xz", "", 1) + "," + root,
			"its metadata item has no path"},
		{"amd64", "20260101", strings.Replace(it(unifiedIncus, "u", ""), hashOf("u"), "", 1),
			"its unified item has no sha256, which would be its fingerprint"},
		{"amd64", "20260101", it("boot-kernel", "k", "") + "," + it("boot-initrd", "i", "") + "," + root,
			"it has no metadata item"},
	} {
		cat := mustRead(t,
			treeOf(t, fmt.Sprintf(`{"products":{"p":{"aliases":"a","arch":%q,"versions":{%q:{"items":{%s}}}}}}`,
				tc.arch, tc.version, tc.items)))
		if len(cat.Images) != 1 || len(cat.Versions) != 1 {
			t.Fatalf("%s: %d images, %d versions", tc.want, len(cat.Images), len(cat.Versions))
		}
		img := cat.Images[0]
		if img.Skipped != tc.want || cat.Versions[0].Skipped != tc.want {
			t.Errorf("%q and %q, not %q", img.Skipped, cat.Versions[0].Skipped, tc.want)
		}
		if skipped := tc.want != ""; (img.Type == catalog.NoType) != skipped || (len(img.Aliases) == 0) != skipped {
			t.Errorf("%s: %+v", tc.want, img)
		}
		var paths []string
		for _, i := range cat.Items {
			paths = append(paths, i.Path)
		}
		slices.Sort(img.Paths)
		if !slices.Equal(img.Paths, paths) {
			t.Errorf("%s: needs %v, has %v", tc.want, img.Paths, paths)
		}
		if warned := slices.ContainsFunc(cat.Findings,
			func(f catalog.Finding) bool { return f.Severity == catalog.Warning }); warned != (tc.want != "") {
			t.Errorf("%s: %v", tc.want, cat.Findings)
		}
	}
}

// A warning that many versions or items of a product share comes once, with
// their number.
func TestRepeatedWarnings(t *testing.T) {
	var half, odd, weird []string
	for i := range 240 {
		half = append(half,
			fmt.Sprintf(`"20260101.%d":{"items":{"k":{"ftype":"boot-kernel","path":"images/k%d.img"},
"r":{"ftype":"squashfs","path":"images/r%d.squashfs"}}}`, 1000+i, i, i))
		odd = append(odd, fmt.Sprintf(`"v%d":{"items":{}}`, 1000+i))
		weird = append(weird,
			fmt.Sprintf(`"x%d":{"items":{"r":{"ftype":"squashfs","path":"images/w%d%%20","sha256":%q}}}`, 1000+i, i,
				hashOf("w")))
	}
	cat := mustRead(t,
		treeOf(t,
			fmt.Sprintf(`{"products":{"half":{"arch":"amd64","versions":{%s}},"odd":{"arch":"amd64","versions":{%s}},
"weird":{"arch":"weird","versions":{%s}}}}`,
				strings.Join(half, ","), strings.Join(odd, ","), strings.Join(weird, ","))))
	var got []string
	for _, f := range cat.Findings {
		got = append(got, f.Code+": "+f.Message)
	}
	want := []string{
		`encoded-path: weird/x1000/r: path "images/w0%20" has a percent sign, which clients decode: they ask for another file (and 239 more files of the product)`,
		"no-fingerprint: half/20260101.1000: it has no metadata item: clients skip the version (and 239 more versions of the product)",
		"no-hash: half/20260101.1000/k: has no sha256: nothing shows whether the file is whole (and 479 more files of the product)",
		"unknown-architecture: weird: clients know no architecture weird and skip the product, with 240 versions",
		"version-name: odd/v1000: the name does not start with a date, YYYYMMDD: clients skip the version (and 239 more versions of the product)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
