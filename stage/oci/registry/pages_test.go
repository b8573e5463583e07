package registry

import (
	"net/http"
	"strings"
	"testing"
)

func TestNextPage(t *testing.T) {
	for text, want := range map[string]string{
		`<https://x/v2/a/referrers/b?n=5&last=c,d>; rel="next"`: "https://x/v2/a/referrers/b?n=5&last=c,d",
		`<a>; rel="prev", <b>; rel=next`:                        "b", `<a>; rel="prev"`: "", `a; rel="next"`: "", "": "",
	} {
		if got := nextPage(http.Header{"Link": {text}}); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`<https://x/y?n=1>; rel="next"`)
	f.Add("<a>,<b>;rel=next")
	f.Add("<")
	f.Fuzz(func(t *testing.T, link string) {
		if next := nextPage(http.Header{"Link": {link}}); !strings.Contains(link, next) {
			t.Errorf("%q: %q", link, next)
		}
	})
}
