//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The media types of OCI images.
const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// blob is a descriptor.
type blob struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// layout writes an OCI image layout. Blobs come at once, the index at the end.
type layout struct {
	dir     string
	entries []blob
	err     error
}

func newLayout(dir string) *layout {
	l := &layout{dir: dir}
	l.err = os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
	return l
}

func (l *layout) fail(err error) { l.err = errors.Join(l.err, err) }

func (l *layout) path(digest string) string {
	return filepath.Join(l.dir, "blobs", "sha256", digest[len("sha256:"):])
}

func (l *layout) put(mediaType string, data []byte) blob {
	b := blob{MediaType: mediaType, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data)), Size: int64(len(data))}
	l.fail(os.WriteFile(l.path(b.Digest), data, 0o644))
	return b
}

func (l *layout) json(mediaType string, v any) blob {
	data, err := json.Marshal(v)
	l.fail(err)
	return l.put(mediaType, data)
}

// layer writes a layer that nothing can compress or share, packed without compression.
func (l *layout) layer(name string, n int, size int64) blob {
	if size < 1<<20 {
		var buf bytes.Buffer
		l.fail(packed(&buf, name, n, size))
		return l.put(ociLayer, buf.Bytes())
	}
	tmp, sum := filepath.Join(l.dir, "layer"), sha256.New()
	var written int64
	l.fail(create(tmp, func(w io.Writer) error {
		return packed(io.MultiWriter(w, sum, writerFunc(func(p []byte) (int, error) {
			written += int64(len(p))
			return len(p), nil
		})), name, n, size)
	}))
	b := blob{MediaType: ociLayer, Digest: fmt.Sprintf("sha256:%x", sum.Sum(nil)), Size: written}
	l.fail(os.Rename(tmp, l.path(b.Digest)))
	return b
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func packed(w io.Writer, name string, n int, size int64) error {
	zip, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return err
	}
	return errors.Join(noise(zip, name, n, size), zip.Close())
}

// image adds an image with so many layers of a size under a tag.
func (l *layout) image(tag, name string, layers int, size int64) blob {
	config := l.json(ociConfig, map[string]any{"os": "linux", "architecture": "amd64", "name": name,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}}})
	list := []blob{}
	for i := range layers {
		list = append(list, l.layer(name, i, size))
	}
	m := l.json(ociManifest, map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "config": config,
		"layers": list})
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	l.entries = append(l.entries, m)
	return m
}

// write writes the index.
func (l *layout) write() error {
	l.fail(os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	l.fail(rewrite(filepath.Join(l.dir, "index.json"), func(w io.Writer) error {
		return json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "manifests": l.entries})
	}))
	return l.err
}

// oneImage makes a layout with one image, v1.
func oneImage(dir, name string, layers int, size int64) (digest string, err error) {
	l := newLayout(dir)
	m := l.image("v1", name, layers, size)
	return m.Digest, l.write()
}

// tagName is the tag of image n of a layout that manyTags makes.
func tagName(n int) string { return fmt.Sprintf("sha-%06d", n) }

// manyTags makes a layout with n tags; each image has a manifest, a config and a layer.
func manyTags(dir string, n int) error {
	l := newLayout(dir)
	for i := range n {
		l.image(tagName(i), fmt.Sprint("image", i), 1, 512)
	}
	return l.write()
}
