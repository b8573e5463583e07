package catalog

import (
	"testing"

	"pgregory.net/rapid"
)

// The short way through Clean says what the long one says.
func TestPlain(t *testing.T) {
	part := rapid.SampledFrom([]string{"", ".", "..", "...", "a", "images", "x.y", "..a", "ä", "a\x00", "\x7f", " ", "%2e"})
	rapid.Check(t, func(t *rapid.T) {
		p := ""
		for i, s := range rapid.SliceOfN(part, 0, 5).Draw(t, "path") {
			if i > 0 {
				p += "/"
			}
			p += s
		}
		// A slash that is one too many takes the long way to the same.
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
