package serve

import (
	"encoding/json"
	"strings"
	"testing"

	"example.com/publish/publish"
)

// A registry has the same pages: its root is the first, commands pull from it, and there is
// no link to files, which it does not serve.
func TestPagesOfARegistry(t *testing.T) {
	w := registryTree(t, "symlink")
	l := w.layout("docker.io/acme/app")
	one := l.image("one", nil)
	l.index(one.tag("1.0"))
	w.promote()
	two := l.image("two", nil)
	l.index(one.tag("1.0"), two.tag("2.0"))
	w.promote()
	l.index(two.tag("2.0"))
	w.promote()
	w.keep()
	w.reach(3)
	for _, path := range pagesOf {
		r := w.get(path)
		if r.StatusCode != 200 || wellFormed(r.body) != nil {
			t.Errorf("%s: %d %v", path, r.StatusCode, wellFormed(r.body))
		}
		for _, bad := range []string{"/@", `href="@`, "blobs/sha256/" + digits(one) + `">`, `id="files"`} {
			if strings.Contains(r.body, bad) {
				t.Errorf("%s: has %s", path, bad)
			}
		}
	}
	host := strings.TrimPrefix(w.http.URL, "http://")
	if body := w.get("/").body; !strings.Contains(body, "docker pull "+host+"/docker.io/acme/app:2.0") {
		t.Errorf("no command:\n%s", content(body))
	}
	images, err := w.repo.List(w.Context(), "production")
	w.no(err)
	var want []any
	w.no(w.repo.EachListed(w.Context(), "production", images, func(l publish.Listed) error {
		want = append(want, l)
		return nil
	}))
	text, err := json.Marshal(want)
	w.no(err)
	if got := w.get("/-/images.json").body; !sameJSON(t, got, string(text)) || !strings.Contains(got, `"media_type"`) {
		t.Errorf("%s\nwant\n%s", got, text)
	}
	if r := w.get("/docker.io/"); r.StatusCode != 404 {
		t.Errorf("a folder: %d", r.StatusCode)
	}
}

func digits(o object) string { return strings.TrimPrefix(o.digest(), "sha256:") }
