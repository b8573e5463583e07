package simplestreams

import (
	"bytes"
	"cmp"
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

// part reads a share of the products of a document.
type part struct {
	findings // about these products
	*decoder
	current *current // the product being read
	sold    []claims
	scratch []byte // for digests
	named   int    // number of items so far

	items    blocks[catalog.Item]
	pairs    blocks[catalog.Pair]
	images   blocks[catalog.Image]
	units    blocks[catalog.Unit]
	versions blocks[catalog.Version]
}

// blocks is a list in pieces, so that it grows without being copied.
type blocks[T any] [][]T

func (b *blocks[T]) add(x T) {
	n := len(*b)
	if n == 0 || len((*b)[n-1]) == cap((*b)[n-1]) {
		*b = append(*b, make([]T, 0, 16<<min(n, 6)))
		n++
	}
	(*b)[n-1] = append((*b)[n-1], x)
}

// current collects what is known of the product being read.
type current struct {
	key       string
	aliases   []string
	arch      string
	canonical string // architecture; "" if no client knows it
	supported time.Time
	types     []string // of its images
	styles    []string // the first version of each style
	notes     map[string]*note

	listed, skipped []string // the versions that clients list, and those that they skip
}

// claims has the aliases of a product, and the types of its images.
type claims struct {
	product, arch  string
	aliases, types []string
}

// note is a warning that applies to several versions or items of a product.
type note struct {
	code, message string // of the first one
	noun          string // "version" or "file", for the number of the others
	more          int
}

func newPart(doc string, documents map[string]bool) *part {
	p := &part{findings: findings{doc: doc}}
	p.decoder = newDecoder(nil, p.error)
	p.documents = documents
	return p
}

// read reads products. At a syntax error it stops, and b.bad is true.
func (b *part) read(products object) {
	for _, m := range products {
		p := b.productIn(m)
		b.onProduct(&p)
		b.decoder.versions(&p, func(v *version) { b.onVersion(&p, v) })
		if b.bad {
			return
		}
		b.endProduct()
	}
}

// warnOf is warn for a product as a whole.
func (b *part) warnOf(c *current, code, format string, args ...any) {
	b.add(catalog.Finding{Severity: catalog.Warning, Code: code, Path: b.doc,
		Message: fmt.Sprintf(format, args...), Product: c.key})
}

// repeat is like warn, for a problem that many versions or items of a product may
// have. It keeps the first message for each code and kind, and counts the others.
// noun is what is counted.
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
	c := &current{key: p.key, arch: p.arch, aliases: aliasList(p)}
	b.current = c
	c.supported, _ = time.Parse(time.DateOnly, p.supportEOL) // zero if it is not a day
	c.canonical, _ = Architecture(p.arch)
	for _, alias := range c.aliases {
		if alias == "" || strings.TrimSpace(alias) != alias {
			b.warn("bad-alias", "%s: clients take the alias %q with its white space", show(p.key), alias)
		}
	}
	b.units.add(catalog.Unit{Key: p.key, Digest: b.describe(p.beside), Group: true})
}

func (b *part) onVersion(p *product, v *version) {
	c := b.current
	created, _ := versionTime(v.key)
	candidates := v.candidates()
	skipped := v.skipped(p.arch, candidates)
	where := func() string { return place(p.key, v.key) + ": " }
	day := dated(v.key)
	switch {
	case c.canonical == "": // endProduct reports this, once for the product
	case !day:
		b.repeat("version-name", "", "version", func() string {
			return where() + "the name does not start with a date, YYYYMMDD: clients skip the version"
		})
	case skipped != "":
		b.repeat("no-fingerprint", "version", "version", func() string {
			return where() + skipped + ": clients skip the version"
		})
	}
	if day && !slices.ContainsFunc(c.styles, func(other string) bool { return sameStyle(other, v.key) }) {
		c.styles = append(c.styles, v.key)
	}
	b.scratch = append(append(append(b.scratch[:0], p.key...), '/'), v.key...)
	key := b.pack(b.scratch)
	v.key = key[len(p.key)+1:] // shares memory with key
	b.units.add(catalog.Unit{Key: key, Digest: b.digest(v)})
	b.checkVersion(p, v, candidates, skipped) // after digest: it makes hashes lower-case
	b.files(p, v, candidates)
	b.versions.add(catalog.Version{Product: p.key, Name: v.key, Skipped: skipped, Time: created,
		SupportEOL: c.supported})
	if skipped == "" {
		c.listed = append(c.listed, v.key)
	} else {
		c.skipped = append(c.skipped, v.key)
	}
	if len(candidates) == 0 {
		b.images.add(v.group(p, skipped, created))
	}
	for i, candidate := range candidates {
		if candidate.doubles(candidates[:i]) {
			continue
		}
		img := candidate.image(p, v, skipped, created, c.aliases)
		b.images.add(img)
		if skipped == "" && !slices.Contains(c.types, img.Type) {
			c.types = append(c.types, img.Type)
		}
	}
}

