package simplestreams

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// What is read of a document needs some four times its size.
//
// maxValues bounds what is in a document, by its commas and opening brackets:
// without it a few bytes for each of many values would need hundreds. A catalog
// as tools write it has one for some forty bytes.
const maxValues = catalog.MaxDocument / 16

// maxObjects bounds the objects in a document, by their opening brackets: a
// product without anything in it takes some thousand bytes of memory. An item as
// tools write it has more than two hundred bytes.
const maxObjects = catalog.MaxDocument / 192

// maxItems bounds the items of one version. The largest known have about forty.
const maxItems = 4096

// DocumentError is a document that a client could not read: see
// [catalog.DocumentError]. Its codes here are those of the findings of Read.
type DocumentError = catalog.DocumentError

func broken(path, code, fact string, args ...any) *DocumentError {
	return &DocumentError{Path: path, Code: code, Fact: fmt.Sprintf(fact, args...)}
}

// open reads one document. What is wrong with it is a *DocumentError; any other
// error means that it could not be read.
func open(src catalog.Source, name string) ([]byte, error) {
	doc, err := src.Document(name)
	if err != nil {
		return nil, err
	}
	// In a string or not.
	objects := bytes.Count(doc, []byte{'{'})
	if n := objects + bytes.Count(doc, []byte{','}) + bytes.Count(doc, []byte{'['}); n > maxValues {
		return nil, broken(name, "too-large", "has %d values; a document may have %d", n, maxValues)
	}
	if objects > maxObjects {
		return nil, broken(name, "too-large", "has %d objects; a document may have %d", objects, maxObjects)
	}
	return doc, nil
}

// stream is one entry of the index.
type stream struct {
	key      string
	datatype string
	path     string
	products []string
}

// images reports whether a client looks for images in the stream.
func (s stream) images() bool { return s.datatype == "image-downloads" }

// document is the cleaned path of the stream's catalog.
func (s stream) document() (string, *DocumentError) {
	clean, problem, ok := catalog.Clean(s.path)
	switch {
	case !ok:
	case catalog.Reserved(clean):
		problem, ok = "belongs to publish", false
	case clean == IndexPath:
		problem, ok = "is the index itself", false
	}
	if !ok {
		return "", broken(IndexPath, "unsafe-path", "the stream %s: path %q %s", show(s.key), s.path, problem)
	}
	return clean, nil
}

// product is what stands beside the versions of a product. beside is valid until
// the next one is read.
type product struct {
	key, aliases, arch string
	supportEOL         string // a day, YYYY-MM-DD
	beside             object // all members but the versions, without decoded names
	versions           int    // where they stand; -1 without any
}

// version is one version of a product, with its items in the order of their keys.
type version struct {
	key   string
	label string
	name  string // pubname
	items []item
	full  bool        // there are more than maxItems
	found []candidate // by candidates
}

// item is one file of a version. raw is only valid as long as the document.
type item struct {
	key, ftype, path, sha256, md5, deltaBase string

	combinedType string // what a unified item holds: see item.imageType

	file string // path cleaned; "" when nobody may follow it

	size     int64 // bytes; -1 when it is not told, or negative
	negative bool
	combined [len(combinedFields)]string
	raw      []byte
	place    int // among the items of a part
}

// combinedFields are the fields of a metadata item that tell fingerprints, in
// the order of item.combined.
var combinedFields = [...]string{
	"combined_disk1-img_sha256",
	"combined_disk-kvm-img_sha256",
	"combined_uefi1-img_sha256",
	"combined_rootxz_sha256",
	"combined_sha256",
	"combined_squashfs_sha256",
}

// fieldsFor are the fields that tell the fingerprint for a root, as places in
// combinedFields: the first that is not empty counts.
func fieldsFor(rootFtype string) []int {
	switch rootFtype {
	case rootDisk1:
		return places[0:1]
	case rootDiskKVM:
		return places[1:2]
	case rootUEFI1:
		return places[2:3]
	case rootTarXz:
		return places[3:5]
	case rootSquashfs:
		return places[5:6]
	}
	return nil
}

var places = [len(combinedFields)]int{0, 1, 2, 3, 4, 5}

// with returns the fingerprint of the metadata item together with a root, and
// the place of the field that tells it; "" when there is none.
func (m *item) with(root *item) (fingerprint string, field int) {
	for _, i := range fieldsFor(root.ftype) {
		if m.combined[i] != "" {
			return m.combined[i], i
		}
	}
	return "", -1
}

// follow returns the cleaned form of an item's path, "" for one that nobody may
// follow, or that belongs to the indexes or to publish. documents are those
// that the index names.
func follow(path string, documents map[string]bool) string {
	c, _, ok := catalog.Clean(path)
	if !ok || catalog.Reserved(c) || isIndex(c) || documents[c] {
		return ""
	}
	return c
}

// documents are the paths of the index and of every document that it names, in
// a stream of images or another, wherever they lie.
func documents(streams []stream) map[string]bool {
	out := map[string]bool{IndexPath: true}
	for _, s := range streams {
		if name, fault := s.document(); fault == nil {
			out[name] = true
		}
	}
	return out
}

// Clearsigned is index.sjson for index.json: what sstream-mirror, MAAS and Juju
// read.
func (Format) Clearsigned(document string) string {
	if stem, ok := strings.CutSuffix(document, ".json"); ok {
		return stem + ".sjson"
	}
	return ""
}

// Documents are the index and the documents that it names, sorted. An index
// that nobody can read names none.
func (Format) Documents(src catalog.Source) ([]string, error) {
	doc, err := open(src, IndexPath)
	if err != nil && !errors.As(err, new(*DocumentError)) {
		return nil, err
	}
	d := newDecoder(doc, ignore)
	if streams := d.index(); d.ended() {
		return slices.Sorted(maps.Keys(documents(streams))), nil
	}
	return []string{IndexPath}, nil
}

// identity tells the content of an item: its hash, or else its name.
func (m *item) identity() string {
	if m.sha256 != "" {
		return strings.ToLower(m.sha256)
	}
	return "path:" + m.path
}

// same reports whether two items are the same file by what the index says.
func (m *item) same(o *item) bool {
	return m.ftype == o.ftype && m.identity() == o.identity()
}
