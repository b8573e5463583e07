package tombstone

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// listed is a format with one index.
type listed struct{ catalog.Format }

func (listed) Ref(n catalog.Name) string { return n.String() }

func (listed) Class(p string) catalog.Class {
	if p == "index" {
		return catalog.Index
	}
	return catalog.ItemLike
}

// made returns a tree of images, each given as "product/version paths fingerprint".
// The content of a path such as a:x is a. Clients skip an image without a fingerprint,
// and "-" means no items.
func made(name string, images ...string) Holder {
	cat := &catalog.Catalog{}
	rows := map[string]tree.Row{"index": {Path: "index", SHA256: sum("1"), Size: 1}}
	for _, text := range images {
		f := append(strings.Fields(text), "", "")
		of := catalog.ParseName(f[0])
		i := catalog.Image{Product: of.Group, Version: of.Version}
		if f[2] != "" {
			i.Fingerprint = sum(f[2])
		}
		for p := range strings.SplitSeq(f[1], ",") {
			if p == "-" {
				continue
			}
			content, _, _ := strings.Cut(p, ":")
			rows[p] = tree.Row{Path: p, SHA256: sum(content), Size: 1, Role: catalog.Content}
			i.Paths = append(i.Paths, p)
			cat.Items = append(cat.Items, catalog.Item{Path: p, Product: of.Group, Version: of.Version})
		}
		cat.Images = append(cat.Images, i)
	}
	var list []tree.Row
	for _, row := range rows {
		list = append(list, row)
	}
	return NewHolder(name, listed{}, cat, list)
}

// told describes a selection in words: what is revoked under which name, what stays
// for which image, and which names are revoked.
func told(s *Selection) string {
	var out []string
	for _, r := range s.Revoked {
		out = append(out, r.String())
	}
	for _, k := range s.Kept {
		out = append(out, "keep "+k.Path+" for "+k.Product+"/"+k.Version)
	}
	for _, n := range s.Unnamed {
		out = append(out, "name "+n.String())
	}
	if s.Emptied {
		out = append(out, "from production")
	}
	return strings.Join(out, "; ")
}

func TestSelect(t *testing.T) {
	production := made(Production, "p/1 a:x,b:x,0:x f1", "p/2 b:y,c:x f2", "q/odd d:x,e:x", "q/none -", "r/1 a:z f3")
	production.Carried["old"] = tree.Row{Path: "old", SHA256: sum("c0ffee"), Size: 1}
	production.Rows["page"] = tree.Row{Path: "page", SHA256: sum("9"), Role: catalog.Link}
	production.Rows["nothing"] = tree.Row{Path: "nothing", SHA256: sum("8")}
	staging := made("staging", "p/3 g:x f4", "p/1 h:new f5")
	kept := made("generation 1", "p/1 i:old f6")
	kept.Rows["a:x"] = tree.Row{Path: "a:x", SHA256: sum("77"), Size: 1}
	holders := []Holder{production, staging, kept}
	before := Of(Stone{Revoked: []Revoked{{Path: "gone", SHA256: sum("6")}}})

	for _, c := range []struct{ name, what, want string }{
		{"a version, in every tree; what others need stays", "p/1",
			"p/1: 0:x; p/1: h:new; p/1: i:old; keep a:x for r/1; keep b:x for p/2"},
		{"a product", "p", "p/1: 0:x; p/1: b:x; p/2: c:x; p/3: g:x; p/1: h:new; p/1: i:old; keep a:x for r/1"},
		{"a fingerprint means one image", sum("f2"), "p/2: c:x; keep b:y for p/1"},
		{"an image whose files all belong to others", sum("f3"),
			"refused: r/1: has no file of its own; a:z also belongs to p/1"},
		{"a content goes with every image that needs it", "b:y", "p/1: 0:x; p/1: b:x; p/2: c:x; keep a:x for r/1"},
		{"its digits", sum("b"), "p/1: 0:x; p/1: b:x; p/2: c:x; keep a:x for r/1"},
		{"a path with two contents", "a:x", "refused: a:x: has more than one content: " +
			sum("77")[:16] + " (generation 1); " + sum("a")[:16] + " (production)"},
		{"a file of a version that clients skip goes alone", "d:x", "q/odd: d:x"},
		{"a version that clients skip", "q/odd", "q/odd: d:x; q/odd: e:x"},
		{"a version without content", "q/none", "name q/none; from production"},
		{"a carried file", "old", "old"},
		{"an index", "index", "refused: index: is an index, not content"},
		{"a link", "page", "refused: page: is a link"},
		{"an empty file", "nothing", "refused: nothing: is empty: there is nothing in it to revoke"},
		{"what was revoked before", "gone", ""},
		{"what nobody has", "p/9", "refused: p/9: is neither in production, nor in staging, nor in a kept generation, nor in trash"},
	} {
		s, err := Select(holders, before, catalog.ParseWhat(c.what))
		got := ""
		if err != nil {
			got = "refused: " + err.Error()
		} else {
			got = told(s)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (%s), -want +got:\n%s", c.name, c.what, diff)
		}
	}

	s, err := Select(holders, before, catalog.ParseWhat("p/1"), catalog.ParseWhat("r/1"))
	if err != nil || told(s) != "p/1: 0:x; p/1: a:x; p/1: h:new; p/1: i:old; keep b:x for p/2" {
		t.Errorf("two words together: %s, %v", told(s), err)
	}
	if s.Empty() || !s.Sums[sum("a")] || s.Sums[sum("b")] {
		t.Errorf("%v", s.Sums)
	}
	if holders[0].Holds(catalog.ParseWhat("g:x")) || !holders[1].Holds(catalog.ParseWhat("g:x")) ||
		!holders[0].Holds(catalog.ParseWhat("old")) {
		t.Error("Holds is wrong")
	}
}