// files adds the items of a version, and the combined hashes that a client
// computes.
func (b *part) files(p *product, v *version, candidates []candidate) {
	for i := range v.items {
		if it := &v.items[i]; it.file != "" {
			it.place = b.named
			b.named++
			b.items.add(catalog.Item{Path: it.file, Size: max(it.size, -1), SHA256: it.sha256, MD5: it.md5,
				Product: p.key, Version: v.key, Name: it.key, Index: b.doc})
		}
	}
	for _, c := range candidates {
		if c.root == nil || c.meta.file == "" || c.root.file == "" || !isHex(c.meta.combined[c.field], sha256.Size) {
			continue
		}
		b.pairs.add(catalog.Pair{First: c.meta.place, Second: c.root.place,
			SHA256: c.meta.combined[c.field], Field: combinedFields[c.field]})
	}
}

// endProduct reports findings that depend on all versions of a product.
func (b *part) endProduct() {
	c := b.current
	if len(c.aliases) > 0 && len(c.types) > 0 {
		b.sold = append(b.sold, claims{c.key, c.canonical, c.aliases, c.types})
	}
	if n := len(c.listed) + len(c.skipped); n == 0 {
		b.images.add(empty(c.key))
	}
	if c.canonical == "" {
		b.warnOf(c, "unknown-architecture", "%s: clients know no architecture %s and skip the product%s",
			show(c.key), show(c.arch), more(len(c.skipped), ", with %d version"))
	}
	for _, n := range c.notes {
		b.warnOf(c, n.code, "%s%s", n.message, more(n.more, " (and %d more "+n.noun, " of the product)"))
	}
	if wrong := cmp.Or(disorder(c.listed), disorder(c.skipped)); wrong != "" {
		b.warnOf(c, "version-order", "%s: %s", show(c.key), wrong)
	}
	if len(c.styles) > 1 {
		b.warnOf(c, "mixed-version-names",
			"%s: the versions %s are named in different styles: clients take the greatest name for the newest",
			show(c.key), strings.Join(c.styles, ", "))
	}
}

// more returns a phrase with the number n, in the plural if needed; "" for 0.
func more(n int, before string, after ...string) string {
	if n == 0 {
		return ""
	}
	if n != 1 {
		before += "s"
	}
	return fmt.Sprintf(before, n) + strings.Join(after, "")
}

// disorder returns a message if the names of versions sort differently as text
// and as numbers; "" if not. This matters because clients take the greatest name
// for the newest version. Other tools do so too, therefore it is also called for
// the versions that clients skip.
func disorder(names []string) string {
	slices.Sort(names)
	at, ok := ascending(names)
	if ok {
		return ""
	}
	wrong := fmt.Sprintf("as text %s sorts before %s, and as a number after it", show(names[at-1]), show(names[at]))
	text, number := names[len(names)-1], slices.MaxFunc(names, compareAsNumbers)
	if text == number {
		return wrong + ": clients take the order of the text"
	}
	return wrong + fmt.Sprintf(": clients take %s for the newest, not %s", show(text), show(number))
}

// digest returns a hash over all fields of a version that clients read. Versions
// that differ for clients have different digests.
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
		if it.combinedType != "" { // without it, the digest must stay the same as in older versions of publish
			put(it.combinedType)
		}
		scratch = binary.AppendVarint(scratch, it.size)
	}
	b.scratch = scratch
	sum := sha256.Sum256(scratch)
	return b.hex(sum[:16])
}

func (b *part) hex(sum []byte) string {
	b.scratch = hex.AppendEncode(b.scratch[:0], sum)
	return b.pack(b.scratch)
}

// describe returns a hash over all fields of a product except its versions. The
// order of the fields does not matter.
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

// canonical returns a value in the form that encoding/json writes.
func canonical(raw []byte) []byte {
	if r := (reader{b: raw}); r.kind() == '"' && !bytes.ContainsAny(raw, "<>&") {
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
