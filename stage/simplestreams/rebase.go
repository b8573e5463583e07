package simplestreams

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// Rebase implements [catalog.Rebaser]. The result begins as theirs, and our changes are
// made to it: so order, white space and unknown fields are theirs where we changed
// nothing.
func (Format) Rebase(ctx context.Context, base, ours, theirs catalog.Source) (*catalog.Rebased, error) {
	r := &rebase{out: &catalog.Rebased{}, ours: ours, other: map[string][]byte{}, gone: map[*shop]map[string]bool{}}
	for _, side := range []struct {
		name string
		src  catalog.Source
		to   **tree
	}{{"the production that staging began from: ", base, &r.b}, {"", ours, &r.o}, {"production: ", theirs, &r.t}} {
		t, err := load(side.src)
		if err != nil {
			return nil, fmt.Errorf("%s%w", side.name, err)
		}
		for _, s := range t.streams {
			if s.doc == nil && len(s.listed) > 0 { // its products are not removed: they are lost
				return nil, fmt.Errorf("%s%w", side.name, broken(s.path, "missing", "does not exist, and the index names it"))
			}
		}
		*side.to = t
	}
	if r.o.index == nil && r.b.index != nil {
		return nil, broken(IndexPath, "no-index", "does not exist, and production has one")
	}
	if err := r.streams(); err != nil {
		return nil, err
	}
	if err := r.products(ctx); err != nil {
		return nil, err
	}
	if err := r.opaque(base, theirs); err != nil {
		return nil, err
	}
	r.strip()
	catalog.SortClashes(r.out.Conflicts)
	catalog.Sort(r.out.Findings)
	if len(r.out.Conflicts) > 0 {
		return r.out, nil
	}
	return r.out, r.documents()
}

// rebase unites three trees.
type rebase struct {
	b, o, t *tree // base, ours, theirs; t becomes the result
	ours    catalog.Source
	out     *catalog.Rebased

	other   map[string][]byte         // other documents of the result; nil: none there
	gone    map[*shop]map[string]bool // products to be dropped
	leaving []*shop                   // shops of streams that we removed
}

// alike reports whether two values are the same; nil is the lack of one.
func alike(a, b []byte) bool { return (a == nil) == (b == nil) && (bytes.Equal(a, b) || equal(a, b)) }

// fields does to t what leads from b to o, for each member except those in skip. what is
// the thing that has them, for people.
func (r *rebase) fields(doc, what string, b, o, t object, skip ...string) (object, bool) {
	t, changed := slices.Clone(t), false
	for _, name := range allNames(b, o) {
		if slices.ContainsFunc(skip, func(s string) bool { return strings.EqualFold(s, name) }) {
			continue
		}
		was, own, their := b.exact(name), o.exact(name), t.exact(name)
		switch catalog.Choose(alike(own, was), alike(their, was), alike(own, their)) {
		case catalog.Ours:
			changed = true
			switch i := t.key(name); {
			case own == nil:
				t = append(t[:i:i], t[i+1:]...)
			case i >= 0:
				t[i].raw = own
			default:
				t = append(t, o[o.key(name)])
			}
		case catalog.Neither:
			if name != "updated" { // every writer sets it
				r.out.Findings = append(r.out.Findings, catalog.Finding{Severity: catalog.Warning, Code: "both-changed",
					Path: doc, Message: fmt.Sprintf("%s of %s was changed here and in production: production's stays",
						show(name), what)})
			}
		}
	}
	return t, changed
}

// exact returns the value of the member with exactly this name; nil for none.
func (o object) exact(name string) []byte {
	if i := o.key(name); i >= 0 {
		return o[i].raw
	}
	return nil
}

// allNames returns the names of the members of objects, in their order, each once.
func allNames(list ...object) (names []string) {
	seen := map[string]bool{}
	for _, o := range list {
		for _, m := range o {
			if !seen[m.name] {
				seen[m.name] = true
				names = append(names, m.name)
			}
		}
	}
	return names
}

// streams unites the index without its lists of products, and the fields of catalogs
// beside the products.
func (r *rebase) streams() error {
	if r.t.index == nil && r.o.index != nil {
		r.t.index, r.t.relisted = []byte("{}"), true
	}
	if r.o.index == nil && r.b.index == nil {
		return nil // nothing is ours
	}
	top, changed := r.fields(IndexPath, "the index", split(r.b.index), split(r.o.index), split(r.t.index), "index")
	if changed {
		r.t.index = top.join()
	}
	for _, key := range allNames(r.b.entries, r.o.entries) {
		was, own, their := r.b.entries.exact(key), r.o.entries.exact(key), r.t.entries.exact(key)
		switch {
		case own == nil && their != nil:
			if s := r.t.named(key); s != nil { // its products decide
				r.leaving = append(r.leaving, s)
			} else if alike(was, their) {
				r.t.entries = r.t.entries.remove(key)
				r.t.relisted = true
			}
		case own != nil && their == nil && was == nil:
			if err := r.open(key, own); err != nil {
				return err
			}
		case own != nil && their != nil:
			o, t := split(own), split(their)
			united, changed := r.fields(IndexPath, "the stream "+show(key), split(was), o, t, "products")
			if !changed {
				continue
			}
			if err := r.move(key, united); err != nil {
				return err
			}
			r.t.entries[r.t.entries.key(key)].raw, r.t.relisted = united.join(), true
		}
	}
	for _, s := range r.t.streams {
		o, b := r.o.at(s.path), r.b.at(s.path)
		if o == nil {
			continue
		}
		var was object
		if b != nil {
			was = b.top
		}
		if top, changed := r.fields(s.path, "the catalog", was, o.top, s.top, "products"); changed {
			s.open()
			s.top, s.changed = top, true
		}
	}
	return nil
}

