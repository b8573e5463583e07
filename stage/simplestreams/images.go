package simplestreams

import (
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// sameStyle reports whether two names of versions have the same shape after the
// date. Names of the same shape sort by time. A date alone and a date with a
// counter (20240101, 20240101.1) are one style: Ubuntu's cloud images use both.
func sameStyle(a, b string) bool {
	a, b = a[8:], b[8:]
	ubuntu := func(rest string) bool { return rest == "" || rest[0] == '.' }
	return sameShape(a, b) || ubuntu(a) && ubuntu(b)
}

// A candidate is what a client makes an image from: a metadata item with a root,
// or a unified item without a root.
type candidate struct {
	meta, root  *item
	fingerprint string
	field       int // index in combinedFields; -1 for a unified image
}

// candidates returns the images of a version that the clients of Incus or LXD
// list. Those for Incus come first, and each group is in the order of the items'
// keys.
func (v *version) candidates() []candidate {
	v.found = v.found[:0]
	for _, metas := range [][2]string{{metaIncus, unifiedIncus}, {metaLXD, unifiedLXD}} {
		for i := range v.items {
			meta := &v.items[i]
			switch {
			case meta.path == "":
			case meta.ftype == metas[1] && meta.sha256 != "":
				v.found = append(v.found, candidate{meta, nil, meta.sha256, -1})
			case meta.ftype == metas[0]:
				for j := range v.items {
					if fingerprint, field := meta.with(&v.items[j]); field >= 0 {
						v.found = append(v.found, candidate{meta, &v.items[j], fingerprint, field})
					}
				}
			}
		}
	}
	return v.found
}

// doubles reports whether a candidate is the same image as an earlier one, once
// under the names of Incus and once under those of LXD. Both count as one image.
func (c candidate) doubles(earlier []candidate) bool {
	for _, e := range earlier {
		if e.fingerprint == c.fingerprint && e.root == c.root && e.meta.ftype != c.meta.ftype {
			return true
		}
	}
	return false
}

// image returns the candidate in the form that all formats share. skipped is the
// reason why clients skip the version; "" for none.
func (c candidate) image(p *product, v *version, skipped string, created time.Time, aliases []string) catalog.Image {
	img := catalog.Image{
		Paths:       make([]string, 0, 2),
		Product:     p.key,
		Version:     v.key,
		Type:        c.meta.imageType(),
		Fingerprint: c.fingerprint,
		Aliases:     aliases,
		Created:     created,
	}
	need(&img, c.meta)
	if c.root != nil {
		need(&img, c.root)
		img.Type = imageType(c.root.ftype)
	}
	if skipped != "" {
		img.Type, img.Aliases, img.Skipped = catalog.NoType, []string{}, skipped
	}
	return img
}

// need adds an item to the files that an image needs.
func need(img *catalog.Image, it *item) {
	img.Bytes += max(it.size, 0)
	if it.file != "" && !slices.Contains(img.Paths, it.file) {
		img.Paths = append(img.Paths, it.file)
	}
}

// skipped returns the reason why clients skip a whole version, without its name;
// "" if a client of Incus or LXD lists an image of it.
func (v *version) skipped(arch string, candidates []candidate) string {
	if _, known := Architecture(arch); !known {
		return "clients know no architecture " + show(arch)
	}
	if !dated(v.key) {
		return "its name does not start with a date, YYYYMMDD"
	}
	if len(candidates) > 0 {
		return ""
	}
	meta, root, unified, path := false, false, false, true
	for i := range v.items {
		it := &v.items[i]
		switch {
		case isUnified(it.ftype):
			unified = true
			path = path && it.path != ""
		case isMeta(it.ftype):
			meta = true
			path = path && it.path != ""
		case isRoot(it.ftype):
			root = true
		}
	}
	switch {
	case len(v.items) == 0:
		return "it has no items"
	case (meta || unified) && !path:
		return "its metadata item has no path"
	case unified:
		return "its unified item has no sha256, which would be its fingerprint"
	case meta && root:
		return "no metadata item has a combined hash for a root item"
	case meta:
		return "it has no root item"
	}
	return "it has no metadata item"
}

// group returns an image that represents a version without images.
func (v *version) group(p *product, skipped string, created time.Time) catalog.Image {
	img := catalog.Image{Product: p.key, Version: v.key, Type: catalog.NoType, Aliases: []string{}, Created: created,
		Paths: []string{}, Skipped: skipped}
	for i := range v.items {
		need(&img, &v.items[i])
	}
	return img
}

// spare returns an image that represents an item that no image of its version
// needs.
func (v *version) spare(p *product, it *item) catalog.Image {
	img := catalog.Image{Product: p.key, Version: v.key, Type: catalog.NoType, Aliases: []string{}, Paths: []string{},
		Skipped: "no image of its version needs it"}
	need(&img, it)
	return img
}

// empty returns an image that represents a product without versions.
func empty(product string) catalog.Image {
	return catalog.Image{Product: product, Type: catalog.NoType, Aliases: []string{}, Skipped: "it has no versions"}
}

// aliasList splits a product's aliases as a client does: at commas only.
func aliasList(p *product) []string {
	if p.aliases == "" {
		return []string{}
	}
	return strings.Split(p.aliases, ",")
}
