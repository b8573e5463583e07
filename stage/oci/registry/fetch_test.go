package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// host is the registry's name in the tests; its endpoint is a fake.
const host = "registry.example.com"

// asking returns a Registry that asks a fake.
func asking(f *fake, change ...func(*Options, *Settings)) *Registry {
	f.t.Helper()
	f.t.Setenv("DOCKER_CONFIG", f.t.TempDir())
	set := Settings{Endpoints: []string{f.url}}
	opt := Options{}
	for _, c := range change {
		c(&opt, &set)
	}
	if opt.Settings == nil {
		opt.Settings = func(string) (Settings, error) { return set, nil }
	}
	return New(opt)
}

// copying pins a name, and fetches it.
func copying(t *testing.T, g *Registry, to *store, name string, platforms ...string) (
	*catalog.Fetched, catalog.Pin, error) {
	t.Helper()
	r, err := g.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Pin(context.Background(), r)
	if err != nil {
		return nil, p, err
	}
	got, err := g.Fetch(context.Background(), catalog.FetchRequest{Remote: r, Pin: p, Platforms: platforms}, to)
	return got, p, err
}

// has tells whether a store has the contents of some descriptors.
func has(t *testing.T, to *store, want bool, list ...d) {
	t.Helper()
	for _, x := range list {
		if to.Has(x.of(t)) != want {
			t.Errorf("%s %s: there is %v", x["mediaType"], x.digest(), !want)
		}
	}
}

func TestFetch(t *testing.T) {
	f := newFake(t)
	amd, arm := f.image("linux/amd64", "one", "two"), f.image("linux/arm64", "one", "three")
	about := func(x d) d {
		return f.image("unknown/unknown", "about "+x.digest()).on("unknown/unknown").with("annotations",
			d{attestation: x.digest()})
	}
	amdNote, armNote := about(amd), about(arm)
	root := f.index(amd.on("linux/amd64"), arm.on("linux/arm64"), amdNote, armNote)
	f.tag("v1", root)
	sign, armSign := f.refer(root, "signed"), f.refer(arm, "signed too")
	twice := f.refer(sign, "who signed that")

	t.Run("all", func(t *testing.T) {
		to := newStore(t)
		got, pin, err := copying(t, asking(f), to, host+"/a/b:v1")
		if err != nil {
			t.Fatal(err)
		}
		if pin.Digest.String() != root.digest() || pin.MediaType != ociIndex || pin.Size != int64(root["size"].(int)) {
			t.Errorf("pinned %v", pin)
		}
		has(t, to, true, root, amd, arm, amdNote, armNote, sign, armSign, twice)
		var bytes int64
		for name, digest := range got.Contents {
			if want := "blobs/sha256/" + digest.Hex; name != want {
				t.Errorf("%s: want %s", name, want)
			}
			bytes += int64(len(to.have[digest]))
		}
		if len(got.Contents) != len(to.have) || got.Bytes != bytes {
			t.Errorf("%d contents of %d, %d bytes of %d", len(got.Contents), len(to.have), got.Bytes, bytes)
		}
		if got.Missing != nil || got.Moved != (catalog.Digest{}) {
			t.Errorf("missing %v, moved %v", got.Missing, got.Moved)
		}
		if string(got.Documents["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
			t.Errorf("oci-layout: %s", got.Documents["oci-layout"])
		}
		var index struct{ Manifests []d }
		if err := json.Unmarshal(got.Documents["index.json"], &index); err != nil {
			t.Fatal(err)
		}
		var entries []string
		for _, e := range index.Manifests {
			entries = append(entries, fmt.Sprintln(e.digest(), e["annotations"], e["artifactType"], e["platform"]))
		}
		want := []string{root.digest() + " map[org.opencontainers.image.ref.name:v1] <nil> <nil>\n"}
		for _, x := range []d{sign, armSign, twice} {
			want = append(want, x.digest()+" <nil> text/note <nil>\n")
		}
		slices.Sort(want[1:])
		slices.Sort(entries[1:])
		if !slices.Equal(entries, want) {
			t.Errorf("entries %q, want %q", entries, want)
		}
	})
	t.Run("one platform", func(t *testing.T) {
		to := newStore(t)
		got, _, err := copying(t, asking(f), to, host+"/a/b:v1", "linux/amd64", "linux/s390x")
		if err != nil {
			t.Fatal(err)
		}
		has(t, to, true, root, amd, amdNote, sign, twice, f.blob("", "two"))
		has(t, to, false, arm, armNote, armSign, f.blob("", "three"))
		if !slices.Equal(got.Missing, []string{"linux/s390x"}) {
			t.Errorf("missing %q", got.Missing)
		}
	})
	t.Run("no platform", func(t *testing.T) {
		_, _, err := copying(t, asking(f), newStore(t), host+"/a/b:v1", "linux/s390x")
		wantFailure(t, err, catalog.NotFound, false, "linux/s390x")
	})
	t.Run("nothing new", func(t *testing.T) {
		to := newStore(t)
		g := asking(f)
		if _, _, err := copying(t, g, to, host+"/a/b:v1"); err != nil {
			t.Fatal(err)
		}
		before := f.asked("GET") - f.asked("/referrers/")
		if _, _, err := copying(t, g, to, host+"/a/b:v1"); err != nil {
			t.Fatal(err)
		}
		if n := f.asked("GET") - f.asked("/referrers/") - before; n != 1 {
			t.Errorf("%d requests for what is there", n)
		}
	})
	t.Run("no room", func(t *testing.T) {
		to := newStore(t)
		to.room = 10
		before := f.asked("/blobs/")
		if _, _, err := copying(t, asking(f), to, host+"/a/b:v1"); !errors.Is(err, errRoom) {
			t.Errorf("error %v", err)
		}
		if n := f.asked("/blobs/") - before; n != 0 {
			t.Errorf("%d blobs were asked for", n)
		}
	})
}

// wantFailure checks the error of a copy.
func wantFailure(t *testing.T, err error, class catalog.Failure, again bool, texts ...string) {
	t.Helper()
	remote := new(catalog.RemoteError)
	if !errors.As(err, &remote) {
		t.Fatalf("error %v, want %s", err, class)
	}
	if remote.Class != class || remote.Again != again || remote.Host == "" {
		t.Errorf("%s, again %v, host %q: %v; want %s, again %v", remote.Class, remote.Again, remote.Host, err, class, again)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: says nothing of %s", err, text)
		}
	}
}
