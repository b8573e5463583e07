package simplestreams

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"example.com/publish/stage/catalog"
)

// bigTree has this many versions, three items each: about a kilobyte a version.
func bigTree(versions int) fstest.MapFS {
	var doc strings.Builder
	var names []string
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	doc.WriteString(`{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{`)
	for p := 0; p*100 < versions; p++ {
		name := fmt.Sprintf("os%05d:1:default:amd64", p)
		names = append(names, name)
		if p > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc,
			`%q:{"aliases":"os%05d/1","arch":"amd64","os":"os","release":"1","release_title":"1","versions":{`, name, p)
		for v := range 100 {
			if v > 0 {
				doc.WriteByte(',')
			}
			m, s, d := hashOf(name, fmt.Sprint("m", v)), hashOf(name, fmt.Sprint("s", v)),
				hashOf(name, fmt.Sprint("d", v))
			dir := fmt.Sprintf("images/os%05d/1/amd64/default/%s", p, VersionName(start.AddDate(0, 0, v)))
			fmt.Fprintf(&doc,
				`%q:{"items":{"incus.tar.xz":{"ftype":"incus.tar.xz","path":"%s/incus.tar.xz","sha256":%q,"size":1234,
"combined_squashfs_sha256":%q,"combined_disk-kvm-img_sha256":%q},`+
					`"root.squashfs":{"ftype":"squashfs","path":"%s/rootfs.squashfs","sha256":%q,"size":123456789},
"disk.qcow2":{"ftype":"disk-kvm.img","path":"%s/disk.qcow2","sha256":%q,"size":987654321}}}`,
				VersionName(start.AddDate(0, 0, v)), dir, m, hashOf(m, s), hashOf(m, d), dir, s, dir, d)
		}
		doc.WriteString(`}}`)
	}
	doc.WriteString(`}}`)
	return fstest.MapFS{
		defaultCatalog: file(doc.String()),
		IndexPath: file(fmt.Sprintf(`{"index":{"images":{"datatype":"image-downloads",
"path":"streams/v1/images.json","products":%s,"format":"products:1.0"}},"format":"index:1.0"}`, list(names))),
	}
}

func BenchmarkRead(b *testing.B) {
	for _, n := range []int{5_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tree := bigTree(n)
			b.SetBytes(int64(len(tree[defaultCatalog].Data)))
			b.ReportAllocs()
			for b.Loop() {
				cat := mustRead(b, tree)
				if len(cat.Images) != 2*n || len(cat.Findings) > 0 {
					b.Fatal(len(cat.Images), cat.Findings[:min(3, len(cat.Findings))])
				}
			}
		})
	}
}

// BenchmarkUnmarshal only decodes the catalogs of BenchmarkRead by encoding/json, into
// fields that are known beforehand: it keeps no order, finds no key that is there twice, and
// makes nothing of what it has read.
func BenchmarkUnmarshal(b *testing.B) {
	type catalog struct {
		Products map[string]struct {
			Aliases, Arch, OS, Release string
			Versions                   map[string]struct {
				Items map[string]struct {
					Ftype, Path, SHA256 string
					Size                int64
					Combined            string `json:"combined_squashfs_sha256"`
					CombinedDisk        string `json:"combined_disk-kvm-img_sha256"`
				}
			}
		}
	}
	for _, n := range []int{5_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := bigTree(n)[defaultCatalog].Data
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				var c catalog
				if err := json.Unmarshal(data, &c); err != nil || len(c.Products) != n/100 {
					b.Fatal(len(c.Products), err)
				}
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	tree := bigTree(5_000)
	b.SetBytes(int64(len(tree[defaultCatalog].Data)))
	for i := 0; b.Loop(); i++ {
		added, err := AddImage(catalog.Files(tree), splitAdd("os00001:1:default:amd64", "20250101_00:00",
			fmt.Sprint("m", i), "squashfs=s"))
		if err != nil {
			b.Fatal(err)
		}
		tree = apply(tree, added.Docs)
	}
}

func BenchmarkWithout(b *testing.B) {
	tree := bigTree(5_000)
	b.SetBytes(int64(len(tree[defaultCatalog].Data)))
	for b.Loop() {
		docs, err := Format{}.Without(context.Background(), catalog.Files(tree),
			func(i catalog.Image) bool { return i.Version < "20200110" })
		if err != nil || len(docs) != 1 {
			b.Fatal(err)
		}
	}
}

// huge is a file system whose files claim to have a gigabyte.
type huge struct{ fstest.MapFS }

type hugeInfo struct{ fs.FileInfo }

func (h hugeInfo) Size() int64 { return 1 << 30 }

func (h huge) Lstat(name string) (fs.FileInfo, error) {
	info, err := h.MapFS.Lstat(name)
	if err == nil && !info.IsDir() {
		info = hugeInfo{info}
	}
	return info, err
}

func TestTooLarge(t *testing.T) {
	cat, err := Format{}.Read(context.Background(), catalog.Files(huge{fstest.MapFS{IndexPath: file("{}")}}))
	if err != nil || len(cat.Findings) != 1 || cat.Findings[0].Code != "too-large" {
		t.Errorf("%v, %v", cat, err)
	}
	// Few bytes, but more in memory than anybody's catalog.
	many := "[" + strings.Repeat("0,", maxValues) + "0]"
	var list strings.Builder
	for i := range maxItems {
		fmt.Fprintf(&list, `"a%d":{},`, i)
	}
	items := list.String() + `"b":{}`
	products := `"a":{}` + strings.Repeat(`,"a":{}`, maxObjects)
	for name, doc := range map[string]string{
		"objects": `{"products":{` + products + `}}`,
		"values":  `{"products":{"` + debian + `":{"arch":"amd64","x-list":` + many + `}}}`,
		"items":   `{"products":{"` + debian + `":{"arch":"amd64","versions":{"20260101":{"items":{` + items + `}}}}}}`,
	} {
		tree := treeOf(t, `{"products":{"`+debian+`":{"arch":"amd64","versions":{}}}}`)
		tree[defaultCatalog] = file(doc)
		found := false
		for _, f := range mustRead(t, tree).Findings {
			found = found || f.Code == "too-large" && f.Path == defaultCatalog
		}
		if _, err := AddImage(catalog.Files(tree), splitAdd(debian, "20260101_00:00", "m", "squashfs=s")); err == nil ||
			!found {
			t.Errorf("%s: not told, or rewritten: %v", name, err)
		}
	}
	// So would what is wrong with it.
	twice := strings.Repeat(`"p":{},`, 2*maxFindings) + `"p":{}`
	tree := treeOf(t, `{"products":{"`+debian+`":{"arch":"amd64","versions":{}}}}`)
	tree[defaultCatalog] = file(`{"products":{` + twice + `}}`)
	found := mustRead(t, tree).Findings
	more := slices.ContainsFunc(found, func(f catalog.Finding) bool {
		return f.Severity == catalog.Error && f.Code == "more-findings" &&
			strings.Contains(f.Message, fmt.Sprint(len(found)-1))
	})
	if len(found) != maxFindings+1 || !more {
		t.Errorf("%d findings, told %v", len(found), more)
	}
}
