package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestPathConflicts(t *testing.T) {
	for _, tt := range []struct{ paths, want string }{
		{"", ""},
		{"a b c", ""},
		{"a a/b", "a"},
		{"a a.b a/b", "a"},
		{"a a-b a-b/c a/b a/b/c", "a-b a a a/b"},
		{"a/b a/b.c ab", ""},
		{"a/b a/b/c a/b/d", "a/b a/b"},
	} {
		var got []string
		for _, f := range PathConflicts(slices.Values(strings.Fields(tt.paths))) {
			got = append(got, f.Path)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: %q", tt.paths, got)
		}
	}
}

func TestKeyFindings(t *testing.T) {
	long := strings.Repeat("x", MaxKey)
	if f := KeyFindings("", slices.Values([]string{"a", long})); len(f) != 0 {
		t.Error(f)
	}
	f := KeyFindings("p/", slices.Values([]string{"a", "a/b", long}))
	if len(f) != 2 || f[0].Code != "path-conflict" || f[1].Code != "key-too-long" || f[1].Path != long {
		t.Error(f)
	}
}
