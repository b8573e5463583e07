package simplestreams

import (
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// versionTime is the time that a version's name tells, UTC. A client takes the
// first eight characters for the date, whatever follows, and skips the version
// (ok is false) when they are none; what follows is the time of day in the
// styles that tools write (_HH:MM, HHMM, HHMMSS), or nothing.
func versionTime(name string) (t time.Time, ok bool) {
	if len(name) < 8 {
		return time.Time{}, false
	}
	t, err := time.Parse("20060102", name[:8])
	if err != nil {
		return time.Time{}, false
	}
	rest := strings.TrimLeft(name[8:], "_-T")
	for _, layout := range []string{"15:04", "1504", "150405", "15:04:05"} {
		if clock, err := time.Parse(layout, rest); err == nil && len(rest) == len(layout) {
			return t.Add(clock.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))), true
		}
	}
	return t, true
}

// versionStyle is the shape of a version's name after the date: names of one
// shape sort by time. A date alone and one with a counter (20240101,
// 20240101.1) are one style, the one of Ubuntu's cloud images.
func versionStyle(name string) string {
	rest := name[8:]
	if rest == "" || rest[0] == '.' {
		return "YYYYMMDD"
	}
	return "YYYYMMDD" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return 'N'
		}
		return r
	}, rest)
}

// A candidate is what a client makes an image of: a metadata item with a root,
// or a unified item with no root.
type candidate struct {
	meta, root  *item
	fingerprint string
	field       int // place in combinedFields; -1 when unified
}

// candidates are the images of a version as a client lists them, those for
// Incus first, each in the order of the items' keys. Other than a client, it
// also lists those that only LXD's client lists.
func (v *version) candidates() []candidate {
	var incus, lxd []candidate
	add := func(meta, root *item, fingerprint string, field int) {
		if fingerprint == "" || meta.path == "" {
			return
		}
		c := candidate{meta, root, fingerprint, field}
		if meta.ftype == metaIncus || meta.ftype == unifiedIncus {
			incus = append(incus, c)
		} else {
			lxd = append(lxd, c)
		}
	}
	for i := range v.items {
		meta := &v.items[i]
		switch {
		case isUnified(meta.ftype):
			add(meta, nil, meta.sha256, -1)
		case isMeta(meta.ftype):
			for j := range v.items {
				if root := &v.items[j]; isRoot(root.ftype) {
					fingerprint, field := meta.with(root)
					add(meta, root, fingerprint, field)
				}
			}
		}
	}
	return append(incus, lxd...)
}

// doubles reports whether a candidate is the same image as an earlier one under
// LXD's names: one image to whoever counts images.
func (c candidate) doubles(earlier []candidate) bool {
	for _, e := range earlier {
		if e.fingerprint == c.fingerprint && e.root == c.root && e.meta.ftype != c.meta.ftype {
			return true
		}
	}
	return false
}

// image is the candidate for those who know no simplestreams.
func (c candidate) image(p *product, v *version, created time.Time, aliases []string) catalog.Image {
	img := catalog.Image{
		Product:     p.key,
		Version:     v.key,
		Type:        c.meta.imageType(),
		Fingerprint: c.fingerprint,
		Aliases:     aliases,
		Created:     created,
	}
	files := []*item{c.meta}
	if c.root != nil {
		files = append(files, c.root)
		img.Type = imageType(c.root.ftype)
	}
	img.Paths = make([]string, 0, len(files))
	for _, f := range files {
		img.Bytes += max(f.size, 0)
		if f.file != "" {
			img.Paths = append(img.Paths, f.file)
		}
	}
	return img
}

// aliasList splits a product's aliases as a client does: at commas only.
func aliasList(p *product) []string {
	if p.aliases == "" {
		return []string{}
	}
	return strings.Split(p.aliases, ",")
}
