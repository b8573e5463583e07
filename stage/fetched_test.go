package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/oci"
)

// pulled is an image with one layer, as it comes of a registry: its files in dir, but for
// the layer, if other has that.
func pulled(t *testing.T, dir, layer, other string) *Fetched {
	t.Helper()
	f := &Fetched{Name: "docker.io/acme/app:v1", Contents: map[string]FetchedFile{}}
	put := func(data string) string {
		name := "blobs/sha256/" + sum([]byte(data))
		file := FetchedFile{Path: filepath.Join(dir, sum([]byte(data))), Move: true}
		if data == layer && other != "" {
			file = FetchedFile{Path: other}
		} else {
			must(t, os.WriteFile(file.Path, []byte(data), 0o444))
		}
		f.Contents[name] = file
		return fmt.Sprintf(`"digest": "sha256:%s", "size": %d`, sum([]byte(data)), len(data))
	}
	manifest := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {
		"mediaType": "application/vnd.oci.image.config.v1+json", %s}, "layers": [{
		"mediaType": "application/vnd.oci.image.layer.v1.tar", %s}]}`, put(`{"architecture": "amd64", "os": "linux",
		"rootfs": {"type": "layers", "diff_ids": ["sha256:`+sum([]byte(layer))+`"]}}`), put(layer))
	f.Documents = map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion": "1.0.0"}`),
		"index.json": fmt.Appendf(nil, `{"schemaVersion": 2, "manifests": [{
			"mediaType": "application/vnd.oci.image.manifest.v1+json", %s,
			"annotations": {"org.opencontainers.image.ref.name": "v1"}}]}`, put(manifest))}
	return f
}

// What came of a server is moved into staging, and recorded as what somebody asked for. A
// file of staging itself stays where it is.
func TestAddFetched(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	ctx, dir := context.Background(), t.TempDir()
	fetch := func(name string, f *Fetched) {
		t.Helper()
		added, err := s.Add(ctx, AddRequest{Fetched: f, Verb: "mirror", Addition: catalog.Addition{Name: name,
			Requested: "acme/app:v1", Source: "docker.io/acme/app:v1", Now: time.Now()}})
		must(t, err)
		if len(added.Images) != 1 || len(added.Kept) != 0 || added.Images[0].Called() != name {
			t.Fatalf("%+v", added)
		}
	}
	first := pulled(t, dir, "layer", "")
	fetch("quay.io/acme/app:v1", first)
	for name, file := range first.Contents {
		if _, err := os.Lstat(file.Path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: was copied, not moved: %v", name, err)
		}
	}
	layer := catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte("layer"))}
	held := s.Holders()(layer)
	if want := filepath.Join(s.Dir, "quay.io/acme/app/blobs/sha256", layer.Hex); held != want {
		t.Fatalf("the layer is at %q, not at %s", held, want)
	}
	if got := s.Holders()(catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte("no"))}); got != "" {
		t.Errorf("what staging lacks is at %s", got)
	}
	fetch("mirror.example.com/acme/app:v1", pulled(t, dir, "layer", held))
	if !oneFile(t, s, "quay.io/acme/app/blobs/sha256/"+layer.Hex, "mirror.example.com/acme/app/blobs/sha256/"+layer.Hex) {
		t.Error("a content that staging has was copied")
	}
	index := string(read(t, filepath.Join(s.Dir, "mirror.example.com/acme/app/index.json")))
	for _, want := range []string{`requested":"acme/app:v1"`, `source":"docker.io/acme/app:v1"`} {
		if !strings.Contains(index, want) {
			t.Errorf("%s is not recorded: %s", want, index)
		}
	}
	if images := valid(t, s); len(images) != 2 {
		t.Errorf("staging has %+v", images)
	}
}

// A content that is not what its name says is refused, and staging is as it was.
func TestAddFetchedLie(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	dir := t.TempDir()
	f := pulled(t, dir, "layer", "")
	for _, file := range f.Contents {
		must(t, durable.WriteFile(file.Path, []byte("other"), 0o444))
		break
	}
	_, err := s.Add(context.Background(), AddRequest{Fetched: f, Addition: catalog.Addition{Name: "acme/app:v1"}})
	if err == nil {
		t.Fatal("it was staged")
	}
	if images, err := s.List(context.Background()); err != nil || len(images) != 0 {
		t.Errorf("%v %v", images, err)
	}
}

// What is known of a content is believed: its bytes are hashed once, when they come.
func TestAddFetchedKnown(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	f := pulled(t, t.TempDir(), "layer", "")
	layer := sum([]byte("layer"))
	file := f.Contents["blobs/sha256/"+layer]
	file.SHA256 = layer
	f.Contents["blobs/sha256/"+layer] = file
	must(t, durable.WriteFile(file.Path, []byte("other"), 0o444)) // who reads it sees that
	_, err := s.Add(context.Background(), AddRequest{Fetched: f, Addition: catalog.Addition{Name: "acme/app:v1"}})
	if err != nil {
		t.Fatal("it was read again:", err)
	}
	if _, err := os.Lstat(file.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was copied: %v", err)
	}
}
