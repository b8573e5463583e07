package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// registry is a machine whose clients pull from the store.
type registry struct{ *machine }

func newRegistry(t testing.TB, store *buckettest.Memory, who string) registry {
	return registry{joined(t, &machine{store: store, who: who, of: oci.Format{}})}
}

// blob stages bytes, and returns their descriptor.
func (m registry) blob(repository, mediaType, data string) map[string]any {
	m.t.Helper()
	m.stage(repository+"/blobs/sha256/"+sumOf(data), data)
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sumOf(data), "size": len(data)}
}

func (m registry) stage(path, data string) {
	m.t.Helper()
	at := filepath.Join(m.dir, "staging", path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(data), 0o644)); err != nil {
		m.t.Fatal(err)
	}
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// image stages an image with a layer of its own. One whose name ends in + is an index of it.
func (m registry) image(repository, name string) map[string]any {
	d := m.blob(repository, manifestType, text(map[string]any{"schemaVersion": 2, "mediaType": manifestType,
		"config": m.blob(repository, "application/vnd.oci.image.config.v1+json", `{"os":"linux","architecture":"amd64",`+
			`"rootfs":{"type":"layers","diff_ids":["sha256:`+sumOf("layer of "+name)+`"]}}`),
		"layers": []any{m.blob(repository, "application/vnd.oci.image.layer.v1.tar", "layer of "+name)}}))
	if strings.HasSuffix(name, "+") {
		d = m.blob(repository, indexType, text(map[string]any{"schemaVersion": 2, "mediaType": indexType,
			"manifests": []any{d}}))
	}
	return d
}

