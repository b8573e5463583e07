package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/simplestreams"
)

// newStored is newWorld with production in a store. Several worlds may share one.
func newStored(t testing.TB, f catalog.Format, store bucket.Store, readers string, config ...string) *world {
	t.Helper()
	w := &world{TB: t, dir: filepath.Join(t.TempDir(), "r"), format: f, now: time.Now(), store: store}
	w.no(os.MkdirAll(w.dir, 0o755))
	w.no(os.WriteFile(filepath.Join(w.dir, "publish.yaml"), fmt.Appendf(nil,
		"format: %s\nproduction: s3://images/a\ns3: {readers: %s}\n%s\n", f.Name(), readers, strings.Join(config, "\n")),
		0o644))
	w.no(publish.Init(w.dir, w.choices(), publish.InitOptions{}))
	_, _, err := w.open().Join(context.Background())
	w.no(err)
	w.repo = w.open()
	w.logged = &logged{}
	w.server = New(w.open(), slog.New(slog.NewTextHandler(w.logged, nil)))
	return w
}

// seen waits until the server serves this generation.
func (w *world) seen(generation int) {
	w.Helper()
	r := w.get(fmt.Sprintf("/-/readyz?generation=%d", generation))
	w.want(r, 200, fmt.Sprintf("generation %d\n", generation))
}

func TestStoreFiles(t *testing.T) {
	for _, readers := range []string{"serve", "bucket"} {
		t.Run(readers, func(t *testing.T) {
			m := buckettest.New(time.Now())
			w := newStored(t, simplestreams.Format{}, m, readers)
			text := strings.Repeat("0123456789", 3000)
			path := w.image("20260101", text)
			w.promote()
			w.keep()
			w.seen(1)
			tag := `"` + sum(text) + `"`
			for _, c := range []struct {
				headers []string
				status  int
				body    string
				part    string
			}{
				{nil, 200, text, ""},
				{[]string{"Range", "bytes=10-19"}, 206, text[10:20], "bytes 10-19/30000"},
				{[]string{"Range", "bytes=-5"}, 206, text[29995:], "bytes 29995-29999/30000"},
				{[]string{"Range", "bytes=29990-"}, 206, text[29990:], "bytes 29990-29999/30000"},
				{[]string{"Range", "bytes=30000-"}, 416, "invalid range: failed to overlap\n", "bytes */30000"},
				{[]string{"Range", "bytes=1-2", "If-Range", tag}, 206, text[1:3], "bytes 1-2/30000"},
				{[]string{"Range", "bytes=1-2", "If-Range", `"other"`}, 200, text, ""},
				{[]string{"Range", "lines=1-2"}, 200, text, ""},
				{[]string{"If-None-Match", tag}, 304, "", ""},
				{[]string{"If-None-Match", `W/"x", ` + tag}, 304, "", ""},
				{[]string{"If-Match", `"other"`}, 412, "", ""},
			} {
				r := w.get("/"+path, c.headers...)
				if w.want(r, c.status, c.body); r.Header.Get("Content-Range") != c.part {
					t.Errorf("%v: %v", c.headers, r.Header)
				}
				if c.status < 400 && (r.Header.Get("Etag") != tag || r.Header.Get("Publish-Generation") != "1") {
					t.Errorf("%v: %v", c.headers, r.Header)
				}
				if h := w.do("HEAD", "/"+path, c.headers...); h.StatusCode != c.status || c.status < 400 &&
					h.Header.Get("Content-Length") != r.Header.Get("Content-Length") {
					t.Errorf("HEAD %v: %d %v", c.headers, h.StatusCode, h.Header)
				}
			}
			parts := w.get("/"+path, "Range", "bytes=0-1,20000-20003,-2")
			for _, want := range []string{"\r\n01\r\n", "\r\n0123\r\n", "\r\n89\r\n"} {
				if parts.StatusCode != 206 || !strings.Contains(parts.body, want) {
					t.Errorf("%d %q", parts.StatusCode, parts.body)
				}
			}
			if r := w.get("/streams/v1/index.json"); r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-cache" ||
				!strings.Contains(r.body, "images.json") {
				t.Errorf("%d %v %s", r.StatusCode, r.Header, r.body)
			}
			second := w.image("20260102", "two")
			w.promote()
			w.seen(2)
			w.want(w.get("/"+second), 200, "two")
			w.want(w.get("/"+path), 200, text) // carried
			w.want(w.get("/@1/"+path), 200, text)
			w.want(w.get("/@3/"+path), 404, "not found\n")
			if r := w.get("/@1/streams/v1/images.json"); !strings.Contains(r.body, "20260101") {
				t.Errorf("%d %s", r.StatusCode, r.body)
			}
			for _, page := range []string{"", "images", "history", "diff?from=1&to=production", "carried", "findings"} {
				if r := w.get("/-/" + page); r.StatusCode != 200 || !strings.Contains(r.Header.Get("Content-Type"), "html") {
					t.Errorf("%s: %d %s", page, r.StatusCode, r.body)
				}
			}
			if text := w.logged.String(); strings.Contains(text, "level=ERROR") {
				t.Error(text)
			}
		})
	}
}