// open adds a stream that is new here.
func (r *rebase) open(key string, raw []byte) error {
	r.t.entries, r.t.relisted = r.t.entries.insert(key, raw), true
	own := r.o.named(key)
	if own == nil {
		return nil // not of images: see opaque
	}
	s := r.t.at(own.path)
	if s != nil {
		s.keys = append(s.keys, key)
		return nil
	}
	s, err := r.t.add(key, own.path, nil)
	if err != nil {
		return err
	}
	if s.doc == nil && own.doc != nil {
		s.top, s.changed = slices.Clone(own.top).set("products", []byte("{}")), true
	}
	s.opened = true
	return nil
}

// move gives the catalog of a stream the path that its new entry has.
func (r *rebase) move(key string, entry object) error {
	s := r.t.named(key)
	if s == nil {
		return nil
	}
	var to stream
	to.key, to.path = key, text(entry.value("path"))
	path, fault := to.document()
	if fault != nil {
		return fault
	}
	if path != s.path && r.t.at(path) == nil {
		s.path = path
	}
	return nil
}

// held is a product, and the shop that has it.
type held struct {
	shop *shop
	raw  []byte
}

// held returns the products of a tree; the first shop that has one counts.
func (t *tree) held() map[string]held {
	out := map[string]held{}
	for _, s := range t.streams {
		for _, m := range s.products {
			if _, ok := out[m.name]; !ok {
				out[m.name] = held{s, m.raw}
			}
		}
	}
	return out
}

func (r *rebase) products(ctx context.Context) error {
	b, o, t := r.b.held(), r.o.held(), r.t.held()
	names := maps.Clone(o)
	for name := range b { // what is theirs alone stays as it is
		names[name] = held{}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		was, own, their := b[name].raw, o[name].raw, t[name].raw
		result := their
		switch catalog.Choose(alike(own, was), alike(their, was), alike(own, their)) {
		case catalog.Theirs:
			continue
		case catalog.Ours:
			result = own
		default:
			result = r.product(name, was, own, their)
		}
		switch s := t[name].shop; {
		case result == nil && s != nil:
			if r.gone[s] == nil {
				r.gone[s] = map[string]bool{}
			}
			r.gone[s][name] = true
		case result == nil:
		case s != nil:
			s.put(name, result)
		default:
			s, err := r.shopFor(o[name].shop)
			if err != nil {
				return err
			}
			s.put(name, result)
		}
	}
	return nil
}

// shopFor returns the shop of the result for a product of one of ours: theirs may have
// removed its stream meanwhile.
func (r *rebase) shopFor(own *shop) (*shop, error) {
	if s := r.t.at(own.path); s != nil {
		return s, nil
	}
	for _, key := range own.keys {
		if s := r.t.named(key); s != nil {
			return s, nil
		}
	}
	key := own.keys[0]
	if r.t.entries.key(key) >= 0 {
		return nil, broken(IndexPath, "name-collision",
			"the stream %s has images here, and is another kind of stream in production", show(key))
	}
	return r.t.at(own.path), r.openAgain(key)
}

func (r *rebase) openAgain(key string) error { return r.open(key, r.o.entries.exact(key)) }

// product unites a product that both sides changed; nil for one that goes.
func (r *rebase) product(name string, was, own, their []byte) []byte {
	b, o, t := split(was), split(own), split(their)
	bv, ov, tv := split(b.get("versions")), split(o.get("versions")), split(t.get("versions"))
	united := slices.Clone(tv)
	for _, version := range allNames(bv, ov) {
		was, own, their := bv.exact(version), ov.exact(version), tv.exact(version)
		result, ok := r.version(name, version, was, own, their)
		if !ok {
			r.out.Conflicts = append(r.out.Conflicts, catalog.Clash{
				Ref:  Format{}.Ref(catalog.Name{Group: name, Version: version}),
				Here: catalog.DeedOf(was != nil, own != nil), There: catalog.DeedOf(was != nil, their != nil)})
			continue
		}
		switch i := united.key(version); {
		case result == nil && i >= 0:
			united = append(united[:i:i], united[i+1:]...)
		case result == nil:
		case i >= 0:
			united[i].raw = result
		default:
			united = united.insert(version, result)
		}
	}
	switch {
	case len(united) > 0 && own == nil:
		return t.set("versions", united.join()).join()
	case len(united) > 0 && their == nil:
		return o.set("versions", united.join()).join()
	case len(united) == 0 && (own == nil || their == nil || len(ov)+len(tv)+len(bv) > 0):
		return nil // a product without versions goes with its last one
	}
	top, _ := r.fields(r.t.selling(name).path, "the product "+show(name), b, o, t, "versions")
	return top.set("versions", united.join()).join()
}

