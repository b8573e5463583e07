package serve

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
)

// Each page is well-formed, and says what it is about; each has its policy.
func TestPages(t *testing.T) {
	w := streams(t, "symlink")
	w.aHistory()
	w.keep()
	w.reach(3)
	for _, path := range pagesOf {
		for name, r := range map[string]response{"public": w.get(path), "admin": w.admin(path)} {
			if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
				r.Header.Get("Publish-Generation") != "3" || r.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s, %s: %d %v", path, name, r.StatusCode, r.Header)
			}
			if err := wellFormed(r.body); err != nil {
				t.Errorf("%s, %s: %v", path, name, err)
			}
			_, css, _ := strings.Cut(r.body, "<style>")
			css, _, _ = strings.Cut(css, "</style>")
			if want := "style-src 'sha256-" + hashOf(css) + "'"; !strings.Contains(r.Header.Get("Content-Security-Policy"),
				"default-src 'none'; "+want) {
				t.Errorf("%s: its policy does not allow its style: %s", path, r.Header.Get("Content-Security-Policy"))
			}
			for _, bad := range []string{"<script", "javascript:", " on", "src=", "ZgotmplZ", "<b>mira", ` href="/`, "//cdn"} {
				if strings.Contains(tags(r.body), bad) {
					t.Errorf("%s, %s: has %s", path, name, bad)
				}
			}
		}
	}
	for path, want := range map[string][]string{
		"/": {"Generation 3 is live", "It has the content of generation 1", "revert by tester: “it does not boot”",
			"&lt;b&gt;mira", "a:1:default:amd64", "20260101", "1 added, 1 removed", `href="-/images"`, "in 1h59m", "a/1"},
		"/-/history":  {"revert to 3", "with the content of 1", `class="what"`, "a secret message", `href="../-/diff?from=1&amp;to=2"`},
		"/-/carried":  {"images/a-20260102.tar.xz", "in 1h59m"},
		"/-/findings": {"size-mismatch", "images/a-20260103.tar.xz"},
		"/-/diff":     {"a:1:default:amd64/20260101", "From 2 to production"},
		"/-/images":   {"curl -fL --remote-name-all"},
	} {
		r := w.admin(path)
		for _, text := range want {
			if text != "a/1" && !strings.Contains(r.body, text) {
				t.Errorf("%s: does not say %q:\n%s", path, text, content(r.body))
			}
		}
	}
}

// A public listener shows nothing of people, nor of what is only staged, unless it may.
func TestPagesWithoutNames(t *testing.T) {
	for _, mode := range []publish.Pages{publish.PagesImages, publish.PagesAll} {
		w := streams(t, "symlink", "serve: {pages: "+string(mode)+"}")
		w.aHistory()
		w.keep()
		w.reach(3)
		said := false
		for _, path := range append(slices.Clone(pagesOf), "/-/status.json", "/-/history.json", "/-/findings.json",
			"/-/carried.json", "/-/diff.json", "/-/images.json", "/-/diff?from=production&to=staging") {
			r := w.get(path)
			for _, secret := range []string{"tester", "secret", "boot", "mira", "20260103", w.dir} {
				if strings.Contains(r.body, secret) {
					said = true
					if mode == publish.PagesImages {
						t.Errorf("%s says %q", path, secret)
					}
				}
			}
		}
		if mode == publish.PagesAll && !said {
			t.Error("with pages: all, nothing is said")
		}
		want := map[publish.Pages]int{publish.PagesImages: 400, publish.PagesAll: 200}[mode]
		if r := w.get("/-/diff.json?from=production&to=staging"); r.StatusCode != want {
			t.Errorf("%s: a diff with staging: %d", mode, r.StatusCode)
		}
	}
}

