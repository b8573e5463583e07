package registry

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
)

// The media types of documents.
const (
	ociIndex       = v1.MediaTypeImageIndex
	ociManifest    = v1.MediaTypeImageManifest
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	schema1        = "application/vnd.docker.distribution.manifest.v1" // and more after it
)

func isIndex(mediaType string) bool { return mediaType == ociIndex || mediaType == dockerList }

func isDocument(mediaType string) bool {
	return isIndex(mediaType) || mediaType == ociManifest || mediaType == dockerManifest
}

// manifest is a manifest or an index.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Subject       *v1.Descriptor  `json:"subject"`
}

const hintSchema1 = "push the image again with a tool of today; its digest cannot be checked as it is"

// read reads a document. Its type is what it says itself, else what was said of it, else that
// of its shape; exact: it must be what was said. Most registries say what it is; some say
// text/plain.
func (s *source) read(data []byte, said string, exact bool) (*manifest, error) {
	wrong := func(format string, args ...any) error {
		return s.failed(catalog.WrongType, "%s", fmt.Sprintf(format, args...))
	}
	m := &manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, wrong("the manifest cannot be read: %v", err)
	}
	if t, _, err := mime.ParseMediaType(said); err == nil {
		said = t
	}
	if m.SchemaVersion == 1 || strings.HasPrefix(m.MediaType, schema1) {
		err := s.failed(catalog.WrongType, "the image has a manifest of schema 1, which Docker gave up")
		err.Hint = hintSchema1
		return nil, err
	}
	shape, err := oci.Format{}.Manifest(data)
	switch {
	case err != nil:
		return nil, wrong("the manifest %v", err)
	case m.MediaType != "" && !isDocument(m.MediaType):
		return nil, wrong("the manifest is %s, which is no image", catalog.Show(m.MediaType))
	case exact && m.MediaType != "" && m.MediaType != said:
		return nil, wrong("the manifest says that it is %s, and its descriptor says %s", m.MediaType,
			catalog.Show(said))
	case m.MediaType != "":
	case isDocument(said) && isIndex(said) == isIndex(shape.MediaType):
		m.MediaType = said
	case exact:
		return nil, wrong("the descriptor of a manifest says %s, and that is not its form", catalog.Show(said))
	default:
		m.MediaType = shape.MediaType
	}
	if isIndex(m.MediaType) && len(m.Manifests) == 0 {
		return nil, wrong("the index lists nothing")
	}
	return m, nil
}

// platform is os/architecture[/variant].
type platform struct{ os, architecture, variant string }

func (p platform) String() string {
	s := p.os + "/" + p.architecture
	if p.variant != "" {
		s += "/" + p.variant
	}
	return s
}

// known reports whether it is one on which something runs.
func (p platform) known() bool {
	return p.os != "" && p.os != "unknown" && p.architecture != "" && p.architecture != "unknown"
}

func platformOf(p *v1.Platform) platform { return platform{p.OS, p.Architecture, p.Variant} }

// parsePlatforms reads what people write.
func parsePlatforms(list []string) (out []platform, err error) {
	for _, text := range list {
		parts := strings.Split(text, "/")
		bad := len(parts) < 2 || len(parts) > 3
		for _, part := range parts {
			bad = bad || part == "" || strings.ContainsAny(part, " ,\t\n")
		}
		if bad {
			return nil, catalog.Usage("write it as linux/amd64 or linux/arm/v7", "%s: is no platform", catalog.Show(text))
		}
		parts = append(parts, "")
		out = append(out, platform{parts[0], parts[1], parts[2]})
	}
	return out, nil
}

// CheckPlatforms implements [catalog.PlatformChecker].
func (*Registry) CheckPlatforms(list []string) error {
	_, err := parsePlatforms(list)
	return err
}

var _ catalog.PlatformChecker = (*Registry)(nil)

// wants reports whether a platform is among some. One without a variant stands for all
// variants, and no platforms for all.
func wants(some []platform, p platform) bool {
	for _, q := range some {
		if q.os == p.os && q.architecture == p.architecture && (q.variant == "" || q.variant == p.variant) {
			return true
		}
	}
	return len(some) == 0
}

// attestation is the annotation with which an index says which of its manifests another one
// is about.
const attestation = "vnd.docker.reference.digest"

// picked are the manifests of an index that come: those of the platforms, what is about them,
// and what names no platform. Package oci picks the same.
func picked(list []v1.Descriptor, some []platform) (out []v1.Descriptor) {
	come := map[string]bool{}
	for _, d := range list {
		if d.Platform == nil || wants(some, platformOf(d.Platform)) {
			come[d.Digest.String()] = true
		}
	}
	for _, d := range list {
		if come[d.Digest.String()] || come[d.Annotations[attestation]] {
			out = append(out, d)
		}
	}
	return out
}
