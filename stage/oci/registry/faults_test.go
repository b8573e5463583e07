package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// patient is a job: it copies again while that may help, and waits by its clock.
func patient(t *testing.T, g *Registry, clock *clock, to *store, name string) (
	got *catalog.Fetched, pin catalog.Pin, attempts int, err error) {
	t.Helper()
	for attempts = 1; ; attempts++ {
		got, pin, err = copying(t, g, to, name)
		remote := new(catalog.RemoteError)
		if !errors.As(err, &remote) || !remote.Again || attempts == 8 {
			return got, pin, attempts, err
		}
		clock.until(remote.Until)
	}
}

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		c.now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	return c.now
}

func (c *clock) until(at time.Time) {
	if at.After(c.Now()) {
		c.mu.Lock()
		c.now = at
		c.mu.Unlock()
	}
}

// cutter ends an answer after some bytes of its body.
type cutter struct {
	http.ResponseWriter
	left int
	end  func()
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		c.end()
	}
	return n, err
}

// abort breaks the connection.
func abort() { panic(http.ErrAbortHandler) }

// drop breaks a connection before an answer.
func drop(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

// page is a login page.
func login(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<html>please log in</html>")
}

// words answers with some bytes.
func words(data string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, data) }
}

// code answers with a status.
func code(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}

// changed is right, but for the request.
func changed(change func(r *http.Request)) wrongFunc {
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		r = r.Clone(r.Context())
		change(r)
		right.ServeHTTP(w, r)
	}
}

// edited is right, but for the header of the answer.
type edited struct {
	http.ResponseWriter
	edit func(http.Header)
	once bool
}

func (e *edited) WriteHeader(code int) {
	if !e.once {
		e.once = true
		e.edit(e.Header())
	}
	e.ResponseWriter.WriteHeader(code)
}

func (e *edited) Write(p []byte) (int, error) {
	if !e.once {
		e.WriteHeader(http.StatusOK)
	}
	return e.ResponseWriter.Write(p)
}

func header(edit func(http.Header)) wrongFunc {
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		right.ServeHTTP(&edited{ResponseWriter: w, edit: edit}, r)
	}
}

// after is right, but cuts the first n bodies of a path; wrong has the requests after them.
func after(f *fake, n int, path string, wrong wrongFunc) wrongFunc {
	cut := once(n, path, func(w http.ResponseWriter, r *http.Request) { f.right(&cutter{w, 1000, abort}, r) })
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		cut(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, path) && r.Header.Get("Range") != "" {
				wrong(w, r, right)
				return
			}
			right.ServeHTTP(w, r)
		}))
	}
}

