package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
)

// A page that cannot be made says why on the admin listener, and what to do; on a public one
// only that it cannot.
func TestPagesOfBrokenProduction(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	if r := w.admin("/"); r.StatusCode != 200 {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	says := func(r response, status int, words ...string) {
		t.Helper()
		for _, word := range words {
			if r.StatusCode != status || !strings.Contains(r.body, word) {
				t.Errorf("%d %s, want %d and %q", r.StatusCode, r.body, status, word)
			}
		}
		if strings.Contains(r.body, w.dir) != strings.Contains(strings.Join(words, " "), w.dir) {
			t.Errorf("%s", r.body)
		}
	}
	ready := func(status int) {
		for w.at(w.server.Public(), "/-/readyz").StatusCode != status {
			time.Sleep(time.Millisecond)
		}
	}
	production := filepath.Join(w.dir, "production")
	w.no(os.Rename(production, production+".away"))
	ready(503)
	w.server.computed = newComputed(time.Now)
	says(w.admin("/"), 503, "no view of production", w.dir)
	says(w.at(w.server.Public(), "/"), 503, "production is not ready")
	w.no(os.Rename(production+".away", production))
	ready(200)

	manifest := filepath.Join(w.dir, ".publish/manifests/000001")
	data, err := os.ReadFile(manifest)
	w.no(err)
	w.no(os.WriteFile(manifest, append(data, '\n'), 0o644))
	w.server.computed = newComputed(time.Now)
	says(w.admin("/"), 500, "the manifest is damaged; hint: run publish recover", w.dir)
	says(w.at(w.server.Public(), "/"), 500, "the log says why")
}

// Why there is no view is for operators: it names paths of the machine.
func TestReadyNamesNoPaths(t *testing.T) {
	for _, mode := range []publish.Pages{publish.PagesImages, publish.PagesAll, publish.PagesOff} {
		w := streams(t, "symlink", "serve: {pages: "+string(mode)+"}")
		w.promoteOne()
		w.keep()
		w.reach(1)
		w.no(os.Remove(filepath.Join(w.dir, "production")))
		for w.at(w.server.Public(), "/-/readyz").StatusCode != 503 {
			time.Sleep(time.Millisecond)
		}
		public, admin := w.get("/-/readyz"), w.admin("/-/readyz")
		if strings.Contains(public.body, w.dir) != (mode == publish.PagesAll) || !strings.Contains(admin.body, w.dir) {
			t.Errorf("pages: %s: public %q, admin %q", mode, public.body, admin.body)
		}
		if mode != publish.PagesAll {
			w.want(public, 503, "production cannot be opened; the log says why\n")
		}
	}
}
