package simplestreams

import (
	"context"
	"slices"

	"example.com/publish/stage/catalog"
)

// Merged is the result of Merge.
type Merged struct {
	Docs     []catalog.Document // the catalogs first, the index last
	Replaced []string           // paths that dst named before and that no item names now; sorted
	Findings []catalog.Finding  // new findings of the united tree, which dst did not have
	United   []string           // documents of src that clients read images from
}

// Merge returns an Edit that calls the function Merge for the tree that it gets.
func (Format) Merge(_ context.Context, theirs catalog.Source) (catalog.Edit, error) {
	return func(ctx context.Context, tree catalog.Source) (*catalog.Change, error) {
		m, err := Merge(ctx, tree, theirs)
		if err != nil {
			return nil, err
		}
		return &catalog.Change{Documents: m.Docs, Replaced: m.Replaced, Findings: m.Findings, United: m.United}, nil
	}, nil
}

// Merge returns documents for dst that name, in addition, all that src names.
//
// Two streams are the same if they have the same key in the index, or the same
// catalog path. A product that dst has in another stream stays there. Versions of
// both trees are united. If both have the same product, version or file, fields of
// src win, and fields that only dst has stay. If both have the same kind of image
// in a version, with other content, the image of src replaces that of dst, as in
// AddImage. A catalog that dst does not have is copied as it is.
//
// It returns a *[DocumentError] for a document of dst or src that clients cannot
// read. Its Code is no-index if src has no index.
func Merge(ctx context.Context, dst, src catalog.Source) (*Merged, error) {
	from, err := load(src)
	if err != nil {
		return nil, err
	}
	if from.index == nil {
		return nil, broken(IndexPath, "no-index", "does not exist: this is no simplestreams tree")
	}
	to, err := load(dst)
	if err != nil {
		return nil, err
	}
	before := to.paths()
	for _, s := range from.streams {
		if s.doc == nil {
			if len(s.listed) > 0 {
				return nil, broken(s.path, "missing", "does not exist, and the index names it")
			}
			continue
		}
		if err := to.receive(s, from); err != nil {
			return nil, err
		}
	}
	to.takeIndex(from)
	m, err := to.merged(ctx, before, dst)
	if err == nil {
		m.United = append(m.United, IndexPath)
		for _, s := range from.streams {
			m.United = append(m.United, s.path)
		}
	}
	return m, err
}

// paths returns all paths that items name.
func (t *tree) paths() map[string]bool {
	paths := map[string]bool{}
	t.versions(func(v *version) {
		for i := range v.items {
			if path := v.items[i].file; path != "" {
				paths[path] = true
			}
		}
	})
	return paths
}

// receive unites a stream of another tree with the same stream of t.
func (t *tree) receive(s *shop, from *tree) error {
	own, err := t.streamFor(s)
	if err != nil {
		return err
	}
	own.open()
	if own.doc == nil && !slices.ContainsFunc(s.names(), func(name string) bool { return t.selling(name) != nil }) {
		return own.use(s.doc)
	}
	own.adopt(s.top)
	for _, p := range s.products {
		shop := own
		if other := t.selling(p.name); other != nil && own.product(p.name) == nil {
			shop = other
		}
		raw := shop.product(p.name)
		if raw == nil {
			shop.put(p.name, p.raw)
			continue
		}
		if united, changed := uniteProduct(raw, p.raw); changed {
			shop.put(p.name, united)
		}
	}
	return nil
}

// adopt adds the fields of another catalog that this one lacks, except the
// products.
func (s *shop) adopt(top object) {
	for _, m := range top {
		i := s.top.key(m.name)
		if f := match(catalogFields, m.quoted); f >= 0 {
			i = s.top.field(catalogFields[f])
			if catalogFields[f] == "products" {
				continue
			}
		}
		if i < 0 {
			s.top, s.changed = append(s.top, m), true
		}
	}
}

// streamFor returns the shop that receives a stream of another tree: the one with
// the same key, else with the same catalog path, else a new one.
func (t *tree) streamFor(s *shop) (*shop, error) {
	for _, key := range s.keys {
		if own := t.named(key); own != nil {
			return own, nil
		}
	}
	key := s.keys[0]
	if t.entries.key(key) >= 0 {
		return nil, broken(IndexPath, "name-collision",
			"the stream %s has images there, and is another kind of stream here", show(key))
	}
	if own := t.at(s.path); own != nil {
		return own, nil
	}
	own, err := t.add(key, s.path, s.listed)
	if err == nil {
		own.keys = slices.Clone(s.keys)
	}
	return own, err
}

// uniteProduct returns the bytes of a product, united with another one.
func uniteProduct(raw, over []byte) (united []byte, changed bool) {
	p, theirs := split(raw), split(over)
	p, changed = overlay(p, theirs, productFields, "versions")
	versions := split(p.get("versions"))
	places := make(map[string]int, len(versions))
	for i, m := range versions {
		places[m.name] = i
	}
	var more object
	for _, m := range split(theirs.get("versions")) {
		i, ok := places[m.name]
		if !ok {
			more = append(more, m)
			continue
		}
		if equal(versions[i].raw, m.raw) {
			continue
		}
		if v, c := unite(m.name, versions[i].raw, m.raw); c {
			versions[i].raw, changed = v, true
		}
	}
	for _, m := range more {
		versions, changed = versions.insert(m.name, m.raw), true
	}
	if !changed {
		return raw, false
	}
	return p.set("versions", versions.join()).join(), true
}

// unite returns the bytes of a version, united with another one.
func unite(name string, raw, over []byte) (united []byte, changed bool) {
	v, beside := overlay(split(raw), split(over), versionFields, "items")
	raw = v.join()
	var to, from version
	newDecoder(raw, ignore).version(name, &to)
	newDecoder(over, ignore).version(name, &from)
	united, _, changed = uniteVersion(raw, &from, &to, false)
	return united, beside || changed
}

// takeIndex copies the entries of new streams from the other index. If t had no
// index, it also copies the other fields of that index.
func (t *tree) takeIndex(from *tree) {
	first := t.index == nil
	if first {
		t.index = from.index
	}
	for _, m := range from.entries {
		switch own := t.named(m.name); {
		case own == nil || own.bytes() == nil: // it has no images, or they went into another stream
			t.relisted = t.relisted || first
		case t.entries.key(m.name) < 0:
			t.entries = t.entries.insert(m.name, m.raw)
			t.relisted = t.relisted || !first
		}
	}
}

// merged returns the result, after all streams were received.
func (t *tree) merged(ctx context.Context, before map[string]bool, dst catalog.Source) (*Merged, error) {
	docs := t.documents()
	m := &Merged{Docs: docs, Replaced: t.unnamed(before)}
	ours, err := Format{}.Read(ctx, dst)
	if err != nil {
		return nil, err
	}
	united, err := read(ctx, func(name string) ([]byte, error) {
		for _, d := range docs {
			if d.Path == name {
				return d.Data, nil
			}
		}
		return open(dst, name)
	})
	if err != nil {
		return nil, err
	}
	had := make(map[catalog.Finding]bool, len(ours.Findings))
	for _, f := range ours.Findings {
		had[f] = true
	}
	for _, f := range united.Findings {
		if !had[f] {
			m.Findings = append(m.Findings, f)
		}
	}
	return m, nil
}
