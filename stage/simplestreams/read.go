package simplestreams

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// Read reads the index and every catalog that a client would read. Every
// finding is told, not only the first that a client stumbles over; what is
// readable is read beside what is not. Of a warning that a product's versions or
// items repeat, the first is told, with the number of the others. Findings of
// severity error:
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
//	more-findings   there are more than are shown (a warning if all of those are)
//
// and of severity warning:
//
//	version-name         clients skip the version
//	version-order        names that sort otherwise as text than as numbers
//	unknown-architecture clients skip the product
//	no-fingerprint       clients skip a version without an image, or a
//	                     metadata item, a root or a unified item
//	alias-shared         two products claim an alias; clients see one of them
//	bad-alias            an alias is empty or has white space at an end
//	fingerprint-shared   clients refuse a fingerprint that is there twice
//	mixed-version-names  styles that do not sort by time in one product
//	name-collision       clients keep two documents under one name
//	encoded-path         a percent sign, which clients decode
//	delta                clients cannot apply deltas to virtual machines
//	combined-type        clients know no such type of a unified image
func (Format) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	return read(ctx, func(name string) ([]byte, error) { return open(src, name) })
}

// read is Read over anything that has documents by their path.
func read(ctx context.Context, open func(name string) ([]byte, error)) (*catalog.Catalog, error) {
	b := &builder{ctx: ctx, open: open, cat: &catalog.Catalog{}, claims: map[claim]string{}}
	if err := b.read(); err != nil {
		return nil, err
	}
	return b.finish(), nil
}

// builder collects the catalog of a tree.
type builder struct {
	ctx     context.Context
	open    func(name string) ([]byte, error)
	cat     *catalog.Catalog
	doc     string           // the document being read
	claims  map[claim]string // the first product that claims an alias
	indexes map[string]bool  // the index and all that it names as documents
	scratch []byte           // for digest
	more    int              // findings beyond maxFindings
	worse   bool             // of those one is an error

	names   []string // of the products of this document
	current *current // the product being read
}

// current is what a product's versions tell about the product.
type current struct {
	product
	canonical string // architecture; "" when no client knows it
	supported time.Time
	aliases   []string
	types     []string // of its images
	styles    []string // of the names of its versions
	examples  []string // the first version of each style

	versions int // place of its first in cat.Versions
	notes    map[string]*note
}

// note is a warning that a product's versions or items may repeat.
type note struct {
	code, message string // of the first
	noun          string // what repeats it
	more          int
}

// claim is what only one image of a tree can own, and the newest version of one
// product should.
type claim struct{ alias, imageType, arch string }

// maxFindings bounds the findings of a tree: nobody reads more of them.
const maxFindings = 20_000

func (b *builder) report(severity catalog.Severity, code, path, message string) {
	b.add(catalog.Finding{Severity: severity, Code: code, Path: path, Message: message})
}

func (b *builder) add(f catalog.Finding) {
	if len(b.cat.Findings) == maxFindings {
		b.more++
		b.worse = b.worse || f.Severity == catalog.Error
		return
	}
	b.cat.Findings = append(b.cat.Findings, f)
}

// unreported reports how many findings there were beyond maxFindings.
func (b *builder) unreported() {
	if b.more == 0 {
		return
	}
	severity := catalog.Warning
	if b.worse {
		severity = catalog.Error
	}
	b.cat.Findings = append(b.cat.Findings, catalog.Finding{Severity: severity, Code: "more-findings", Path: IndexPath,
		Message: fmt.Sprintf("%d findings are shown, and %d more are not", maxFindings, b.more)})
}

func (b *builder) error(code, message string) { b.report(catalog.Error, code, b.doc, message) }
func (b *builder) warn(code, message string)  { b.report(catalog.Warning, code, b.doc, message) }

// warnOf is warn for a product as a whole.
func (b *builder) warnOf(c *current, code, message string) {
	b.add(catalog.Finding{Severity: catalog.Warning, Code: code, Path: b.doc, Message: message, Product: c.key})
}

// repeat is warn for what many versions or items of a product may have: kind
// tells those with one code apart, noun names what has it.
func (b *builder) repeat(code, kind, noun string, message func() string) {
	c := b.current
	if n := c.notes[code+" "+kind]; n != nil {
		n.more++
		return
	}
	if c.notes == nil {
		c.notes = map[string]*note{}
	}
	c.notes[code+" "+kind] = &note{code: code, message: message(), noun: noun}
}

