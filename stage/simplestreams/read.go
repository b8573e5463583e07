package simplestreams

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"example.com/publish/stage/catalog"
)

// Read reads the index and every catalog that a client would read. It reports
// every finding, not only the first one that would stop a client, and continues
// after a bad document with the others. If the same warning applies to several
// versions or items of a product, it reports the first one and the number of the
// others. Findings of severity error:
//
//	no-index        there is no index
//	missing         a catalog that the index names does not exist
//	through-link    a document is reached through a symbolic link
//	not-a-file      a document is a directory, a device, a socket
//	too-large       a document has more than 128 MiB, 8 million values, 699,050 objects, or 4,096 items in a version
//	bad-json        a document is empty, cut, or has something behind its end
//	bad-type        a value's type makes clients refuse the whole document
//	duplicate-key   an object has one name twice
//	unsafe-path     a path is absolute, leads out of the tree, or names an index
//	path-conflict   one path is named with two hashes or sizes
//	index-mismatch  index and catalog name different products
//	bad-hash        a hash is not lower-case hex of its length
//	bad-size        a size is negative
//	no-hash         an image's file has no sha256 (a warning for other files)
//	no-path         a root file has no path (a warning for other files)
//	more-findings   some findings are not shown (a warning if those are only warnings)
//
// and of severity warning:
//
//	version-name         clients skip the version
//	version-order        names sort differently as text and as numbers
//	unknown-architecture clients skip the product
//	no-fingerprint       clients skip a version without an image, or a
//	                     metadata item, a root or a unified item
//	alias-shared         two products claim an alias; clients see one of them
//	bad-alias            an alias is empty or has white space at an end
//	fingerprint-shared   clients refuse a fingerprint that is there twice
//	mixed-version-names  the names of a product have different styles, which do
//	                     not sort by time
//	name-collision       clients keep two documents under one name
//	encoded-path         a percent sign, which clients decode
//	delta                clients cannot apply deltas to virtual machines
//	combined-type        clients know no such type of a unified image
func (Format) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	return read(ctx, func(name string) ([]byte, error) { return open(src, name) })
}

// read is like Read, for any function that returns documents by their paths.
func read(ctx context.Context, open func(name string) ([]byte, error)) (*catalog.Catalog, error) {
	b := &builder{ctx: ctx, open: open, cat: &catalog.Catalog{}, claims: map[claim]string{}}
	b.doc = IndexPath
	if err := b.read(); err != nil {
		return nil, err
	}
	return b.finish(), nil
}

// builder collects the catalog of a tree.
type builder struct {
	findings // about the index, and about the tree
	ctx      context.Context
	open     func(name string) ([]byte, error)
	cat      *catalog.Catalog
	parts    []*part          // of all documents
	claims   map[claim]string // the first product that has an alias
}

// claim is an alias for a type and an architecture. Only one product should have
// it.
type claim struct{ alias, imageType, arch string }

// maxFindings limits the number of findings of a tree, to save memory.
const maxFindings = 20_000

// findings collects the findings about a document.
type findings struct {
	doc   string
	list  []catalog.Finding
	more  int  // findings beyond maxFindings
	worse bool // one of those is an error
}

func (f *findings) add(x catalog.Finding) {
	if len(f.list) == maxFindings {
		f.more++
		f.worse = f.worse || x.Severity == catalog.Error
		return
	}
	f.list = append(f.list, x)
}

// take adds the findings of o.
func (f *findings) take(o *findings) {
	for _, x := range o.list {
		f.add(x)
	}
	f.more += o.more
	f.worse = f.worse || o.worse
}

// refuse reports a document that clients cannot read.
func (f *findings) refuse(e *DocumentError) { f.report(catalog.Error, e.Code, e.Path, "%s", e.Fact) }

