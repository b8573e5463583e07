package serve

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/simplestreams"
)

// tap sees the requests to a store in memory, and spoils them.
type tap struct {
	mu    sync.Mutex
	seen  []string
	fault func(buckettest.Request) buckettest.Fault
}

func tapped(m *buckettest.Memory) *tap {
	p := &tap{}
	m.Fault = func(r buckettest.Request) buckettest.Fault {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen = append(p.seen, r.Op+" "+r.Key)
		if p.fault == nil {
			return buckettest.None
		}
		return p.fault(r)
	}
	return p
}

// spoil has all requests end so from now on, and forgets what was seen.
func (p *tap) spoil(f func(buckettest.Request) buckettest.Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.seen = f, nil
}

func (p *tap) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

func always(f buckettest.Fault) func(buckettest.Request) buckettest.Fault {
	return func(buckettest.Request) buckettest.Fault { return f }
}

// until calls f until it returns true.
func (w *world) until(what string, f func() bool) {
	w.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatal("never: " + what)
		}
	}
}

// An object that is not what the manifest says is never answered with 200.
func TestStoreDamaged(t *testing.T) {
	m := buckettest.New(time.Now())
	w := newStored(t, simplestreams.Format{}, m, "serve", "grace: 1h")
	first := w.image("20260101", strings.Repeat("x", 100_000))
	w.promote()
	second := w.image("20260102", strings.Repeat("y", 100_000))
	w.promote()
	w.keep()
	w.seen(2)
	good := m.Data(second)
	for name, damage := range map[string]func(){
		"missing":     func() { m.Remove(second) },
		"shorter":     func() { m.Set(second, good[1:], "me") },
		"longer":      func() { m.Set(second, append(slices.Clone(good), 'y'), "me") },
		"other bytes": func() { m.Set(second, append(slices.Clone(good[1:]), 'z'), "me") },
		"no sum": func() {
			m.NoSums = true
			m.Set(second, good, "")
			m.NoSums = false
		},
	} {
		damage()
		for _, headers := range [][]string{nil, {"Range", "bytes=5-9"}, {"Range", "bytes=5-9,100-110"}} {
			for _, method := range []string{"GET", "HEAD"} {
				r := w.do(method, "/"+second, headers...)
				if r.StatusCode != 502 || strings.Contains(r.body, "y") && len(r.body) > 100 ||
					r.Header.Get("Etag") != "" || r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %s %v: %d %v %.100q", name, method, headers, r.StatusCode, r.Header, r.body)
				}
			}
		}
		if text := w.logged.String(); !strings.Contains(text, "an object of production is damaged") ||
			!strings.Contains(text, second) {
			t.Errorf("%s: %s", name, text)
		}
	}
	m.Set(second, good, "me")
	w.want(w.get("/"+second), 200, string(good))
	w.want(w.get("/"+first), 200, strings.Repeat("x", 100_000))
	m.Remove(first) // as a gc does with what is carried
	w.want(w.get("/"+first), 404, "not found\n")
	w.want(w.get("/@1/"+first), 404, "not found\n")
}

func TestStoreRegistryDamaged(t *testing.T) {
	m := buckettest.New(time.Now())
	p := tapped(m)
	w := newStored(t, oci.Format{}, m, "serve")
	l := w.layout(repo)
	one := l.image("one", nil)
	l.index(one.tag("v1"))
	w.promote()
	w.keep()
	w.seen(1)
	at, layer := "/v2/"+repo, digestOf("layer of one")
	w.want(w.get(at+"/manifests/v1"), 200, l.file(one.digest()))
	p.spoil(always(buckettest.NeverSent))
	w.want(w.get(at+"/manifests/v1"), 200, l.file(one.digest())) // from memory
	for _, method := range []string{"GET", "HEAD"} {
		r := w.do(method, at+"/blobs/"+layer)
		if w.refused(r, 503, "UNAVAILABLE"); r.Header.Get("Retry-After") == "" {
			t.Errorf("%v", r.Header)
		}
	}
	p.spoil(nil)
	m.Remove(repo + "/blobs/sha256/" + layer[7:])
	w.refused(w.get(at+"/blobs/"+layer), 502, "UNKNOWN")
	w.restart()
	w.seen(1)
	m.Remove(repo + "/blobs/sha256/" + one.digest()[7:])
	w.refused(w.get(at+"/manifests/v1"), 502, "UNKNOWN")
}

