package tree

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// For any order of paths, a finger finds the same as a search from the beginning.
func TestFinger(t *testing.T) {
	name := rapid.StringOfN(rapid.SampledFrom([]rune("abc/")), 0, 3, -1)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(name, 0, 40).Draw(t, "list")
		slices.Sort(list)
		f := NewFinger(list, func(s *string) string { return *s })
		for _, p := range rapid.SliceOfN(name, 0, 40).Draw(t, "asked") {
			if got, want := f.Find(p), slices.Index(list, p); got != want {
				t.Fatalf("%q in %q: %d, not %d", p, list, got, want)
			}
		}
	})
	if (*Finger[Row])(nil).Find("a") != -1 {
		t.Error("nothing holds a")
	}
}

// For paths in ascending order, it makes only a few comparisons for each.
func TestFingerInOrder(t *testing.T) {
	list := make([]int, 10_000)
	compared := 0
	for i := range list {
		list[i] = i
	}
	f := NewFinger(list, func(i *int) string {
		compared++
		return string(rune(0x10000 + *i))
	})
	for i := range list {
		if f.Find(string(rune(0x10000+i))) != i {
			t.Fatal(i)
		}
	}
	if most := 6 * len(list); compared > most {
		t.Errorf("%d comparisons", compared)
	}
}

// Merged lists are always sorted.
func TestMergeRows(t *testing.T) {
	rows := rapid.Custom(func(t *rapid.T) []Row {
		var out []Row
		for _, p := range rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune("ab/")), 0, 3, -1), 0, 20).Draw(t,
			"paths") {
			out = append(out, Row{Path: p})
		}
		SortRows(out)
		return out
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := rows.Draw(t, "a"), rows.Draw(t, "b")
		want := slices.Concat(a, b)
		SortRows(want)
		if got := MergeRows(a, b); !slices.Equal(got, want) {
			t.Fatalf("%v and %v become %v", a, b, got)
		}
		got := MergeInto(slices.Grow(slices.Clone(a), rapid.IntRange(0, 30).Draw(t, "room")), b)
		if !slices.Equal(got, want) {
			t.Fatalf("%v and %v become %v in place", a, b, got)
		}
	})
}
