package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

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
	MediaType    string    `json:"mediaType"`
	Digest       string    `json:"digest"`
	Size         *int64    `json:"size"`
	URLs         []string  `json:"urls"`
	Annotations  notes     `json:"annotations"`
	ArtifactType string    `json:"artifactType"`
	Platform     *platform `json:"platform"`
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
	name, there := d.Annotations.get(refName)
	if !there || name == "" {
		return "", true
	}
	_, tag, found := cutTag(name)
	if !found {
		tag = name
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

// parseEntries is parseIndex for all entries. It takes more than the specification
// allows: see indexRule.
func parseEntries(data []byte) (*index, error) {
	var entries []entry
	x, err := eachEntry(data, func(e entry, most int) {
		if entries == nil {
			entries = make([]entry, 0, most)
		}
		entries = append(entries, e)
	})
	if err == nil {
		x.entries = entries
	}
	return x, err
}

// eachEntry calls f for each entry of an index, of which there are not more than most, and
// returns the index without any. After an error, what f got is worth nothing.
func eachEntry(data []byte, f func(e entry, most int)) (*index, error) {
	if dense(data) {
		return nil, errDense
	}
	if !usual(data) && !json.Valid(data) {
		return nil, json.Unmarshal(data, new(json.RawMessage)) // it says what is wrong
	}
	x := &index{members: members(data)}
	if len(x.members) > maxMembers {
		return nil, errMembers
	}
	good, version := true, 0
	if raw := x.members["schemaVersion"]; raw != nil {
		good = json.Unmarshal(raw, &version) == nil
	}
	if raw := x.members["annotations"]; raw != nil && kindOf(raw) != "null" {
		texts := true
		good = eachMember(raw, func(name, value []byte) {
			if texts = texts && (value[0] == '"' || kindOf(value) == "null"); texts && text(name) == olaregConvert {
				x.convert = text(value) == "true"
			}
		}) && texts && good
	}
	list := x.members["manifests"]
	limit := maxEntries(list)
	most := min(limit, bytes.Count(list, []byte(`"digest"`)))
	var wrong error
	entries := 0
	good = eachElement(list, func(raw []byte) bool {
		if wrong = tooLarge(raw, entries, limit); wrong != nil {
			return false
		}
		d, err := descriptorOf(raw)
		good = good && err == nil && kindOf(raw) == anObject
		entries++
		f(entry{d, raw}, most)
		return true
	}) && good
	if wrong != nil {
		return nil, wrong
	}
	if !good || version != 2 {
		return nil, indexRule.misfit(data)
	}
	return x, nil
}

// ended reports whether a JSON object has its end.
func ended(data []byte) bool {
	depth, text, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case text:
			text, escaped = c != '"', c == '\\'
		case c == '"':
			text = true
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
	}
	return depth == 0 && !text && len(bytes.TrimSpace(data)) > 0
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
	size := 0
	for _, raw := range list {
		size += len(raw) + 1
	}
	out := bytes.NewBuffer(make([]byte, 0, size+1024))
	err := x.write(out, list)
	return out.Bytes(), err
}

// write writes what listing returns.
func (x *index) write(w io.Writer, list []json.RawMessage) error {
	names := slices.Collect(maps.Keys(x.members))
	if x.members["manifests"] == nil {
		names = append(names, "manifests")
	}
	slices.Sort(names)
	var quoted, part []byte
	var err error
	put := func(text []byte) {
		if err == nil {
			_, err = w.Write(text)
		}
	}
	for i, name := range names {
		before := "{"
		if i > 0 {
			before = ","
		}
		if quoted, err = quote(name); err != nil {
			return err
		}
		put(append(append(append(part[:0], before...), quoted...), ':'))
		if name != "manifests" {
			part = appendCompact(part[:0], x.members[name])
			put(part)
			continue
		}
		put([]byte{'['}) // never null
		for j, raw := range list {
			if part = part[:0]; j > 0 {
				part = append(part, ',')
			}
			part = appendCompact(part, raw)
			put(part)
		}
		put([]byte{']'})
	}
	put([]byte{'}'})
	return err
}

// quote writes a string, and escapes no more of it than has to be.
func quote(s string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}
