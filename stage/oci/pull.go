package oci

import (
	"cmp"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

var _ catalog.Puller = Format{}

// Repository implements [catalog.Puller]. Only entries of the tree itself have tags. Of
// two that have the same, the first one counts, as everywhere.
func (Format) Repository(p string, data []byte) (*catalog.Repository, error) {
	r := &catalog.Repository{Name: path.Dir(p)}
	if why := checkRepository(r.Name); why != "" {
		return nil, errors.New(why)
	}
	all, err := parseEntries(data)
	if err != nil {
		return nil, err
	}
	r.Named = all.names(p)
	note := func(code, message string) {
		r.Findings = append(r.Findings, catalog.Finding{Severity: catalog.Warning, Code: code, Path: p, Message: message})
	}
	tags := map[string]bool{}
	for i := range all.entries {
		e := &all.entries[i]
		if e.marked() {
			continue
		}
		digest, code, fact := e.check()
		if code != "" {
			note(code, fact)
			continue
		}
		switch tag, ok := e.tag(); {
		case !ok:
			name, _ := e.Annotations.get(refName)
			note("bad-tag", catalog.Show(name)+" is not a tag")
		case tag != "" && tags[tag]:
			note("duplicate-tag", "the tag "+tag+" stands for several digests")
		case tag != "":
			tags[tag] = true
			r.Tags = append(r.Tags, catalog.Tag{Name: tag, Digest: digest})
			if *e.Size > maxManifest {
				note("too-large", "the tag "+tag+" stands for more than 4 MiB: it is no manifest")
			}
		}
	}
	slices.SortFunc(r.Tags, func(a, b catalog.Tag) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// Manifest implements [catalog.Puller]. A content that is an index and an image in one is
// refused: clients would not agree which of the two it is (CVE-2021-41190).
func (Format) Manifest(data []byte) (*catalog.Manifest, error) {
	if dense(data) || len(data) > maxManifest {
		return nil, catalog.ErrNoManifest
	}
	var m struct {
		manifest
		SchemaVersion int               `json:"schemaVersion"`
		ArtifactType  string            `json:"artifactType"`
		Annotations   map[string]string `json:"annotations"`
	}
	if json.Unmarshal(data, &m) != nil || m.SchemaVersion != 2 {
		return nil, catalog.ErrNoManifest
	}
	index, image := m.Manifests != nil, m.Config != nil && m.Layers != nil
	saysIndex, saysImage := leads(m.MediaType)
	switch {
	case index && (m.Config != nil || m.Layers != nil):
		return nil, errors.New("is a manifest and an index in one: clients take it for one or the other")
	case saysIndex && image, saysImage && index:
		return nil, errors.New("has another media type than its content")
	case !index && !image:
		return nil, catalog.ErrNoManifest
	}
	out := &catalog.Manifest{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if image {
		out.MediaType = cmp.Or(out.MediaType, ociManifest)
		out.ArtifactType = cmp.Or(out.ArtifactType, m.Config.MediaType)
	}
	out.MediaType = cmp.Or(out.MediaType, ociIndex)
	if m.Subject != nil {
		if d, code, _ := m.Subject.check(); code == "" {
			out.Subject = d
		}
	}
	return out, nil
}

// ListType implements [catalog.Puller].
func (Format) ListType() string { return ociIndex }

// BlobAt implements [catalog.Puller].
func (Format) BlobAt(document string, d catalog.Digest) string {
	return blobPath(path.Dir(document), d)
}

// Meant implements [catalog.Puller]. The name may have the host already. A host with a
// port lies where ParseReference puts it, and Docker Hub has one-part names in library.
func (Format) Meant(name, registry, namespace string) []string {
	name = strings.ReplaceAll(name, ":", "_")
	var out []string
	below := func(host string) {
		if host == "" {
			return
		}
		host = strings.ReplaceAll(strings.ToLower(host), ":", "_")
		out = append(out, host+"/"+name)
		if host == "docker.io" && !strings.Contains(name, "/") {
			out = append(out, host+"/library/"+name)
		}
	}
	below(registry)
	out = append(out, name)
	below(namespace)
	return out
}
