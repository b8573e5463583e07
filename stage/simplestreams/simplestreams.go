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
// The fingerprint of a split image is the sha256 of the metadata's bytes
// followed by the root's. It stands on the metadata item, in a field for each
// kind of root (combined_squashfs_sha256 and so on; root.tar.xz falls back to
// combined_sha256). A client makes an image of every metadata item and every
// root item of a version for which that field is set, so a combined hash may
// stand only where it was told for exactly these two files. That of a unified
// image is the file's own sha256. Items are told by their ftype; their keys
// mean nothing.
//
// What a client takes and refuses is told here as the client of lxc/incus
// v6.23 does it (shared/simplestreams: index.go, products.go,
// simplestreams.go; shared/osarch), the names for LXD as canonical/lxd does
// it, and what the documents look like as cmd/incus-simplestreams writes them.
//
// # Reading
//
// A document is read once, by the rules of encoding/json, with which the client
// decodes. Clients stop at the first value of a wrong type; here each one is
// reported. What is not JSON to its last byte is refused as a whole, and nothing
// that was read before the fault counts. Of a large document the products are read
// on all cores. No string of a catalog holds on to the document's bytes.
//
// # Rewriting
//
// Documents are rewritten as raw JSON: what is not changed keeps its bytes, so
// fields that nobody here knows survive on every level, and two identical
// calls give identical bytes. A document that a client could not read is never
// rewritten: see [DocumentError]. The catalogs are written before the index,
// so that the index never names what is not there.
package simplestreams

import (
	"regexp"
	"strings"

	"example.com/publish/stage/catalog"
)

// IndexPath is where every client starts.
const IndexPath = "streams/v1/index.json"

// The stream that is made when a tree has none, as incus-simplestreams names it.
const (
	defaultStream  = "images"
	defaultCatalog = "streams/v1/images.json"
)

// Format implements [catalog.Format] for simplestreams trees.
type Format struct{}

// Name is "simplestreams".
func (Format) Name() string { return "simplestreams" }

var (
	// itemEndings are the endings of the files that clients download, by their
	// ftypes and by the names that incus-simplestreams, distrobuilder and
	// simplestream-maintainer give them. Other downloads, such as .iso, are
	// nothing to a client, and published as they are.
	itemEndings = []string{
		".tar.xz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar",
		".squashfs", ".qcow2", ".img", ".vcdiff",
	}
	// rsyncTemp is rsync's temporary name: a dot, the name, six characters.
	rsyncTemp = regexp.MustCompile(`^\.(.+)\.[A-Za-z0-9]{6}$`)
	// pendingTemp is that of renameio: a dot, the name, a random number.
	pendingTemp = regexp.MustCompile(`^\.(.+?)[0-9]+$`)
)

// Class tells what a path is by its name: a .json document below streams/ is
// an Index, a file with an image's ending elsewhere is ItemLike, a temporary
// name of an upload (rsync, renameio, or an ending such as .part) is
// InProgress.
func (Format) Class(p string) catalog.Class {
	at := strings.LastIndexByte(p, '/') + 1
	if uploading(p, at) {
		return catalog.InProgress
	}
	return finished(p, at)
}

// finished is the class of a path, whose name begins at the byte at, that is no
// upload's.
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

// isIndex reports whether a path is one of a document that clients read.
func isIndex(p string) bool {
	return strings.HasPrefix(p, "streams/") && strings.HasSuffix(p, ".json") && !strings.HasSuffix(p, "/.json")
}

// uploading reports whether a path, whose name begins at the byte at, is one that
// a file has only while it is written: those of every format, an editor's copy,
// and dot files whose random ending could be a word's, if the name inside it is an
// index's or an item's.
func uploading(p string, at int) bool {
	base := p[at:]
	if len(base) > 1 && strings.HasSuffix(base, "~") || catalog.Uploading(p) {
		return true
	}
	if !strings.HasPrefix(base, ".") {
		return false
	}
	for _, temp := range []*regexp.Regexp{rsyncTemp, pendingTemp} {
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

// imageType is what a client makes of a root's ftype.
func imageType(rootFtype string) string {
	switch rootFtype {
	case rootDiskKVM, rootDisk1, rootUEFI1:
		return virtualMachine
	}
	return container
}

// imageType is what a client makes of a unified item: what its combined_type
// says, and a container when it says nothing (lxc/incus#3386). Clients up to
// Incus 6.23 do not read the field, and take every unified image for a
// container.
func (m *item) imageType() string {
	if m.combinedType == virtualMachine {
		return virtualMachine
	}
	return container
}

// ContentPath is the path below which content of an ftype is kept by its own
// sha256: images/<sha256> and the ending that incus-simplestreams gives it.
func ContentPath(ftype, sha256 string) string {
	switch ftype {
	case rootDiskKVM:
		ftype = "qcow2"
	}
	return "images/" + sha256 + "." + ftype
}
