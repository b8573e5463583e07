package journal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ranges is a set of numbers. It is small if most of them are consecutive, as
// the numbers of generations are.
type ranges []span

// span is the numbers from lo to hi, both included.
type span struct{ lo, hi int }

// find returns the index of the first span that ends at n or later.
func (r ranges) find(n int) int {
	i, _ := slices.BinarySearchFunc(r, n, func(s span, n int) int { return cmp.Compare(s.hi, n) })
	return i
}

func (r ranges) has(n int) bool {
	i := r.find(n)
	return i < len(r) && r[i].lo <= n
}

// from returns the smallest member that is n or more.
func (r ranges) from(n int) (int, bool) {
	i := r.find(n)
	if i == len(r) {
		return 0, false
	}
	return max(n, r[i].lo), true
}

func (r *ranges) add(n int) {
	s, i := *r, r.find(n)
	if r.has(n) {
		return
	}
	before, behind := i > 0 && s[i-1].hi == n-1, i < len(s) && s[i].lo == n+1
	switch {
	case before && behind:
		s[i-1].hi = s[i].hi
		*r = slices.Delete(s, i, i+1)
	case before:
		s[i-1].hi = n
	case behind:
		s[i].lo = n
	default:
		*r = slices.Insert(s, i, span{n, n})
	}
}

// MarshalText writes a set as 1-5,7.
func (r ranges) MarshalText() ([]byte, error) {
	var b []byte
	for i, s := range r {
		if i > 0 {
			b = append(b, ',')
		}
		if b = strconv.AppendInt(b, int64(s.lo), 10); s.hi > s.lo {
			b = strconv.AppendInt(append(b, '-'), int64(s.hi), 10)
		}
	}
	return b, nil
}

var errRanges = errors.New("is not a set of numbers such as 1-5,7")

// UnmarshalText reads what MarshalText writes, and nothing else.
func (r *ranges) UnmarshalText(text []byte) error {
	*r = nil
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		lo, hi, more := strings.Cut(part, "-")
		s := span{}
		var err, err2 error
		s.lo, err = strconv.Atoi(lo)
		if s.hi = s.lo; more {
			s.hi, err2 = strconv.Atoi(hi)
		}
		if n := len(*r); err != nil || err2 != nil || s.lo < 0 || more && s.hi <= s.lo || n > 0 &&
			s.lo <= (*r)[n-1].hi+1 {
			return fmt.Errorf("%q: %w", text, errRanges)
		}
		*r = append(*r, s)
	}
	return nil
}
