package oci

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Description is what only this format knows of an image. What nobody recorded is
// null.
type Description struct {
	Name           string     `json:"name"` // repository:tag, or repository@digest
	Digest         string     `json:"digest"`
	Requested      *string    `json:"requested"` // the name, as somebody wrote it
	Tag            *string    `json:"tag"`
	TagDefaulted   *bool      `json:"tag_defaulted"` // nobody wrote a tag
	PinnedDigest   *string    `json:"pinned_digest"` // was written with the tag
	MovedFrom      *string    `json:"moved_from"`    // the digest that the tag stood for before
	MediaType      string     `json:"media_type"`
	StagedAt       *time.Time `json:"staged_at"`
	Source         *string    `json:"source"`           // its canonical name, or a file's base name
	PlatformPicked []string   `json:"platforms_picked"` // empty: all
	Platforms      []Platform `json:"platforms"`
	Referrers      []Referrer `json:"referrers"`
	Fetch          Fetch      `json:"fetch"`
}

// Platform is one that an image is for.
type Platform struct {
	Platform         string   `json:"platform"`
	Manifest         string   `json:"manifest"` // a digest, as are the next
	Config           string   `json:"config"`
	Layers           []string `json:"layers"`
	IncusFingerprint string   `json:"incus_fingerprint"`
}

// Referrer is a manifest that refers to an image, such as a signature.
type Referrer struct {
	Digest       string `json:"digest"`
	ArtifactType string `json:"artifact_type"`
}

// Fetch has the names under which tools fetch exactly this image.
type Fetch struct {
	Docker string `json:"docker"`
	Skopeo string `json:"skopeo"`
	Incus  string `json:"incus"` // behind the name of a remote and a colon
}

// ServedAs says under which host a registry serves the tree.
func (d *Description) ServedAs(host string) {
	repository, _, _ := strings.Cut(d.Fetch.Docker, "@")
	d.Fetch = fetch(host+"/"+repository, d.Digest)
}

// fetch returns the names of an image on a host.
func fetch(name, digest string) Fetch {
	name += "@" + digest
	_, path, ok := strings.Cut(name, "/")
	if !ok {
		path = name
	}
	return Fetch{Docker: name, Skopeo: "docker://" + name, Incus: path}
}

// Describe implements [catalog.Describer]: tell gets a *Description.
func (Format) Describe(
	ctx context.Context, src catalog.Source, images []catalog.Image, tell func(n int, more any) error,
) error {
	var l *layout
	for n, image := range images {
		if l == nil || l.repository != image.Product {
			var err error
			if l, err = readSound(ctx, src, image.Product); err != nil {
				return err
			}
		}
		var more any
		i, ok := slices.BinarySearchFunc(l.roots, image.Version,
			func(r root, version string) int { return strings.Compare(r.version, version) })
		if ok && l.roots[i].entry.key == image.Fingerprint { // else it has changed meanwhile
			d, err := l.describe(&l.roots[i])
			if err != nil {
				return err
			}
			more = d
		}
		if err := tell(n, more); err != nil {
			return err
		}
	}
	return nil
}

func (l *layout) describe(r *root) (*Description, error) {
	digest := r.entry.key
	d := &Description{Name: l.name(r), Digest: digest, MediaType: r.entry.mediaType, PlatformPicked: []string{},
		Platforms: []Platform{}, Referrers: []Referrer{}, Fetch: fetch(l.repository, digest)}
	tag := r.version
	if strings.HasPrefix(tag, "@") {
		tag = ""
	} else {
		d.Tag = &tag
	}
	var id identity
	if at := l.index.find(digest, tag); at >= 0 {
		id, _ = l.index.entries[at].identity(l.repository)
	}
	some := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	d.Requested, d.PinnedDigest, d.MovedFrom = some(id.Requested), some(id.Pinned), some(id.MovedFrom)
	d.Source = some(id.Source)
	if id.Requested != "" {
		d.TagDefaulted = &id.Defaulted
	}
	if !id.StagedAt.IsZero() {
		at := id.StagedAt.UTC()
		d.StagedAt = &at
	}
	for _, p := range id.Platforms {
		d.PlatformPicked = append(d.PlatformPicked, p.String())
	}
	var err error
	if d.Platforms, err = l.described(r.entry); err != nil {
		return nil, err
	}
	d.Referrers, err = l.referrers(r)
	return d, err
}

