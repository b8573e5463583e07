package glob

import (
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"meta/**", []string{"meta/a", "meta/1.0/index-user", "meta"}, []string{"a/meta/b", "metas/a"}},
		{"**/meta.tar.xz", []string{"meta.tar.xz", "a/meta.tar.xz", "a/b/meta.tar.xz"},
			[]string{"a/xmeta.tar.xz", "meta.tar.xz/a"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/x/b/y/z/c", "a/b/b/c/c"}, []string{"a/c", "a/b", "b/c"}},
		{"images/20[0-9]?/x", []string{"images/201a/x"}, []string{"images/20aa/x"}},
		{"docker.io/*/app", []string{"docker.io/acme/app"}, []string{"docker.io/app", "docker.io/a/b/app"}},
		{"**", []string{"a", "a/b"}, nil},
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Fatalf("%s: %v", c.pattern, err)
		}
		for _, name := range c.yes {
			if !p.Match(strings.Split(name, "/")) {
				t.Errorf("%s does not match %s", c.pattern, name)
			}
		}
		for _, name := range c.no {
			if p.Match(strings.Split(name, "/")) {
				t.Errorf("%s matches %s", c.pattern, name)
			}
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "a**", "a/**b/c", "a[", `a\`, "[!a]"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// tried matches by trying all that each ** could take.
func tried(p, name []string) bool {
	if len(p) == 0 {
		return len(name) == 0
	}
	if p[0] == "**" {
		for n := range len(name) + 1 {
			if tried(p[1:], name[n:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, _ := path.Match(p[0], name[0])
	return ok && tried(p[1:], name[1:])
}

func TestMatchTried(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.SampledFrom([]string{"**", "a", "b", "*", "a*", "?"}), 1, 7).Draw(t, "pattern")
		name := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 7).Draw(t, "name")
		if got, want := Pattern(p).Match(name), tried(p, name); got != want {
			t.Errorf("%v, %v: %v", p, name, got)
		}
	})
}
