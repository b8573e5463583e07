// Package layout makes small OCI image layouts that engines run.
package layout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The media types.
const (
	Index    = "application/vnd.oci.image.index.v1+json"
	Manifest = "application/vnd.oci.image.manifest.v1+json"
	Config   = "application/vnd.oci.image.config.v1+json"
	Layer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Descriptor refers to a blob.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *Platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Platform is what an image runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// Dir is a layout in a directory. Blobs come as they are made; Write writes the index.
type Dir struct {
	Path    string
	Entries []Descriptor
	err     error
}

// Blob stores bytes.
func (d *Dir) Blob(mediaType string, data []byte) Descriptor {
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	d.write(filepath.Join("blobs", "sha256", sum), data)
	return Descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: int64(len(data))}
}

// JSON stores a value.
func (d *Dir) JSON(mediaType string, v any) Descriptor {
	data, err := json.Marshal(v)
	d.fail(err)
	return d.Blob(mediaType, data)
}

func (d *Dir) write(name string, data []byte) {
	path := filepath.Join(d.Path, name)
	d.fail(os.MkdirAll(filepath.Dir(path), 0o755))
	d.fail(os.WriteFile(path, data, 0o644))
}

func (d *Dir) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Image stores an image that says a text, with the programs of a static busybox where
// one is given.
func (d *Dir) Image(text, platform string, busybox []byte, more map[string]any) Descriptor {
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, f := range []struct {
		name string
		data []byte
		mode int64
	}{{"text", []byte(text + "\n"), 0o644}, {"bin/busybox", busybox, 0o755}} {
		if len(f.data) > 0 {
			d.fail(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Mode: f.mode}))
			_, err := w.Write(f.data)
			d.fail(err)
		}
	}
	d.fail(w.Close())
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(plain.Bytes())
	d.fail(err)
	d.fail(zip.Close())
	system, arch, _ := strings.Cut(platform, "/")
	config := d.JSON(Config, map[string]any{"os": system, "architecture": arch, "created": "2026-01-01T00:00:00Z",
		"config": map[string]any{"Cmd": []string{"/bin/busybox", "cat", "/text"}},
		"rootfs": map[string]any{"type": "layers",
			"diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(plain.Bytes()))}}})
	m := map[string]any{"schemaVersion": 2, "mediaType": Manifest, "config": config,
		"layers": []Descriptor{d.Blob(Layer, packed.Bytes())}}
	for k, v := range more {
		m[k] = v
	}
	out := d.JSON(Manifest, m)
	out.Platform = &Platform{system, arch}
	return out
}

// List stores an index of images.
func (d *Dir) List(images ...Descriptor) Descriptor {
	return d.JSON(Index, map[string]any{"schemaVersion": 2, "mediaType": Index, "manifests": images})
}

// Tag names an image in the layout's index; "" lists it without a tag.
func (d *Dir) Tag(image Descriptor, tag string) {
	image.Platform = nil
	if tag != "" {
		image.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	}
	d.Entries = append(d.Entries, image)
}

// Write writes the index.
func (d *Dir) Write() error {
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": Index, "manifests": d.Entries})
	d.fail(err)
	d.write("index.json", data)
	d.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return d.err
}