// With the store away, documents are answered from what is here.
func TestStoreAway(t *testing.T) {
	m := buckettest.New(time.Now())
	p := tapped(m)
	w := newStored(t, simplestreams.Format{}, m, "serve", "serve: {pages: all}")
	path := w.image("20260101", "one")
	p.spoil(always(buckettest.NeverSent))
	w.keep()
	w.want(w.get("/streams/v1/index.json"), 503, "production is not ready; try again\n")
	p.spoil(nil)
	w.promote()
	w.seen(1)
	w.want(w.get("/"+path), 200, "one")

	for name, fault := range map[string]buckettest.Fault{"away": buckettest.NeverSent, "refused": buckettest.Refused} {
		p.spoil(always(fault))
		for _, method := range []string{"GET", "HEAD"} {
			r := w.do(method, "/"+path)
			if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", name, r.StatusCode, r.Header)
			}
		}
		w.want(w.get("/"+path, "If-None-Match", `"`+sum("one")+`"`), 304, "")
		w.until("view_stale", func() bool { return strings.Contains(w.metrics(), "publish_serve_view_stale 1") })
		if r := w.get("/-/readyz"); r.StatusCode != 503 {
			t.Errorf("%s: readyz: %d %s", name, r.StatusCode, r.body)
		}
		w.want(w.get("/-/readyz?generation=1"), 200, "generation 1\n")
		for _, doc := range []string{"/streams/v1/index.json", "/streams/v1/images.json", "/-/", "/-/status.json"} {
			if r := w.get(doc); r.StatusCode != 200 {
				t.Errorf("%s: %s: %d %s", name, doc, r.StatusCode, r.body)
			}
		}
		if r := w.get("/-/"); !strings.Contains(r.body, "cannot be shown") {
			t.Errorf("%s: the page does not say so: %s", name, r.body)
		}
		p.spoil(nil)
		w.until("ready", func() bool { return w.get("/-/readyz").StatusCode == 200 })
		w.want(w.get("/"+path), 200, "one")
		if text := w.metrics(); !strings.Contains(text, "publish_serve_view_stale 0") ||
			!strings.Contains(text, "publish_serve_last_look_age_seconds 0") {
			t.Errorf("%s: %s", name, text)
		}
	}
	text := w.logged.String()
	for _, line := range []string{"no view of production", "the object store does not answer", "answers again"} {
		if !strings.Contains(text, line) {
			t.Errorf("the log lacks %q: %s", line, text)
		}
	}
	if n := strings.Count(text, "the object store does not answer; content"); n != 2 {
		t.Errorf("%d lines: %s", n, text)
	}
	w.image("20260102", "two")
	w.promote()
	w.seen(2)

	// A kept generation whose documents are not here yet.
	w.restart()
	w.seen(2)
	p.spoil(always(buckettest.NeverSent))
	if r := w.get("/@1/streams/v1/index.json"); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("a kept generation: %d %v", r.StatusCode, r.Header)
	}
	p.spoil(nil)
	if r := w.get("/@1/streams/v1/index.json"); r.StatusCode != 200 {
		t.Errorf("a kept generation: %d %v", r.StatusCode, r.Header)
	}
}

// A body that breaks off in the middle is a broken answer, never a short one.
func TestStoreCut(t *testing.T) {
	m := buckettest.New(time.Now())
	p := tapped(m)
	w := newStored(t, simplestreams.Format{}, m, "serve")
	text := strings.Repeat("0123456789", 100_000)
	path := w.image("20260101", text)
	w.promote()
	w.keep()
	w.seen(1)
	p.spoil(func(r buckettest.Request) buckettest.Fault {
		if r.Key == path {
			return buckettest.Cut
		}
		return buckettest.None
	})
	for _, headers := range [][]string{nil, {"Range", "bytes=100-"}, {"Range", "bytes=0-9,500000-"}} {
		body, status, err := w.broken("/"+path, headers...)
		if err == nil || status != 200 && status != 206 {
			t.Errorf("%v: %d, %d bytes, no error", headers, status, len(body))
		}
	}
	if !strings.Contains(w.logged.String(), "an answer was cut") {
		t.Error(w.logged)
	}
}

// Over HTTP/2 a body that breaks off ends the stream with an error.
func TestStoreCutHTTP2(t *testing.T) {
	m := buckettest.New(time.Now())
	p := tapped(m)
	w := newStored(t, simplestreams.Format{}, m, "serve")
	path := w.image("20260101", strings.Repeat("0123456789", 100_000))
	w.promote()
	p.spoil(func(r buckettest.Request) buckettest.Fault {
		if r.Key == path {
			return buckettest.Cut
		}
		return buckettest.None
	})
	w.http2(t, func(t *testing.T, c *http.Client) {
		res, err := c.Get("http://x/-/readyz?generation=1")
		w.no(err)
		_ = res.Body.Close()
		res, err = c.Get("http://x/" + path)
		w.no(err)
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err == nil || res.StatusCode != 200 {
			t.Errorf("%d, %d bytes, no error", res.StatusCode, len(body))
		}
	})
}

