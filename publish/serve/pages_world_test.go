package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// pagesOf are all pages of a listener.
var pagesOf = []string{"/", "/-/", "/-/images", "/-/images?q=a", "/-/history", "/-/diff", "/-/diff?from=1&to=2",
	"/-/diff?from=1&to=2&q=0102", "/-/carried", "/-/findings"}

// admin asks the admin listener.
func (w *world) admin(path string, headers ...string) response {
	w.Helper()
	return w.at(w.server.Admin(), path, headers...)
}

// at asks a handler; the header Host is the host.
func (w *world) at(h http.Handler, path string, headers ...string) response {
	w.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	res := rec.Result()
	res.Request = r
	return response{res, rec.Body.String()}
}

// aHistory makes three generations: the last is a revert to the first. Staging has an
// image that production never had, and a file that is wrong.
func (w *world) aHistory() {
	w.Helper()
	w.image("20260101", "one")
	w.say("the first image")
	w.image("20260102", "two")
	w.say("a secret message")
	_, err := w.repo.Revert(w.Context(), publish.RevertOptions{Message: "it does not boot"})
	w.no(err)
	w.image("20260103", "unpublished")
	w.write("images/a-20260103.tar.xz", "other bytes, and more of them")
	w.no(w.repo.Hold(w.Context(), "because of <b>mira</b>"))
}

func (w *world) say(message string) {
	w.Helper()
	_, err := w.repo.Promote(w.Context(), publish.PromoteOptions{Message: message})
	w.no(err)
}

// wellFormed checks that elements are closed in order, and attributes are quoted.
func wellFormed(page string) error {
	var open []string
	z := regexp.MustCompile(`(?s)<(/?)([a-zA-Z!][a-zA-Z0-9-]*)((?:\s+[a-zA-Z-]+(?:="[^"<]*")?)*)\s*>|<[^>]*>?`)
	if i := strings.Index(page, "<style>"); i >= 0 { // what is in it is no element
		j := strings.Index(page, "</style>")
		page = page[:i] + page[j+len("</style>"):]
	}
	void := map[string]bool{"meta": true, "input": true, "br": true, "!doctype": true}
	for _, m := range z.FindAllStringSubmatch(page, -1) {
		name := m[2]
		switch {
		case name == "":
			return fmt.Errorf("is no tag: %.80s", m[0])
		case void[name]:
		case m[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			return fmt.Errorf("%s ends, open are %v", m[0], open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%v do not end", open)
	}
	return nil
}

// content is a page without its style.
func content(page string) string {
	_, after, _ := strings.Cut(page, "</style>")
	return after
}

// tags are the tags of a page, without the text between them.
func tags(page string) string {
	return strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(page, -1), "\n")
}

// reach waits for a generation.
func (w *world) reach(n int) {
	w.Helper()
	w.want(w.get(fmt.Sprintf("/-/readyz?generation=%d", n)), 200, fmt.Sprintf("generation %d\n", n))
}

func imageAt(name string, at time.Time, dated bool) catalog.Image {
	i := catalog.Image{Product: "p", Version: name}
	if dated {
		i.Created = at
	}
	return i
}

func removeStaged(w *world, name string) error {
	return os.Remove(filepath.Join(w.dir, "staging", name))
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Errorf("%v: %.200s", err, a)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
