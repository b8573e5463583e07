package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
)

// repository is what engines call the image. No registry has it, so it is called as engines call
// what was made here.
const repository = "localhost/publish"

// nonroot is the user and the group in the image: the number that distroless images also use.
const nonroot = 65532

const (
	passwd = "root:x:0:0:root:/root:/sbin/nologin\npublish:x:65532:65532:publish:/var/lib/publish:/sbin/nologin\n"
	group  = "root:x:0:\npublish:x:65532:\n"
)

// tree is a tree of OCI layouts in memory, by path.
type tree map[string][]byte

func (t tree) Document(path string) ([]byte, error) {
	if data, ok := t[path]; ok {
		return data, nil
	}
	return nil, &catalog.DocumentError{Path: path, Code: "missing", Fact: "does not exist"}
}

func (t tree) Blob(path string, _ catalog.Digest, _ int64) ([]byte, error) {
	if data, ok := t[path]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
}

func (t tree) List(dir string) iter.Seq2[string, error] {
	names := map[string]bool{}
	for name := range t {
		rest, below := strings.CutPrefix(name, dir+"/")
		if dir == "." {
			rest, below = name, true
		}
		if first, _, deeper := strings.Cut(rest, "/"); below && deeper {
			names[first+"/"] = true
		} else if below {
			names[first] = true
		}
	}
	return func(yield func(string, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// put stores a blob, and describes it.
func (t tree) put(mediaType string, data []byte) v1.Descriptor {
	d := digest.FromBytes(data)
	t[path.Join(repository, "blobs", d.Algorithm().String(), d.Encoded())] = data
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: d}
}

func (t tree) putJSON(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	return t.put(mediaType, data), err
}

// image writes publish.oci.tar, by the writer of publish export.
func (r release) image(ctx context.Context, binaries map[string]string) error {
	t := tree{}
	list := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, arch := range architectures {
		d, err := r.platform(t, arch, binaries[arch])
		if err != nil {
			return err
		}
		list.Manifests = append(list.Manifests, d)
	}
	root, err := t.putJSON(v1.MediaTypeImageIndex, list)
	if err != nil {
		return err
	}
	root.Annotations = map[string]string{v1.AnnotationRefName: r.version()}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{root}})
	if err != nil {
		return err
	}
	t[path.Join(repository, v1.ImageIndexFile)] = index
	t[path.Join(repository, v1.ImageLayoutFile)] = []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`)

	var b bytes.Buffer
	made, err := oci.Format{}.Export(ctx, t, &b, catalog.Export{Images: []string{repository + ":" + r.version()},
		Machine: "linux/" + runtime.GOARCH,
		Copy: func(_ context.Context, w io.Writer, path string, _ catalog.Digest) (int64, error) {
			n, err := w.Write(t[path])
			return int64(n), err
		}})
	if err != nil {
		return err
	}
	for _, f := range made.Findings {
		fmt.Fprintln(os.Stderr, f.Path+":", f.Message)
	}
	return os.WriteFile(filepath.Join(r.out, "publish.oci.tar"), b.Bytes(), 0o644)
}

// platform stores the image of one architecture: one layer, which changes with the program.
func (r release) platform(t tree, arch, binary string) (v1.Descriptor, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var plain bytes.Buffer
	if err := r.tar(&plain, []file{
		{path: "etc/group", data: []byte(group)},
		{path: "etc/passwd", data: []byte(passwd)},
		{path: "etc/ssl/certs/ca-certificates.crt", data: roots()},
		{path: "tmp", folder: true, mode: 0o1777},
		{path: "usr/bin/publish", data: program, mode: 0o755},
		{path: "var/lib/publish", folder: true, mode: 0o755, owner: nonroot},
	}); err != nil {
		return v1.Descriptor{}, err
	}
	layer, err := packed(plain.Bytes())
	if err != nil {
		return v1.Descriptor{}, err
	}
	labels := map[string]string{v1.AnnotationTitle: "publish", v1.AnnotationDescription: summary,
		v1.AnnotationVersion: r.version(), v1.AnnotationRevision: r.commit, v1.AnnotationLicenses: "Apache-2.0"}
	config := v1.Image{Created: &r.at, Platform: v1.Platform{OS: "linux", Architecture: arch},
		Config: v1.ImageConfig{
			User: fmt.Sprintf("%d:%d", nonroot, nonroot), Entrypoint: []string{"/usr/bin/publish"},
			Env:        []string{"PATH=/usr/bin", "HOME=/var/lib/publish"},
			WorkingDir: "/var/lib/publish", Labels: labels,
		},
		History: []v1.History{{Created: &r.at, CreatedBy: "make release"}},
	}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []digest.Digest{digest.FromBytes(plain.Bytes())}
	about, err := t.putJSON(v1.MediaTypeImageConfig, config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := t.putJSON(v1.MediaTypeImageManifest, v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest, Config: about,
		Layers: []v1.Descriptor{t.put(v1.MediaTypeImageLayerGzip, layer)}, Annotations: labels})
	manifest.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return manifest, err
}

// roots are the certificates that Mozilla trusts, from a module with a version and a checksum:
// those of the machine would make another image on each. One that counts only up to some day is
// left out: a file of certificates cannot say so.
func roots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return b.Bytes()
}