func (f *findings) report(severity catalog.Severity, code, path, format string, args ...any) {
	f.add(catalog.Finding{Severity: severity, Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (f *findings) error(code, format string, args ...any) {
	f.report(catalog.Error, code, f.doc, format, args...)
}

func (f *findings) warn(code, format string, args ...any) {
	f.report(catalog.Warning, code, f.doc, format, args...)
}

// sorted returns the findings, and one about the number beyond maxFindings.
func (f *findings) sorted() []catalog.Finding {
	if f.more > 0 {
		severity := catalog.Warning
		if f.worse {
			severity = catalog.Error
		}
		f.list = append(f.list, catalog.Finding{Severity: severity, Code: "more-findings", Path: IndexPath,
			Message: fmt.Sprintf("%d findings are shown, and %d more are not", maxFindings, f.more)})
	}
	catalog.Sort(f.list)
	return f.list
}

func (b *builder) read() error {
	b.cat.Documents = []string{IndexPath}
	doc, err := b.open(IndexPath)
	if bad := (*DocumentError)(nil); errors.As(err, &bad) {
		if bad.Code == "missing" {
			bad = broken(IndexPath, "no-index", "does not exist: clients find no image; `publish stage add` makes it")
		}
		b.refuse(bad)
		return nil
	}
	if err != nil {
		return err
	}
	told := findings{doc: IndexPath}
	d := newDecoder(doc, told.error)
	streams := d.index()
	if !d.ended() {
		b.refuse(syntax(IndexPath, doc))
		return nil
	}
	b.take(&told)
	documents := documents(streams)
	b.cat.Documents = slices.Sorted(maps.Keys(documents))
	slices.SortStableFunc(streams, func(x, y stream) int { return strings.Compare(x.key, y.key) })

	if !slices.ContainsFunc(streams, stream.images) && len(b.list) == 0 {
		b.error("index-mismatch", "names no stream of images: clients see none")
	}
	bases := map[string]string{path.Base(IndexPath): "the index"}
	read := map[string]bool{}
	for _, s := range streams {
		if !s.images() {
			continue
		}
		name, fault := s.document()
		if fault != nil {
			b.refuse(fault)
			continue
		}
		if strings.Contains(name, "%") {
			b.warn("encoded-path", "the stream %s: path %q has a percent sign, which clients decode: "+
				"they ask for another document", show(s.key), s.path)
		}
		if other, taken := bases[path.Base(name)]; taken {
			b.warn("name-collision", "the streams %s and %s name documents called %s: "+
				"clients keep the one they read last for both", other, show(s.key), show(path.Base(name)))
		}
		bases[path.Base(name)] = show(s.key)
		if read[name] {
			continue
		}
		read[name] = true
		if err := b.readCatalog(name, s, documents); err != nil {
			return err
		}
	}
	return nil
}

// readCatalog reads one catalog. The catalog of a stream without products may be
// missing, because clients do not ask for it.
func (b *builder) readCatalog(name string, s stream, documents map[string]bool) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	doc, err := b.open(name)
	if bad := (*DocumentError)(nil); errors.As(err, &bad) {
		switch {
		case bad.Code != "missing":
			b.refuse(bad)
		case len(s.products) > 0:
			b.report(catalog.Error, bad.Code, bad.Path,
				"%s, and the index names it: clients refuse the whole tree", bad.Fact)
		}
		return nil
	}
	if err != nil {
		return err
	}
	parts := make([]*part, min(runtime.GOMAXPROCS(0), 1+len(doc)/minPart))
	for i := range parts {
		parts[i] = newPart(name, documents)
	}
	d := newDecoder(doc, parts[0].error)
	_, products := d.catalog()
	if d.ended() {
		share(parts, products)
	}
	if d.reader.bad || slices.ContainsFunc(parts, func(p *part) bool { return p.bad }) {
		b.refuse(syntax(name, doc))
		return nil
	}
	for _, p := range parts {
		b.take(&p.findings)
		p.decoder = nil // frees the document
		for _, c := range p.sold {
			b.claim(name, c)
		}
	}
	b.parts = append(b.parts, parts...)
	b.compare(name, s, products)
	return nil
}

// minPart is the smallest share of a document, in bytes, for which a goroutine
// pays off.
const minPart = 256 << 10

// share lets each part read its share of the products, in parallel.
func share(parts []*part, products object) {
	all, done := 0, 0
	for _, m := range products {
		all += len(m.raw)
	}
	var group sync.WaitGroup
	for i, p := range parts {
		n := 0
		for n < len(products) && done*len(parts) < all*(i+1) {
			done += len(products[n].raw)
			n++
		}
		mine := products[:n]
		group.Go(func() { p.read(mine) })
		products = products[n:]
	}
	group.Wait()
}

// compare checks the index's products against the catalog's.
func (b *builder) compare(name string, s stream, products object) {
	if len(s.products) == 0 && len(products) > 0 {
		b.error("index-mismatch", "the stream %s names no product: clients see none of the %d in %s",
			show(s.key), len(products), name)
		return
	}
	listed, there := slices.Clone(s.products), make([]string, len(products))
	for i, p := range products {
		there[i] = p.name
	}
	slices.Sort(listed)
	slices.Sort(there)
	for listed, there = slices.Compact(listed), slices.Compact(there); len(listed)+len(there) > 0; {
		switch {
		case len(there) == 0 || len(listed) > 0 && listed[0] < there[0]:
			b.error("index-mismatch", "the stream %s names the product %s, which %s does not have",
				show(s.key), show(listed[0]), name)
			listed = listed[1:]
		case len(listed) == 0 || there[0] < listed[0]:
			b.error("index-mismatch", "the stream %s does not name the product %s, which %s has",
				show(s.key), show(there[0]), name)
			there = there[1:]
		default:
			listed, there = listed[1:], there[1:]
		}
	}
}

// claim reports the aliases of a product that another one claims.
func (b *builder) claim(doc string, c claims) {
	for _, alias := range c.aliases {
		for _, imageType := range c.types {
			at := claim{alias, imageType, c.arch}
			switch owner, taken := b.claims[at]; {
			case !taken:
				b.claims[at] = c.product
			case owner != c.product:
				b.report(catalog.Warning, "alias-shared", doc,
					"%s and %s both claim the alias %s for a %s on %s: clients see it on one of them",
					show(owner), show(c.product), show(alias), imageType, c.arch)
			}
		}
	}
}

// finish sorts the catalog and reports findings that depend on the whole tree.
func (b *builder) finish() *catalog.Catalog {
	var items blocks[catalog.Item]
	var pairs blocks[catalog.Pair]
	var images blocks[catalog.Image]
	var units blocks[catalog.Unit]
	var versions blocks[catalog.Version]
	named := 0
	for _, p := range b.parts {
		for _, block := range p.pairs {
			for i := range block {
				block[i].First += named
				block[i].Second += named
			}
		}
		named += p.named
		items, pairs, images = append(items, p.items...), append(pairs, p.pairs...), append(images, p.images...)
		units, versions = append(units, p.units...), append(versions, p.versions...)
	}
	b.parts = nil // so that its memory can be freed while the lists below are copied
	cat := b.cat
	var now []int
	cat.Items, now = sortItems(items)
	cat.Pairs = slices.Concat(pairs...)
	for i, p := range cat.Pairs {
		cat.Pairs[i].First, cat.Pairs[i].Second = now[p.First], now[p.Second]
	}
	cat.Images = inOrder(images, func(x, y *catalog.Image) int {
		return firstOf(x.Product, y.Product, x.Version, y.Version, x.Fingerprint, y.Fingerprint, x.Type, y.Type)
	})
	cat.Units = merged(inOrder(units, func(x, y *catalog.Unit) int {
		return firstOf(x.Key, y.Key, x.Digest, y.Digest)
	}))
	cat.Versions = inOrder(versions, func(x, y *catalog.Version) int {
		return firstOf(x.Product, y.Product, x.Name, y.Name)
	})
	rank(cat.Versions)
	b.conflicts()
	b.sharedFingerprints()
	cat.Findings = b.findings.sorted()
	return cat
}

// inOrder returns the list, sorted. It first checks the order, because the list is
// nearly always sorted already.
func inOrder[T any](list blocks[T], compare func(x, y *T) int) []T {
	out := slices.Concat(list...)
	for i := 1; i < len(out); i++ {
		if compare(&out[i-1], &out[i]) > 0 {
			slices.SortStableFunc(out, func(x, y T) int { return compare(&x, &y) })
			break
		}
	}
	return out
}

// sortItems returns the items sorted, and the new index of each. Items are large
// to move and slow to compare. So it sorts small records, with the first eight
// bytes of each path after the prefix that all paths share.
func sortItems(list blocks[catalog.Item]) (out []catalog.Item, now []int) {
	type place struct {
		key  uint64
		item *catalog.Item
		was  int
	}
	n, common := 0, ""
	for _, block := range list {
		for i := range block {
			if n++; n == 1 {
				common = block[i].Path
			}
			for !strings.HasPrefix(block[i].Path, common) {
				common = common[:len(common)-1]
			}
		}
	}
	places := make([]place, 0, n)
	for _, block := range list {
		for i := range block {
			var key [8]byte
			copy(key[:], block[i].Path[len(common):])
			places = append(places, place{binary.BigEndian.Uint64(key[:]), &block[i], len(places)})
		}
	}
	slices.SortFunc(places, func(x, y place) int {
		if c := cmp.Compare(x.key, y.key); c != 0 {
			return c
		}
		a, b := x.item, y.item
		return firstOf(a.Path, b.Path, a.Product, b.Product, a.Version, b.Version, a.Name, b.Name)
	})
	out, now = make([]catalog.Item, n), make([]int, n)
	for i, p := range places {
		out[i], now[p.was] = *p.item, i
	}
	return out, now
}

// firstOf compares pairs of strings until two differ.
func firstOf(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// merged combines units with the same key into one. A product in two streams has
// two units.
func merged(units []catalog.Unit) []catalog.Unit {
	out := units[:0]
	for _, u := range units {
		if n := len(out); n > 0 && out[n-1].Key == u.Key && out[n-1].Group == u.Group {
			both := sha256.Sum256([]byte(out[n-1].Digest + u.Digest))
			out[n-1].Digest = hex.EncodeToString(both[:])
			continue
		}
		out = append(out, u)
	}
	return out
}