func (b *builder) read() error {
	doc, err := b.open(IndexPath)
	if bad := (*DocumentError)(nil); errors.As(err, &bad) {
		if bad.Code == "missing" {
			bad = broken(IndexPath, "no-index", "does not exist: clients find no image; `publish stage add` makes it")
		}
		b.report(catalog.Error, bad.Code, bad.Path, bad.Fact)
		b.cat.Documents = []string{IndexPath}
		return nil
	}
	if err != nil {
		return err
	}
	b.doc = IndexPath
	idx := newDecoder(doc, b.error).index()
	b.indexes = idx.documents()
	b.cat.Documents = slices.Sorted(maps.Keys(b.indexes))
	slices.SortStableFunc(idx.streams, func(x, y stream) int { return strings.Compare(x.key, y.key) })

	if !slices.ContainsFunc(idx.streams, stream.images) && len(b.cat.Findings) == 0 {
		b.error("index-mismatch", "names no stream of images: clients see none")
	}
	bases := map[string]string{path.Base(IndexPath): "the index"}
	read := map[string]bool{}
	for _, s := range idx.streams {
		if !s.images() {
			continue
		}
		b.doc = IndexPath
		name, fault := s.document()
		if fault != nil {
			b.error(fault.Code, fault.Fact)
			continue
		}
		if strings.Contains(name, "%") {
			b.warn("encoded-path", fmt.Sprintf("the stream %s: path %q has a percent sign, which clients decode: they ask for another document", show(s.key), s.path))
		}
		if other, taken := bases[path.Base(name)]; taken {
			b.warn("name-collision", fmt.Sprintf("the streams %s and %s name documents called %s: clients keep the one they read last for both",
				other, show(s.key), show(path.Base(name))))
		}
		bases[path.Base(name)] = show(s.key)
		if read[name] {
			continue
		}
		read[name] = true
		if err := b.readCatalog(name, s); err != nil {
			return err
		}
	}
	return nil
}

// readCatalog reads one catalog. That of a stream without products may be
// missing: clients do not ask for it.
func (b *builder) readCatalog(name string, s stream) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	doc, err := b.open(name)
	if bad := (*DocumentError)(nil); errors.As(err, &bad) {
		switch {
		case bad.Code != "missing":
			b.report(catalog.Error, bad.Code, bad.Path, bad.Fact)
		case len(s.products) > 0:
			b.report(catalog.Error, bad.Code, bad.Path, bad.Fact+", and the index names it: clients refuse the whole tree")
		}
		return nil
	}
	if err != nil {
		return err
	}
	b.doc, b.names = name, nil
	b.room(doc)
	d := newDecoder(doc, b.error)
	d.documents = b.indexes
	d.catalog(b.onProduct, b.onVersion)
	b.endProduct()
	b.compare(s)
	return nil
}

// room makes room for what a catalog is likely to hold: growing step by step
// would need several times the memory.
func (b *builder) room(doc []byte) {
	items := bytes.Count(doc, []byte(`"ftype"`))
	images := bytes.Count(doc, []byte(`"combined_`)) + bytes.Count(doc, []byte(`_combined.tar.gz","`))
	b.cat.Items = slices.Grow(b.cat.Items, items)
	b.cat.Images = slices.Grow(b.cat.Images, images)
	b.cat.Pairs = slices.Grow(b.cat.Pairs, images)
	versions := bytes.Count(doc, []byte(`"items"`))
	b.cat.Versions = slices.Grow(b.cat.Versions, versions)
	b.cat.Units = slices.Grow(b.cat.Units, versions+versions/8)
}

// compare checks the index's products against the catalog's.
func (b *builder) compare(s stream) {
	listed, there := map[string]bool{}, map[string]bool{}
	for _, p := range b.names {
		there[p] = true
	}
	for _, p := range s.products {
		if !listed[p] && !there[p] {
			b.report(catalog.Error, "index-mismatch", IndexPath, fmt.Sprintf("the stream %s names the product %s, which %s does not have", show(s.key), show(p), b.doc))
		}
		listed[p] = true
	}
	if len(s.products) == 0 && len(b.names) > 0 {
		b.report(catalog.Error, "index-mismatch", IndexPath, fmt.Sprintf("the stream %s names no product: clients see none of the %d in %s", show(s.key), len(b.names), b.doc))
		return
	}
	for _, p := range b.names {
		if !listed[p] {
			b.report(catalog.Error, "index-mismatch", IndexPath, fmt.Sprintf("the stream %s does not name the product %s, which %s has", show(s.key), show(p), b.doc))
		}
	}
}

