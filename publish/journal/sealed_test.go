package journal

import (
	"fmt"
	"slices"
	"testing"

	"example.com/publish/stage/durable/durabletest"
)

func TestReadSealed(t *testing.T) {
	three := string(durabletest.Lines("one\ntwo\nthree\n"))
	size := len(three)
	last := len("00000000 three\n")
	for _, c := range []struct {
		name, data string
		want       []string
		s          Sealed
	}{
		{"nothing", "", nil, Sealed{}},
		{"sound", three, []string{"one", "two", "three"}, Sealed{Whole: int64(size)}},
		{"torn", three[:size-3], []string{"one", "two"}, Sealed{Whole: int64(size - last), Torn: true}},
		{"zeros", three[:size-4] + "\x00\x00\x00\n", []string{"one", "two"}, Sealed{Whole: int64(size - last),
			Torn: true}},
		{"damaged", "x" + three[1:], []string{"two", "three"}, Sealed{Whole: int64(size), Bad: []int{1}}},
		{"damaged at the end", three[:size-2] + "x\n", []string{"one", "two"},
			Sealed{Whole: int64(size), Bad: []int{3}}},
		{"zeros before the end", "\x00" + three[1:], []string{"two", "three"},
			Sealed{Whole: int64(size), Bad: []int{1}}},
		{"an empty line", "\n" + three, []string{"one", "two", "three"}, Sealed{Whole: int64(size + 1), Bad: []int{1}}},
		{"not to be read", string(durabletest.Lines("no\nyes\n")), []string{"yes"},
			Sealed{Whole: int64(len(durabletest.Lines("no\nyes\n"))), Newer: 1}},
	} {
		var got []string
		s := ReadSealed([]byte(c.data), func(text []byte) bool {
			if string(text) == "no" {
				return false
			}
			got = append(got, string(text))
			return true
		})
		if !slices.Equal(got, c.want) || fmt.Sprint(s) != fmt.Sprint(c.s) {
			t.Errorf("%s: %q, %+v, want %q, %+v", c.name, got, s, c.want, c.s)
		}
	}
}
