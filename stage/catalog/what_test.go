package catalog

import (
	"strings"
	"testing"
)

func TestWhat(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	image := Image{Product: "a:b/c", Version: "20260101", Fingerprint: sum, Paths: []string{"images/a.tar"}}
	for _, c := range []struct {
		what                      string
		name, hash, image, orPath bool
	}{
		{what: "a:b/c", name: true, image: true, orPath: true},
		{what: "a:b/c/20260101", name: true, image: true, orPath: true},
		{what: "a:b/c/"},
		{what: "a:b"},
		{what: "a:b/C"},
		{what: sum, hash: true, image: true, orPath: true},
		{what: sum[:12], hash: true, image: true, orPath: true},
		{what: strings.ToUpper(sum[:20]), hash: true, image: true, orPath: true},
		{what: sum[:11]},
		{what: sum[1:20]},
		{what: sum[:12] + "g"},
		{what: sum + "0"},
		{what: "images/a.tar", orPath: true},
		{what: "images"},
		{what: ""},
		{what: "/"},
	} {
		w := ParseWhat(c.what)
		got := [4]bool{w.Called(image.Product, image.Called()), w.Hash(sum), w.Image(image), w.ImageOrPath(image)}
		if want := [4]bool{c.name, c.hash, c.image, c.orPath}; got != want {
			t.Errorf("%q: name, hash, image, path are %v, want %v", c.what, got, want)
		}
		if nothing := (Image{}); w.ImageOrPath(nothing) || w.Called("", "") || w.Hash("") {
			t.Errorf("%q: names what has no name", c.what)
		}
		if w.String() != c.what {
			t.Errorf("%q became %q", c.what, w)
		}
	}
	alone := Image{Product: "a"}
	if !ParseWhat("a").Image(alone) || ParseWhat("a/").Image(alone) {
		t.Error("a group without versions is not named by its name alone")
	}
}

// An image whose format has a form of its own is named in that form, and by its
// digest in several ways.
func TestWhatOfRef(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 4)
	image := Image{Product: "a/b", Version: "v1", Ref: "a/b:v1", Fingerprint: "sha256:" + digits}
	for what, want := range map[string]bool{"a/b": true, "a/b:v1": true, "a/b/v1": false, digits: true,
		digits[:12]: true, "sha256:" + digits: true, "sha256:" + digits[:12]: true, "sha256:" + digits[:11]: false,
		"a/b@sha256:" + digits: true, "a@sha256:" + digits: false, "a/b@sha256:" + digits[1:]: false, "a/b@": false, "a/b@sha256:" + digits[:12]: true, "a/b@" + digits[:12]: true,
		"sha512:" + strings.Repeat("1", 12): false} {
		if got := ParseWhat(what).Image(image); got != want {
			t.Errorf("%q: %v", what, got)
		}
	}
}

func TestParseName(t *testing.T) {
	for _, n := range []Name{{"a:b", "20260101"}, {"a/b", "1"}, {"a", ""}, {"", ""}} {
		if got := ParseName(n.String()); got != n {
			t.Errorf("%+v became %+v", n, got)
		}
	}
}
