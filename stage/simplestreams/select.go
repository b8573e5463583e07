package simplestreams

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// Want says what Select takes of a tree. Functions that are nil take all.
type Want struct {
	Product func(name string) bool
	Version func(name string) bool
	// Item is called with a function that returns a field of an item: its own, else that of
	// its version, else that of its product, as text; "" for none. product_name,
	// version_name and item_name are the keys.
	Item   func(field func(name string) string) bool
	Newest int // versions of each product, by their names; 0: all
	// Signed says that the documents are clearsigned copies. Their index names the copies of
	// the catalogs; the result names the catalogs.
	Signed bool
}

// Selection is the part of a tree that was taken: a tree itself.
type Selection struct {
	Documents map[string][]byte        // the index and the catalogs, by path
	Versions  []catalog.FetchedVersion // by product and version
	Files     []catalog.Item           // what the documents name, each path once, sorted
	LeftOut   []string                 // items that were not taken though they were wanted, and why
	Offered   []string                 // all products of the index, sorted
}

// maxLeftOut limits how many items LeftOut names.
const maxLeftOut = 64

// Select takes versions from a tree, with the fields of their products, versions and items
// as they are. It reads the catalogs of only those streams of images that list a product
// which is wanted. An item without sha256 or size is left out, if no client reads it.
//
// The error is a *[DocumentError] for a document that clients cannot read, and for the
// first finding of severity error that Read has of the result.
func Select(ctx context.Context, src catalog.Source, want Want) (*Selection, error) {
	c := &chooser{Want: want, src: src, out: &Selection{Documents: map[string][]byte{}}, files: map[string]catalog.Item{}}
	if err := c.index(); err != nil {
		return nil, err
	}
	for _, s := range c.tree.streams {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.shop(s); err != nil {
			return nil, err
		}
	}
	if err := c.documents(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(c.out.Versions, func(a, b catalog.FetchedVersion) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(a.Version, b.Version))
	})
	for _, p := range slices.Sorted(maps.Keys(c.files)) {
		c.out.Files = append(c.out.Files, c.files[p])
	}
	if c.more > 0 {
		c.out.LeftOut = append(c.out.LeftOut, fmt.Sprintf("%d more items", c.more))
	}
	return c.out, nil
}

// chooser is one call of Select.
type chooser struct {
	Want
	src   catalog.Source
	tree  tree            // the shops that are read
	named map[string]bool // documents, which no item may name
	out   *Selection
	files map[string]catalog.Item // by path
	more  int                     // items left out beyond maxLeftOut
}

func (c *chooser) wants(product string) bool { return c.Product == nil || c.Product(product) }

// index reads the index, and the catalogs that are needed.
func (c *chooser) index() error {
	doc, err := open(c.src, IndexPath)
	if catalog.Missing(err) {
		return broken(IndexPath, "no-index", "does not exist: this is no simplestreams server")
	}
	if err != nil {
		return err
	}
	faults := findings{doc: IndexPath}
	d := newDecoder(doc, faults.error)
	streams := d.index()
	if err := faults.fault(d, doc); err != nil {
		return err
	}
	c.tree = tree{src: c.src, index: doc, entries: split(split(doc).get("index"))}
	slices.SortFunc(streams, func(a, b stream) int { return strings.Compare(a.key, b.key) })
	if c.Signed {
		for i := range streams {
			streams[i].path = plainName(streams[i].path)
		}
	}
	c.named = documents(streams)
	offered := map[string]bool{}
	for _, s := range streams {
		if !s.images() {
			continue
		}
		for _, p := range s.products {
			offered[p] = true
		}
		if !slices.ContainsFunc(s.products, c.wants) {
			continue
		}
		name, fault := s.document()
		if fault != nil {
			return fault
		}
		own, err := c.tree.add(s.key, name, s.products)
		if err != nil {
			return err
		}
		if own.doc == nil {
			return broken(name, "missing", "does not exist, and the index names it")
		}
		if len(own.keys) > 1 {
			own.listed = append(slices.Clone(own.listed), s.products...)
		}
	}
	c.out.Offered = slices.Sorted(maps.Keys(offered))
	return nil
}

// plainName is the name of the document that a clearsigned copy is of.
func plainName(path string) string {
	if stem, ok := strings.CutSuffix(path, ".sjson"); ok {
		return stem + ".json"
	}
	return path
}

// shop takes from one catalog what is wanted.
func (c *chooser) shop(s *shop) error {
	listed := make(map[string]bool, len(s.listed))
	for _, name := range s.listed {
		listed[name] = true
	}
	d := newDecoder(nil, ignore)
	d.documents = c.named
	var taken object
	for _, m := range s.products {
		if !listed[m.name] || !c.wants(m.name) { // clients do not see what the index does not list
			continue
		}
		p := d.productIn(m)
		raw, err := c.product(d, &p, m.raw, s.path)
		if err != nil {
			return err
		}
		if raw != nil {
			taken = append(taken, member{name: m.name, quoted: m.quoted, raw: raw})
		}
	}
	s.products = taken
	s.find()
	return nil
}

// choice is a version that is wanted.
type choice struct {
	catalog.FetchedVersion
	files []catalog.Item
	drop  map[string]bool // items that are not taken
	notes []string        // why not, of those that were wanted
}

