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

// Read reads the index.json of every layout, and all manifests that they lead to.
func (f Format) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	b := &builder{cat: &catalog.Catalog{Listed: map[string][]catalog.Naming{}}}
	err := repositories(src, func(dir string) error {
		l, err := readLayout(ctx, src, dir, b.note, reading{sparse: f.Sparse})
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
			switch n.digest.Algorithm {
			case catalog.SHA256:
				item.SHA256 = n.digest.Hex
			case catalog.SHA512:
				item.SHA512 = n.digest.Hex
			}
			b.cat.Items = append(b.cat.Items, item)
		}
		b.cat.Images = append(b.cat.Images, image)
		version := catalog.Version{Product: l.repository, Name: r.version, Rank: r.place}
		if r.lost {
			version.Exempt = "it refers to an image that is not here"
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
	l.each(func(n *node) {
		if index, manifest := leads(n.mediaType); index || manifest || n.config {
			image.Digests = append(image.Digests, n.key)
		}
	}, r.entry)
	return image
}

// finish sorts the catalog.
func (b *builder) finish() *catalog.Catalog {
	c := b.cat
	slices.SortFunc(c.Items, func(x, y catalog.Item) int { return strings.Compare(x.Path, y.Path) })
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
