package serve

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
)

// Whatever of the repository cannot be read, pages say what clients get, and what is missing:
// on a public listener without names. One that cannot be made is for later, not an error.
func TestPagesInTrouble(t *testing.T) {
	const (
		stale    = "What production is now cannot be shown: "
		staging  = "What waits in staging cannot be read: "
		history  = "The history cannot be read: "
		later    = "this page cannot be made"
		publicly = "the log says why"
		hint     = "hint: run publish recover"
		one      = "Generation 1 is live"
	)
	for _, c := range []struct {
		harm string
		says []string        // on the first page
		not  string          // on it
		gone map[string]bool // pages that cannot be made
	}{
		{noStaging, []string{staging, "Can be reverted", "not known"}, stale, nil},
		{noHistory, []string{history, hint}, "Can be reverted", map[string]bool{"history": true, "status.json": true,
			"carried": true}},
		{danglingLink, []string{stale, hint, "1 added"}, staging, nil},
		{brokenSeal, []string{stale, hint, "1 added"}, staging, map[string]bool{"diff": true}},
	} {
		w := harmed(t, c.harm)
		w.server.computed = newComputed(time.Now)
		for _, name := range []string{"", "images", "history", "diff?to=production&from=2", "carried", "findings",
			"status.json", "images.json", "history.json", "diff.json?to=production&from=2", "carried.json", "findings.json"} {
			page, _, _ := strings.Cut(name, "?")
			gone := c.gone[strings.TrimSuffix(page, ".json")] || c.gone[page] // a diff is with generation 2
			if c.harm == noHistory && strings.HasPrefix(page, "diff") {
				continue // nobody knows what is kept
			}
			for who, r := range map[string]response{"public": w.get("/-/" + name), "admin": w.admin("/-/" + name)} {
				if want := map[bool]int{true: 503, false: 200}[gone]; r.StatusCode != want ||
					gone && (r.Header.Get("Retry-After") == "" || !strings.Contains(r.body, later)) ||
					!gone && r.Header.Get("Publish-Generation") != "1" {
					t.Errorf("%s: %s, %s: %d %v %s", c.harm, name, who, r.StatusCode, r.Header, content(r.body))
				}
				if who == "public" && (strings.Contains(r.body, w.dir) || strings.Contains(r.body, "secret")) {
					t.Errorf("%s: %s says too much: %s", c.harm, name, content(r.body))
				}
			}
		}
		for who, r := range map[string]response{"public": w.get("/-/findings"), "admin": w.admin("/-/findings")} {
			why := map[string]string{"public": publicly, "admin": w.dir}[who]
			if c.says[0] != stale && (!strings.Contains(r.body, c.says[0]) || !strings.Contains(r.body, why) ||
				strings.Contains(r.body, "There are none") || wellFormed(r.body) != nil) {
				t.Errorf("%s: findings, %s: %v %s", c.harm, who, wellFormed(r.body), content(r.body))
			}
		}
		for who, r := range map[string]response{"public": w.get("/"), "admin": w.admin("/")} {
			for _, text := range append(slices.Clone(c.says), one, "20260101") {
				if text == hint && who == "public" {
					text = publicly
				}
				if !strings.Contains(r.body, text) {
					t.Errorf("%s: %s: does not say %q: %s", c.harm, who, text, content(r.body))
				}
			}
			if strings.Contains(r.body, c.not) || strings.Contains(r.body, "20260102") || wellFormed(r.body) != nil {
				t.Errorf("%s: %s: %v %s", c.harm, who, wellFormed(r.body), content(r.body))
			}
			if strings.Count(w.logged.String(), "pages cannot show") != 1 ||
				strings.Contains(w.logged.String(), "cannot be made: /-/findings\"") {
				t.Errorf("%s: it is not logged once: %s", c.harm, w.logged)
			}
			if who == "admin" && !strings.Contains(r.body, w.dir) {
				t.Errorf("%s: the admin page does not say what: %s", c.harm, content(r.body))
			}
		}
	}
}

// Twins say what they lack.
func TestTwinInTrouble(t *testing.T) {
	for harm, want := range map[string]string{
		noStaging:  `"staging":null,"no_staging":"the log says why"}`,
		brokenSeal: `},"stale":"the log says why"}`,
	} {
		w := harmed(t, harm)
		if r := w.get("/-/status.json"); !strings.HasSuffix(r.body, want+"\n") ||
			!strings.Contains(r.body, `"production":{"generation":1,`) {
			t.Errorf("%s: %s, want %s", harm, r.body, want)
		}
		if harm == noStaging {
			w.want(w.get("/-/findings.json"), 200,
				`{"findings":null,"checked":null,"redacted":null,"left_out":null,"no_staging":"the log says why"}`+"\n")
		}
	}
}

// While nothing is production, pages are about what clients still get; and that is over when
// it is back. A manifest that is damaged under a view is also no reason to hide the rest.
func TestPagesOfBrokenProduction(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	says := func(r response, status int, words ...string) {
		t.Helper()
		for _, word := range words {
			if r.StatusCode != status || !strings.Contains(r.body, word) {
				t.Errorf("%d %s, want %d and %q", r.StatusCode, content(r.body), status, word)
			}
		}
		if strings.Contains(r.body, w.dir) != strings.Contains(strings.Join(words, " "), w.dir) {
			t.Errorf("%s", r.body)
		}
	}
	stale := func(want bool) {
		for {
			if _, err := w.server.keeper.stale(); (err != nil) == want {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	production := filepath.Join(w.dir, "production")
	w.reach(1)
	w.no(os.Rename(production, production+".away"))
	stale(true)
	says(w.admin("/"), 200, "What production is now cannot be shown", w.dir)
	says(w.at(w.server.Public(), "/"), 200, "cannot be shown: the log says why")
	w.no(os.Rename(production+".away", production))
	stale(false)
	if r := w.admin("/"); r.StatusCode != 200 || strings.Contains(r.body, "cannot be shown") {
		t.Errorf("%d %s", r.StatusCode, content(r.body))
	}

	w.damage(".publish/manifests/000001")
	w.server.computed = newComputed(time.Now)
	says(w.admin("/"), 200, "the manifest is damaged; hint: run publish recover", w.dir)
	says(w.at(w.server.Public(), "/"), 200, "the log says why")
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
