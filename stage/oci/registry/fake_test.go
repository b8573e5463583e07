package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// d is a JSON object, such as a descriptor.
type d map[string]any

func (x d) with(key string, value any) d {
	out := d{key: value}
	for k, v := range x {
		if k != key {
			out[k] = v
		}
	}
	return out
}

func (x d) on(platform string) d {
	os, arch, _ := strings.Cut(platform, "/")
	return x.with("platform", d{"os": os, "architecture": arch})
}

func (x d) digest() string { return x["digest"].(string) }

func (x d) of(t *testing.T) catalog.Digest {
	t.Helper()
	out, err := catalog.ParseDigest(x.digest())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fake is a registry that can do wrong. All repositories have the same contents.
type fake struct {
	t     *testing.T
	url   string
	mu    sync.Mutex
	have  map[string][]byte // contents, by digest
	kind  map[string]string // media types of documents, by digest
	tags  map[string]string // digests
	refs  map[string][]d    // what refers to a digest; nil map: there is no such API
	log   []*http.Request
	sent  int64 // bytes of bodies
	wrong wrongFunc
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, have: map[string][]byte{}, kind: map[string]string{}, tags: map[string]string{},
		refs: map[string][]d{}, wrong: right}
	f.url = serve(t, f).URL
	return f
}

// serve starts a server on a loopback address.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r)
	wrong := f.wrong
	f.mu.Unlock()
	wrong(&counted{w, f}, r, http.HandlerFunc(f.right))
}

// does has the registry do wrong from now on.
func (f *fake) does(wrong wrongFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = wrong
}

// wrongFunc answers instead of the registry, or has it answer.
type wrongFunc = func(w http.ResponseWriter, r *http.Request, right http.Handler)

// counted counts what is sent.
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

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// right answers as a registry should.
func (f *fake) right(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	what, ref := parts[len(parts)-2], parts[len(parts)-1]
	data, mediaType, ref := f.find(what, ref)
	if data == nil {
		w.WriteHeader(http.StatusNotFound)
		what = strings.ToUpper(strings.TrimSuffix(what, "s"))
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"%s_UNKNOWN","message":"secret"}]}`, what)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	if what == "manifests" {
		w.Header().Set("Docker-Content-Digest", ref)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// find returns what a path stands for; nil for nothing.
func (f *fake) find(what, ref string) (data []byte, mediaType, digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if by := f.tags[ref]; by != "" && what == "manifests" {
		ref = by
	}
	kind := f.kind[ref]
	switch {
	case what == "referrers" && f.refs != nil:
		list := f.refs[ref]
		if list == nil {
			list = []d{}
		}
		data, _ = json.Marshal(d{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
		return data, ociIndex, ref
	case what == "manifests" && kind != "":
		return f.have[ref], kind, ref
	case what == "blobs" && kind == "":
		return f.have[ref], "application/octet-stream", ref
	}
	return nil, "", ref
}

// asked counts requests whose method and path contain a text.
func (f *fake) asked(text string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.log {
		if strings.Contains(r.Method+" "+r.URL.Path, text) {
			n++
		}
	}
	return n
}

// blob adds a content, and returns its descriptor.
func (f *fake) blob(mediaType, data string) d {
	sum := sha256.Sum256([]byte(data))
	x := d{"mediaType": mediaType, "digest": "sha256:" + hex.EncodeToString(sum[:]), "size": len(data)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have[x.digest()] = []byte(data)
	return x
}

// document adds a manifest.
func (f *fake) document(mediaType string, content d) d {
	data, err := json.Marshal(content)
	if err != nil {
		f.t.Fatal(err)
	}
	x := f.blob(mediaType, string(data))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kind[x.digest()] = mediaType
	return x
}

const (
	layerType  = "application/vnd.oci.image.layer.v1.tar+gzip"
	configType = "application/vnd.oci.image.config.v1+json"
)

// image adds one of a platform with some layers.
func (f *fake) image(platform string, layers ...string) d {
	os, arch, _ := strings.Cut(platform, "/")
	var list []d
	var diffs []string
	for _, l := range layers {
		x := f.blob(layerType, l)
		list, diffs = append(list, x), append(diffs, x.digest())
	}
	config, _ := json.Marshal(d{"os": os, "architecture": arch, "rootfs": d{"type": "layers", "diff_ids": diffs}})
	return f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.blob(configType, string(config)), "layers": list})
}

// index adds an index.
func (f *fake) index(children ...d) d {
	if children == nil {
		children = []d{}
	}
	return f.document(ociIndex, d{"schemaVersion": 2, "mediaType": ociIndex, "manifests": children})
}

// refer adds a manifest that refers to another one.
func (f *fake) refer(to d, text string) d {
	x := f.document(ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "artifactType": "text/note",
		"config":  f.blob("application/vnd.oci.empty.v1+json", "{}"),
		"layers":  []d{f.blob("text/plain", text)},
		"subject": d{"mediaType": to["mediaType"], "digest": to["digest"], "size": to["size"]}})
	x = x.with("artifactType", "text/note").with("annotations", d{"org.opencontainers.image.ref.name": "hijack"})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs != nil {
		f.refs[to.digest()] = append(f.refs[to.digest()], x)
	}
	return x
}

// tag gives a document a tag.
func (f *fake) tag(tag string, x d) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[tag] = x.digest()
}

// bytes are those of all bodies that were sent.
func (f *fake) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// requests are all that came.
func (f *fake) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// once is right but for the first n requests whose method and path contain a text.
func once(n int, text string, wrong http.HandlerFunc) func(http.ResponseWriter, *http.Request, http.Handler) {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		mu.Lock()
		hit := n > 0 && strings.Contains(r.Method+" "+r.URL.Path, text)
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

// always is a number of requests that no test sends.
const always = 1 << 30