// parsed is the manifest of a node; nil where it cannot be read.
func (l *layout) parsed(n *node) (*manifest, error) {
	if n.size > maxManifest {
		return nil, nil
	}
	data, err := l.blob(n, maxManifest)
	if data == nil || err != nil {
		return nil, err
	}
	m, code, _ := parseManifest(data, n.mediaType)
	if code != "" {
		return nil, nil
	}
	return m, nil
}

// platforms are those of what a node leads to, whether it is here or not.
func (l *layout) platforms(from *node) (platforms, error) {
	var out platforms
	var look func(n *node, depth int) error
	look = func(n *node, depth int) error {
		index, image := leads(n.mediaType)
		if n.absent || depth > maxDepth || !index && !image {
			return nil
		}
		m, err := l.parsed(n)
		if m == nil || err != nil {
			return err
		}
		if image {
			p, err := l.platformOf(m)
			if err == nil && p.known() {
				out = append(out, p)
			}
			return err
		}
		for _, d := range m.Manifests {
			switch c := l.nodes[d.Digest]; {
			case d.Platform == nil && c != nil:
				if err := look(c, depth+1); err != nil {
					return err
				}
			case d.Platform != nil && d.Platform.known():
				out = append(out, *d.Platform)
			}
		}
		return nil
	}
	err := look(from, 0)
	return out, err
}

// platformOf is what the config of a manifest says; zero where it says nothing.
func (l *layout) platformOf(m *manifest) (p platform, err error) {
	c := l.nodes[m.Config.Digest]
	if c == nil || c.size > maxManifest {
		return p, nil
	}
	data, err := l.blob(c, maxManifest)
	if err == nil && data != nil {
		if json.Unmarshal(data, &p) != nil { // one of another kind
			return platform{}, nil
		}
	}
	return p, err
}

// described are the platforms of what a root leads to and is here.
func (l *layout) described(from *node) ([]Platform, error) {
	out := []Platform{}
	err := l.runs(from, func(n *node, m *manifest, p platform) {
		d := Platform{Platform: p.String(), Manifest: n.key, Config: m.Config.Digest, Layers: []string{}}
		sum := sha256.New()
		for _, layer := range m.Layers {
			d.Layers = append(d.Layers, layer.Digest)
			_, _ = io.WriteString(sum, layer.Digest)
		}
		d.IncusFingerprint = hex.EncodeToString(sum.Sum(nil))
		out = append(out, d)
	})
	return out, err
}

// runs calls f for each manifest of an image that runs on some platform. An index
// says which that is, else a config.
func (l *layout) runs(from *node, f func(*node, *manifest, platform)) error {
	met := map[*node]bool{}
	var look func(n *node, said *platform) error
	look = func(n *node, said *platform) error {
		index, image := leads(n.mediaType)
		if n.absent || met[n] || !index && !image {
			return nil
		}
		met[n] = true
		m, err := l.parsed(n)
		if m == nil || err != nil {
			return err
		}
		for i := range m.Manifests {
			if c := l.nodes[m.Manifests[i].Digest]; c != nil {
				if err := look(c, m.Manifests[i].Platform); err != nil {
					return err
				}
			}
		}
		if index {
			return nil
		}
		if said == nil {
			p, err := l.platformOf(m)
			if err != nil {
				return err
			}
			said = &p
		}
		if said.known() {
			f(n, m, *said)
		}
		return nil
	}
	return look(from, nil)
}

// referrers are the manifests that refer to a root, or to what it leads to. A list of
// referrers stands for what it lists.
func (l *layout) referrers(r *root) ([]Referrer, error) {
	out := []Referrer{}
	told := map[string]bool{}
	add := func(digest, kind string) {
		if !told[digest] {
			told[digest] = true
			out = append(out, Referrer{digest, kind})
		}
	}
	for _, n := range r.owns {
		if n == r.entry {
			continue
		}
		data, err := l.blob(n, maxManifest)
		if err != nil {
			return nil, err
		}
		var m struct {
			manifest
			ArtifactType string `json:"artifactType"`
		}
		if data == nil || json.Unmarshal(data, &m) != nil {
			continue
		}
		if index, _ := leads(n.mediaType); index && n.subject == "" {
			for _, d := range m.Manifests {
				add(d.Digest, d.ArtifactType)
			}
			continue
		}
		kind := m.ArtifactType
		if kind == "" && m.Config != nil {
			kind = m.Config.MediaType
		}
		add(n.key, kind)
	}
	slices.SortFunc(out, func(a, b Referrer) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, nil
}
