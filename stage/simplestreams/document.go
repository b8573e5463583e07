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

// Reading a usual document needs about four times its size in memory. The limits
// below refuse documents that would need much more.
//
// maxValues limits the number of values in a document, which is counted by commas
// and opening brackets. A value of a few bytes can need hundreds of bytes of
// memory. Catalogs that tools write have one value for about 40 bytes.
const maxValues = catalog.MaxDocument / 16

// maxObjects limits the number of objects in a document, which is counted by
// opening brackets. An empty product needs about 1,000 bytes of memory. Items that
// tools write have more than 200 bytes.
const maxObjects = catalog.MaxDocument / 192

// maxItems limits the items of one version. The largest known versions have about
// 40.
const maxItems = 4096

// DocumentError reports a document that clients cannot read: see
// [catalog.DocumentError]. Its codes are those of the findings of Read.
type DocumentError = catalog.DocumentError

func broken(path, code, fact string, args ...any) *DocumentError {
	return &DocumentError{Path: path, Code: code, Fact: fmt.Sprintf(fact, args...)}
}

// open reads one document. The error is a *DocumentError if the document is bad,
// and any other error if reading failed.
func open(src catalog.Source, name string) ([]byte, error) {
	doc, err := src.Document(name)
	if err != nil {
		return nil, err
	}
	// Brackets and commas in strings count as well: that is faster, and near enough.
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

// document returns the cleaned path of the stream's catalog.
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

// product is a product without its versions. beside is valid until the next
// product is read.
type product struct {
	key, aliases, arch string
	supportEOL         string // a day, YYYY-MM-DD
	beside             object // all members except the versions, without decoded names
	versions           int    // position of the versions in the text; -1 for none
}

// version is one version of a product, with its items in the order of their keys.
type version struct {
	key   string
	label string
	name  string // pubname
	items []item
	full  bool        // it has more than maxItems
	found []candidate // memory that candidates reuses
}

// item is one file of a version. raw is part of the document, and valid only as
// long as that.
type item struct {
	key, ftype, path, sha256, md5, deltaBase string

	combinedType string // the type of a unified image: see item.imageType

	file string // path cleaned; "" if the path is not safe

	size     int64 // bytes; -1 if missing or negative
	negative bool
	combined [len(combinedFields)]string
	raw      []byte
	place    int // index among the items of a part
}

// combinedFields are the fields of a metadata item that hold fingerprints, in
// the order of item.combined.
var combinedFields = [...]string{
	"combined_disk1-img_sha256",
	"combined_disk-kvm-img_sha256",
	"combined_uefi1-img_sha256",
	"combined_rootxz_sha256",
	"combined_sha256",
	"combined_squashfs_sha256",
}

// fieldsFor returns the fields that can hold the fingerprint for a root, as
// indexes in combinedFields. The first that is not empty counts.
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

// with returns the fingerprint of the metadata item together with a root, and the
// index of its field in combinedFields; "" and -1 for none.
func (m *item) with(root *item) (fingerprint string, field int) {
	for _, i := range fieldsFor(root.ftype) {
		if m.combined[i] != "" {
			return m.combined[i], i
		}
	}
	return "", -1
}

// follow returns the cleaned form of an item's path. It returns "" for an unsafe
// path, and for paths that belong to indexes or to publish. documents are those
// that the index names.
func follow(path string, documents map[string]bool) string {
	c, _, ok := catalog.Clean(path)
	if !ok || catalog.Reserved(c) || isIndex(c) || documents[c] {
		return ""
	}
	return c
}

// documents returns the paths of the index and of every document that it names,
// in streams of images and in others.
func documents(streams []stream) map[string]bool {
	out := map[string]bool{IndexPath: true}
	for _, s := range streams {
		if name, fault := s.document(); fault == nil {
			out[name] = true
		}
	}
	return out
}

// Clearsigned returns the name of the clearsigned copy of a document: index.sjson
// for index.json. sstream-mirror, MAAS and Juju read these copies.
func (Format) Clearsigned(document string) string {
	if stem, ok := strings.CutSuffix(document, ".json"); ok {
		return stem + ".sjson"
	}
	return ""
}

// Documents returns the index and the documents that it names, sorted. If the
// index cannot be read, it returns only the index.
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

// identity identifies the content of an item: by its hash, or else by its path.
func (m *item) identity() string {
	if m.sha256 != "" {
		return strings.ToLower(m.sha256)
	}
	return "path:" + m.path
}

// same reports whether two items are the same file, according to the index.
func (m *item) same(o *item) bool {
	return m.ftype == o.ftype && m.identity() == o.identity()
}
