package oci

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"example.com/publish/stage/catalog"
)

// What a manifest names never changes. A [catalog.Memory] keeps what was read from
// one that can be used, in a form that is quick to read: a number for the version of
// this form, the media type under which it was parsed, the members of a manifest that
// this package knows, and what is odd about it and its config, and how these differ. Strings have their length
// before them, numbers are varints.

// factVersion changes with the form. Facts of another version are not understood, and
// the manifest is read again.
//
//	1  not all of the schema was checked
//	2  configs were not
//	3  the numbers of layers were not compared
const factVersion = 4

// factUnchecked is the version of a fact of which nobody has looked at the config: it tells
// what a manifest leads to, and not what is odd.
const factUnchecked = 0x40 + factVersion

// commonTypes are media types that have a number. The order is part of the form.
var commonTypes = []string{"", ociIndex, ociManifest, dockerList, dockerManifest,
	ociConfig,
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.oci.image.layer.v1.tar+zstd",
	dockerConfig,
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
	"application/vnd.in-toto+json",
	"application/vnd.oci.empty.v1+json",
}

// commonType returns the string that all blobs of a common media type share: each that was
// decoded takes as much memory as a digest.
func commonType(mediaType string) string {
	if at := slices.Index(commonTypes, mediaType); at >= 0 {
		return commonTypes[at]
	}
	return mediaType
}

// known returns what is remembered of a manifest; nil for nothing.
func (g *graph) known(d catalog.Digest, mediaType string) *manifest {
	memory, ok := g.src.(catalog.Memory)
	if !ok {
		return nil
	}
	fact, ok := memory.Recall(d)
	if !ok {
		return nil
	}
	m, parsedAs, err := readFact(fact)
	if err != nil || parsedAs != mediaType {
		return nil
	}
	return m
}

// learn remembers a manifest, which has been read.
func (g *graph) learn(d catalog.Digest, mediaType string, m *manifest) {
	if memory, ok := g.src.(catalog.Memory); ok {
		memory.Remember(d, writeFact(m, mediaType))
	}
}

// writeFact is the fact of a manifest that was parsed under a media type.
func writeFact(m *manifest, mediaType string) []byte {
	w := &factWriter{b: []byte{factVersion}}
	w.kind(mediaType)
	w.kind(m.MediaType)
	w.pointer(m.Config)
	w.list(m.Layers)
	w.list(m.Manifests)
	w.pointer(m.Subject)
	w.text(m.Odd)
	w.text(m.OddConfig)
	w.text(m.Uneven)
	return w.b
}

type factWriter struct{ b []byte }

func (w *factWriter) number(n int) { w.b = binary.AppendVarint(w.b, int64(n)) }

func (w *factWriter) text(s string) {
	w.number(len(s))
	w.b = append(w.b, s...)
}

func (w *factWriter) kind(mediaType string) {
	at := slices.Index(commonTypes, mediaType)
	if w.number(at); at < 0 {
		w.text(mediaType)
	}
}

func (w *factWriter) pointer(d *descriptor) {
	if d == nil {
		w.number(0)
		return
	}
	w.number(1)
	w.descriptor(d)
}

// list tells no list from an empty one.
func (w *factWriter) list(list []descriptor) {
	if list == nil {
		w.number(-1)
		return
	}
	w.number(len(list))
	for i := range list {
		w.descriptor(&list[i])
	}
}

func (w *factWriter) descriptor(d *descriptor) {
	w.kind(d.MediaType)
	if p, err := catalog.ParseDigest(d.Digest); err == nil && p.Algorithm == catalog.SHA256 {
		w.number(0)
		sum, _ := hex.DecodeString(p.Hex) // it has been parsed
		w.b = append(w.b, sum...)
	} else {
		w.number(1)
		w.text(d.Digest)
	}
	if d.Size == nil {
		w.number(0)
	} else {
		w.number(1)
		w.b = binary.AppendVarint(w.b, *d.Size)
	}
	w.texts(d.URLs)
	w.number(len(d.Annotations))
	for _, is := range notesOf(d.Annotations.table()) { // sorted
		w.text(is.Key)
		w.text(is.Value)
	}
	w.text(d.ArtifactType)
	if d.Platform == nil {
		w.number(0)
		return
	}
	w.number(1)
	w.text(d.Platform.OS)
	w.text(d.Platform.Architecture)
	w.text(d.Platform.Variant)
}

func (w *factWriter) texts(list []string) {
	w.number(len(list))
	for _, s := range list {
		w.text(s)
	}
}

var errNoFact = errors.New("is not a fact of this version")

// readFact is the reverse of writeFact. An empty list of addresses or annotations is
// none.
func readFact(fact []byte) (m *manifest, mediaType string, err error) {
	if len(fact) == 0 || fact[0] != factVersion {
		return nil, "", errNoFact
	}
	r := &factReader{b: fact[1:]}
	mediaType = r.kind()
	m = &manifest{MediaType: r.kind(), Config: r.pointer(), Layers: r.list(),
		Manifests: r.list(), Subject: r.pointer(), Odd: r.text(), OddConfig: r.text(), Uneven: r.text()}
	if r.bad || len(r.b) > 0 {
		return nil, "", errNoFact
	}
	return m, mediaType, nil
}

type factReader struct {
	b   []byte
	bad bool
}

func (r *factReader) fail() { r.bad, r.b = true, nil }

func (r *factReader) long() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count is a number of things that have at least one byte each.
func (r *factReader) count() int {
	n := r.long()
	if n < 0 || n > int64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *factReader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *factReader) text() string { return string(r.bytes(r.count())) }

func (r *factReader) kind() string {
	at := r.long()
	switch {
	case at < 0:
		return r.text()
	case at < int64(len(commonTypes)):
		return commonTypes[at]
	}
	r.fail()
	return ""
}

func (r *factReader) pointer() *descriptor {
	if r.long() == 0 {
		return nil
	}
	d := &descriptor{}
	r.descriptor(d)
	return d
}

func (r *factReader) list() []descriptor {
	if len(r.b) > 0 && r.b[0] == 1 { // the varint of -1
		r.b = r.b[1:]
		return nil
	}
	list := make([]descriptor, r.count())
	for i := range list {
		if r.descriptor(&list[i]); r.bad {
			return nil
		}
	}
	return list
}

func (r *factReader) descriptor(d *descriptor) {
	d.MediaType = r.kind()
	if r.long() == 0 {
		if sum := r.bytes(32); sum != nil {
			text := append(make([]byte, 0, 80), catalog.SHA256+":"...)
			d.Digest = string(hex.AppendEncode(text, sum)) // in one piece: there are very many
		}
	} else {
		d.Digest = r.text()
	}
	if r.long() != 0 {
		size := r.long()
		d.Size = &size
	}
	for range r.count() {
		d.URLs = append(d.URLs, r.text())
	}
	for range r.count() {
		d.Annotations = append(d.Annotations, note{r.text(), r.text()})
	}
	d.ArtifactType = r.text()
	if r.long() != 0 {
		d.Platform = &platform{OS: r.text(), Architecture: r.text(), Variant: r.text()}
	}
}
