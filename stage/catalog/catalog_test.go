package catalog

import (
	"testing"

	"pgregory.net/rapid"
)

// The fast path through Clean returns what the slow one returns.
func TestPlain(t *testing.T) {
	part := rapid.SampledFrom([]string{"", ".", "..", "...", "a", "images", "x.y", "..a", "ä", "a\x00", "\x7f", " ",
		"%2e"})
	rapid.Check(t, func(t *rapid.T) {
		p := ""
		for i, s := range rapid.SliceOfN(part, 0, 5).Draw(t, "path") {
			if i > 0 {
				p += "/"
			}
			p += s
		}
		// A double slash takes the slow path to the same result.
		short, _, ok := Clean(p)
		long, _, sound := Clean(p + "/.")
		if p == "" {
			sound = false
		}
		if ok != sound || ok && short != long {
			t.Errorf("%q: %q, %v; the long way %q, %v", p, short, ok, long, sound)
		}
	})
}
