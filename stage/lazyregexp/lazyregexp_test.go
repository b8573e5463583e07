package lazyregexp

import (
	"reflect"
	"testing"
)

// An expression does what regexp does, and is compiled when it is first used.
func TestRegexp(t *testing.T) {
	inTest = false
	t.Cleanup(func() { inTest = true })
	for name, c := range map[string]struct {
		use  func(*Regexp) any
		want any
	}{
		"MatchString":        {func(r *Regexp) any { return r.MatchString("xaab") }, true},
		"Match":              {func(r *Regexp) any { return r.Match([]byte("b")) }, false},
		"FindStringSubmatch": {func(r *Regexp) any { return r.FindStringSubmatch("xaab") }, []string{"aab", "aa"}},
		"FindSubmatch":       {func(r *Regexp) any { return r.FindSubmatch([]byte("ab")) }, [][]byte{[]byte("ab"), []byte("a")}},
		"ReplaceAllString":   {func(r *Regexp) any { return r.ReplaceAllString("xaabab", "<$1>") }, "x<aa><a>"},
	} {
		r := New("(a+)b")
		if r.compiled != nil {
			t.Errorf("%s: compiled before it is used", name)
		}
		if got := c.use(r); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
	New("(") // nobody uses it
	inTest = true
	defer func() {
		if recover() == nil {
			t.Error("in a test, an expression that cannot be compiled is not noticed")
		}
	}()
	New("(")
}