// tag stages a repository with these images, by tags. None: the repository is removed.
func (m registry) tag(repository string, images map[string]string) {
	m.t.Helper()
	if len(images) == 0 {
		if err := os.RemoveAll(filepath.Join(m.dir, "staging", repository)); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	list := []any{}
	for _, tag := range slices.Sorted(maps.Keys(images)) {
		d := m.image(repository, images[tag])
		d["annotations"] = map[string]string{"org.opencontainers.image.ref.name": tag}
		list = append(list, d)
	}
	m.stage(repository+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	m.stage(repository+"/index.json", text(map[string]any{"schemaVersion": 2, "manifests": list}))
}

// wantTags checks that clients find exactly these tags, and all that they lead to.
func (m registry) wantTags(when string, want map[string]map[string]string) {
	m.t.Helper()
	got := map[string]map[string]string{}
	for _, key := range m.store.Keys("v2/") {
		repository, tag, ok := strings.Cut(strings.TrimPrefix(key, "v2/"), "/manifests/")
		if ok && !strings.Contains(tag, ":") {
			if got[repository] == nil {
				got[repository] = map[string]string{}
			}
			got[repository][tag] = m.pulled(when, repository, tag)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		m.t.Fatalf("%s: tags (-want +got):\n%s", when, diff)
	}
	lists := 0
	for _, key := range m.store.Keys("v2/") {
		if !strings.HasSuffix(key, "/tags/list") {
			continue
		}
		lists++
		var list struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(m.store.Data(key), &list); err != nil || "v2/"+list.Name+"/tags/list" != key ||
			!slices.Equal(list.Tags, slices.Sorted(maps.Keys(want[list.Name]))) {
			m.t.Fatalf("%s: %s: %+v, %v", when, key, list, err)
		}
	}
	if lists != len(want) {
		m.t.Fatalf("%s: %d lists of tags", when, lists)
	}
}

// pulled returns the name of the image to which a tag leads.
func (m registry) pulled(when, repository, reference string) string {
	m.t.Helper()
	at := "v2/" + repository + "/manifests/" + reference
	data := m.store.Data(at)
	info, err := m.store.Head(ctx, at)
	if err != nil {
		m.t.Fatalf("%s: %v", when, err)
	}
	var doc struct {
		MediaType         string
		Manifests, Layers []struct{ Digest string }
		Config            struct{ Digest string }
	}
	if err := json.Unmarshal(data, &doc); err != nil || doc.MediaType != info.ContentType {
		m.t.Fatalf("%s: %s: %v, type %s", when, at, err, info.ContentType)
	}
	digest := "sha256:" + sumOf(string(data))
	for _, key := range []string{"manifests/", "blobs/"} {
		if string(m.store.Data("v2/"+repository+"/"+key+digest)) != string(data) {
			m.t.Fatalf("%s: %s leads to %s, which is not in %s", when, at, digest, key)
		}
	}
	for _, child := range doc.Manifests {
		return m.pulled(when, repository, child.Digest) + "+"
	}
	if m.store.Data("v2/"+repository+"/blobs/"+doc.Config.Digest) == nil {
		m.t.Fatalf("%s: %s has no config", when, at)
	}
	name, ok := strings.CutPrefix(string(m.store.Data("v2/"+repository+"/blobs/"+doc.Layers[0].Digest)), "layer of ")
	if !ok {
		m.t.Fatalf("%s: %s has no layer", when, at)
	}
	return strings.TrimSuffix(name, "+")
}

// sound checks that verify finds nothing, and gc nothing for clients that nothing names.
func (m registry) sound(when string) {
	m.t.Helper()
	if report, _, err := m.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		m.t.Fatalf("%s: %+v, %v", when, report, err)
	}
	r := m.repo()
	r.Config.OrphanGrace = 1
	strays, err := r.GCStrays(ctx, true)
	if err != nil || slices.ContainsFunc(strays.Keys, func(key string) bool { return strings.HasPrefix(key, "v2/") }) {
		m.t.Fatalf("%s: %+v, %v", when, strays, err)
	}
}

// Clients pull from the store by tag and by digest; what changes is sent, and what goes is
// deleted.
func TestSharedRegistry(t *testing.T) {
	m := newRegistry(t, newStore(), "ada")
	app, hub := "acme/app", "docker.io/kimai/kimai2"
	m.tag(app, map[string]string{"v1": "one", "latest": "one"})
	m.tag(hub, map[string]string{"apache": "kimai+"})
	m.stage("readme.html", "a page")
	if res := m.promote(); !res.NotAtomic || len(res.Warnings) > 0 {
		t.Fatalf("%+v", res)
	}
	want := map[string]map[string]string{app: {"v1": "one", "latest": "one"}, hub: {"apache": "kimai+"}}
	m.wantTags("first", want)
	m.sound("first")
	for _, key := range m.store.Keys("") {
		if !strings.HasPrefix(key, "v2/") && !strings.HasPrefix(key, "_publish/") && key != "readme.html" {
			t.Errorf("there is %s", key)
		}
	}

	m.tag(app, map[string]string{"v2": "two", "latest": "two"})
	m.store.Counts()
	m.promote()
	sent, _ := m.store.Counts()
	want[app] = map[string]string{"v2": "two", "latest": "two"}
	m.wantTags("second", want)
	m.sound("second")
	// Layer, config, manifest, that by digest, index.json; records: the manifest, the event, the
	// keys to delete; v2. And latest, the list of tags, and the pointer: switch, settled,
	// condemned, cleared.
	if sent["create"] != 9 || sent["swap"] != 6 || sent["list"] != 0 {
		t.Errorf("%v", sent)
	}
	one := m.image(app, "one")["digest"].(string)
	if m.pulled("old", app, one) != "one" { // for the grace window
		t.Error("what v1 stood for is gone")
	}

	if _, err := m.repo().Revert(ctx, RevertOptions{}); err != nil {
		t.Fatal(err)
	}
	want[app] = map[string]string{"v1": "one", "latest": "one"}
	m.wantTags("reverted", want)
	m.sound("reverted")

	m.store.Advance(24 * time.Hour)
	if _, err := m.repo().GC(ctx, false); err != nil {
		t.Fatal(err)
	}
	two := m.image(app, "two")["digest"].(string)
	for _, key := range m.store.Keys("v2/" + app) {
		if strings.Contains(key, two) || string(m.store.Data(key)) == "layer of two" {
			t.Errorf("%s is still there", key)
		}
	}
	m.wantTags("collected", want)
	m.sound("collected")

	m.tag(hub, nil)
	m.tag(app, map[string]string{"v1": "one", "latest": "one"})
	if _, err := m.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	delete(want, hub)
	m.wantTags("without", want)
	m.sound("without")
}

// Machines that staged before there was a production: what they have is united, also with
// indexes whose images production's documents list for clients.
func TestSharedRegistryUnited(t *testing.T) {
	store := newStore()
	a, b := newRegistry(t, store, "ada"), newRegistry(t, store, "bob")
	a.tag("a", map[string]string{"v1": "one+"})
	b.tag("b", map[string]string{"v1": "two+"})
	b.tag("a", map[string]string{"v2": "three"})
	a.promote()
	b.promote()
	a.promote()
	want := map[string]map[string]string{"a": {"v1": "one+", "v2": "three"}, "b": {"v1": "two+"}}
	b.wantTags("united", want)
	b.sound("united")
}

// What verify finds of what others did.
func TestSharedRegistryDamaged(t *testing.T) {
	m := newRegistry(t, newStore(), "ada")
	m.tag("a", map[string]string{"v1": "one", "v2": "two", "v3": "three+"})
	m.promote()
	one, three := m.image("a", "one")["digest"].(string), m.image("a", "three+")["digest"].(string)
	m.store.Set("v2/a/manifests/v1", []byte("{}"), "")
	m.store.Remove("v2/a/manifests/v2")
	m.store.Remove("v2/a/tags/list")
	m.store.Remove("v2/a/manifests/" + one)
	m.store.Remove("v2/a/blobs/" + three)
	report, _, err := m.repo().Verify(ctx, "", false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Findings {
		got = append(got, f.Path+" "+f.Message)
	}
	want := []string{"v2/a/blobs/" + three + " is missing", "v2/a/manifests/" + one + " is missing",
		"v2/a/manifests/v1 is an object that this repository did not make", "v2/a/manifests/v2 is missing",
		"v2/a/tags/list is missing"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Revoked content is gone under each of its names, in each version.
func TestSharedRegistryRevoke(t *testing.T) {
	store := newStore()
	store.Versions = true
	m := newRegistry(t, store, "ada")
	m.tag("a", map[string]string{"v1": "one", "v2": "bad"})
	m.promote()
	bad := m.image("a", "bad")["digest"].(string)
	if _, err := m.repo().Revoke(ctx, RevokeOptions{What: []string{"a:v2"}, Why: "has a key"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range store.Keys("v2/") {
		if data := string(store.Data(key)); data == "layer of bad" || "sha256:"+sumOf(data) == bad {
			t.Errorf("%s is still there", key)
		}
	}
	for _, key := range []string{"v2/a/blobs/" + bad, "v2/a/manifests/" + bad, "v2/a/blobs/sha256:" + sumOf("layer of bad")} {
		if n := store.Old(key); n != 0 {
			t.Errorf("%s has %d versions", key, n)
		}
	}
	m.wantTags("revoked", map[string]map[string]string{"a": {"v1": "one"}})
	if report, _, err := m.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

// twoTags is a registry after one promote, with another one staged: a tag moves, one comes,
// one goes.
func twoTags(t testing.TB) registry {
	m := newRegistry(t, newStore(), "ada")
	m.tag("a", map[string]string{"v1": "one", "latest": "one"})
	m.promote()
	m.tag("a", map[string]string{"v2": "two", "latest": "two"})
	return m
}

var wantTwo = map[string]map[string]string{"a": {"v2": "two", "latest": "two"}}

// A promote is killed at each request. Each tag stands for the old image or for the new one,
// and both can be pulled. The next command goes on.
func TestSharedRegistryKilled(t *testing.T) {
	for at := turn(t); ; at += step() {
		m := twoTags(t)
		killed, sent := errors.New("killed"), atomic.Int32{}
		ctx, cancel := context.WithCancelCause(ctx)
		m.store.Before = func(context.Context, buckettest.Request) error {
			if int(sent.Add(1)) > at {
				cancel(killed)
				return killed
			}
			return nil
		}
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		m.store.Before = nil
		if err == nil && int(sent.Load()) <= at {
			m.wantTags("done", wantTwo)
			return
		}
		when := fmt.Sprint("killed at request ", at)
		for _, tag := range []string{"v1", "v2", "latest"} {
			if m.store.Data("v2/a/manifests/"+tag) != nil {
				if got, old := m.pulled(when, "a", tag), tag == "v1"; got != "two" && (got != "one" || tag == "v2") || old && got != "one" {
					t.Fatalf("%s: %s is %s", when, tag, got)
				}
			}
		}
		other := newRegistry(t, m.store, "bob")
		switch at % 3 {
		case 0:
			m.promote()
		case 1: // of another machine, and then of this one
			other.tag("b", map[string]string{"x": "three"})
			other.promote()
			other.tag("b", nil)
			other.promote()
			m.promote()
		case 2:
			if _, err := other.repo().Recover(ctx); err == nil {
				t.Fatal("a context that is over")
			}
			if _, err := other.repo().Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
			m.promote()
		}
		m.store.Advance(time.Hour)
		if _, err := m.repo().GC(context.Background(), false); err != nil {
			t.Fatal(err)
		}
		m.wantTags(when, wantTwo)
	}
}

// turn and step choose which requests are spoiled: all of them for make faults, and in other runs
// each eighth, from one that hangs on the test.
func turn(t testing.TB) int { return len(t.Name()) % step() }

func step() int {
	if faults {
		return 1
	}
	return 8
}

// Each request of a promote and of a revert is spoiled: it is done, once.
func TestSharedRegistrySpoiled(t *testing.T) {
	for turned := range spoils {
		if !faults && turned != turn(t)%len(spoils) {
			continue
		}
		spoiledEach(t, turned, turn(t), step(), func() *machine { return twoTags(t).machine }, func(m *machine) error {
			_, err := m.repo().Promote(ctx, PromoteOptions{})
			return err
		}, func(m *machine, at int, err error) {
			if err != nil {
				t.Fatalf("request %d: %v", at, err)
			}
			m.store.Advance(time.Hour)
			if _, err := m.repo().GC(ctx, false); err != nil {
				t.Fatal(err)
			}
			registry{m}.wantTags(fmt.Sprint("request ", at), wantTwo)
			registry{m}.sound(fmt.Sprint("request ", at))
		})
	}
}

// A promote sleeps at each request, while another machine promotes and reverts what it does.
// What comes last is what clients find.
func TestSharedRegistryAsleep(t *testing.T) {
	for at := turn(t); ; at += step() {
		m := twoTags(t)
		var n atomic.Int32
		var busy atomic.Bool
		m.store.Before = func(context.Context, buckettest.Request) error {
			if int(n.Add(1))-1 != at { // requests of the other machine are counted on
				return nil
			}
			busy.Store(true)
			other := newRegistry(t, m.store, "bob")
			other.tag("b", map[string]string{"x": "three"})
			if _, err := other.repo().Promote(ctx, PromoteOptions{}); err != nil {
				t.Logf("request %d: %v", at, err)
			}
			if _, err := other.repo().Revert(ctx, RevertOptions{To: 1}); err != nil && kindOf(err) != NotFound {
				t.Logf("request %d: %v", at, err)
			}
			return nil
		}
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		m.store.Before = nil
		if !busy.Load() {
			break
		}
		when := fmt.Sprintf("asleep at request %d (%v)", at, err)
		m.store.Advance(time.Hour)
		if _, err := m.repo().GC(ctx, false); err != nil {
			t.Fatal(when, err)
		}
		s, err := m.repo().load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]map[string]string{}
		for _, u := range s.current.Units {
			repository, tag, _ := strings.Cut(u.Key, ":")
			if want[repository] == nil {
				want[repository] = map[string]string{}
			}
			want[repository][tag] = m.pulled(when, repository, u.Digest)
		}
		m.wantTags(when, want)
		m.sound(when)
	}
}

// A production that lies otherwise is refused.
func TestSharedRegistryLayout(t *testing.T) {
	store := newStore()
	m := newRegistry(t, store, "ada")
	key := "_publish/repository.json"
	text := string(store.Data(key))
	if !strings.Contains(text, `"layout":"v2",`) {
		t.Fatal(text)
	}
	info, err := store.Head(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	store.Set(key, []byte(strings.Replace(text, `"layout":"v2",`, "", 1)), info.Owner)
	m.tag("a", map[string]string{"v1": "one"})
	if err := os.RemoveAll(filepath.Join(m.dir, ".publish", "bucket")); err != nil {
		t.Fatal(err)
	}
	_, err = m.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Usage)
}

// A tag and a folder of another repository with the same name.
func TestSharedRegistryConflict(t *testing.T) {
	m := newRegistry(t, newStore(), "ada")
	m.tag("a", map[string]string{"x": "one"})
	m.tag("a/manifests/x", map[string]string{"y": "two"})
	_, err := m.repo().Promote(ctx, PromoteOptions{})
	e := new(FindingsError)
	if !errors.As(err, &e) || e.Report.Findings[0].Path != "v2/a/manifests/x" || e.Report.Findings[0].Code != "path-conflict" ||
		e.Report.Findings[0].Severity != catalog.Error {
		t.Fatal(err)
	}
}