// version unites a version; nil for one that goes. ok is false for a conflict.
func (r *rebase) version(product, name string, was, own, their []byte) (result []byte, ok bool) {
	switch catalog.Choose(alike(own, was), alike(their, was), alike(own, their)) {
	case catalog.Theirs:
		return their, true
	case catalog.Ours:
		return own, true
	}
	if own == nil || their == nil || contentOf(name, own) != contentOf(name, their) {
		return nil, false
	}
	// The same images, and other words about them.
	top, _ := r.fields(r.t.selling(product).path, "the version "+show(product+"/"+name), split(was), split(own),
		split(their))
	return top.join(), true
}

// contentOf tells apart versions that clients see, except by words: the files of its
// items and their combined hashes.
func contentOf(name string, raw []byte) string {
	var v version
	newDecoder(raw, ignore).version(name, &v)
	list := make([]string, len(v.items))
	for i := range v.items {
		it := &v.items[i]
		list[i] = fmt.Sprintf("%q %q %q %d %q %q", it.ftype, it.identity(), it.file, it.size, it.combined, it.deltaBase)
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// strip drops the products that go, and the streams that we removed if nothing is left
// in them.
func (r *rebase) strip() {
	for s, names := range r.gone {
		s.drop(names)
	}
	for _, s := range r.leaving {
		if len(s.products) > 0 {
			continue
		}
		for _, key := range s.keys {
			if r.o.entries.key(key) < 0 && r.t.entries.key(key) >= 0 {
				r.t.entries, r.t.relisted = r.t.entries.cut(key), true
			}
		}
		if !slices.ContainsFunc(s.keys, func(key string) bool { return r.t.entries.key(key) >= 0 }) {
			r.t.streams = slices.DeleteFunc(r.t.streams, func(other *shop) bool { return other == s })
		}
	}
}

// cut returns the object without the member of exactly this name.
func (o object) cut(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.name == name })
}

// opaque unites the documents of streams that are not of images: each as a whole.
func (r *rebase) opaque(base, theirs catalog.Source) error {
	sides := make([]map[string][]byte, 3)
	for i, side := range []struct {
		src catalog.Source
		t   *tree
	}{{base, r.b}, {r.ours, r.o}, {theirs, r.t}} {
		names, err := Format{}.Documents(side.src)
		if err != nil {
			return err
		}
		sides[i] = map[string][]byte{}
		for _, name := range names {
			if name == IndexPath || r.b.at(name) != nil || r.o.at(name) != nil || r.t.at(name) != nil {
				continue
			}
			doc, err := open(side.src, name)
			if err != nil && !catalog.Missing(err) {
				return err
			}
			if sides[i][name] = doc; doc == nil {
				delete(sides[i], name)
			}
		}
	}
	all := map[string]bool{}
	for _, side := range sides {
		for name := range side {
			all[name] = true
		}
	}
	for name := range all {
		was, own, their := sides[0][name], sides[1][name], sides[2][name]
		same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
		switch catalog.Choose(same(own, was), same(their, was), same(own, their)) {
		case catalog.Theirs:
			r.other[name] = their
		case catalog.Ours:
			r.other[name] = own
		default:
			r.out.Conflicts = append(r.out.Conflicts, catalog.Clash{Ref: name,
				Here: catalog.DeedOf(was != nil, own != nil), There: catalog.DeedOf(was != nil, their != nil)})
		}
	}
	return nil
}

// documents adds the documents that differ from ours: what the index names before the
// index, and what it does not name any more after it.
func (r *rebase) documents() error {
	had, err := Format{}.Documents(r.ours)
	if err != nil {
		return err
	}
	result := map[string]bool{IndexPath: true}
	write := func(name string, data []byte) error {
		if data == nil {
			return nil
		}
		result[name] = true
		own, err := open(r.ours, name)
		if err != nil && !catalog.Missing(err) {
			return err
		}
		if own == nil || !bytes.Equal(own, data) {
			r.out.Documents = append(r.out.Documents, catalog.Document{Path: name, Data: data})
		}
		return nil
	}
	index := r.t.indexBytes()
	for _, s := range r.t.streams {
		if err := write(s.path, s.bytes()); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.other)) {
		if err := write(name, r.other[name]); err != nil {
			return err
		}
	}
	if err := write(IndexPath, index); err != nil {
		return err
	}
	for _, name := range had {
		if result[name] {
			continue
		}
		if _, err := open(r.ours, name); err == nil {
			r.out.Documents = append(r.out.Documents, catalog.Document{Path: name})
		}
	}
	return nil
}