// broken asks for a path, and returns the error of reading the answer.
func (w *world) broken(path string, headers ...string) (body []byte, status int, err error) {
	w.Helper()
	r, err := http.NewRequest(http.MethodGet, w.http.URL+path, nil)
	w.no(err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := w.http.Client().Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return body, res.StatusCode, err
}

// A server writes neither to the store nor into the repository, and asks for no object
// when it answers with a document.
func TestStoreReadsOnly(t *testing.T) {
	m := buckettest.New(time.Now())
	p := tapped(m)
	w := newStored(t, simplestreams.Format{}, m, "serve")
	w.image("20260101", "one")
	w.promote()
	before := w.names()
	p.spoil(func(r buckettest.Request) buckettest.Fault {
		if r.Op != "get" && r.Op != "head" && r.Op != "list" {
			return buckettest.Refused
		}
		return buckettest.None
	})
	w.keep()
	w.seen(1)
	for _, page := range []string{"", "images", "history", "carried", "findings"} {
		if r := w.get("/-/" + page); r.StatusCode != 200 {
			t.Errorf("%s: %d %s", page, r.StatusCode, r.body)
		}
	}
	w.metrics()
	if after := w.names(); after != before {
		t.Errorf("the repository was\n%s, and is\n%s", before, after)
	}
	for _, r := range p.requests() {
		if op, _, _ := strings.Cut(r, " "); op != "get" && op != "head" {
			t.Errorf("the server sends %s", r)
		}
	}
	p.spoil(nil)
	for range 50 {
		if r := w.get("/streams/v1/images.json"); r.StatusCode != 200 {
			t.Fatal(r.StatusCode)
		}
	}
	for _, r := range p.requests() {
		if r != "get _publish/pointer.json" {
			t.Errorf("a document costs: %s", r)
		}
	}
}

// names are the files of the repository with their times.
func (w *world) names() string {
	var b strings.Builder
	w.no(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		fmt.Fprintln(&b, path, fi.Mode(), fi.ModTime())
		return err
	}))
	return b.String()
}

// Several servers read one store; what one of them keeps of it goes with it.
func TestStoreServers(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("RUNTIME_DIRECTORY", "")
	m := buckettest.New(time.Now())
	w := newStored(t, plain.Format{}, m, "serve")
	w.write("a/b.txt", "one")
	w.write("c.txt", "same")
	w.write("gone.txt", "gone")
	w.promote()
	var all []*world
	for range 3 {
		o := newStored(t, plain.Format{}, m, "serve")
		all = append(all, o)
	}
	t.Run("serve", func(t *testing.T) {
		for _, o := range all {
			o.TB = t
			o.keep()
		}
		w.write("a/b.txt", "two")
		_, err := w.repo.Remove(context.Background(), "gone.txt")
		w.no(err)
		w.promote()
		dates := map[string]bool{}
		for _, o := range all {
			o.seen(2)
			r := o.get("/a/b.txt")
			o.want(r, 200, "two")
			dates[r.Header.Get("Last-Modified")] = true
			o.want(o.get("/@1/a/b.txt"), 200, "one")
			o.want(o.get("/c.txt"), 200, "same")
			o.want(o.get("/gone.txt"), 200, "gone") // it is carried
			if n := value(o.metrics(), "publish_serve_carried_hits_total"); n != "1" {
				t.Errorf("%s files were carried", n)
			}
		}
		if len(dates) != 1 {
			t.Errorf("one document has several dates: %v", dates)
		}
		if got, _ := filepath.Glob(filepath.Join(os.TempDir(), "publish-serve-*")); len(got) != 3 {
			t.Errorf("%q", got)
		}
	})
	if got, _ := filepath.Glob(filepath.Join(os.TempDir(), "publish-serve-*")); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// Who downloads from a view goes on after a switch, and after a gc of what it reads.
func TestStoreSwitchUnderDownload(t *testing.T) {
	m := buckettest.New(time.Now())
	w := newStored(t, simplestreams.Format{}, m, "serve", "grace: 1h")
	text := strings.Repeat("0123456789abcdef", 1<<20)
	path := w.image("20260101", text)
	w.promote()
	w.keep()
	w.seen(1)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.http.URL+"/"+path, nil)
	w.no(err)
	res, err := http.DefaultTransport.RoundTrip(r)
	w.no(err)
	defer res.Body.Close()
	got := make([]byte, 1000)
	_, err = io.ReadFull(res.Body, got)
	w.no(err)
	w.image("20260102", "two")
	w.promote()
	w.seen(2)
	m.Advance(3 * time.Hour)
	w.later(3 * time.Hour)
	if m.Data(path) != nil {
		t.Fatal("the gc did not delete it")
	}
	rest, err := io.ReadAll(res.Body)
	w.no(err)
	if string(got)+string(rest) != text {
		t.Errorf("%d bytes, not those of the file", len(got)+len(rest))
	}
	w.want(w.get("/"+path), 404, "not found\n")
}