func TestPagesOff(t *testing.T) {
	w := streams(t, "symlink", "serve: {pages: off, browse: false}")
	w.aHistory()
	w.keep()
	w.reach(3)
	for path, status := range map[string]int{"/": 404, "/-/": 404, "/-": 404, "/-/images": 404, "/-/status.json": 404,
		"/-/healthz": 200, "/-/readyz": 200} {
		if r := w.get(path); r.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, status)
		}
	}
	if r := w.admin("/-/images"); r.StatusCode != 200 {
		t.Errorf("on the admin listener: %d", r.StatusCode)
	}
	w = streams(t, "symlink", "serve: {pages: off}")
	w.promoteOne()
	w.keep()
	w.reach(1)
	r := w.get("/")
	if r.StatusCode != 200 || !strings.Contains(r.body, `href="./images/"`) || strings.Contains(r.body, "<nav") {
		t.Errorf("without pages the root is a list of files: %d %s", r.StatusCode, r.body)
	}
}

// The page of a tree wins at its root, and the pages are still there.
func TestOwnIndexWins(t *testing.T) {
	w := plainTree(t, "symlink")
	w.write("index.html", "<p>ours")
	w.promote()
	w.keep()
	w.reach(1)
	w.want(w.get("/"), 200, "<p>ours")
	if r := w.get("/-/"); !strings.Contains(r.body, "Generation 1 is live") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := w.get("/-"); r.StatusCode != 301 || r.Header.Get("Location") != "./-/" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	for path, status := range map[string]int{"/-/nothing": 404, "/-/images/": 404, "/-/.json": 404, "/-/metrics": 404} {
		if r := w.get(path); r.StatusCode != status {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

// The twins are what the commands print with --json.
func TestTwins(t *testing.T) {
	w := streams(t, "symlink")
	w.aHistory()
	w.write("images/unnamed.tar.xz", "no index names it")
	w.keep()
	w.reach(3)
	ctx := w.Context()
	images, err := w.repo.List(ctx, "production")
	w.no(err)
	var listed []any
	w.no(w.repo.EachListed(ctx, "production", images, func(l publish.Listed) error {
		listed = append(listed, l)
		return nil
	}))
	events, err := w.repo.History(publish.HistoryFilter{})
	w.no(err)
	var told []any
	for _, e := range events {
		told = append(told, publish.Tell(e))
	}
	status, err := w.repo.Status(ctx)
	w.no(err)
	diff, err := w.repo.Diff(ctx, "1", "2")
	w.no(err)
	carried, err := w.repo.Carried(ctx)
	w.no(err)
	if carried.CarriedState != status.Carried && carried.Files != status.Carried.Files || len(carried.List) != 1 {
		t.Errorf("carried: %+v", carried)
	}
	report, err := w.repo.Validate(ctx, "staging", false)
	w.no(err)
	for path, want := range map[string]any{"/-/images.json": listed, "/-/history.json": told, "/-/status.json": status,
		"/-/diff.json?from=1&to=2": diff, "/-/carried.json": carried} {
		r := w.admin(path)
		text, err := json.Marshal(want)
		w.no(err)
		if r.Header.Get("Content-Type") != "application/json" || !sameJSON(t, r.body, string(text)) {
			t.Errorf("%s: %d\n%s\nwant\n%s", path, r.StatusCode, r.body, text)
		}
	}
	var found, public publish.Validated
	w.no(json.Unmarshal([]byte(w.admin("/-/findings.json").body), &found))
	w.no(json.Unmarshal([]byte(w.get("/-/findings.json").body), &public))
	if len(found.Findings) == 0 || found.Findings[0].Code != report.Findings[0].Code {
		t.Errorf("findings: %+v, and validate has %+v", found, report.Findings)
	}
	if want := publish.ValidatedOf(report).LeftOut; want.Files != 1 || !reflect.DeepEqual(found.LeftOut, want) ||
		public.LeftOut.Files != 1 || public.LeftOut.Examples == nil || len(public.LeftOut.Examples) > 0 {
		t.Errorf("left out: %+v, public %+v, and validate has %+v", found.LeftOut, public.LeftOut, want)
	}
	if lines := strings.Split(strings.TrimSpace(w.admin("/-/history.json").body), "\n"); len(lines) != len(events)+2 {
		t.Errorf("an event is not a line: %d lines of %d events", len(lines), len(events))
	}
}

// A client that takes gzip gets what the other one gets, under another tag.
func TestTwinIsCompressed(t *testing.T) {
	w := streams(t, "symlink")
	w.promoteOne()
	w.keep()
	w.reach(1)
	plain, zipped := w.get("/-/images.json"), w.get("/-/images.json", "Accept-Encoding", "gzip")
	if zipped.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" ||
		zipped.Header.Get("Etag") == plain.Header.Get("Etag") || plain.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%v\n%v", plain.Header, zipped.Header)
	}
	for _, r := range []response{plain, zipped, w.get("/-/history")} {
		again := w.get(r.Request.URL.RequestURI(), "If-None-Match", r.Header.Get("Etag"), "Accept-Encoding",
			r.Request.Header.Get("Accept-Encoding"))
		if r.Request.URL.Path == "/-/images.json" && again.StatusCode != 304 {
			t.Errorf("%s: %d, want 304", r.Request.URL, again.StatusCode)
		}
	}
}

// A host that is none is refused: it would stand in commands that people copy.
func TestHostilePages(t *testing.T) {
	w := streams(t, "symlink", "serve: {trusted_proxies: [192.0.2.1]}")
	w.promoteOne()
	w.keep()
	w.reach(1)
	for host, ok := range map[string]bool{"images.example.org": true, "127.0.0.1:8080": true, "[::1]:80": true,
		"a_b": true, "a;reboot": false, "a b": false, "$(reboot)": false, "a'": false, "": true, "a:b": false,
		"a:99999": false,
		"[::1":    false, "[x]": false, "a/b": false, "<script>": false, "a\"": false, "-x": false, "a:1:2": false,
		strings.Repeat("a", 300): false, "ü": false} {
		for _, path := range []string{"/", "/-/images", "/images/"} {
			r := w.at(w.server.Public(), path, "Host", host)
			if (r.StatusCode == 200) != ok || !ok && r.StatusCode != 400 {
				t.Errorf("host %.40q, %s: %d", host, path, r.StatusCode)
			}
			if !ok && host != "" && strings.Contains(r.body, host) {
				t.Errorf("host %.40q is in the answer", host)
			}
		}
	}
	r := w.at(w.server.Public(), "/-/images", "Host", "images.example.org")
	if strings.Contains(r.body, "incus remote add") {
		t.Error("without TLS a command is shown that no client takes")
	}
	r = w.at(w.server.Public(), "/-/images", "Host", "images.example.org", "X-Forwarded-Proto", "https")
	if !strings.Contains(r.body, "incus remote add images.example.org https://images.example.org --protocol") ||
		!strings.Contains(r.body, "incus launch images.example.org:a") {
		t.Errorf("behind a proxy with TLS:\n%s", r.body)
	}
	for _, q := range []string{"q=%ff%00", "q=" + strings.Repeat("a", 4000), "page=-1", "page=99999999999999999999",
		"page=x",
		"product=%00", "%zz", "q=%3Cscript%3E", "from=../..&to=1"} {
		for _, name := range []string{"images", "history", "carried", "findings"} {
			r := w.get("/-/" + name + "?" + q)
			missing := name == "images" && r.StatusCode == 404
			if r.StatusCode != 200 && !missing || !missing && wellFormed(r.body) != nil ||
				strings.Contains(r.body, "<script>") {
				t.Errorf("%s?%s: %d", name, q, r.StatusCode)
			}
		}
	}
	for q, status := range map[string]int{"from=../..&to=1": 400, "from=0": 400, "from=-1": 400, "from=1&to=+1": 400,
		"from=01": 400, "from=7": 404, "from=staging": 400, "from=1&to=production": 200,
		"from=" + strings.Repeat("9", 400): 400} {
		if r := w.get("/-/diff?" + q); r.StatusCode != status {
			t.Errorf("diff?%.40s: %d, want %d", q, r.StatusCode, status)
		}
	}
}

// serve.public_url stands in the commands, whatever a client asks.
func TestPublicURL(t *testing.T) {
	w := streams(t, "symlink", "serve: {public_url: 'https://images.example.org/base/'}")
	w.promoteOne()
	w.keep()
	w.reach(1)
	for _, r := range []response{w.at(w.server.Public(), "/-/images", "Host", "$(evil)"), w.admin("/-/images")} {
		if !strings.Contains(r.body, "incus remote add images.example.org https://images.example.org/base --protocol") {
			t.Errorf("%d %s", r.StatusCode, r.body)
		}
	}
}

// Names of strangers are text, in pages and in links.
func TestHostileNames(t *testing.T) {
	w := plainTree(t, "symlink")
	names := []string{"<script>alert(1)<", "javascript:alert(1)", `"><img src=x onerror=alert(1)>`, "a b?c#d%20",
		"evil\u202egnp.exe", "$(reboot)", "'; reboot #"}
	for _, name := range names {
		w.write(name, name)
	}
	w.write("deep/a:b", "deep")
	w.promote()
	for _, name := range names {
		w.no(removeStaged(w, name))
	}
	w.write("later", "later")
	w.promote()
	w.keep()
	w.reach(2)
	links := regexp.MustCompile(`href="([^"]*)"`)
	found := 0
	for _, path := range []string{"/", "/@1/", "/@1/deep/", "/-/images", "/-/carried", "/-/history", "/-/diff"} {
		r := w.get(path)
		if err := wellFormed(r.body); err != nil || strings.ContainsRune(r.body, '\u202e') ||
			strings.Contains(r.body, "ZgotmplZ") {
			t.Errorf("%s: %v\n%s", path, err, r.body)
		}
		for _, m := range links.FindAllStringSubmatch(r.body, -1) {
			link := strings.NewReplacer("&amp;", "&", "&#34;", `"`, "&#39;", "'", "&#43;", "+").Replace(m[1])
			u, err := r.Request.URL.Parse(link)
			if err != nil || u.Host != r.Request.URL.Host || strings.HasPrefix(link, "/") {
				t.Errorf("%s: link %s: %v", path, link, err)
				continue
			}
			got := w.get(u.RequestURI())
			if got.StatusCode != 200 && got.StatusCode != 301 {
				t.Errorf("%s: link %s: %d", path, link, got.StatusCode)
			}
			if slices.Contains(names, got.body) {
				found++
			}
		}
	}
	if found < 2*len(names) {
		t.Errorf("%d links to hostile names, want each in a list and among the carried ones", found)
	}
}

// A page shows a part of a long list, and finds all of it.
func TestLongLists(t *testing.T) {
	w := plainTree(t, "symlink")
	const n = 3*onePage + 7
	for i := range n {
		w.write(fmt.Sprintf("file-%04d", i), "x")
	}
	w.promote()
	w.keep()
	w.reach(1)
	next := regexp.MustCompile(`<a href="(\?[^"]*)" rel="next">`)
	rows := regexp.MustCompile(`<th scope="row">(file-\d+)`)
	var seen []string
	path := "/-/images?q=FILE"
	for pages := 0; path != "" && pages < 10; pages++ {
		body := w.get(path).body
		found := rows.FindAllStringSubmatch(body, -1)
		if len(found) > onePage {
			t.Fatalf("%s: %d rows", path, len(found))
		}
		for _, m := range found {
			seen = append(seen, m[1])
		}
		path = ""
		if m := next.FindStringSubmatch(body); m != nil {
			path = "/-/images" + strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if len(seen) != n || !slices.IsSorted(seen) {
		t.Errorf("%d rows of %d", len(seen), n)
	}
	if found := rows.FindAllString(w.get("/-/images?q=file-0307").body, -1); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	if found := rows.FindAllString(w.get("/-/images?q=E-0306").body, -1); len(found) != 1 {
		t.Errorf("found %v", found)
	}
}

// A filter finds changes by the names of images and by paths, also behind the part of the
// list that the page has. The form keeps the trees, and the twin has the same part.
func TestFilterOfADiff(t *testing.T) {
	w := plainTree(t, "symlink")
	w.write("file-0000", "old")
	w.write("gone", "x")
	w.promote()
	const n = maxDiffFiles + 7
	for i := range n {
		w.write(fmt.Sprintf("file-%04d", i), "x")
	}
	w.no(removeStaged(w, "gone"))
	w.promote()
	w.keep()
	w.reach(2)
	last := fmt.Sprintf("file-%04d", n-1)
	page := w.get("/-/diff?from=1&to=2&q=+FILE-" + last[5:]).body
	for _, want := range []string{`<th scope="row">` + last + "</th>", "From 1 to 2: 507 B come, 1 B go",
		`<input type="hidden" name="from" value="1"><input type="hidden" name="to" value="2">`,
		`<a href="?from=1&amp;to=2">Show all</a>`, `name="q" type="search" maxlength="200" value="FILE-`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s:\n%s", want, content(page))
		}
	}
	if strings.Contains(page, "file-0001") || strings.Contains(page, "gone<") {
		t.Errorf("the page has what does not match:\n%s", content(page))
	}
	if page := w.get("/-/diff?q=nowhere").body; !strings.Contains(page, "Nothing matches the filter.") {
		t.Errorf("%s", content(page))
	}
	for q, want := range map[string]int{"": n + 1, "?q=GO": 1, "?q=file-0000": 1, "?q=nowhere": 0, "?from=1&q=file": n} {
		var d publish.Diff
		w.no(json.Unmarshal([]byte(w.get("/-/diff.json"+q).body), &d))
		if len(d.Files) != want || len(d.Added)+len(d.Removed)+len(d.Changed) != want || d.Changed == nil {
			t.Errorf("%s: %d files, want %d", q, len(d.Files), want)
		}
	}
}

// After a promote has ended, no page is about what was before.
func TestPagesFollow(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	w.reach(1)
	for n := 2; n < 5; n++ {
		w.get("/")
		w.image(fmt.Sprintf("2026010%d", n), fmt.Sprint(n))
		w.promote()
		for _, path := range []string{"/", "/-/images", "/-/status.json", "/-/images.json", "/-/history", "/-/carried"} {
			r := w.get(path)
			want := fmt.Sprintf("2026010%d", n)
			if strings.Contains(path, "status") || path == "/-/carried" {
				want = fmt.Sprint(n)
			}
			if r.StatusCode != 200 || r.Header.Get("Publish-Generation") != fmt.Sprint(n) || !strings.Contains(r.body, want) {
				t.Errorf("%s after promote %d: %d, generation %s", path, n, r.StatusCode, r.Header.Get("Publish-Generation"))
			}
			if back := fmt.Sprintf("to the content of generation %d<", n-1); path == "/" && !strings.Contains(r.body, back) {
				t.Errorf("after promote %d the page does not say %s", n, back)
			}
		}
	}
}

// The older version of a product has only its fingerprint; the page of a product has all.
func TestVersions(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		names []string
		rank  []int
		dated bool
		want  []string
	}{
		{[]string{"20260101", "20260102.10", "20260102.9"}, []int{0, 2, 1}, true,
			[]string{"20260102.9", "20260102.10", "20260101"}},
		{[]string{"1.10", "1.9", "latest"}, []int{0, 2, 1}, false, []string{"1.9", "latest", "1.10"}},
	} {
		var list []version
		for i, name := range c.names {
			v := version{name: name, rank: c.rank[i]}
			v.images = append(v.images, imageAt(name, at(i+1), c.dated))
			list = append(list, v)
		}
		slices.SortStableFunc(list, newer)
		var got []string
		for _, v := range list {
			got = append(got, v.name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

// Where there is nothing to compare production with, the answer still says what it is of.
func TestDiffOfTheFirstGeneration(t *testing.T) {
	w := streams(t, "symlink")
	w.promoteOne()
	w.keep()
	w.reach(1)
	r := w.get("/-/diff.json")
	if r.StatusCode != 200 || !strings.HasPrefix(r.body, `{"from":"","to":"production","added":[],`) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}
