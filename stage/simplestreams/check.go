package simplestreams

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// checkVersion reports what is wrong with the items of one version.
func (b *builder) checkVersion(p *product, v *version, candidates []candidate) {
	used := func(it *item) bool {
		return slices.ContainsFunc(candidates, func(c candidate) bool { return c.meta == it || c.root == it })
	}
	for i := range v.items {
		it := &v.items[i]
		where := func() string { return place(p.key, v.key, it.key) + ": " }
		b.checkPath(it, where)
		b.checkHashes(it, where)
		inImage := used(it)
		if isUnified(it.ftype) && it.combinedType != "" && it.combinedType != container && it.combinedType != virtualMachine {
			b.warn("combined-type", fmt.Sprintf("%scombined_type %s is neither %s nor %s: clients take the image for a container, or refuse it",
				where(), show(it.combinedType), container, virtualMachine))
		}
		if it.sha256 == "" && it.path != "" && !isUnified(it.ftype) {
			if inImage {
				b.error("no-hash", where()+"has no sha256: clients refuse the file")
			} else {
				b.warn("no-hash", where()+"has no sha256: nothing tells whether the file is whole")
			}
		}
		if it.negative {
			b.error("bad-size", where()+"size is negative")
		}
		if it.ftype == rootDiskKVM+".vcdiff" {
			b.warn("delta", where()+"clients cannot apply a delta to a virtual machine's disk")
		}
		if inImage {
			continue
		}
		switch {
		case isUnified(it.ftype) && it.path != "":
			b.warn("no-fingerprint", where()+"has no sha256, which is its fingerprint: clients skip it")
		case isMeta(it.ftype) && it.path != "":
			b.warn("no-fingerprint", where()+"has a combined hash for no root file of the version: clients skip it")
		case isRoot(it.ftype):
			b.warn("no-fingerprint", where()+"no metadata item has a combined hash for it: clients skip it")
		}
	}
}

func (b *builder) checkPath(it *item, where func() string) {
	if it.file != "" && strings.IndexByte(it.file, '%') < 0 {
		return
	}
	clean, problem, ok := catalog.Clean(it.path)
	switch {
	case it.path == "" && isRoot(it.ftype):
		b.error("no-path", where()+"has no path: clients fail to download it")
	case it.path == "":
		b.warn("no-path", where()+"has no path: clients skip it")
	case !ok:
		b.error("unsafe-path", fmt.Sprintf("%spath %q %s", where(), it.path, problem))
	case catalog.Reserved(clean):
		b.error("unsafe-path", fmt.Sprintf("%spath %q belongs to publish", where(), it.path))
	case isIndex(clean), b.indexes[clean]:
		b.error("unsafe-path", fmt.Sprintf("%spath %q is an index document's", where(), it.path))
	default:
		b.warn("encoded-path", fmt.Sprintf("%spath %q has a percent sign, which clients decode: they ask for another file", where(), it.path))
	}
}

func (b *builder) checkHashes(it *item, where func() string) {
	check := func(field, value string, bytes int) {
		switch {
		case value == "" || isHex(value, bytes):
		case isHex(strings.ToLower(value), bytes):
			b.error("bad-hash", fmt.Sprintf("%s%s has upper-case digits: clients compare it with lower-case ones, and refuse the file", where(), field))
		default:
			b.error("bad-hash", fmt.Sprintf("%s%s %s is not %d hex digits: no file matches it", where(), field, show(value[:min(len(value), 80)]), 2*bytes))
		}
	}
	check("sha256", it.sha256, sha256.Size)
	check("md5", it.md5, md5.Size)
	for i, value := range it.combined {
		check(combinedFields[i], value, sha256.Size)
	}
}

// isHex reports whether s is this many bytes in lower-case hex.
func isHex(s string, bytes int) bool {
	if len(s) != 2*bytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// conflicts reports every path that is named with two contents. Items are
// sorted by path.
func (b *builder) conflicts() {
	items := b.cat.Items
	for start := 0; start < len(items); {
		end := start + 1
		for end < len(items) && items[end].Path == items[start].Path {
			end++
		}
		if end-start > 1 {
			b.conflict(items[start:end])
		}
		start = end
	}
}

// conflict compares every item that names a path with the first one that tells
// a hash or a size. One finding a path is enough.
func (b *builder) conflict(same []catalog.Item) {
	var hashed, summed, sized *catalog.Item
	for i := range same {
		it := &same[i]
		var other *catalog.Item
		differ := "hashes"
		switch {
		case hashed != nil && it.SHA256 != "" && it.SHA256 != hashed.SHA256:
			other = hashed
		case summed != nil && it.MD5 != "" && it.MD5 != summed.MD5:
			other = summed
		case sized != nil && it.Size >= 0 && it.Size != sized.Size:
			other, differ = sized, "sizes"
		}
		if other != nil {
			b.report(catalog.Error, "path-conflict", it.Path, fmt.Sprintf("is named with different %s by %s and %s: one of them cannot be downloaded",
				differ, place(other.Product, other.Version, other.Name), place(it.Product, it.Version, it.Name)))
			return
		}
		if hashed == nil && it.SHA256 != "" {
			hashed = it
		}
		if summed == nil && it.MD5 != "" {
			summed = it
		}
		if sized == nil && it.Size >= 0 {
			sized = it
		}
	}
}

// sharedFingerprints reports the fingerprints that more than one image has.
func (b *builder) sharedFingerprints() {
	owners := make(map[string]int32, len(b.cat.Images))
	for i, img := range b.cat.Images {
		owner, taken := owners[img.Fingerprint]
		if !taken {
			owners[img.Fingerprint] = int32(i)
			continue
		}
		first := b.cat.Images[owner]
		b.report(catalog.Warning, "fingerprint-shared", "", fmt.Sprintf("%s and %s have one fingerprint, %s: clients that ask for it are told that more than one image matches",
			place(first.Product, first.Version), place(img.Product, img.Version), show(img.Fingerprint)))
	}
}
