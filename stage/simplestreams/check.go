package simplestreams

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"strings"

	"example.com/publish/stage/catalog"
)

// checkVersion reports findings about the items of one version. A problem that
// only makes clients skip something is a warning.
func (b *part) checkVersion(p *product, v *version, candidates []candidate, skipped string) {
	for i := range v.items {
		it := &v.items[i]
		where := func() string { return place(p.key, v.key, it.key) + ": " }
		warn := func(code, kind, fact string) {
			b.repeat(code, kind, "file", func() string { return where() + fact })
		}
		inImage := used(candidates, it)
		b.checkPath(it, inImage && skipped == "", where, func(code, kind, fact string) {
			if code != "no-path" || skipped == "" { // the reason why the version is skipped is reported elsewhere
				warn(code, kind, fact)
			}
		})
		b.checkHashes(it, where)
		switch it.combinedType {
		case "", container, virtualMachine:
		default:
			if isUnified(it.ftype) {
				warn("combined-type", "", fmt.Sprintf("combined_type %s is neither %s nor %s: "+
					"clients take the image for a container, or refuse it", show(it.combinedType), container,
					virtualMachine))
			}
		}
		if it.sha256 == "" && it.path != "" && !isUnified(it.ftype) {
			if inImage && skipped == "" {
				b.error("no-hash", "%shas no sha256: clients refuse the file", where())
			} else {
				warn("no-hash", "", "has no sha256: nothing shows whether the file is whole")
			}
		}
		if it.negative {
			b.error("bad-size", "%ssize is negative", where())
		}
		if it.ftype == rootDiskKVM+".vcdiff" {
			warn("delta", "", "clients cannot apply a delta to a virtual machine's disk")
		}
		if inImage || skipped != "" {
			continue
		}
		switch {
		case isUnified(it.ftype) && it.path != "":
			warn("no-fingerprint", "unified", "has no sha256, which would be its fingerprint: clients skip it")
		case isMeta(it.ftype) && it.path != "":
			warn("no-fingerprint", "metadata", "has a combined hash for no root file of the version: clients skip it")
		case isRoot(it.ftype):
			warn("no-fingerprint", "root", "no metadata item has a combined hash for it: clients skip it")
		}
	}
}

// checkPath reports findings about the path of an item. needed means that clients
// ask for the file.
func (b *part) checkPath(it *item, needed bool, where func() string, warn func(code, kind, fact string)) {
	if it.file != "" && strings.IndexByte(it.file, '%') < 0 {
		return
	}
	clean, problem, ok := catalog.Clean(it.path)
	switch {
	case it.path == "" && needed:
		b.error("no-path", "%shas no path: clients fail to download it", where())
	case it.path == "":
		warn("no-path", "", "has no path: clients skip it")
	case !ok:
		b.error("unsafe-path", "%spath %q %s", where(), it.path, problem)
	case catalog.Reserved(clean):
		b.error("unsafe-path", "%spath %q belongs to publish", where(), it.path)
	case isIndex(clean), b.documents[clean]:
		b.error("unsafe-path", "%spath %q is an index document's", where(), it.path)
	default:
		fact := "path %q has a percent sign, which clients decode: they ask for another file"
		warn("encoded-path", "", fmt.Sprintf(fact, it.path))
	}
}

// checkHashes reports findings about the hashes of an item, and makes all of them
// lower-case.
func (b *part) checkHashes(it *item, where func() string) {
	check := func(field string, value *string, bytes int) {
		if *value == "" || isHex(*value, bytes) {
			return
		}
		lower := strings.ToLower(*value)
		if isHex(lower, bytes) {
			b.error("bad-hash", "%s%s has upper-case digits: clients compare it with lower-case ones, "+
				"and refuse the file", where(), field)
		} else {
			b.error("bad-hash", "%s%s %s is not %d hex digits: no file matches it",
				where(), field, show((*value)[:min(len(*value), 80)]), 2*bytes)
		}
		*value = lower
	}
	check("sha256", &it.sha256, sha256.Size)
	check("md5", &it.md5, md5.Size)
	for i := range it.combined {
		check(combinedFields[i], &it.combined[i], sha256.Size)
	}
}

// isHex reports whether s is this number of bytes in lower-case hex. The number is
// a multiple of four.
func isHex(s string, bytes int) bool {
	if len(s) != 2*bytes {
		return false
	}
	for ; len(s) >= 8; s = s[8:] {
		if !hexWord(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56) {
			return false
		}
	}
	return true
}

// hexWord is isHex for eight digits at once, one in each byte of the word. In
// ASCII, digits have the upper half 3 and a lower half up to 9. The letters a to f
// have the upper half 6 and a lower half of 1 to 6.
func hexWord(w uint64) bool {
	const ones = 0x0101010101010101
	letter, low := w>>6&ones, w&(ones*0xf)
	return w&(ones*0xf0) == ones*0x30+letter*0x30 && // letter is 1 in the bytes of letters, else 0
		(low+ones*6+letter*3)&(ones*0x10) == 0 && // 9+6 and 6+6+3 are less than 16
		(low+letter*15)&(ones*0x10) == letter*0x10 // 1+15 is 16
}

// conflicts reports every path that is named with two contents. It relies on the
// order of the items, by path.
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

// conflict compares the items that name one path with the first one that has a
// hash or a size. It reports one finding for the path at most.
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
			b.report(catalog.Error, "path-conflict", it.Path,
				"is named with different %s by %s and %s: one of them cannot be downloaded",
				differ, place(other.Product, other.Version, other.Name), place(it.Product, it.Version, it.Name))
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

// sharedFingerprints reports fingerprints that several images have.
func (b *builder) sharedFingerprints() {
	owners := make(map[string]int32, len(b.cat.Images))
	for i, img := range b.cat.Images {
		if img.Skipped != "" {
			continue // clients do not see it
		}
		owner, taken := owners[img.Fingerprint]
		if !taken {
			owners[img.Fingerprint] = int32(i)
			continue
		}
		first := b.cat.Images[owner]
		b.report(catalog.Warning, "fingerprint-shared", "",
			"%s and %s have one fingerprint, %s: clients that ask for it are told that more than one image matches",
			place(first.Product, first.Version), place(img.Product, img.Version), show(img.Fingerprint))
	}
}
