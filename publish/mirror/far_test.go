package mirror

import (
	"io/fs"
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
	"example.com/publish/stage/simplestreams/upstream"
)

// inStore makes a repository whose production is in a store, and joins what is there.
func inStore(t testing.TB, store *buckettest.Memory, f catalog.Format, c publish.Choices) *publish.Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "r")
	c.Store = func(string, *publish.Config) (bucket.Store, error) { return store, nil }
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "publish.yaml"), []byte("format: "+f.Name()+
		"\nproduction: s3://bucket/images\ns3: {readers: serve}\n"), 0o644))
	must(t, publish.Init(dir, c, publish.InitOptions{}))
	config, err := publish.LoadConfig(dir, c)
	must(t, err)
	config.Mirror.Limits.Free = 0
	r, err := publish.Open(dir, config, f, sites, publish.Options{Who: "tester", Store: c.Store})
	must(t, err)
	_, _, err = r.Join(ctx)
	must(t, err)
	return r
}

func newPlaceInStore(t testing.TB, store *buckettest.Memory, h *hub) *place {
	t.Helper()
	p := &place{TB: t, hub: h, clock: newClock()}
	var err error
	p.Mirror, err = New(inStore(t, store, oci.Format{}, choices()), "oci", p.clock.now,
		func(*Hosts) (catalog.Upstream, error) { return h, nil })
	must(t, err)
	p.Warn = unexpected(t)
	return p
}

// filesOf are the files below staging, with their sizes, without documents.
func filesOf(t testing.TB, r *publish.Repo) (out []string) {
	t.Helper()
	must(t, filepath.WalkDir(r.Stage.Dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.Stage.Dir, p)
		if err == nil && d.Type().IsRegular() && filepath.Ext(p) != ".json" && filepath.Base(p) != "oci-layout" {
			out = append(out, rel)
		}
		return err
	}))
	return out
}

// A job does not fetch what production in an object store has already, and takes none of it
// into staging.
func TestFar(t *testing.T) {
	store, h := buckettest.New(time.Now()), newHub()
	first := h.image("hub.example.com/app:1", "layer one")
	p := newPlaceInStore(t, store, h)
	p.ask("hub.example.com/app:1")
	if got := p.once(); got["hub.example.com/app:1"] != "staged" {
		t.Fatal(got)
	}
	p.promote()
	if got := p.once(); got["hub.example.com/app:1"] != "published" { // production is not on this disk
		t.Error(got)
	}
	sent := len(h.sent)

	// Another machine, which has the documents, gets the same image under another tag, and one
	// with the same layer.
	q := newPlaceInStore(t, store, h)
	h.tags["hub.example.com/app:same"] = h.tags["hub.example.com/app:1"]
	second := h.image("hub.example.com/app:2", "layer two")
	clear(h.sent)
	ids := q.ask("hub.example.com/app:same")
	if got := q.once(); got["hub.example.com/app:same"] != "staged" || len(h.sent) != 0 {
		t.Fatalf("%v; %d contents were fetched, of %d: %s", got, len(h.sent), sent, q.job(ids[0]).Error)
	}
	if list := filesOf(t, q.Repo); len(list) > 0 {
		t.Errorf("staging has %v", list)
	}
	q.ask("hub.example.com/app:2")
	if got := q.once(); got["hub.example.com/app:2"] != "staged" || len(h.sent) == 0 || len(h.sent) >= sent+1 {
		t.Fatalf("%v; %d contents were fetched, of %d", got, len(h.sent), sent)
	}
	q.promote()
	for name, want := range map[string]catalog.Digest{"app:1": first, "app:same": first, "app:2": second} {
		found, err := q.Repo.Resolve(ctx, "production", "hub.example.com/"+name, "")
		if err != nil || found.Digest != want.String() {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	if report, _, err := q.Repo.Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Errorf("%+v, %v", report, err)
	}

	// What lies under another path is read from the store, not from the server.
	h.tags["hub.example.com/other:1"] = h.tags["hub.example.com/app:1"]
	clear(h.sent)
	q.ask("hub.example.com/other:1")
	if got := q.once(); got["hub.example.com/other:1"] != "staged" || len(h.sent) != 0 {
		t.Fatalf("%v; %d contents were fetched", got, len(h.sent))
	}
	if list := filesOf(t, q.Repo); !strings.Contains(strings.Join(list, " "), "hub.example.com/other/") {
		t.Errorf("staging has %v", list)
	}
	q.promote()
	if report, _, err := q.Repo.Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// The same for a tree of versions.
func TestFarTree(t *testing.T) {
	store := buckettest.New(time.Now())
	s := newShop(t, "")
	s.sell("a", "20260101", "a1", "one")
	choices := publish.Choices{Formats: []string{"simplestreams"}, Sites: sites,
		Tagger: func(string) (catalog.Tagger, bool) { return nil, false }}
	open := func() *place {
		p := &place{TB: t, clock: newClock()}
		var err error
		p.Mirror, err = New(inStore(t, store, simplestreams.Format{}, choices), "simplestreams", p.clock.now,
			func(*Hosts) (catalog.Upstream, error) { return upstream.New(upstream.Options{}), nil })
		must(t, err)
		p.Warn = unexpected(t)
		return p
	}
	run := func(p *place) {
		t.Helper()
		for ref, state := range p.once() {
			if state != "staged" && state != "published" {
				t.Fatal(ref, state)
			}
		}
	}
	p := open()
	p.ask(s.url + "#a")
	run(p)
	p.promote()

	q := open()
	s.sell("a", "20260102", "a2", "two")
	clear(s.sent)
	q.ask(s.url + "#a")
	run(q)
	for path, n := range s.sent {
		if strings.HasPrefix(path, "images/a1/") {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
	if list := filesOf(t, q.Repo); len(list) != 2 {
		t.Errorf("staging has %v", list)
	}
	q.promote()
	if report, _, err := q.Repo.Verify(ctx, "", true); err != nil || len(report.Findings) > 0 || report.Files < 5 {
		t.Errorf("%+v, %v", report, err)
	}
}