func (b *builder) onProduct(p *product) {
	b.endProduct()
	b.names = append(b.names, p.key)
	c := &current{product: *p, aliases: aliasList(p), versions: len(b.cat.Versions)}
	b.current = c
	c.supported, _ = time.Parse(time.DateOnly, p.supportEOL) // any other text tells no day
	c.canonical, _ = Architecture(p.arch)
	for _, alias := range c.aliases {
		if alias == "" || strings.TrimSpace(alias) != alias {
			b.warn("bad-alias", fmt.Sprintf("%s: clients take the alias %q with its white space", show(p.key), alias))
		}
	}
	b.cat.Units = append(b.cat.Units, catalog.Unit{Key: p.key, Digest: b.describe(p.raw), Group: true})
}

func (b *builder) onVersion(p *product, v *version) {
	created, _ := versionTime(v.key)
	candidates := v.candidates()
	skipped := v.skipped(p.arch, candidates)
	switch {
	case b.current.canonical == "": // told once, of the product
	case !dated(v.key):
		b.repeat("version-name", "", "version", func() string {
			return place(p.key, v.key) + ": the name does not start with a date, YYYYMMDD: clients skip the version"
		})
	case skipped != "":
		b.repeat("no-fingerprint", "version", "version", func() string { return place(p.key, v.key) + ": " + skipped + ": clients skip the version" })
	}
	if dated(v.key) {
		if style := versionStyle(v.key); !slices.Contains(b.current.styles, style) {
			b.current.styles = append(b.current.styles, style)
			b.current.examples = append(b.current.examples, v.key)
		}
	}
	b.items(p, v, candidates, skipped)
	b.pairs(p, v, candidates)
	b.cat.Units = append(b.cat.Units, catalog.Unit{Key: p.key + "/" + v.key, Digest: b.digest(v)})
	b.cat.Versions = append(b.cat.Versions, catalog.Version{Product: p.key, Name: v.key, Skipped: skipped, Time: created, SupportEOL: b.current.supported})
	if len(candidates) == 0 {
		b.cat.Images = append(b.cat.Images, v.group(p, skipped, created))
	}
	for i, c := range candidates {
		if c.doubles(candidates[:i]) {
			continue
		}
		img := c.image(p, v, skipped, created, b.current.aliases)
		b.cat.Images = append(b.cat.Images, img)
		if skipped == "" && !slices.Contains(b.current.types, img.Type) {
			b.current.types = append(b.current.types, img.Type)
		}
	}
}

// items adds the items of a version.
func (b *builder) items(p *product, v *version, candidates []candidate, skipped string) {
	b.checkVersion(p, v, candidates, skipped)
	for i := range v.items {
		it := &v.items[i]
		if it.file == "" {
			continue
		}
		b.cat.Items = append(b.cat.Items, catalog.Item{
			Path:    it.file,
			Size:    max(it.size, -1),
			SHA256:  within(it.file, strings.ToLower(it.sha256)),
			MD5:     strings.ToLower(it.md5),
			Product: p.key,
			Version: v.key,
			Name:    it.key,
			Index:   b.doc,
		})
	}
}

// within returns a hash as the part of the path that it is, where content is
// named by its hash: of many thousand items every copy counts.
func within(path, hash string) string {
	if i := strings.Index(path, hash); i >= 0 {
		return path[i : i+len(hash)]
	}
	return hash
}

// pairs adds the combined hashes of a version that a client computes.
func (b *builder) pairs(p *product, v *version, candidates []candidate) {
	for _, c := range candidates {
		if c.root == nil || !isHex(strings.ToLower(c.fingerprint), sha256.Size) {
			continue
		}
		if c.meta.file == "" || c.root.file == "" {
			continue
		}
		b.cat.Pairs = append(b.cat.Pairs, catalog.Pair{
			First:  c.meta.file,
			Second: c.root.file,
			SHA256: strings.ToLower(c.fingerprint),
			Where:  p.key + "/" + v.key + "/" + c.meta.key + "." + combinedFields[c.field],
			Index:  b.doc,
		})
	}
}

// endProduct reports what only all versions of a product tell.
func (b *builder) endProduct() {
	c := b.current
	if c == nil {
		return
	}
	b.current = nil
	versions := b.cat.Versions[c.versions:]
	if c.canonical == "" {
		b.warnOf(c, "unknown-architecture", fmt.Sprintf("%s: clients know no architecture %s and skip the product%s", show(c.key), show(c.arch), more(len(versions), ", with %d version")))
	}
	for _, n := range c.notes {
		b.warnOf(c, n.code, n.message+more(n.more, " (and %d more "+n.noun, " of the product)"))
	}
	if len(versions) == 0 {
		b.cat.Images = append(b.cat.Images, c.empty())
	}
	b.order(c, versions)
	if len(c.styles) > 1 {
		b.warnOf(c, "mixed-version-names", fmt.Sprintf("%s: the versions %s are named in different styles: clients take the greatest name for the newest",
			show(c.key), strings.Join(c.examples, ", ")))
	}
	for _, alias := range c.aliases {
		for _, imageType := range c.types {
			at := claim{alias, imageType, c.canonical}
			switch owner, taken := b.claims[at]; {
			case !taken:
				b.claims[at] = c.key
			case owner != c.key:
				b.warn("alias-shared", fmt.Sprintf("%s and %s both claim the alias %s for a %s on %s: clients see it on one of them",
					show(owner), show(c.key), show(alias), imageType, c.canonical))
			}
		}
	}
}

