package generation

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hours is a time, counted from epoch.
func hours(n int) time.Time { return epoch.Add(time.Duration(n) * time.Hour) }

func TestWindows(t *testing.T) {
	const grace = 2 * time.Hour
	first := Switch{Generation: 1, First: true, Time: hours(0), Grace: grace}
	second := Switch{Generation: 2, First: true, Left: []int{1}, Time: hours(1), Grace: grace}
	for name, c := range map[string]struct {
		switches []Switch
		grace    time.Duration
		dropped  map[int]time.Time // End of each; the zero time: unknown
		retired  map[int]time.Time
		wasOver  []int // at hours(3)
	}{
		"nothing": {nil, grace, map[int]time.Time{1: {}}, map[int]time.Time{1: {}}, nil},
		"the first retires nobody": {[]Switch{first}, grace, map[int]time.Time{1: hours(2), 2: {}},
			map[int]time.Time{1: {}}, []int{1}},
		"a promote": {[]Switch{first, second}, grace,
			map[int]time.Time{1: hours(2), 2: hours(3), 3: {}}, map[int]time.Time{1: hours(3), 2: {}}, []int{1, 2}},
		"the longer grace counts": {[]Switch{first, second}, 5 * time.Hour,
			map[int]time.Time{1: hours(5), 2: hours(6)}, map[int]time.Time{1: hours(6)}, []int{1, 2}},
		"a grace that was longer still counts": {[]Switch{{Generation: 1, First: true, Time: hours(0),
			Grace: 9 * time.Hour}}, grace,
			map[int]time.Time{1: hours(9)}, nil, nil},
		"a relink begins no window of what was dropped": {[]Switch{first, second, {Generation: 1, Left: []int{2},
			Time: hours(4), Grace: grace}}, grace,
			map[int]time.Time{1: hours(2), 2: hours(3)}, map[int]time.Time{1: hours(3), 2: hours(6)}, []int{1, 2}},
		"a line is lost: what it dropped counts from the next": {[]Switch{first,
			{Generation: 4, First: true, Left: []int{3, 1}, Time: hours(7), Grace: grace}}, grace,
			map[int]time.Time{2: hours(9), 3: hours(9), 4: hours(9), 5: {}}, map[int]time.Time{1: hours(9),
				3: hours(9)}, []int{1}},
		"a gc by a clock that was ahead": {[]Switch{{Generation: 1, First: true, Time: hours(0), Grace: 9 * time.Hour,
			Ended: hours(2)}}, grace,
			map[int]time.Time{1: hours(9)}, nil, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := WindowsOf(slices.Values(c.switches), c.grace)
			for n, want := range c.dropped {
				end, ok := w.End(n)
				if ok == want.IsZero() || !end.Equal(want) {
					t.Errorf("what %d dropped: until %v, %v, want %v", n, end, ok, want)
				}
				if open := w.Open(n, end.Add(-1)); !open {
					t.Errorf("what %d dropped is gone before its time", n)
				}
				if open := w.Open(n, end); open != want.IsZero() {
					t.Errorf("what %d dropped at its end: %v", n, open)
				}
			}
			for n, want := range c.retired {
				if end, ok := w.Retired(n); ok == want.IsZero() || !end.Equal(want) {
					t.Errorf("%d itself: until %v, %v, want %v", n, end, ok, want)
				}
			}
			var over []int
			for n := range 9 {
				if w.WasOver(n, hours(3)) {
					over = append(over, n)
				}
			}
			if diff := cmp.Diff(c.wasOver, over); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTenures(t *testing.T) {
	w := WindowsOf(slices.Values([]Switch{
		{Generation: 1, First: true, Time: hours(0), Grace: time.Hour},
		{Generation: 2, First: true, Left: []int{1}, Time: hours(1), Grace: time.Hour},
		{Generation: 3, First: true, Left: []int{2}, Time: hours(2), Grace: time.Hour},
		{Generation: 5, First: true, Left: []int{3}, Time: hours(4), Grace: time.Hour},
	}), time.Hour)
	kept := []int{1, 2, 3, 4}
	got := Tenures(kept, w, func(n int) bool { return n == 3 }, 2)
	want := map[int]Tenure{
		4: {By: KeptByKeep},
		3: {By: KeptByPin}, // it takes no place of those that are kept
		2: {By: KeptByKeep},
		1: {By: KeptByWindow, Until: hours(2)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	due := func(keep int, now time.Time) []int {
		all := Tenures(kept, w, func(int) bool { return false }, keep)
		return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(n int) bool { return !all[n].Due(now) })
	}
	if diff := cmp.Diff([]int{1, 2, 3}, due(0, hours(5))); diff != "" {
		t.Error("4 was never production, as far as the history tells:", diff)
	}
	if diff := cmp.Diff([]int{1}, due(0, hours(3).Add(-1))); diff != "" {
		t.Error(diff)
	}
	after := w.After(5, hours(9))
	if end, ok := after.Retired(5); !ok || !end.Equal(hours(9)) {
		t.Error(end, ok)
	}
	if _, ok := w.Retired(5); ok {
		t.Error("After changed what it was made of")
	}
	for _, less := range []Tenure{{}, {By: KeptByWindow, Until: hours(1)}, {By: KeptByWindow, Until: hours(2)},
		{By: KeptByKeep}} {
		if !(Tenure{By: KeptByPin}).Outlasts(less) || less.Outlasts(Tenure{By: KeptByPin}) {
			t.Error(less)
		}
	}
	if !(Tenure{By: KeptByWindow, Until: hours(2)}).Outlasts(Tenure{By: KeptByWindow, Until: hours(1)}) {
		t.Error("of two windows the later end counts")
	}
}
