package journal

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A set has what was added, and can read what it wrote.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ranges
		have := map[int]bool{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 40), 0, 60).Draw(t, "numbers") {
			r.add(n)
			have[n] = true
		}
		for n := -1; n < 43; n++ {
			if r.has(n) != have[n] {
				t.Fatalf("%v has %d: %v", r, n, r.has(n))
			}
			next, ok := r.from(n)
			want, there := n, false
			for ; want < 43 && !there; want++ {
				there = have[want]
			}
			if ok != there || ok && next != want-1 {
				t.Fatalf("%v: the next from %d on is %d, %v", r, n, next, ok)
			}
		}
		for i, s := range r {
			if s.lo > s.hi || i > 0 && s.lo <= r[i-1].hi+1 {
				t.Fatalf("%v is not as short as can be", r)
			}
		}
		text, _ := r.MarshalText()
		var back ranges
		if err := back.UnmarshalText(text); err != nil || len(back) != len(r) {
			t.Fatalf("%s became %v: %v", text, back, err)
		}
	})
	var r ranges
	for _, n := range []int{math.MaxInt, math.MinInt, math.MaxInt - 1, 0, math.MinInt + 1} {
		if r.add(n); !r.has(n) {
			t.Errorf("%v lacks %d", r, n)
		}
	}
	for _, bad := range []string{",", "1-", "-1", "2-1", "1,2", "1-3,2", "3,1", "1-1", "a", "1 "} {
		if err := r.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
