// Package simplestreams reads and rewrites the indexes of a simplestreams
// image tree, as Incus and LXD clients read it.
//
// # The tree
//
// A client starts at streams/v1/index.json. Every stream in it with the
// datatype image-downloads and a list of products that is not empty names a
// catalog. A catalog holds products, a product versions, a version items, and
// an item is one file. An image is a metadata item together with one root item
// of the same version, or one unified item alone:
//
//	metadata  incus.tar.xz, for LXD lxd.tar.xz
//	root      squashfs, root.tar.xz, disk-kvm.img, disk1.img, uefi1.img
//	unified   incus_combined.tar.gz, for LXD lxd_combined.tar.gz
//
// The fingerprint of a split image is the sha256 of the metadata's bytes followed
// by the root's. The metadata item has it, in a field for each kind of root
// (combined_squashfs_sha256 and so on; root.tar.xz falls back to combined_sha256).
// A client makes an image of every metadata item and every root item of a version
// for which that field is set. So a combined hash must be correct for each such
// pair of files. The fingerprint of a unified image is the file's own sha256. The
// ftype says what an item is; its key means nothing.
//
// Sources: what clients accept follows lxc/incus v6.23 (shared/simplestreams:
// index.go, products.go, simplestreams.go; shared/osarch). The names for LXD follow
// canonical/lxd. Documents have the form that cmd/incus-simplestreams writes.
//
// # Reading
//
// A document is read once, by the rules of encoding/json, which clients use.
// Clients stop at the first value of a wrong type; this package reports each one. A
// document that is not valid JSON to its last byte is refused as a whole. The
// products of a large document are read on all cores. The strings of a catalog do
// not keep the bytes of the document in memory.
//
// # Rewriting
//
// Documents are rewritten as raw JSON. What is not changed keeps its bytes, so
// unknown fields survive on every level, and two identical calls give identical
// bytes. A document that clients cannot read is never rewritten: see
// [DocumentError]. The catalogs are written before the index, so that the index
// never names a product that is not there.
package simplestreams

import (
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// IndexPath is the path of the index, where every client starts.
const IndexPath = "streams/v1/index.json"

// The stream that is made when a tree has none, as incus-simplestreams names it.
const (
	defaultStream  = "images"
	defaultCatalog = "streams/v1/images.json"
)

// Format implements [catalog.Format] for simplestreams trees.
type Format struct{}

// Name returns "simplestreams".
func (Format) Name() string { return "simplestreams" }

// Ref is product/version.
func (Format) Ref(n catalog.Name) string { return n.String() }

// ParseRef is the reverse of Ref.
func (Format) ParseRef(ref string) catalog.Name { return catalog.ParseName(ref) }

var (
	// itemEndings are the endings of files that clients download: the ftypes, and
	// the names that incus-simplestreams, distrobuilder and
	// simplestream-maintainer use. Clients do not use other files, such as .iso;
	// those are published as they are.
	itemEndings = []string{
		".tar.xz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar",
		".squashfs", ".qcow2", ".img", ".vcdiff",
	}
	// rsyncTemp is rsync's temporary name: a dot, the name, six characters.
	rsyncTemp = lazyregexp.New(`^\.(.+)\.[A-Za-z0-9]{6}$`)
	// pendingTemp is renameio's temporary name: a dot, the name, a random number.
	pendingTemp = lazyregexp.New(`^\.(.+?)[0-9]+$`)
)

// Class returns the class of a path by its name. A .json document below streams/
// is an Index, and a file elsewhere with the ending of an image file is ItemLike.
// A temporary name of an upload (rsync, renameio, or an ending such as .part) is
// InProgress.
func (Format) Class(p string) catalog.Class {
	at := strings.LastIndexByte(p, '/') + 1
	if uploading(p, at) {
		return catalog.InProgress
	}
	return finished(p, at)
}

// finished returns the class of a path that is not an upload in progress. Its file
// name begins at the byte at.
func finished(p string, at int) catalog.Class {
	base := p[at:]
	if strings.HasPrefix(p, "streams/") {
		if isIndex(p) {
			return catalog.Index
		}
		return catalog.Other
	}
	for _, ending := range itemEndings {
		if len(base) > len(ending) && strings.HasSuffix(base, ending) {
			return catalog.ItemLike
		}
	}
	return catalog.Other
}

// isIndex reports whether a path can be a document that clients read.
func isIndex(p string) bool {
	return strings.HasPrefix(p, "streams/") && strings.HasSuffix(p, ".json") && !strings.HasSuffix(p, "/.json")
}

// uploading reports whether a path is a temporary name of a file that is being
// written. Its file name begins at the byte at. Such names are those of every
// format, and backup copies of editors. They are also dot files with a random
// ending, if the name inside is that of an index or an item: otherwise the ending
// may be an ordinary word.
func uploading(p string, at int) bool {
	base := p[at:]
	if len(base) > 1 && strings.HasSuffix(base, "~") || catalog.Uploading(p) {
		return true
	}
	if !strings.HasPrefix(base, ".") {
		return false
	}
	for _, temp := range []*lazyregexp.Regexp{rsyncTemp, pendingTemp} {
		if m := temp.FindStringSubmatch(base); m != nil && finished(p[:at]+m[1], at) != catalog.Other {
			return true
		}
	}
	return false
}

// The ftypes that clients know.
const (
	metaIncus    = "incus.tar.xz"
	metaLXD      = "lxd.tar.xz"
	unifiedIncus = "incus_combined.tar.gz"
	unifiedLXD   = "lxd_combined.tar.gz"

	rootSquashfs = "squashfs"
	rootTarXz    = "root.tar.xz"
	rootDiskKVM  = "disk-kvm.img"
	rootDisk1    = "disk1.img"
	rootUEFI1    = "uefi1.img"
)

func isMeta(ftype string) bool    { return ftype == metaIncus || ftype == metaLXD }
func isUnified(ftype string) bool { return ftype == unifiedIncus || ftype == unifiedLXD }

func isRoot(ftype string) bool {
	switch ftype {
	case rootSquashfs, rootTarXz, rootDiskKVM, rootDisk1, rootUEFI1:
		return true
	}
	return false
}

// The types of images.
const (
	container      = "container"
	virtualMachine = "virtual-machine"
)

// imageType returns the type of image that a client makes of a root's ftype.
func imageType(rootFtype string) string {
	switch rootFtype {
	case rootDiskKVM, rootDisk1, rootUEFI1:
		return virtualMachine
	}
	return container
}

// imageType returns the type of image that a client makes of a unified item: its
// combined_type, or a container if that is empty (lxc/incus#3386). Clients up to
// Incus 6.23 do not read the field, and treat every unified image as a container.
func (m *item) imageType() string {
	if m.combinedType == virtualMachine {
		return virtualMachine
	}
	return container
}

// ContentPath returns the path for content of an ftype, named by its sha256:
// images/<sha256> and the ending that incus-simplestreams uses.
func ContentPath(ftype, sha256 string) string {
	switch ftype {
	case rootDiskKVM:
		ftype = "qcow2"
	}
	return "images/" + sha256 + "." + ftype
}
