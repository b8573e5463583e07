package oci

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// imageType is the type of all images.
const imageType = "container"

// exempt is why no rule decides on a referrer that has lost its subject.
const exempt = "it refers to an image that is not here"

// Read reads the index.json of every layout, and all manifests that they lead to.
func (f Format) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	b := &builder{cat: &catalog.Catalog{Listed: map[string][]catalog.Naming{}}}
	err := repositories(src, func(dir string) error {
		l, err := readLayout(ctx, src, dir, b.note, reading{sparse: f.Sparse, wide: true})
		if err != nil {
			return err
		}
		b.add(l)
		return nil
	}, func(dir string) {
		b.note(catalog.Error, "repository-overlap", dir, "stands among the blobs of a repository")
	})
	if err != nil {
		return nil, err
	}
	return b.finish(), nil
}

// builder gathers the catalog of a tree.
type builder struct{ cat *catalog.Catalog }

func (b *builder) note(severity catalog.Severity, code, path, format string, args ...any) {
	b.cat.Findings = append(b.cat.Findings, catalog.Finding{Severity: severity, Code: code, Path: path,
		Message: fmt.Sprintf(format, args...)})
}

// add adds a repository.
func (b *builder) add(l *layout) {
	if l.half {
		b.cat.Half = append(b.cat.Half, l.document)
	}
	b.cat.Documents = append(b.cat.Documents, l.document, strings.TrimSuffix(l.document, indexName)+layoutName)
	if listed := l.listed(); len(listed) > 0 {
		b.cat.Listed[l.document] = listed
	}
	b.cat.Items = slices.Grow(b.cat.Items, len(l.nodes))
	// What is not asked again need not be in memory beside the catalog of a large tree.
	l.index, l.entries, l.tags, l.nodes = nil, nil, nil, nil
	b.cat.Images = slices.Grow(b.cat.Images, len(l.roots))
	b.cat.Versions = slices.Grow(b.cat.Versions, len(l.roots))
	b.cat.Units = slices.Grow(b.cat.Units, len(l.roots))
	var nodes []*node
	for _, r := range l.roots {
		nodes = l.reach(nodes[:0], &r)
		image := l.imageOf(&r, nodes)
		for _, n := range nodes {
			if n.item {
				continue
			}
			n.item = true
			item := catalog.Item{Path: l.at(n), Size: n.size, Product: l.repository, Version: r.version,
				Index: l.document, Apart: n.apart()}
			// The path ends with the digest: so that of the node need not stay in memory.
			switch d := n.digest(); d.Algorithm {
			case catalog.SHA256:
				item.SHA256 = item.Path[len(item.Path)-len(d.Hex):]
			case catalog.SHA512:
				item.SHA512 = d.Hex
			}
			b.cat.Items = append(b.cat.Items, item)
		}
		b.cat.Images = append(b.cat.Images, image)
		version := catalog.Version{Product: l.repository, Name: r.version, Rank: r.place}
		if r.lost {
			version.Exempt = exempt
		}
		b.cat.Versions = append(b.cat.Versions, version)
		b.cat.Units = append(b.cat.Units, catalog.Unit{Key: image.Ref, Digest: r.entry.key})
	}
}

// image is a root as the catalog has it.
func (l *layout) image(r *root) catalog.Image { return l.imageOf(r, l.reach(nil, r)) }

// reach appends to out all that a root leads to.
func (l *layout) reach(out []*node, r *root) []*node {
	l.each(func(n *node) { out = append(out, n) }, r.owns...)
	return out
}

// imageOf is image for a root that leads to these nodes.
func (l *layout) imageOf(r *root, nodes []*node) catalog.Image {
	image := catalog.Image{Product: l.repository, Version: r.version, Type: imageType,
		Fingerprint: r.entry.key, Aliases: []string{}, Paths: make([]string, 0, len(nodes))}
	image.Ref = Format{}.Ref(image.Of())
	for _, n := range nodes {
		image.Paths = append(image.Paths, l.at(n))
		image.Bytes += n.size
	}
	slices.Sort(image.Paths)
	image.Digests = make([]string, 0, min(2, len(nodes)))
	l.each(func(n *node) {
		if n.apart() {
			image.Digests = append(image.Digests, n.key)
		}
	}, r.entry)
	return image
}

// sortItems sorts items by path. Nearly all of them differ in the digits of their digests
// alone, and they are large: so the first of those are compared, as numbers, and each
// item is moved once.
func sortItems(items []catalog.Item) {
	type key struct {
		layout string // its document
		digits uint64
		at     uint32
	}
	keys := make([]key, len(items))
	for i := range items {
		p := items[i].Path
		digits := p[strings.LastIndexByte(p, '/')+1:]
		keys[i] = key{p[:len(p)-len(digits)], 0, uint32(i)}
		for n := range 8 {
			keys[i].digits = keys[i].digits<<8 | uint64(digits[n]) // a digest has more
		}
	}
	slices.SortFunc(keys, func(x, y key) int {
		if x.layout != y.layout || x.digits == y.digits {
			return strings.Compare(items[x.at].Path, items[y.at].Path)
		}
		return cmp.Compare(x.digits, y.digits)
	})
	for to := range keys { // along each cycle of the permutation
		for at := to; ; {
			from := int(keys[at].at)
			keys[at].at = uint32(at)
			if from == to || from == at {
				break
			}
			items[at], items[from] = items[from], items[at]
			at = from
		}
	}
}

// finish sorts the catalog.
func (b *builder) finish() *catalog.Catalog {
	c := b.cat
	sortItems(c.Items)
	byName := func(product, version, product2, version2 string) int {
		return cmp.Or(strings.Compare(product, product2), strings.Compare(version, version2))
	}
	slices.SortFunc(c.Images,
		func(x, y catalog.Image) int { return byName(x.Product, x.Version, y.Product, y.Version) })
	slices.SortFunc(c.Versions, func(x, y catalog.Version) int { return byName(x.Product, x.Name, y.Product, y.Name) })
	slices.SortFunc(c.Units, func(x, y catalog.Unit) int { return strings.Compare(x.Key, y.Key) })
	slices.Sort(c.Documents)
	catalog.Sort(c.Findings)
	return c
}