// The indexes of a redacted tree name more than exists. The rest of such an image does
// not keep content from being revoked, and can itself be revoked.
func TestHolderRedacted(t *testing.T) {
	g := Of(Stone{Before: 2, Revoked: []Revoked{{Path: "a:x", SHA256: sum("a"), Product: "p", Version: "1"}}})
	full := made("generation 1", "p/1 a:x,b:x f1", "q/odd a:y,c:x", "r/1 b:z,d:x f2")
	cat := &catalog.Catalog{Images: full.Images, Items: full.Items}
	m := &generation.Manifest{Head: generation.Head{Generation: 1}}
	for _, row := range full.Rows {
		m.Own = append(m.Own, row)
	}
	h := g.Holder("generation 1", listed{}, cat, m)
	if len(h.Images) != 2 || len(h.Items) != 4 || !h.Dead[catalog.Name{Group: "p", Version: "1"}] ||
		!h.Dead[catalog.Name{Group: "q", Version: "odd"}] {
		t.Fatalf("%+v", h)
	}
	if len(cat.Images) != 3 || len(cat.Items) != 6 {
		t.Error("the catalog was written to")
	}
	for what, want := range map[string]string{"r/1": "r/1: b:z; r/1: d:x", "c:x": "q/odd: c:x", "q/odd": "q/odd: c:x",
		"p/1": ""} {
		s, err := Select([]Holder{h}, g, catalog.ParseWhat(what))
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if got := told(s); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}

// blanks is a format in which the content b says nothing.
type blanks struct{ listed }

func (blanks) Blank(sha256 string) bool { return sha256 == sum("b") }

// An image goes without the content that images of everybody have, unless that is named.
func TestBlankContentStays(t *testing.T) {
	h := made("production", "p/1 a,b f", "p/2 c g")
	h.Format = blanks{}
	for what, want := range map[string]string{"p/1": "p/1: a", sum("a"): "p/1: a", sum("b"): "p/1: a; p/1: b"} {
		s, err := Select([]Holder{h}, &Graveyard{}, catalog.ParseWhat(what))
		if err != nil {
			t.Fatal(err)
		}
		if got := told(s); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
}
