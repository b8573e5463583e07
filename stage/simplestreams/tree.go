package simplestreams

import (
	"bytes"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// tree has the documents of a tree, to be rewritten. Clients can read all of
// them: a broken document is never rewritten.
type tree struct {
	src      catalog.Source
	disk     []byte  // content of the index file; nil if it does not exist
	index    []byte  // the document that changes are made to; nil for none
	entries  object  // members of the index's field "index": the streams
	relisted bool    // entries have changed
	streams  []*shop // those that clients read, ordered by their first key
}

// A shop is one catalog document, with the streams that name it.
type shop struct {
	keys   []string // of the streams in the index, sorted
	path   string   // cleaned
	disk   []byte   // content of the file; nil if it does not exist
	doc    []byte   // the document that changes are made to; nil for none
	listed []string // products that the index names

	top      object         // members of the document
	products object         // members of its field "products"
	places   map[string]int // index of each product in products
	opened   bool
	changed  bool
}

// load reads every document of a tree. A missing index counts as one without
// streams, and a missing catalog as one without products.
func load(src catalog.Source) (*tree, error) {
	t := &tree{src: src}
	doc, err := open(src, IndexPath)
	if catalog.Missing(err) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.disk, t.index = doc, doc
	faults := findings{doc: IndexPath}
	d := newDecoder(doc, faults.error)
	streams := d.index()
	if err := faults.fault(d, doc); err != nil {
		return nil, err
	}
	t.entries = split(split(doc).get("index"))
	slices.SortFunc(streams, func(a, b stream) int { return strings.Compare(a.key, b.key) })
	for _, s := range streams {
		if !s.images() {
			continue
		}
		name, fault := s.document()
		if fault != nil {
			return nil, fault
		}
		if _, err := t.add(s.key, name, s.products); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// add adds a stream, and reads its catalog if that exists.
func (t *tree) add(key, name string, listed []string) (*shop, error) {
	if s := t.at(name); s != nil {
		s.keys = append(s.keys, key)
		return s, nil
	}
	s := &shop{keys: []string{key}, path: name, listed: listed}
	doc, err := open(t.src, name)
	if err != nil && !catalog.Missing(err) {
		return nil, err
	}
	t.streams = append(t.streams, s)
	s.disk = doc
	return s, s.use(doc)
}

// use makes doc the document of the shop; nil for a document without products.
func (s *shop) use(doc []byte) error {
	s.doc, s.top, s.products = doc, nil, nil
	defer s.find()
	if doc == nil {
		return nil
	}
	faults := findings{doc: s.path}
	d := newDecoder(doc, faults.error)
	d.check = true
	s.top, s.products = d.catalog()
	if d.ended() {
		for _, m := range s.products {
			p := d.productIn(m)
			d.versions(&p, func(*version) {})
		}
	}
	return faults.fault(d, doc)
}

// at returns the shop of the catalog at this path; nil for none.
func (t *tree) at(name string) *shop {
	for _, s := range t.streams {
		if s.path == name {
			return s
		}
	}
	return nil
}

// named returns the shop of the stream with this key; nil for none.
func (t *tree) named(key string) *shop {
	for _, s := range t.streams {
		if slices.Contains(s.keys, key) {
			return s
		}
	}
	return nil
}

// selling returns the first shop that has the product; nil for none.
func (t *tree) selling(product string) *shop {
	for _, s := range t.streams {
		if _, ok := s.places[product]; ok {
			return s
		}
	}
	return nil
}

// open marks the shop as used: indexBytes corrects the product list of such a
// shop. It also creates the document of a new catalog.
func (s *shop) open() {
	s.opened = true
	if s.doc == nil && s.top == nil {
		s.top = object{}.set("content_id", quote(s.keys[0])).
			set("datatype", quote("image-downloads")).
			set("format", quote("products:1.0"))
	}
}

// product returns the bytes of a product; nil if the shop does not have it.
func (s *shop) product(name string) []byte {
	s.open()
	if i, ok := s.places[name]; ok {
		return s.products[i].raw
	}
	return nil
}

// put replaces a product, or inserts it in the order of the names.
func (s *shop) put(name string, raw []byte) {
	s.open()
	s.changed = true
	if i, ok := s.places[name]; ok {
		s.products[i].raw = raw
		return
	}
	s.products = s.products.insert(name, raw)
	s.find()
}

// drop removes products.
func (s *shop) drop(names map[string]bool) {
	s.open()
	s.changed = true
	s.products = slices.DeleteFunc(s.products, func(m member) bool { return names[m.name] })
	s.find()
}

func (s *shop) find() {
	s.places = make(map[string]int, len(s.products))
	for i, m := range s.products {
		s.places[m.name] = i
	}
}

// names returns the products of the catalog, sorted, never nil.
func (s *shop) names() []string {
	names := make([]string, 0, len(s.places))
	for name := range s.places {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// bytes returns the new content of the document; nil if there is none.
func (s *shop) bytes() []byte {
	if !s.changed {
		return s.doc
	}
	return compact(s.top.set("products", s.products.join()).join())
}

// stale reports whether the list of products in the index differs from the
// catalog. The order of the list does not matter.
func (s *shop) stale() bool {
	listed := slices.Clone(s.listed)
	slices.Sort(listed)
	return !slices.Equal(slices.Compact(listed), s.names())
}

// indexBytes returns the new content of the index. It updates stale lists of
// products, but only of the shops that were opened.
func (t *tree) indexBytes() []byte {
	top := split(t.index)
	if t.index == nil {
		top = object{}.set("index", nil).set("format", quote("index:1.0"))
	}
	changed := t.relisted
	for _, s := range t.streams {
		if !s.opened || s.doc == nil && !s.changed || !s.stale() {
			continue
		}
		changed = true
		for _, key := range s.keys {
			i := t.entries.key(key)
			if i < 0 {
				t.entries = t.entries.insert(key, s.entry())
				i = t.entries.key(key)
			}
			t.entries[i].raw = split(t.entries[i].raw).set("products", list(s.names())).join()
		}
	}
	if !changed {
		return t.index
	}
	return compact(top.set("index", t.entries.join()).join())
}

// entry returns the index entry of a new stream, in the form that
// incus-simplestreams writes.
func (s *shop) entry() []byte {
	return object{}.set("datatype", quote("image-downloads")).
		set("path", quote(s.path)).
		set("products", list(nil)).
		set("format", quote("products:1.0")).join()
}

// list encodes names as a JSON array.
func list(names []string) []byte {
	out := []byte{'['}
	for i, n := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, quote(n)...)
	}
	return append(out, ']')
}

// documents returns the changed documents: catalogs first, the index last.
func (t *tree) documents() []catalog.Document {
	var docs []catalog.Document
	write := func(name string, before, after []byte) {
		if !bytes.Equal(before, after) {
			docs = append(docs, catalog.Document{Path: name, Data: after})
		}
	}
	for _, s := range t.streams {
		write(s.path, s.disk, s.bytes())
	}
	write(IndexPath, t.disk, t.indexBytes())
	return docs
}

// versions calls visit for every version of every catalog, after the changes.
func (t *tree) versions(visit func(*version)) {
	for _, s := range t.streams {
		d := newDecoder(nil, ignore)
		for _, m := range s.products {
			p := d.productIn(m)
			d.versions(&p, visit)
		}
	}
}

// fault returns the error of a document that d has read; nil for none.
func (f *findings) fault(d *decoder, doc []byte) error {
	n := len(f.list) + f.more
	switch {
	case !d.ended():
		return syntax(f.doc, doc)
	case n == 0:
		return nil
	case n == 1:
		return broken(f.doc, f.list[0].Code, "%s", f.list[0].Message)
	}
	return broken(f.doc, f.list[0].Code, "%s (and %d more)", f.list[0].Message, n-1)
}