// Each fault ends with a whole image, after some attempts of a job.
func TestStaged(t *testing.T) {
	type world struct {
		*fake
		layer, child, root d
		size               int
	}
	blob := func(w *world) string { return "/blobs/" + w.layer.digest() }
	manifest := func(w *world) string { return "/manifests/" + w.child.digest() }
	hits := func(n int, path func(*world) string, wrong http.HandlerFunc) func(*world) wrongFunc {
		return func(w *world) wrongFunc { return once(n, "GET /v2/a/b"+path(w), wrong) }
	}
	tag := func(*world) string { return "/manifests/v1" }
	any := func(*world) string { return "" }
	for name, c := range map[string]struct {
		wrong    func(w *world) wrongFunc
		attempts int     // 0: 1
		most     float64 // bytes, as a part of those of the image; 0: not looked at
	}{
		"body cut three times": {wrong: func(w *world) wrongFunc {
			return once(3, blob(w), func(rw http.ResponseWriter, r *http.Request) {
				w.right(&cutter{rw, w.size / 5, abort}, r)
			})
		}, most: 1.1},
		"manifest cut": {wrong: func(w *world) wrongFunc {
			return once(3, manifest(w), func(rw http.ResponseWriter, r *http.Request) { w.right(&cutter{rw, 20, abort}, r) })
		}},
		"tag cut": {wrong: func(w *world) wrongFunc {
			return once(2, tag(w), func(rw http.ResponseWriter, r *http.Request) { w.right(&cutter{rw, 20, abort}, r) })
		}, attempts: 3},
		"stalled": {wrong: func(w *world) wrongFunc {
			return once(1, blob(w), func(rw http.ResponseWriter, r *http.Request) {
				w.right(&cutter{rw, w.size / 5, func() { <-r.Context().Done(); abort() }}, r)
			})
		}, most: 1.1},
		"dropped":          {wrong: hits(1, blob, drop)},
		"dropped at first": {wrong: hits(1, any, drop)},
		"dropped often":    {wrong: hits(5, blob, drop), attempts: -1}, // net/http asks again on an old connection
		"500 of a blob":    {wrong: hits(1, blob, code(500)), attempts: 2},
		"500 of the tag":   {wrong: hits(1, tag, code(500)), attempts: 2},
		"502 of a child":   {wrong: hits(1, manifest, code(502)), attempts: 2},
		"500 of referrers": {wrong: hits(1, func(*world) string { return "/referrers/" }, code(500)), attempts: 2},
		"Range ignored": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), changed(func(r *http.Request) { r.Header.Del("Range") }))
		}},
		"Range shifted": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), changed(func(r *http.Request) { r.Header.Set("Range", "bytes=7-") }))
		}},
		"Range refused": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), changed(func(r *http.Request) { r.Header.Set("Range", "bytes=99999999-") }))
		}},
		"Range of another total": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), header(func(h http.Header) { h.Set("Content-Range", "bytes 1000-2000/2001") }))
		}},
		"Range without Content-Range": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), header(func(h http.Header) { h.Del("Content-Range") }))
		}},
		"Range that lies": {wrong: func(w *world) wrongFunc {
			return after(w.fake, 1, blob(w), func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
				rw.Header().Set("Content-Range", fmt.Sprintf("bytes 1000-%d/%d", w.size-1, w.size))
				rw.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(rw, strings.Repeat("x", w.size-1000))
			})
		}},
		"wrong bytes once": {wrong: func(w *world) wrongFunc {
			return once(1, blob(w), words(strings.Repeat("x", w.size)))
		}},
		"wrong manifest once": {wrong: func(w *world) wrongFunc {
			return once(1, manifest(w), words(strings.Repeat("x", w.child["size"].(int))))
		}},
		"short once": {wrong: hits(1, blob, words("short"))},
		"long once":  {wrong: func(w *world) wrongFunc { return once(1, blob(w), words(strings.Repeat("x", w.size+5))) }},
		"long once, chunked": {wrong: func(w *world) wrongFunc {
			return once(1, blob(w), func(rw http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(rw).Flush()
				_, _ = io.WriteString(rw, strings.Repeat("x", 2*w.size))
			})
		}},
		"login page for a blob":     {wrong: hits(1, blob, login)},
		"login page for a manifest": {wrong: hits(1, manifest, login)},
		"login page for the tag":    {wrong: hits(2, tag, login)},
		"HEAD 401":                  {wrong: func(*world) wrongFunc { return once(always, "HEAD ", code(401)) }},
		"HEAD 405":                  {wrong: func(*world) wrongFunc { return once(always, "HEAD ", code(405)) }},
		"no digest header": {wrong: func(*world) wrongFunc {
			return header(func(h http.Header) { h.Del("Docker-Content-Digest") })
		}},
		"lying digest header": {wrong: func(w *world) wrongFunc {
			return header(func(h http.Header) { h.Set("Docker-Content-Digest", w.layer.digest()) })
		}},
		"chunked": {wrong: func(*world) wrongFunc { return header(func(h http.Header) { h.Del("Content-Length") }) }},
		"text/plain": {wrong: func(*world) wrongFunc {
			return header(func(h http.Header) { h.Set("Content-Type", "text/plain; charset=utf-8") })
		}},
		"no type at all": {wrong: func(*world) wrongFunc {
			return header(func(h http.Header) { h["Content-Type"] = nil })
		}},
		"labelled gzip": {wrong: func(*world) wrongFunc {
			return header(func(h http.Header) { h.Set("Content-Encoding", "gzip") })
		}},
		"labelled x-gzip": {wrong: func(*world) wrongFunc {
			return header(func(h http.Header) { h.Set("Content-Encoding", "x-gzip") })
		}},
		"no API of referrers":  {wrong: func(w *world) wrongFunc { return once(always, "/referrers/", code(405)) }},
		"a page for referrers": {wrong: func(w *world) wrongFunc { return once(always, "/referrers/", login) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{fake: newFake(t), size: 100_000}
			w.child = w.image("linux/amd64", strings.Repeat("0123456789", w.size/10))
			w.layer = w.blob(layerType, strings.Repeat("0123456789", w.size/10))
			w.root = w.index(w.child.on("linux/amd64"))
			w.tag("v1", w.root)
			total := int64(0)
			for _, data := range w.have {
				total += int64(len(data))
			}
			w.does(c.wrong(w))
			g, to := asking(w.fake, func(o *Options, _ *Settings) {
				if name == "stalled" {
					o.Timeouts.Stall = 300 * time.Millisecond // a false alarm is a cut more
				}
			}), newStore(t)
			got, pin, attempts, err := patient(t, g, &clock{}, to, host+"/a/b:v1")
			if err != nil {
				t.Fatal(err)
			}
			if c.attempts >= 0 && attempts != max(c.attempts, 1) {
				t.Errorf("%d attempts, want %d", attempts, max(c.attempts, 1))
			}
			if pin.Digest.String() != w.root.digest() || got.Moved != (catalog.Digest{}) {
				t.Errorf("pinned %s, moved %s", pin.Digest, got.Moved)
			}
			has(t, to, true, w.root, w.child, w.layer)
			if len(got.Contents) != 4 {
				t.Errorf("contents %v", got.Contents)
			}
			if sent := float64(w.bytes()) / float64(total); c.most > 0 && sent > c.most {
				t.Errorf("%.2f of the bytes", sent)
			}
		})
	}
}

