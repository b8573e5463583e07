package simplestreams

import (
	"context"
	"slices"

	"example.com/publish/stage/catalog"
)

// Without returns documents that do not name the images for which drop is true.
//
// A version that keeps an image loses the items that only dropped images need,
// deltas to those, and the combined hashes of dropped images. A version that keeps
// no image is removed as a whole. A product that keeps no version is removed from
// the catalog and the index. The stream stays, because a tree without images is
// valid too.
//
// drop is also called for placeholders: for a version without images, for a
// product without versions, and for an item that no image needs. They are removed
// if it returns true.
//
// It returns a *[DocumentError] for a document that clients cannot read.
func (Format) Without(
	ctx context.Context, src catalog.Source, drop func(catalog.Image) bool,
) ([]catalog.Document, error) {
	void := func(product string) bool { return drop(empty(product)) }
	return rewrite(ctx, src, void, func(p *product, v *version) *change { return dropImages(p, v, drop) })
}

// WithoutVersions returns documents that do not name the versions for which drop
// is true. drop is also called for a product without versions. Otherwise it is
// like Without.
func (Format) WithoutVersions(
	ctx context.Context, src catalog.Source, drop func(catalog.Name) bool,
) ([]catalog.Document, error) {
	void := func(product string) bool { return drop(catalog.Name{Group: product}) }
	return rewrite(ctx, src, void, func(p *product, v *version) *change {
		if drop(catalog.Name{Group: p.key, Version: v.key}) {
			return &change{version: v.key, whole: true}
		}
		return nil
	})
}

// change is what to remove from one version.
type change struct {
	version string
	whole   bool             // the whole version
	items   []string         // keys of items
	fields  map[string][]int // combined hashes, by the key of the item
}

// dropImages returns what to remove from a version so that it does not name any
// dropped image; nil for nothing.
func dropImages(p *product, v *version, drop func(catalog.Image) bool) *change {
	created, _ := versionTime(v.key)
	candidates := v.candidates()
	skipped := v.skipped(p.arch, candidates)
	if len(candidates) == 0 {
		if !drop(v.group(p, skipped, created)) {
			return nil
		}
		return &change{version: v.key, whole: true}
	}
	var kept, dropped []candidate
	aliases := aliasList(p)
	for _, c := range candidates {
		if drop(c.image(p, v, skipped, created, aliases)) {
			dropped = append(dropped, c)
		} else {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 {
		return &change{version: v.key, whole: true}
	}
	var spare []*item
	for i := range v.items {
		if it := &v.items[i]; !used(candidates, it) && drop(v.spare(p, it)) {
			spare = append(spare, it)
		}
	}
	if len(dropped)+len(spare) == 0 {
		return nil
	}
	needed, hashes, roots := map[*item]bool{}, map[*item]map[int]bool{}, map[string]bool{}
	for _, c := range kept {
		needed[c.meta] = true
		if c.root != nil {
			needed[c.root] = true
			roots[c.root.ftype] = true
			if hashes[c.meta] == nil {
				hashes[c.meta] = map[int]bool{}
			}
			hashes[c.meta][c.field] = true
		}
	}
	ch := &change{version: v.key, fields: map[string][]int{}}
	gone := map[*item]bool{}
	lose := func(it *item) {
		if it != nil && !needed[it] && !gone[it] {
			gone[it] = true
			ch.items = append(ch.items, it.key)
		}
	}
	for _, it := range spare {
		lose(it)
	}
	for _, c := range dropped {
		lose(c.meta)
		lose(c.root)
		if c.root == nil {
			continue
		}
		for i := range v.items {
			if it := &v.items[i]; it.ftype == c.root.ftype+".vcdiff" && !roots[c.root.ftype] {
				lose(it)
			}
		}
		for _, f := range fieldsFor(c.root.ftype) {
			if needed[c.meta] && c.meta.combined[f] != "" && !hashes[c.meta][f] {
				ch.fields[c.meta.key] = append(ch.fields[c.meta.key], f)
			}
		}
	}
	return ch
}

// used reports whether an image needs an item.
func used(candidates []candidate, it *item) bool {
	return slices.ContainsFunc(candidates, func(c candidate) bool { return c.meta == it || c.root == it })
}

// rewrite applies the changes that of returns for each version. It removes the
// products that keep no version, and those without versions for which void is
// true.
func rewrite(
	ctx context.Context, src catalog.Source, void func(product string) bool, of func(*product, *version) *change,
) ([]catalog.Document, error) {
	t, err := load(src)
	if err != nil {
		return nil, err
	}
	for _, s := range t.streams {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		emptied := map[string]bool{}
		d := newDecoder(nil, ignore)
		for _, m := range s.products {
			p := d.productIn(m)
			var changes []*change
			some := false
			d.versions(&p, func(v *version) {
				some = true
				if ch := of(&p, v); ch != nil {
					changes = append(changes, ch)
				}
			})
			switch {
			case !some && void(m.name):
				emptied[m.name] = true
			case len(changes) > 0:
				o := split(m.raw)
				versions := applied(split(o.get("versions")), changes)
				if len(versions) == 0 {
					emptied[m.name] = true
					continue
				}
				s.put(m.name, o.set("versions", versions.join()).join())
			}
		}
		if len(emptied) > 0 {
			s.drop(emptied)
		}
	}
	return t.documents(), nil
}

// applied returns the versions of a product after the changes.
func applied(versions object, changes []*change) object {
	todo := make(map[string]*change, len(changes))
	for _, ch := range changes {
		todo[ch.version] = ch
	}
	out := make(object, 0, len(versions))
	for _, m := range versions {
		ch := todo[m.name]
		if ch != nil && ch.whole {
			continue
		}
		if ch != nil {
			m.raw = ch.apply(m.raw)
		}
		out = append(out, m)
	}
	return out
}

// apply returns the bytes of a version after the change.
func (ch *change) apply(raw []byte) []byte {
	v := split(raw)
	items := split(v.get("items"))
	for key, fields := range ch.fields {
		i := items.key(key)
		o := split(items[i].raw)
		for _, f := range fields {
			o = o.remove(combinedFields[f])
		}
		items[i].raw = o.join()
	}
	for _, key := range ch.items {
		if i := items.key(key); i >= 0 {
			items = append(items[:i:i], items[i+1:]...)
		}
	}
	return v.set("items", items.join()).join()
}
