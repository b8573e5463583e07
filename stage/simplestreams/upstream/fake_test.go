package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

func sum(data string) string {
	s := sha256.Sum256([]byte(data))
	return hex.EncodeToString(s[:])
}

type d map[string]any

// with is d with another value for a key.
func (x d) with(key string, value any) d {
	out := maps.Clone(x)
	out[key] = value
	return out
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// wrongFunc answers instead of the server, or has it answer.
type wrongFunc = func(w http.ResponseWriter, r *http.Request, right http.Handler)

func right(w http.ResponseWriter, r *http.Request, h http.Handler) { h.ServeHTTP(w, r) }

// fake is a simplestreams server that can do wrong.
type fake struct {
	t     testing.TB
	url   string
	mu    sync.Mutex
	files map[string]string
	log   []*http.Request
	sent  int64
	wrong wrongFunc
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, files: map[string]string{}, wrong: right}
	f.url = serve(t, f).URL
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r)
	wrong := f.wrong
	f.mu.Unlock()
	wrong(w, r, http.HandlerFunc(f.right))
}

func (f *fake) right(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	data, ok := f.files[strings.TrimPrefix(r.URL.Path, "/")]
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(&counted{w, f}, r, "", time.Time{}, strings.NewReader(data))
}

type counted struct {
	http.ResponseWriter
	f *fake
}

func (c *counted) Write(p []byte) (int, error) {
	c.f.mu.Lock()
	c.f.sent += int64(len(p))
	c.f.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

func (f *fake) put(path, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[path] = data
}

func (f *fake) does(wrong wrongFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = wrong
}

// asked counts requests whose path contains a text.
func (f *fake) asked(text string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.log {
		if strings.Contains(r.URL.Path, text) {
			n++
		}
	}
	return n
}

// once is right but for the first n requests whose path contains a text.
func once(n int, text string, wrong http.HandlerFunc) wrongFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		mu.Lock()
		hit := n > 0 && strings.Contains(r.URL.Path, text)
		if hit {
			n--
		}
		mu.Unlock()
		if hit {
			wrong(w, r)
			return
		}
		right.ServeHTTP(w, r)
	}
}

const always = 1 << 30

// words answers with a text.
func words(data string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, data) }
}

func code(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}

const (
	indexPath   = "streams/v1/index.json"
	catalogPath = "streams/v1/images.json"
)

// file adds a file, and returns its item.
func (f *fake) file(ftype, path, data string) d {
	f.put(path, data)
	return d{"ftype": ftype, "path": path, "sha256": sum(data), "size": len(data)}
}

// image adds a split image, and returns its items.
func (f *fake) image(path, data string) d {
	meta, root := "meta of "+data, "root of "+data
	m := f.file("incus.tar.xz", path+"/incus.tar.xz", meta)
	m["combined_squashfs_sha256"] = sum(meta + root)
	m["unknown"] = d{"kept": true}
	return d{"incus.tar.xz": m, "root.squashfs": f.file("squashfs", path+"/root.squashfs", root)}
}

// product is one with versions, by their names.
func product(aliases, arch string, versions map[string]d) d {
	out := d{}
	for name, items := range versions {
		out[name] = d{"items": items, "label": "release"}
	}
	return d{"aliases": aliases, "arch": arch, "os": "Debian", "release": "trixie", "release_title": "13",
		"extra": "kept", "versions": out}
}

// documents makes the index and the catalog of some products.
func (f *fake) documents(products d) {
	f.put(catalogPath, text(d{"content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
		"products": products, "license": "x"}))
	f.put(indexPath, text(d{"format": "index:1.0", "index": d{
		"images": d{"datatype": "image-downloads", "path": catalogPath, "format": "products:1.0",
			"products": slices.Sorted(maps.Keys(products))},
		"other": d{"datatype": "text", "path": "streams/v1/other.json", "products": []string{"debian:13:x"}},
	}}))
}

const debian, alpine = "debian:13:default:amd64", "alpine:3:default:arm64"

// usual fills a server with three versions of two products.
func usual(f *fake) *fake {
	f.documents(d{
		debian: product("debian/13", "amd64", map[string]d{
			"20260101_00:00": f.image("images/d1", "d1"), "20260102_00:00": f.image("images/d2", "d2")}),
		alpine: product("alpine/3", "arm64", map[string]d{"20260103_00:00": f.image("images/a1", "a1")}),
	})
	return f
}

// store is a [catalog.Store] in memory, as simple as one can be: it asks for the rest of a
// body that was cut, and for all of it twice again if the digest is wrong.
type store struct {
	mu    sync.Mutex
	have  map[catalog.Digest]string
	parts map[catalog.Digest][]byte
	froms []int64
	sum   int64
}

func newStore() *store {
	return &store{have: map[catalog.Digest]string{}, parts: map[catalog.Digest][]byte{}}
}

func (s *store) Has(d catalog.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.have[d]
	return ok
}

func (s *store) Open(catalog.Digest) (io.ReadCloser, error) { return nil, errors.New("not asked for") }

func (s *store) Expect(n, _ int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum = n
	return nil
}

func (s *store) Bring(ctx context.Context, d catalog.Digest, size int64,
	get func(context.Context, int64) (io.ReadCloser, int64, error)) error {
	s.mu.Lock()
	part := s.parts[d]
	s.mu.Unlock()
	wrong, cuts := 0, 0
	for {
		body, first, err := get(ctx, int64(len(part)))
		s.mu.Lock()
		s.froms = append(s.froms, int64(len(part)))
		s.mu.Unlock()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(body)
		_ = body.Close()
		part = append(part[:first:first], data...)
		s.mu.Lock()
		s.parts[d] = part
		s.mu.Unlock()
		switch {
		case int64(len(part)) < size:
			if cuts++; cuts > 5 {
				return err
			}
		case sum(string(part)) == d.Hex:
			s.mu.Lock()
			s.have[d] = string(part)
			s.mu.Unlock()
			return nil
		default:
			part = nil
			if wrong++; wrong == 3 {
				return catalog.ErrDigest
			}
		}
	}
}

// asking returns an Upstream with settings.
func asking(set Settings, change ...func(*Options)) *Upstream {
	opt := Options{Settings: func(string) (Settings, error) { return set, nil },
		Now: func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }}
	for _, c := range change {
		c(&opt)
	}
	return New(opt)
}

// fetching fetches what stands behind the # of a server.
func fetching(t testing.TB, u *Upstream, url, pattern string, to *store, change ...func(*catalog.FetchRequest)) (
	*catalog.Fetched, error) {
	t.Helper()
	r, err := u.Parse(url + "#" + pattern)
	if err != nil {
		t.Fatal(err)
	}
	req := catalog.FetchRequest{Remote: r}
	for _, c := range change {
		c(&req)
	}
	return u.Fetch(context.Background(), req, to)
}

func wantFailure(t testing.TB, err error, class catalog.Failure, again bool, texts ...string) {
	t.Helper()
	failed := new(catalog.RemoteError)
	if !errors.As(err, &failed) {
		t.Fatalf("error %v, want %s", err, class)
	}
	if failed.Class != class || failed.Again != again || failed.Host == "" {
		t.Errorf("%s, again %v, host %q: %v; want %s, again %v", failed.Class, failed.Again, failed.Host, err, class,
			again)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: says nothing of %s", err, text)
		}
	}
}

// names are product/version of what came.
func names(f *catalog.Fetched) (out []string) {
	for _, v := range f.Versions {
		out = append(out, v.Product+"/"+v.Version)
	}
	return out
}
