package catalog

import "testing"

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"meta/**", []string{"meta/a", "meta/1.0/index-user"}, []string{"a/meta/b", "metas/a"}},
		{"**/meta.tar.xz", []string{"meta.tar.xz", "a/meta.tar.xz", "a/b/meta.tar.xz"},
			[]string{"a/xmeta.tar.xz", "meta.tar.xz/a"}},
		{"*.vcdiff", []string{"a.vcdiff"}, []string{"a/b.vcdiff"}},
		{"images/*/x", []string{"images/a/x"}, []string{"images/x", "images/a/b/x"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/x/b/y/z/c", "a/b/b/c/c"}, []string{"a/c", "a/b", "b/c"}},
		{"**", []string{"a", "a/b"}, nil},
		{"images/20[0-9]?/x", []string{"images/201a/x"}, []string{"images/20aa/x"}},
	} {
		var g Globs
		if err := g.ParseGlob(c.pattern); err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		}
		for _, p := range c.yes {
			if !g.match(p) {
				t.Errorf("%s does not match %s", c.pattern, p)
			}
		}
		for _, p := range c.no {
			if g.match(p) {
				t.Errorf("%s matches %s", c.pattern, p)
			}
		}
	}
	for _, bad := range []string{"", "/a", "a/", "../a", "a/../b", "./a", "a//b", "a**", "a/**b/c", "a[", `a\`, "a\nb",
		"."} {
		if err := new(Globs).ParseGlob(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// byName tells a class by the name alone.
type byName struct{ Format }

func (byName) Class(p string) Class {
	if p == "a/x" {
		return ItemLike
	}
	return InProgress
}

func TestIncluding(t *testing.T) {
	var g Globs
	if err := g.ParseGlob("a/**"); err != nil {
		t.Fatal(err)
	}
	f := Including(byName{}, &g)
	if c := f.Class("a/x"); c != Other {
		t.Errorf("an included file has class %d", c)
	}
	if c := f.Class("a/x.part"); c != InProgress {
		t.Errorf("an upload has class %d", c)
	}
	if _, ok := f.(Expirer); ok {
		t.Error("an Expirer came out of nothing")
	}
}