// Each fault fails in a way that no retry mends.
func TestFails(t *testing.T) {
	for name, c := range map[string]struct {
		make  func(f *fake) d // returns the root
		class catalog.Failure
		text  string
	}{
		"wrong bytes always": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			f.does(once(always, f.blob("", "layer").digest(), words("other")))
			return x
		}, catalog.WrongDigest, "other bytes"},
		"long always": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			f.does(once(always, f.blob("", "layer").digest(), words("layer and more")))
			return x
		}, catalog.WrongDigest, "14 bytes"},
		"a login page always": {func(f *fake) d {
			f.does(once(always, "/manifests/", login))
			return f.image("linux/amd64", "layer")
		}, catalog.WrongType, "text/html"},
		"child missing": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			delete(f.have, x.digest())
			return f.index(x.on("linux/amd64"))
		}, catalog.NotFound, "404 Not Found (MANIFEST_UNKNOWN)"},
		"layer missing": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			delete(f.have, f.blob("", "layer").digest())
			return x
		}, catalog.NotFound, "/v2/a/b/blobs/sha256:"},
		"401 for good": {func(f *fake) d {
			f.does(once(always, "", code(401)))
			return f.image("linux/amd64", "layer")
		}, catalog.Unauthorized, "401"},
		"401 of a blob": {func(f *fake) d {
			f.does(once(always, "/blobs/", code(401)))
			return f.image("linux/amd64", "layer")
		}, catalog.Unauthorized, "401"},
		"403 with a message": {func(f *fake) d {
			f.does(once(always, "", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"secret"}]}`)
			}))
			return f.image("linux/amd64", "layer")
		}, catalog.Unauthorized, "(DENIED)"},
		"Basic without credentials": {func(f *fake) d {
			f.does(once(always, "", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			return f.image("linux/amd64", "layer")
		}, catalog.Unauthorized, "there are none"},
		"schema 1": {func(f *fake) d {
			return f.document("application/vnd.docker.distribution.manifest.v1+prettyjws",
				d{"schemaVersion": 1, "name": "a/b", "fsLayers": []d{}})
		}, catalog.WrongType, "schema 1"},
		"schema 1 in an index": {func(f *fake) d {
			x := f.document("application/vnd.docker.distribution.manifest.v1+json", d{"schemaVersion": 1})
			return f.index(x.on("linux/amd64"))
		}, catalog.WrongType, "schema 1"},
		"an index of nothing": {func(f *fake) d { return f.index() }, catalog.WrongType, "lists nothing"},
		"an index that is a manifest too": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			return f.document(ociIndex, d{"schemaVersion": 2, "manifests": []d{x}, "config": x, "layers": []d{}})
		}, catalog.WrongType, "in one"},
		"no image": {func(f *fake) d { return f.document(ociManifest, d{"schemaVersion": 2}) }, catalog.WrongType,
			"is no manifest"},
		"another type than its descriptor says": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			return f.index(x.on("linux/amd64").with("mediaType", dockerManifest))
		}, catalog.WrongType, "its descriptor says"},
		"a digest that climbs": {func(f *fake) d {
			return f.index(f.image("linux/amd64", "layer").with("digest", "sha256:../../../etc/passwd").on("linux/amd64"))
		}, catalog.WrongDigest, "lower-case hex digits"},
		"a digest of a layer that climbs": {func(f *fake) d {
			return f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": f.blob(configType, "{}"),
				"layers": []d{f.blob(layerType, "layer").with("digest", "../..")}})
		}, catalog.WrongDigest, "../.."},
		"a negative size": {func(f *fake) d {
			return f.index(f.image("linux/amd64", "layer").with("size", -1).on("linux/amd64"))
		}, catalog.WrongType, "size -1"},
		"two sizes": {func(f *fake) d {
			x := f.blob(layerType, "layer")
			return f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": f.blob(configType, "{}"),
				"layers": []d{x, x.with("size", 6)}})
		}, catalog.WrongDigest, "another one 6"},
		"a manifest of 5 MB": {func(f *fake) d {
			return f.document(ociIndex, d{"schemaVersion": 2, "manifests": []d{}, "x": strings.Repeat("x", 5<<20)})
		}, catalog.OverLimit, "4194304 bytes"},
		"a manifest of 5 MB, chunked": {func(f *fake) d {
			f.does(header(func(h http.Header) { h.Del("Content-Length") }))
			return f.document(ociIndex, d{"schemaVersion": 2, "manifests": []d{}, "x": strings.Repeat("x", 5<<20)})
		}, catalog.OverLimit, "4194304 bytes"},
		"a child of 5 MB": {func(f *fake) d {
			return f.index(f.image("linux/amd64", "layer").with("size", 5<<20).on("linux/amd64"))
		}, catalog.OverLimit, "5242880 bytes"},
		"forty levels": {func(f *fake) d {
			x := f.image("linux/amd64", "layer")
			for range 40 {
				x = f.index(x)
			}
			return x
		}, catalog.OverLimit, "4 levels"},
		"too many bytes": {func(f *fake) d {
			x := f.blob(layerType, "layer")
			return f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": f.blob(configType, "{}"),
				"layers": []d{x.with("size", 33<<30), f.blob(layerType, "other").with("size", 33<<30)}})
		}, catalog.OverLimit, "68719476736 bytes"},
		"too many contents": {func(f *fake) d {
			var list []string
			for i := range 6000 {
				list = append(list, ofSize(i))
			}
			return f.image("linux/amd64", list...)
		}, catalog.OverLimit, "5000 contents"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.tag("v1", c.make(f))
			to := newStore(t)
			_, _, attempts, err := patient(t, asking(f), &clock{}, to, host+"/a/b:v1")
			wantFailure(t, err, c.class, false, c.text)
			if attempts != 1 {
				t.Errorf("%d attempts", attempts)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: says what a stranger wrote", err)
			}
		})
	}
}
