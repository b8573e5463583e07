package mirror

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNewest(t *testing.T) {
	for _, ordered := range []string{
		"1.9 1.10-alpha1 1.10-alpha2 1.10-beta 1.10-rc1 1.10-rc2 1.10-rc10 1.10 1.10-alpine 1.10-alpine3 1.10.0 1.10.1 v1.11 1.12",
		"edge latest 3 3.2 3.2.9 3.18 3.20 3.20.0 3.20.1",
		"20240101 20240102 20240102-1504 20250101",
		"v1 v2 v10",
		"3.13.0a1 3.13.0b1 3.13.0rc1 3.13.0 3.13.0a 3.13.1",
		"1.0 1.00 1.0.0", // those that are equal, as text
	} {
		list := strings.Fields(ordered)
		for i, a := range list {
			for j, b := range list {
				if got := compareTags(a, b); got != cmp.Compare(i, j) {
					t.Errorf("%s, %s: %d", a, b, got)
				}
			}
		}
	}
	if got := newest([]string{"3.9", "3.20", "3.18", "3.20-rc1"}, 2); !slices.Equal(got, []string{"3.20", "3.20-rc1"}) {
		t.Error(got)
	}
	if got := newest([]string{"1", "2"}, 0); !slices.Equal(got, []string{"2", "1"}) {
		t.Error(got)
	}
}

func TestCompareTagsIsAnOrder(t *testing.T) {
	tag := rapid.StringMatching(`(v|[0-9]|rc|a|x|\.|-|_|0|99999999999999999999){1,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := tag.Draw(t, "a"), tag.Draw(t, "b"), tag.Draw(t, "c")
		if compareTags(a, b) != -compareTags(b, a) || (compareTags(a, b) == 0) != (a == b) {
			t.Fatalf("%q, %q: %d, %d", a, b, compareTags(a, b), compareTags(b, a))
		}
		if compareTags(a, b) <= 0 && compareTags(b, c) <= 0 && compareTags(a, c) > 0 {
			t.Fatalf("%q <= %q <= %q", a, b, c)
		}
	})
}