// A tag follows each switch. What somebody resolved before it is answered by digest until
// its window ends.
func TestStoreRegistry(t *testing.T) {
	m := buckettest.New(time.Now())
	w := newStored(t, oci.Format{}, m, "serve", "grace: 1h")
	l := w.layout(repo)
	at := "/v2/" + repo
	tag := func(want object) {
		t.Helper()
		r := w.get(at + "/manifests/v1")
		if w.want(r, 200, l.file(want.digest())); r.Header.Get("Docker-Content-Digest") != want.digest() ||
			r.Header.Get("Content-Type") != want["mediaType"] {
			t.Errorf("v1 is %v", r.Header)
		}
	}
	pull := func(when string, status int, digests ...string) {
		t.Helper()
		for _, d := range digests {
			for _, kind := range []string{"/manifests/", "/blobs/"} {
				if r := w.get(at + kind + d); r.StatusCode != status {
					t.Errorf("%s: %s%s: %d %s, want %d", when, kind, d, r.StatusCode, r.body, status)
				}
			}
		}
	}
	layer := func(name string, status int) {
		t.Helper()
		if r := w.get(at + "/blobs/" + digestOf("layer of "+name)); r.StatusCode != status {
			t.Errorf("the layer of %s: %d, want %d", name, r.StatusCode, status)
		}
	}
	gc := func(d time.Duration) {
		t.Helper()
		m.Advance(d)
		w.later(d)
	}
	platform := l.image("one", nil)
	one := l.list(platform, l.image("one too", nil))
	l.index(one.tag("v1"))
	w.promote()
	w.keep()
	w.seen(1)
	tag(one)
	pull("at first", 200, one.digest(), platform.digest())
	w.want(w.get("/v2/_catalog"), 200, `{"repositories":["`+repo+`"]}`)
	w.want(w.get(at+"/blobs/"+digestOf("layer of one"), "Range", "bytes=0-4"), 206, "layer")
	w.refused(w.get(at+"/blobs/"+digestOf("layer of one"), "Range", "bytes=99-"), 416, "RANGE_INVALID")

	two := l.list(l.image("two", nil))
	l.index(two.tag("v1"))
	w.promote()
	w.seen(2)
	tag(two)
	pull("after a promote", 200, one.digest(), platform.digest(), two.digest())
	layer("one", 200)
	if r := w.get("/-/images"); r.StatusCode != 200 || !strings.Contains(r.body, repo) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}

	_, err := w.repo.Revert(context.Background(), publish.RevertOptions{})
	w.no(err)
	w.seen(3)
	tag(one)
	pull("after a revert", 200, one.digest(), platform.digest(), two.digest())

	_, err = w.repo.Promote(context.Background(), publish.PromoteOptions{Force: true})
	w.no(err)
	w.seen(4)
	tag(two)
	gc(30 * time.Minute)
	pull("after a gc within the window", 200, one.digest(), platform.digest(), two.digest())
	layer("one", 200)
	gc(3 * time.Hour)
	tag(two)
	pull("after its window", 404, one.digest(), platform.digest())
	layer("one", 404)
	layer("two", 200)

	// The whole repository goes.
	other := w.layout("other")
	other.index(other.image("other", nil).tag("v1"))
	w.no(os.Rename(filepath.Join(w.dir, "staging", repo), filepath.Join(w.dir, "aside")))
	w.promote()
	w.seen(5)
	w.want(w.get("/v2/_catalog"), 200, `{"repositories":["other"]}`)
	w.want(w.get(at+"/tags/list"), 200, `{"name":"`+repo+`","tags":[]}`)
	w.refused(w.get(at+"/manifests/v1"), 404, "MANIFEST_UNKNOWN")
	pull("of a repository that went", 200, two.digest())
	if text := w.logged.String(); strings.Contains(text, "level=ERROR") {
		t.Error(text)
	}
}
