package simplestreams

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// part reads some of the products of a document.
type part struct {
	findings // about these products
	decoder  *decoder
	cat      catalog.Catalog // of these products, without what only the tree tells
	sold     []*current
	current  *current        // the product being read
	indexes  map[string]bool // the index and all that it names as documents

	all, done int      // bytes to read, and read
	scratch   []byte   // for digests
	paths     []string // of images, one list behind the other
	pairs     [len(combinedFields)]pairName
}

// pairName is the Name of the last Pair that a combined field made.
type pairName struct{ item, name string }

// current is what a product's versions tell about the product.
type current struct {
	key       string
	aliases   []string
	arch      string
	canonical string // architecture; "" when no client knows it
	supported time.Time
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

func newPart(doc string, indexes map[string]bool) *part {
	p := &part{findings: findings{doc: doc}, indexes: indexes}
	p.decoder = newDecoder(nil, p.error)
	p.decoder.documents = indexes
	return p
}

// read reads products of so many bytes. When it ends before the last of them,
// its reader is bad.
func (b *part) read(products object, size int) {
	b.all = size
	for _, m := range products {
		p := b.decoder.productIn(m)
		b.onProduct(&p)
		b.decoder.versions(&p, func(v *version) { b.onVersion(&p, v) })
		if b.decoder.reader.bad {
			return
		}
		b.endProduct()
		b.done += len(m.raw)
	}
}

// grow makes room for n more values of a list, and for those that the products
// to come will add: growing step by step would need several times the memory.
func grow[T any](b *part, list []T, n int) []T {
	if cap(list)-len(list) >= n {
		return list
	}
	if b.done > 0 {
		likely := float64(len(list)+n) * float64(b.all-b.done) / float64(b.done)
		n = max(n, min(int(likely), 8*len(list)))
	}
	return slices.Grow(list, n)
}

// warnOf is warn for a product as a whole.
func (b *part) warnOf(c *current, code, message string) {
	b.add(catalog.Finding{Severity: catalog.Warning, Code: code, Path: b.doc, Message: message, Product: c.key})
}

// repeat is warn for what many versions or items of a product may have: kind
// tells those with one code apart, noun names what has it.
func (b *part) repeat(code, kind, noun string, message func() string) {
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

func (b *part) onProduct(p *product) {
	c := &current{key: p.key, arch: p.arch, aliases: aliasList(p), versions: len(b.cat.Versions)}
	b.current = c
	c.supported, _ = time.Parse(time.DateOnly, p.supportEOL) // any other text tells no day
	c.canonical, _ = Architecture(p.arch)
	for _, alias := range c.aliases {
		if alias == "" || strings.TrimSpace(alias) != alias {
			b.warn("bad-alias", fmt.Sprintf("%s: clients take the alias %q with its white space", show(p.key), alias))
		}
	}
	b.unit(catalog.Unit{Key: p.key, Digest: b.describe(p.beside), Group: true})
}

func (b *part) unit(u catalog.Unit) { b.cat.Units = append(grow(b, b.cat.Units, 1), u) }

func (b *part) onVersion(p *product, v *version) {
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
		b.style(v.key)
	}
	key := b.decoder.join(p.key, "/", v.key)
	v.key = key[len(p.key)+1:]                          // the same memory
	b.unit(catalog.Unit{Key: key, Digest: b.digest(v)}) // of hashes as they stand there
	b.checkVersion(p, v, candidates, skipped)
	b.items(p, v)
	b.combined(p, v, candidates)
	b.cat.Versions = append(grow(b, b.cat.Versions, 1),
		catalog.Version{Product: p.key, Name: v.key, Skipped: skipped, Time: created, SupportEOL: b.current.supported})
	b.cat.Images = grow(b, b.cat.Images, max(1, len(candidates)))
	if len(candidates) == 0 {
		b.cat.Images = append(b.cat.Images, v.group(p, skipped, created))
	}
	for i, c := range candidates {
		if c.doubles(candidates[:i]) {
			continue
		}
		img := c.image(p, v, skipped, created, b.current.aliases, b.twoPaths())
		b.cat.Images = append(b.cat.Images, img)
		if skipped == "" && !slices.Contains(b.current.types, img.Type) {
			b.current.types = append(b.current.types, img.Type)
		}
	}
}

// twoPaths is room for an image's paths.
func (b *part) twoPaths() []string {
	if cap(b.paths)-len(b.paths) < 2 {
		b.paths = make([]string, 0, 256)
	}
	n := len(b.paths)
	b.paths = b.paths[:n+2]
	return b.paths[n : n : n+2]
}

// style notes a style in which the product's versions are named. Nearly always
// it is that of the one before.
func (b *part) style(name string) {
	c := b.current
	if n := len(c.examples); n > 0 && sameShape(c.examples[n-1], name) {
		return
	}
	if style := versionStyle(name); !slices.Contains(c.styles, style) {
		c.styles = append(c.styles, style)
		c.examples = append(c.examples, name)
	}
}

// items adds the items of a version.
func (b *part) items(p *product, v *version) {
	b.cat.Items = grow(b, b.cat.Items, len(v.items))
	for i := range v.items {
		it := &v.items[i]
		if it.file == "" {
			continue
		}
		b.cat.Items = append(b.cat.Items, catalog.Item{
			Path:    it.file,
			Size:    max(it.size, -1),
			SHA256:  it.sha256,
			MD5:     it.md5,
			Product: p.key,
			Version: v.key,
			Name:    it.key,
			Index:   b.doc,
		})
	}
}

// combined adds the combined hashes of a version that a client computes.
func (b *part) combined(p *product, v *version, candidates []candidate) {
	b.cat.Pairs = grow(b, b.cat.Pairs, len(candidates))
	for _, c := range candidates {
		if c.root == nil || c.meta.file == "" || c.root.file == "" || !isHex(c.meta.combined[c.field], sha256.Size) {
			continue
		}
		name := &b.pairs[c.field]
		if name.item != c.meta.key {
			*name = pairName{c.meta.key, c.meta.key + "." + combinedFields[c.field]}
		}
		b.cat.Pairs = append(b.cat.Pairs, catalog.Pair{
			First:   c.meta.file,
			Second:  c.root.file,
			SHA256:  c.meta.combined[c.field],
			Product: p.key,
			Version: v.key,
			Name:    name.name,
			Index:   b.doc,
		})
	}
}

// endProduct reports what only all versions of a product tell.
func (b *part) endProduct() {
	c := b.current
	b.sold = append(b.sold, c)
	versions := b.cat.Versions[c.versions:]
	if c.canonical == "" {
		b.warnOf(c, "unknown-architecture", fmt.Sprintf("%s: clients know no architecture %s and skip the product%s", show(c.key), show(c.arch), more(len(versions), ", with %d version")))
	}
	for _, n := range c.notes {
		b.warnOf(c, n.code, n.message+more(n.more, " (and %d more "+n.noun, " of the product)"))
	}
	c.notes = nil
	if len(versions) == 0 {
		b.cat.Images = append(b.cat.Images, empty(c.key))
	}
	b.order(c, versions)
	if len(c.styles) > 1 {
		b.warnOf(c, "mixed-version-names", fmt.Sprintf("%s: the versions %s are named in different styles: clients take the greatest name for the newest",
			show(c.key), strings.Join(c.examples, ", ")))
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
func (b *part) order(c *current, versions []catalog.Version) {
	for _, skipped := range []bool{false, true} {
		var names []string
		for _, v := range versions {
			if (v.Skipped != "") == skipped {
				names = append(names, v.Name)
			}
		}
		slices.Sort(names)
		at, ok := ascending(names)
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
func (b *part) digest(v *version) string {
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
	return b.hex(sum[:16])
}

func (b *part) hex(sum []byte) string {
	var text [2 * sha256.Size]byte
	return b.decoder.join(string(hex.AppendEncode(text[:0], sum)))
}

// describe tells one product from another by everything but its versions,
// whatever the order of its fields.
func (b *part) describe(beside object) string {
	for i := range beside {
		beside[i].name = text(beside[i].quoted)
	}
	slices.SortStableFunc(beside, func(x, y member) int { return strings.Compare(x.name, y.name) })
	scratch := b.scratch[:0]
	for _, m := range beside {
		raw := canonical(m.raw)
		scratch = strconv.AppendQuote(scratch, m.name)
		scratch = append(strconv.AppendInt(append(scratch, ':'), int64(len(raw)), 10), ':')
		scratch = append(append(scratch, raw...), ',')
	}
	b.scratch = scratch
	sum := sha256.Sum256(scratch)
	return b.hex(sum[:])
}

// canonical is a value as encoding/json writes it after reading it.
func canonical(raw []byte) []byte {
	if r := (reader{b: raw}); raw[0] == '"' && bytes.IndexAny(raw, "<>&") < 0 {
		if _, plain := r.str(); plain {
			return raw
		}
	}
	var value any
	if json.Unmarshal(raw, &value) == nil {
		if written, err := json.Marshal(value); err == nil {
			return written
		}
	}
	return raw
}
