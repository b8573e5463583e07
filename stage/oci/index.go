package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// The media types that lead on to others.
const (
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// Annotations that this package understands.
const (
	refName       = "org.opencontainers.image.ref.name"
	olaregConvert = "org.olareg.referrer.convert" // of index.json: its fallback tags are turned into referrers
)

// descriptor is a reference to a blob: see the descriptor of the OCI image
// specification. What is not in it stays in the bytes that it was read from.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         *int64            `json:"size"`
	URLs         []string          `json:"urls"`
	Annotations  map[string]string `json:"annotations"`
	ArtifactType string            `json:"artifactType"`
	Platform     *platform         `json:"platform"`
}

// check returns the digest, and what is wrong with the descriptor: the code and
// the fact of a finding.
func (d *descriptor) check() (digest catalog.Digest, code, fact string) {
	digest, err := catalog.ParseDigest(d.Digest)
	switch {
	case err != nil:
		return digest, "bad-digest", fmt.Sprintf("the digest %s %s", catalog.Show(d.Digest), err)
	case d.Size == nil:
		return digest, "bad-descriptor", "the descriptor of " + d.Digest + " has no size"
	case *d.Size < 0 || *d.Size > maxBlob:
		return digest, "bad-descriptor", fmt.Sprintf("the descriptor of %s has the size %d", d.Digest, *d.Size)
	case d.MediaType == "":
		return digest, "bad-descriptor", "the descriptor of " + d.Digest + " has no media type"
	}
	return digest, "", ""
}

// tag returns the tag of an entry of index.json; "" for none. Some tools write the
// whole name there.
func (d *descriptor) tag() (tag string, ok bool) {
	name, there := d.Annotations[refName]
	if !there || name == "" {
		return "", true
	}
	tag = name
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') && i >= 0 {
		tag = name[i+1:]
	}
	return tag, tagName.MatchString(tag)
}

// leads reports whether a media type is that of an index or of a manifest.
func leads(mediaType string) (index, manifest bool) {
	return mediaType == ociIndex || mediaType == dockerList, mediaType == ociManifest || mediaType == dockerManifest
}

// index is a parsed index.json. Members that this package does not know are kept.
type index struct {
	members map[string]json.RawMessage
	entries []entry
	convert bool           // see olaregConvert
	places  map[string]int // of entries: see find
}

// entry is one of its manifests, with its bytes.
type entry struct {
	descriptor
	raw json.RawMessage
}

// parseIndex reads an index.json, without what was added to it for clients. The error
// is lower case and has no path.
func parseIndex(data []byte) (*index, error) {
	x, err := parseEntries(data)
	if err != nil {
		return nil, err
	}
	x.entries = slices.DeleteFunc(x.entries, func(e entry) bool { return e.marked() })
	return x, nil
}

// parseEntries is parseIndex for all entries.
func parseEntries(data []byte) (*index, error) {
	x := &index{}
	if err := json.Unmarshal(data, &x.members); err != nil {
		return nil, err
	}
	if x.members == nil {
		return nil, errNoObject
	}
	version, annotations := 0, map[string]string{}
	for name, v := range map[string]any{"schemaVersion": &version, "annotations": &annotations} {
		if raw := x.members[name]; raw != nil {
			if err := json.Unmarshal(raw, v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if version != 2 {
		return nil, fmt.Errorf("has the schema version %d, and only 2 is known", version)
	}
	x.convert = annotations[olaregConvert] == "true"
	list, ok := elements(x.members["manifests"])
	if !ok {
		return nil, errNoManifests
	}
	x.entries = make([]entry, 0, len(list))
	for i, raw := range list {
		e := entry{raw: raw}
		if err := json.Unmarshal(raw, &e.descriptor); err != nil {
			return nil, fmt.Errorf("manifest %d: %w", i+1, err)
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}

// elements returns the elements of a JSON array, as parts of its text, which is known
// to be JSON. ok is false for another value. The decoder would read the text two times
// more, and copy it.
func elements(text json.RawMessage) (list []json.RawMessage, ok bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '[' {
		return nil, false
	}
	depth, from, quoted := 0, 1, false
	take := func(to int) {
		if e := bytes.TrimSpace(text[from:to]); len(e) > 0 {
			list = append(list, e[:len(e):len(e)])
		}
		from = to + 1
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				take(i)
			}
		case c == ',' && depth == 1:
			take(i)
		}
	}
	return list, true
}

// bytes returns an index with these entries instead of its own. All else stays as
// it is, in the canonical form: compact, members sorted.
func (x *index) bytes(entries []entry) ([]byte, error) {
	list := make([]json.RawMessage, len(entries))
	for i := range entries {
		list[i] = entries[i].raw
	}
	return x.listing(list)
}

// listing is bytes for the bytes of entries.
func (x *index) listing(list []json.RawMessage) ([]byte, error) {
	if list == nil {
		list = []json.RawMessage{} // never null
	}
	out := make(map[string]any, len(x.members))
	for k, v := range x.members {
		out[k] = v
	}
	out["manifests"] = list
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
