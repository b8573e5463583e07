// Package oci is the format of a tree of OCI image layouts: one layout for each
// repository, in the directory with the repository's name.
//
//	docker.io/library/alpine/oci-layout
//	docker.io/library/alpine/index.json
//	docker.io/library/alpine/blobs/sha256/4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
//
// A repository is the product of the catalog, and a tag is its version. What has
// neither a tag nor a parent is the version @DIGEST.
//
// Its rules:
//
//   - index.json and oci-layout are the indexes. Blobs are content, and are
//     published when an entry of index.json leads to them.
//   - Nothing is made again: a manifest is bytes with a digest. Only entries of
//     index.json come and go.
//   - A referrer (a manifest with a subject, or the tag sha256-<hex> that older
//     clients use instead) belongs to its subject. It has no version of its own
//     as long as the subject is there.
//   - Docker's media types are read like OCI's.
//
// What manifests and indexes say is input from outside. Their number of levels
// and their sizes are bounded, and a digest is checked before it becomes a path.
package oci

import (
	"path"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// Format implements [catalog.Format] for trees of OCI image layouts.
type Format struct {
	Sparse bool // an index may list images that are not here
}

// Name is "oci".
func (Format) Name() string { return "oci" }

// Ref is repository:tag, or repository@digest for what has no tag.
func (Format) Ref(n catalog.Name) string {
	if n.Version == "" || strings.HasPrefix(n.Version, "@") {
		return n.Group + n.Version
	}
	return n.Group + ":" + n.Version
}

// ParseRef is the reverse of Ref.
func (Format) ParseRef(ref string) catalog.Name {
	if i := strings.IndexByte(ref, '@'); i >= 0 {
		return catalog.Name{Group: ref[:i], Version: ref[i:]}
	}
	repository, tag, _ := cutTag(ref)
	return catalog.Name{Group: repository, Version: tag}
}

// cutTag cuts a reference before its tag, which stands behind the last colon unless that
// is one of a port.
func cutTag(ref string) (repository, tag string, found bool) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:], true
	}
	return ref, "", false
}

// Clearsigned returns "": there are no twins.
func (Format) Clearsigned(string) string { return "" }

// The names in a layout.
const (
	indexName  = "index.json"
	layoutName = "oci-layout"
	blobsName  = "blobs"
)

// Class is Index for index.json and oci-layout, ItemLike for blobs, InProgress
// for what other tools leave while they write, and Other for the rest.
func (Format) Class(p string) catalog.Class {
	dir, base := path.Split(p)
	switch {
	case leftover(p):
		return catalog.InProgress
	case base == indexName, base == layoutName:
		return catalog.Index
	case isBlob(p):
		return catalog.ItemLike
	case catalog.Uploading(base) || catalog.Uploading(dir):
		return catalog.InProgress
	}
	return catalog.Other
}

// isBlob reports whether a path is that of a blob, as far as its name tells. A file at the top
// of blobs is no blob, but nothing else is published from there either.
func isBlob(p string) bool {
	up := path.Dir(p)
	return path.Base(up) == blobsName || path.Base(path.Dir(up)) == blobsName
}

// leftover reports whether a path is what a tool has while it writes a layout:
// skopeo (oci-put-blob*), umoci (.umoci-*), oras (ingest), olareg (_uploads), zot
// (.uploads), regctl and others (index.json.*, *.tmp).
func leftover(p string) bool {
	for {
		part, rest, below := strings.Cut(p, "/")
		switch {
		case strings.HasPrefix(part, ".umoci-"), strings.HasPrefix(part, "oci-put-blob"):
			return true
		case below && (part == "_uploads" || part == ".uploads"):
			return true
		case below && part == "ingest" && !strings.Contains(rest, "/") && rest != indexName && rest != layoutName:
			return true
		case !below:
			return strings.HasPrefix(part, indexName+".") || strings.HasSuffix(part, ".tmp")
		}
		p = rest
	}
}

// component is one part of a repository's name, by the distribution specification.
const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`

var (
	repositoryName = lazyregexp.New(`^` + component + `(?:/` + component + `)*$`)
	tagName        = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	fallbackTag    = lazyregexp.New(`^(sha256)-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?$`)
)

// maxName bounds a repository's name, in bytes. Clients accept no longer one.
const maxName = 255

// checkRepository returns what is wrong with a directory's name as that of a
// repository; "" for nothing.
func checkRepository(dir string) string {
	switch {
	case dir == ".":
		return "stands at the root of the tree, and a repository needs a name: stage add --name gives it one"
	case len(dir) > maxName:
		return "has a name of more than 255 bytes"
	case !repositoryName.MatchString(dir):
		return "is not a name that a repository may have: lower-case letters and digits, with . _ - between them"
	case leftover(path.Join(dir, indexName)):
		return "has a name as skopeo gives to what it has not finished: no such part may begin with oci-put-blob"
	}
	return ""
}

// blobPath is where a layout has a blob. The digest has been checked.
func blobPath(repository string, d catalog.Digest) string {
	return path.Join(repository, blobsName, d.Algorithm, d.Hex)
}

// untagged is the version of a root without a tag.
func untagged(d catalog.Digest) string { return "@" + d.String() }
