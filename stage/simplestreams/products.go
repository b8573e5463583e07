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

// part reads some of the products of a document.
type part struct {
	findings // about these products
	*decoder
	current *current // the product being read
	sold    []claims
	scratch []byte // for digests
	named   int    // items

	items    blocks[catalog.Item]
	pairs    blocks[catalog.Pair]
	images   blocks[catalog.Image]
	units    blocks[catalog.Unit]
	versions blocks[catalog.Version]
}

// blocks are a list in pieces, so that it grows without being copied.
type blocks[T any] [][]T

func (b *blocks[T]) add(x T) {
	n := len(*b)
	if n == 0 || len((*b)[n-1]) == cap((*b)[n-1]) {
		*b = append(*b, make([]T, 0, 16<<min(n, 6)))
		n++
	}
	(*b)[n-1] = append((*b)[n-1], x)
}

// current is what a product's versions tell about the product.
type current struct {
	key       string
	aliases   []string
	arch      string
	canonical string // architecture; "" when no client knows it
	supported time.Time
	types     []string // of its images
	styles    []string // the first version of each style
	notes     map[string]*note

	listed, skipped []string // its versions, by whether clients list them
}

// claims are the aliases of a product, and the types of its images.
type claims struct {
	product, arch  string
	aliases, types []string
}

// note is a warning that a product's versions or items may repeat.
type note struct {
	code, message string // of the first
	noun          string // what repeats it
	more          int
}

func newPart(doc string, documents map[string]bool) *part {
	p := &part{findings: findings{doc: doc}}
	p.decoder = newDecoder(nil, p.error)
	p.documents = documents
	return p
}

// read reads products. When it ends before the last of them, its reader is bad.
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
	c := &current{key: p.key, arch: p.arch, aliases: aliasList(p)}
	b.current = c
	c.supported, _ = time.Parse(time.DateOnly, p.supportEOL) // any other text tells no day
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
	case c.canonical == "": // told once, of the product
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
	v.key = key[len(p.key)+1:]                               // the same memory
	b.units.add(catalog.Unit{Key: key, Digest: b.digest(v)}) // of hashes as they stand there
	b.checkVersion(p, v, candidates, skipped)
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

// endProduct reports what only all versions of a product tell.
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

// disorder tells where names of versions are in another order as text than as
// numbers; "" when they are not. Versions that clients skip are compared among
// themselves: other tools take the greatest name for the newest, as clients do.
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
	b.scratch = hex.AppendEncode(b.scratch[:0], sum)
	return b.pack(b.scratch)
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
