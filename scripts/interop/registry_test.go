package interop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"example.com/publish/scripts/interop/layout"
	"example.com/publish/scripts/interop/oracle"
)

// registry serves production read-only.
type registry struct {
	t      *testing.T
	url    string
	atOnce bool // after a switch it never answers from the generation before
}

// registries are publish serve, and olareg as `olareg serve --store-ro`.
var registries = map[string]func(*testing.T, *repo) *registry{"publish": servePublish, "olareg": serveOlareg}

func servePublish(t *testing.T, r *repo) *registry {
	t.Helper()
	p, err := oracle.StartPublish(r.program, r.dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &registry{t, p.Address(), true}
}

func serveOlareg(t *testing.T, r *repo) *registry {
	t.Helper()
	dir := r.production()
	yes, quiet := true, slog.New(slog.NewTextHandler(io.Discard, nil))
	server := olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: dir,
		ReadOnly: &yes}, Log: quiet})
	http := httptest.NewServer(server)
	t.Cleanup(func() {
		http.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &registry{t, http.URL, false}
}

// get asks for something of the repository, and returns what it gets and its digest.
func (r *registry) get(kind, reference string) (data []byte, digest string, status int) {
	r.t.Helper()
	req, err := http.NewRequest("GET", fmt.Sprint(r.url, "/v2/", repository, "/", kind, "/", reference), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header["Accept"] = []string{layout.Index, layout.Manifest}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return data, digestOf(string(data)), resp.StatusCode
}

// pull pulls all that a digest leads to, as an engine does that knows the digest.
func (r *registry) pull(digest string) error {
	data, got, status := r.get("manifests", digest)
	if status != http.StatusOK || got != digest {
		return fmt.Errorf("the manifest %s: %d, %s", digest, status, got)
	}
	var m struct {
		Manifests, Layers []layout.Descriptor
		Config            *layout.Descriptor
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if err := r.pull(d.Digest); err != nil {
			return fmt.Errorf("below %s: %w", digest, err)
		}
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, d := range m.Layers {
		if _, got, status := r.get("blobs", d.Digest); status != http.StatusOK || got != d.Digest {
			return fmt.Errorf("the blob %s: %d, %s", d.Digest, status, got)
		}
	}
	return nil
}

// eventually repeats a look for as long as the registry may believe an old index: olareg
// reads the time of the file once a second.
func (r *registry) eventually(what string, look func() error) {
	r.t.Helper()
	var err error
	if r.atOnce {
		if err = look(); err != nil {
			r.t.Errorf("%s: %v", what, err)
		}
		return
	}
	for range 12_000 { // ten minutes: a busy machine is slow
		if err = look(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Errorf("%s: %v", what, err)
}

// eachRegistry runs a test with each registry, in each switch mode.
func eachRegistry(t *testing.T, test func(t *testing.T, mode string, serve func(*testing.T, *repo) *registry)) {
	for name, serve := range registries {
		for _, mode := range modes {
			t.Run(name+"/"+mode, func(t *testing.T) { test(t, mode, serve) })
		}
	}
}

// Who resolved a tag before a switch pulls all of it by digest until the window ends,
// over promote, prune, revert and gc (zot #4444). Tags are those of production.
func TestRegistry(t *testing.T) { eachRegistry(t, testRegistry) }

func testRegistry(t *testing.T, mode string, serve func(*testing.T, *repo) *registry) {
	r := newImages(t, mode)
	configure := func(grace, more string) {
		r.configure(fmt.Sprintf("format: oci\nswitch: %s\ngrace: %s\n%s", mode, grace, more))
	}
	configure("1h", "")
	stage := func(text string, more ...string) (digest string) {
		t.Helper()
		if err := os.RemoveAll(r.staging(repository)); err != nil {
			t.Fatal(err)
		}
		l := &layout.Dir{Path: r.staging(repository)}
		v1 := l.List(l.Image(text, machine, nil, nil), l.Image(text+" 2", "linux/s390x", nil, nil))
		l.Tag(v1, "v1")
		l.Tag(l.Image("stays", machine, nil, nil), "stays")
		l.Tag(l.Image("gone after "+text, machine, nil, nil), "sha-"+text)
		for _, tag := range more {
			l.Tag(l.Image(tag, machine, nil, nil), tag)
		}
		if err := l.Write(); err != nil {
			t.Fatal(err)
		}
		return v1.Digest
	}
	first := stage("one")
	r.run("promote")
	server := serve(t, r)
	var resolved []string
	resolve := func(tag, want string) {
		t.Helper()
		server.eventually("the tag "+tag, func() error {
			if _, got, status := server.get("manifests", tag); status != http.StatusOK || want != "" && got != want {
				return fmt.Errorf("%d, %s instead of %s", status, got, want)
			}
			return nil
		})
		_, got, _ := server.get("manifests", tag)
		resolved = append(resolved, got)
	}
	all := func(when string) {
		t.Helper()
		for _, d := range resolved {
			if err := server.pull(d); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	resolve("v1", first)
	resolve("stays", "")
	resolve("sha-one", "")
	all("after the first promote")
	second := stage("two")
	r.run("promote")
	resolve("v1", second)
	all("after the second promote")
	configure("1h", "tags: [{repository: \"**\", tag: \"sha-.*\", keep_last: 1}]\n")
	resolve("sha-two", "")
	stage("two", "sha-newer") // so one of two has to go, the older one
	r.run("prune")
	r.run("promote")
	server.eventually("the tag that was pruned", func() error {
		if _, _, status := server.get("manifests", "sha-two"); status != http.StatusNotFound {
			return fmt.Errorf("%d", status)
		}
		return nil
	})
	all("after a prune")
	r.run("revert")
	resolve("v1", second)
	all("after a revert")
	r.run("gc")
	all("after gc within the window")
	server.eventually("the tags", func() error {
		var tags struct{ Tags []string }
		data, _, _ := server.get("tags", "list")
		err := json.Unmarshal(data, &tags)
		if slices.Sort(tags.Tags); err == nil && fmt.Sprint(tags.Tags) != "[sha-two stays v1]" {
			err = fmt.Errorf("they are %v", tags.Tags)
		}
		return err
	})
}

// When the window has ended the documents name only what is there.
func TestRegistryAfterTheWindow(t *testing.T) { eachRegistry(t, testRegistryAfterTheWindow) }

func testRegistryAfterTheWindow(t *testing.T, mode string, serve func(*testing.T, *repo) *registry) {
	r := newImages(t, mode)
	r.configure(fmt.Sprintf("format: oci\nswitch: %s\ngrace: 1ns\n", mode))
	var digests []string
	for _, text := range []string{"one", "two"} {
		if err := os.RemoveAll(r.staging(repository)); err != nil {
			t.Fatal(err)
		}
		l := &layout.Dir{Path: r.staging(repository)}
		v1 := l.List(l.Image(text, machine, nil, nil))
		l.Tag(v1, "v1")
		if err := l.Write(); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, v1.Digest)
		r.run("promote")
	}
	r.run("gc")
	server := serve(t, r)
	if _, _, status := server.get("manifests", digests[0]); status != http.StatusNotFound {
		t.Errorf("%s: %d", digests[0], status)
	}
	if _, err := os.Stat(blobAt(filepath.Join(r.production(), repository), digests[0])); err == nil {
		t.Errorf("%s is still there", digests[0])
	}
	if err := server.pull(digests[1]); err != nil {
		t.Error(err)
	}
	if out := r.run("verify"); !strings.Contains(out, "0 errors") {
		t.Error(out)
	}
}