// more is nothing for none, else a number of things, between words.
func more(n int, before string, after ...string) string {
	if n == 0 {
		return ""
	}
	if n != 1 {
		before += "s"
	}
	return fmt.Sprintf(before, n) + strings.Join(after, "")
}

// order reports where the names of a product's versions are in another order as
// text than as numbers. Versions that clients skip are compared among
// themselves: other tools take the greatest name for the newest, as clients do.
func (b *builder) order(c *current, versions []catalog.Version) {
	for _, skipped := range []bool{false, true} {
		var names []string
		for _, v := range versions {
			if (v.Skipped != "") == skipped {
				names = append(names, v.Name)
			}
		}
		slices.Sort(names)
		at, ok := inOrder(names)
		if ok {
			continue
		}
		wrong := fmt.Sprintf("as text %s sorts before %s, and as a number after it", show(names[at-1]), show(names[at]))
		text, number := names[len(names)-1], slices.MaxFunc(names, compareAsNumbers)
		if text != number {
			wrong += fmt.Sprintf(": clients take %s for the newest, not %s", show(text), show(number))
		} else {
			wrong += ": clients take the order of the text"
		}
		b.warnOf(c, "version-order", show(c.key)+": "+wrong)
		return
	}
}

// digest tells one version from another by what clients read of it.
func (b *builder) digest(v *version) string {
	scratch := b.scratch[:0]
	put := func(fields ...string) {
		for _, f := range fields {
			scratch = append(binary.AppendUvarint(scratch, uint64(len(f))), f...)
		}
	}
	put(v.label, v.name)
	for i := range v.items {
		it := &v.items[i]
		put(it.key, it.ftype, it.path, it.sha256, it.md5, it.deltaBase)
		put(it.combined[:]...)
		if it.combinedType != "" { // else the digest is that of before the field was read
			put(it.combinedType)
		}
		scratch = binary.AppendVarint(scratch, it.size)
	}
	b.scratch = scratch
	sum := sha256.Sum256(scratch)
	return hex.EncodeToString(sum[:16])
}

// describe tells one product from another by everything but its versions,
// whatever the order of its fields.
func (b *builder) describe(raw []byte) string {
	o := split(raw).remove("versions")
	slices.SortStableFunc(o, func(x, y member) int { return strings.Compare(x.name, y.name) })
	h := sha256.New()
	for _, m := range o {
		var value any
		if json.Unmarshal(m.raw, &value) == nil {
			if canonical, err := json.Marshal(value); err == nil {
				m.raw = canonical
			}
		}
		fmt.Fprintf(h, "%q:%d:%s,", m.name, len(m.raw), m.raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// finish sorts the catalog and reports what only the whole tree tells.
func (b *builder) finish() *catalog.Catalog {
	cat := b.cat
	slices.SortFunc(cat.Items, func(x, y catalog.Item) int {
		if c := strings.Compare(x.Path, y.Path); c != 0 {
			return c
		}
		return strings.Compare(x.Where(), y.Where())
	})
	slices.SortFunc(cat.Pairs, func(x, y catalog.Pair) int {
		return cmp.Or(strings.Compare(x.Where, y.Where), strings.Compare(x.Second, y.Second), strings.Compare(x.SHA256, y.SHA256))
	})
	slices.SortStableFunc(cat.Images, func(x, y catalog.Image) int {
		return cmp.Or(strings.Compare(x.Product, y.Product), strings.Compare(x.Version, y.Version),
			strings.Compare(x.Fingerprint, y.Fingerprint), strings.Compare(x.Type, y.Type))
	})
	slices.SortFunc(cat.Units, func(x, y catalog.Unit) int {
		return cmp.Or(strings.Compare(x.Key, y.Key), strings.Compare(x.Digest, y.Digest))
	})
	cat.Units = merged(cat.Units)
	slices.SortStableFunc(cat.Versions, func(x, y catalog.Version) int {
		return cmp.Or(strings.Compare(x.Product, y.Product), strings.Compare(x.Name, y.Name))
	})
	rank(cat.Versions)
	b.conflicts()
	b.sharedFingerprints()
	b.unreported()
	catalog.Sort(cat.Findings)
	return cat
}

// merged makes one unit of those with one key: a product that two streams have.
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