// product returns a product with the versions that are taken; nil for none.
func (c *chooser) product(d *decoder, p *product, raw []byte, doc string) (_ []byte, err error) {
	top := split(raw)
	versions := map[string][]byte{} // only for filters
	if c.Item != nil {
		for _, m := range split(top.get("versions")) {
			versions[m.name] = m.raw
		}
	}
	var list []choice
	d.versions(p, func(v *version) {
		if err != nil || c.Version != nil && !c.Version(v.key) {
			return
		}
		var fields object
		if raw := versions[v.key]; raw != nil {
			fields = split(raw)
		}
		var ch choice
		if ch, err = c.version(p.key, v, doc, top, fields); err == nil && len(ch.Files) > 0 {
			list = append(list, ch)
		}
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	// The greatest name is the newest; names without a date are none to clients.
	slices.SortFunc(list, func(a, b choice) int {
		if x, y := dated(a.Version), dated(b.Version); x != y {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return strings.Compare(b.Version, a.Version)
	})
	if c.Newest > 0 && len(list) > c.Newest {
		list = list[:c.Newest]
	}
	chosen := make(map[string]choice, len(list))
	for _, ch := range list {
		chosen[ch.Version] = ch
		c.take(ch)
	}
	var out object
	for _, m := range split(top.get("versions")) {
		ch, ok := chosen[m.name]
		if !ok {
			continue
		}
		if len(ch.drop) > 0 {
			v := split(m.raw)
			items := slices.DeleteFunc(split(v.get("items")), func(i member) bool { return ch.drop[i.name] })
			m.raw = v.set("items", items.join()).join()
		}
		out = append(out, m)
	}
	return top.set("versions", out.join()).join(), nil
}

// take adds a version to the result.
func (c *chooser) take(ch choice) {
	c.out.Versions = append(c.out.Versions, ch.FetchedVersion)
	for _, f := range ch.files {
		c.files[f.Path] = f
	}
	for _, note := range ch.notes {
		if len(c.out.LeftOut) == maxLeftOut {
			c.more++
			continue
		}
		c.out.LeftOut = append(c.out.LeftOut, note)
	}
}

// version chooses among the items of a version. top and fields are the members of its
// product and of itself; fields only for Item.
func (c *chooser) version(product string, v *version, doc string, top, fields object) (choice, error) {
	ch := choice{FetchedVersion: catalog.FetchedVersion{Product: product, Version: v.key, Files: map[string]string{}},
		drop: map[string]bool{}}
	candidates := v.candidates()
	for i := range v.items {
		it := &v.items[i]
		if c.Item != nil && !c.Item(fieldOf(product, v.key, it, top, fields)) {
			ch.drop[it.key] = true
			continue
		}
		if it.path == "" {
			continue // there is nothing to fetch
		}
		where := place(product, v.key, it.key)
		needed := used(candidates, it)
		lacks := ""
		switch {
		case it.sha256 == "":
			lacks = "sha256"
		case it.size < 0:
			lacks = "size"
		}
		switch {
		case lacks != "" && needed:
			return ch, broken(doc, "no-hash", "%s: has no %s: nothing shows whether the file is whole", where, lacks)
		case lacks != "":
			ch.drop[it.key] = true
			ch.notes = append(ch.notes, fmt.Sprintf("%s: has no %s, and no client reads it", where, lacks))
			continue
		case strings.HasPrefix(it.file, "streams/"):
			return ch, broken(doc, "unsafe-path", "%s: path %q is among the documents", where, it.path)
		}
		ch.Files[it.key] = strings.Clone(it.sha256)
		if it.file != "" { // else Read refuses it
			ch.files = append(ch.files, catalog.Item{Path: strings.Clone(it.file), Size: it.size, SHA256: ch.Files[it.key],
				Product: product, Version: v.key, Name: it.key, Index: doc})
		}
	}
	return ch, nil
}

// fieldOf returns a function that finds a field of an item: see Want.Item.
func fieldOf(product, version string, it *item, top, fields object) func(string) string {
	var own object
	return func(name string) string {
		switch name {
		case "product_name":
			return product
		case "version_name":
			return version
		case "item_name":
			return it.key
		case "versions", "items":
			return ""
		}
		if own == nil {
			own = split(it.raw)
		}
		for _, o := range []object{own, fields, top} {
			if i := o.key(name); i >= 0 {
				return plainText(o[i].raw)
			}
		}
		return ""
	}
}

// plainText is a value as text: strings as they are, other values as JSON; "" for null.
func plainText(raw []byte) string {
	switch {
	case len(raw) > 1 && raw[0] == '"':
		return text(raw)
	case string(raw) == "null":
		return ""
	}
	return string(raw)
}

// documents makes the documents of what was taken, and reads them as clients do.
func (c *chooser) documents(ctx context.Context) error {
	entries := object{}
	for _, m := range c.tree.entries {
		s := c.tree.named(m.name)
		if s == nil || len(s.products) == 0 {
			continue
		}
		entry := split(m.raw).set("products", list(s.names()))
		if c.Signed {
			entry = entry.set("path", quote(s.path))
		}
		m.raw = entry.join()
		entries = append(entries, m)
		c.out.Documents[s.path] = compact(s.top.set("products", s.products.join()).join())
	}
	c.out.Documents[IndexPath] = compact(split(c.tree.index).set("index", entries.join()).join())
	if len(entries) == 0 {
		return nil // nothing was wanted: that is no fault of the tree
	}
	cat, err := read(ctx, func(name string) ([]byte, error) {
		if doc, ok := c.out.Documents[name]; ok {
			return doc, nil
		}
		return nil, broken(name, "missing", "does not exist")
	})
	if err != nil {
		return err
	}
	var first *catalog.Finding
	n := 0
	for i, f := range cat.Findings {
		if f.Severity != catalog.Error {
			continue
		}
		if n++; first == nil {
			first = &cat.Findings[i]
		}
	}
	switch {
	case n == 0:
		return nil
	case n == 1:
		return broken(cmp.Or(first.Path, IndexPath), first.Code, "%s", first.Message)
	}
	return broken(cmp.Or(first.Path, IndexPath), first.Code, "%s (and %d more)", first.Message, n-1)
}
