package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// pages answers for lists of tags: n on a page, and the next one by Link.
func pages(tags []string, n int) wrongFunc {
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		if !strings.HasSuffix(r.URL.Path, "/a/b/tags/list") {
			right.ServeHTTP(w, r)
			return
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("last"))
		to := min(from+n, len(tags))
		if to < len(tags) {
			w.Header().Set("Link", fmt.Sprintf(`<https://elsewhere.example.com/v2/x/tags/list?last=%d&n=%d>; rel="next"`, to, n))
		}
		_, _ = fmt.Fprintf(w, `{"name": "a/b", "tags": ["%s"]}`, strings.Join(tags[from:to], `", "`))
	}
}

func tagsOf(t *testing.T, g *Registry) ([]string, error) {
	t.Helper()
	r, err := g.Parse(host + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	return g.Tags(context.Background(), r)
}

// The pages of a list come from the registry itself, each once, and what is no tag is left
// out.
func TestTags(t *testing.T) {
	f := newFake(t)
	f.does(pages([]string{"3.20", "3.9", "latest", "3.9", `bad tag`, `\u001b[31mred`, "..", "a/b", "v1"}, 2))
	got, err := tagsOf(t, asking(f))
	if want := []string{"3.20", "3.9", "latest", "v1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	if n := f.asked("/tags/list"); n != 5 {
		t.Errorf("%d requests", n)
	}
	f.does(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { _, _ = w.Write([]byte(`{"tags": null}`)) })
	if got, err := tagsOf(t, asking(f)); err != nil || len(got) > 0 {
		t.Errorf("of an empty list: %q %v", got, err)
	}
}

func TestTagsFaults(t *testing.T) {
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	link := func(query string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "<"+query+`>; rel="next"`)
			_, _ = w.Write([]byte(`{"tags": ["v1"]}`))
		}
	}
	n := 0
	for name, c := range map[string]struct {
		wrong http.HandlerFunc
		class catalog.Failure
		again bool
		text  string
	}{
		"no such name":      {code(404), catalog.NotFound, false, "404"},
		"private":           {code(403), catalog.Unauthorized, false, "403"},
		"not well":          {code(502), catalog.Unreachable, true, "502"},
		"a pause":           {code(429), catalog.RateLimit, true, ""},
		"a login page":      {says("<html>log in</html>"), catalog.WrongType, false, "text/html"},
		"no list":           {says(`{"error": "no"}`), catalog.WrongType, false, "no such list"},
		"a list of others":  {says(`{"tags": [1, 2]}`), catalog.WrongType, false, "no such list"},
		"zeros":             {says(strings.Repeat("\x00", 100)), catalog.WrongType, false, "no such list"},
		"the same page":     {link("?last=v1"), catalog.WrongType, false, "no next page"},
		"a page of nothing": {link("/v2/a/b/tags/list"), catalog.WrongType, false, "no next page"},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			n++
			link("?last="+strconv.Itoa(n))(w, r)
		}, catalog.OverLimit, false, "pages"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"tags": ["v1"`))
		}, catalog.Unreachable, true, "cut"},
		"far too long": {func(w http.ResponseWriter, _ *http.Request) {
			some := []byte(strings.Repeat(" ", 1<<20))
			for range maxTagBytes/len(some) + 1 {
				_, _ = w.Write(some)
			}
		}, catalog.OverLimit, false, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.does(once(always, "/tags/list", c.wrong))
			_, err := tagsOf(t, asking(f))
			wantFailure(t, err, c.class, c.again, c.text)
		})
	}
	f := newFake(t)
	wrong := once(2, "/tags/list", says("<html>"))
	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		wrong(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pages([]string{"v1"}, 1)(w, r, right) }))
	})
	if got, err := tagsOf(t, asking(f)); err != nil || !slices.Equal(got, []string{"v1"}) {
		t.Errorf("a login page that comes twice: %q %v", got, err)
	}
}

// A tag makes another name of a Remote, if it is one.
func TestTagged(t *testing.T) {
	g := New(Options{})
	r, err := g.Parse("alpine:3@sha256:" + hex256)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Tagged(r, "3.20")
	if err != nil || got.Canonical != "docker.io/library/alpine:3.20" || got.Pinned != (catalog.Digest{}) {
		t.Errorf("%+v %v", got, err)
	}
	for _, tag := range []string{"", "a b", "a@sha256:" + hex256, "a:b", "/x:y", "x/y:z", strings.Repeat("x", 129)} {
		if got, err := g.Tagged(r, tag); err == nil {
			t.Errorf("%q: %+v", tag, got)
		}
	}
}

// The store is told the largest content that is still to come.
func TestExpectsLargest(t *testing.T) {
	f, to := newFake(t), newStore(t)
	f.tag("v1", f.image("linux/amd64", strings.Repeat("a", 5000), strings.Repeat("b", 3000)))
	layer := f.blob("", strings.Repeat("a", 5000)).of(t)
	for _, want := range []int64{5000, 3000} {
		to.room = 1
		if _, _, err := copying(t, asking(f), to, host+"/a/b:v1"); err != errRoom {
			t.Fatal(err)
		}
		if n := len(to.largest); to.largest[n-1] != want || f.asked("GET /v2/a/b/blobs") != 0 {
			t.Errorf("the largest is %d, want %d; %d blobs were asked for", to.largest[n-1], want, f.asked("/blobs"))
		}
		to.have[layer] = []byte(strings.Repeat("a", 5000))
	}
}
