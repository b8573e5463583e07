package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/simplestreams"
)

var sites = site.Kinds{site.Symlink, site.Exchange}

// modes are the switch modes; the views are the same in each.
var modes = []string{"symlink", "rename"}

// world is a repository, and a server over it.
type world struct {
	testing.TB
	dir    string
	format catalog.Format
	repo   *publish.Repo // of the verbs
	server *Server
	http   *httptest.Server
	logged *logged
	now    time.Time
	store  bucket.Store // production is in it; nil: it is here
}

// newWorld makes a repository with a server that nobody keeps yet: see keep.
func newWorld(t testing.TB, f catalog.Format, mode string, config ...string) *world {
	t.Helper()
	w := &world{TB: t, dir: filepath.Join(t.TempDir(), "r"), format: f, now: time.Now()}
	w.no(publish.Init(w.dir, w.choices(), publish.InitOptions{Format: f.Name(), Switch: mode}))
	text := fmt.Sprintf("format: %s\nswitch: %s\n%s\n", f.Name(), mode, strings.Join(config, "\n"))
	w.no(os.WriteFile(filepath.Join(w.dir, "publish.yaml"), []byte(text), 0o644))
	w.repo = w.open()
	w.logged = &logged{}
	w.server = New(w.open(), slog.New(slog.NewTextHandler(w.logged, nil)))
	return w
}

// logged collects what is written to it, by any goroutine.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) choices() publish.Choices {
	return publish.Choices{Formats: []string{w.format.Name()}, Sites: sites, Store: w.inStore,
		Format: func(string) catalog.Format { return w.format }}
}

func (w *world) inStore(string, *publish.Config) (bucket.Store, error) { return w.store, nil }

func (w *world) open() *publish.Repo {
	w.Helper()
	c, err := publish.LoadConfig(w.dir, w.choices())
	w.no(err)
	r, err := publish.Open(w.dir, c, w.format, sites, publish.Options{Who: "tester", Store: w.inStore,
		Now: func() time.Time { return w.now }})
	w.no(err)
	return r
}

func (w *world) no(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// keep runs the server until the test ends.
func (w *world) keep() {
	ctx, stop := context.WithCancel(context.Background())
	done, server := make(chan struct{}), w.server
	go func() { server.Keep(ctx); close(done) }()
	http := httptest.NewServer(server.Public())
	w.http = http
	w.Cleanup(func() { http.Close(); stop(); <-done; server.kept.close() })
}

// restart replaces the server by a new one.
func (w *world) restart() {
	w.Helper()
	w.server = New(w.open(), slog.New(slog.NewTextHandler(w.logged, nil)))
	w.keep()
}

// write puts a file into staging.
func (w *world) write(path, text string) {
	w.Helper()
	at := filepath.Join(w.dir, "staging", path)
	w.no(os.MkdirAll(filepath.Dir(at), 0o755))
	w.no(os.WriteFile(at, []byte(text), 0o644))
}

// image puts an image with one file into staging, and makes that the only one that the
// catalog names.
func (w *world) image(version, text string) (path string) {
	w.Helper()
	path = "images/a-" + version + ".tar.xz"
	w.write(path, text)
	type object = map[string]any
	item := object{"ftype": "incus_combined.tar.gz", "path": path, "size": len(text), "sha256": sum(text)}
	products := object{"format": "products:1.0", "datatype": "image-downloads", "content_id": "images",
		"products": object{"a:1:default:amd64": object{"arch": "amd64", "os": "a", "release": "1", "variant": "default",
			"aliases": "a", "release_title": "1", "versions": object{version: object{"items": object{"one": item}}}}}}
	index := object{"format": "index:1.0", "index": object{"images": object{"datatype": "image-downloads",
		"format": "products:1.0", "path": "streams/v1/images.json", "products": []string{"a:1:default:amd64"}}}}
	put := func(p string, v object) {
		data, err := json.Marshal(v)
		w.no(err)
		w.write(p, string(data))
	}
	put("streams/v1/images.json", products)
	put("streams/v1/index.json", index)
	return path
}

func (w *world) promote() int {
	w.Helper()
	r, err := w.repo.Promote(context.Background(), publish.PromoteOptions{})
	w.no(err)
	return r.Generation
}

// later moves the clock of the verbs, and lets gc delete what is due then.
func (w *world) later(d time.Duration) {
	w.Helper()
	w.now = w.now.Add(d)
	w.repo = w.open()
	_, err := w.repo.GC(context.Background(), false)
	w.no(err)
}

// response is an answer that was read to its end.
type response struct {
	*http.Response
	body string
}

// get asks for a path, with headers as pairs.
func (w *world) get(path string, headers ...string) response {
	w.Helper()
	return w.do(http.MethodGet, path, headers...)
}

func (w *world) do(method, path string, headers ...string) response {
	w.Helper()
	r, err := http.NewRequest(method, w.http.URL+path, nil)
	w.no(err)
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return w.send(r)
}

// send sends a request as it is.
func (w *world) send(r *http.Request) response {
	w.Helper()
	res, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
	w.no(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	w.no(err)
	return response{res, string(body)}
}

// raw asks for a path exactly as it is written.
func (w *world) raw(method, path string) response {
	w.Helper()
	r, err := http.NewRequest(method, w.http.URL, nil)
	w.no(err)
	path, query, _ := strings.Cut(path, "?")
	r.URL.Opaque, r.URL.RawQuery = "//"+r.URL.Host+path, query
	res, err := http.DefaultTransport.RoundTrip(r)
	w.no(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	w.no(err)
	return response{res, string(body)}
}

// want compares an answer's status and body.
func (w *world) want(r response, status int, body string) {
	w.Helper()
	if r.StatusCode != status || r.body != body {
		w.Errorf("%s %s: %d %.200q, want %d %.200q", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.body, status,
			body)
	}
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// plainTree is a world without indexes.
func plainTree(t testing.TB, mode string, config ...string) *world {
	t.Helper()
	return newWorld(t, plain.Format{}, mode, config...)
}

// streams is a world of simplestreams.
func streams(t testing.TB, mode string, config ...string) *world {
	t.Helper()
	return newWorld(t, simplestreams.Format{}, mode, config...)
}

// promoteOne promotes any image.
func (w *world) promoteOne() {
	w.Helper()
	w.image("20260101", "one")
	w.promote()
}
