package simplestreams

import (
	"bytes"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// tree is the documents of a tree on their way to be rewritten. All of them can
// be read by a client: nothing is rewritten on top of what is broken.
type tree struct {
	src      catalog.Source
	disk     []byte  // what the index's file holds; nil when it does not exist
	index    []byte  // what changes are made to; nil for nothing
	entries  object  // of the index's own index
	relisted bool    // entries have changed
	streams  []*shop // those that clients read, by the least of their keys
}

// A shop is one catalog document with the streams that name it.
type shop struct {
	keys   []string // of the index, sorted
	path   string   // cleaned
	disk   []byte   // what the file holds; nil when it does not exist
	doc    []byte   // what changes are made to; nil for nothing
	listed []string // products that the index names

	top      object         // the document's members
	products object         // and those of its products
	places   map[string]int // of the products
	opened   bool
	changed  bool
}

// load reads every document of a tree. No index is a tree without streams; a
// catalog that does not exist is one without products.
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

// add adds a stream, and reads its catalog, which may not exist.
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

// use makes doc the shop's document. nil is a document without products.
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

// at is the stream whose catalog is the document of this path, nil without one.
func (t *tree) at(name string) *shop {
	for _, s := range t.streams {
		if s.path == name {
			return s
		}
	}
	return nil
}

// named is the stream with a key, nil without one.
func (t *tree) named(key string) *shop {
	for _, s := range t.streams {
		if slices.Contains(s.keys, key) {
			return s
		}
	}
	return nil
}

// selling is the first stream that has a product, nil without one.
func (t *tree) selling(product string) *shop {
	for _, s := range t.streams {
		if _, ok := s.places[product]; ok {
			return s
		}
	}
	return nil
}

// open says that the shop is to be written to, or was asked what it has.
func (s *shop) open() {
	s.opened = true
	if s.doc == nil && s.top == nil {
		s.top = object{}.set("content_id", quote(s.keys[0])).
			set("datatype", quote("image-downloads")).
			set("format", quote("products:1.0"))
	}
}

// product is the bytes of a product, nil without it.
func (s *shop) product(name string) []byte {
	s.open()
	if i, ok := s.places[name]; ok {
		return s.products[i].raw
	}
	return nil
}

// put writes a product in the place that it has, or that its name gives it.
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

// names are the products of the catalog, sorted, never nil.
func (s *shop) names() []string {
	names := make([]string, 0, len(s.places))
	for name := range s.places {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// bytes is the document as it is to be; nil when there is nothing to write.
func (s *shop) bytes() []byte {
	if !s.changed {
		return s.doc
	}
	return compact(s.top.set("products", s.products.join()).join())
}

// stale reports whether the index has to be told what the catalog has. The
// order of its list means nothing.
func (s *shop) stale() bool {
	listed := slices.Clone(s.listed)
	slices.Sort(listed)
	return !slices.Equal(slices.Compact(listed), s.names())
}

// indexBytes is the index as it is to be. The lists of the streams that were
// taken apart are written anew where they are stale; that of no other.
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

// entry is what the index says of a new stream, as incus-simplestreams has it.
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

// documents are what has changed: every catalog, then the index.
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

// versions hands out every version of every catalog as it is to be.
func (t *tree) versions(visit func(*version)) {
	for _, s := range t.streams {
		d := newDecoder(nil, ignore)
		for _, m := range s.products {
			p := d.productIn(m)
			d.versions(&p, visit)
		}
	}
}

// fault is the error of a document that d has read.
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
