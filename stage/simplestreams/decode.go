package simplestreams

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
)

// decoder reads documents as encoding/json reads them into the structs of the
// clients: it ignores the case of names, treats null as missing, and skips unknown
// fields. Clients stop at the first value of a wrong type. A decoder reports each
// of them and continues. Its reports count only if the whole document is valid
// JSON.
type decoder struct {
	reader
	report func(code, format string, args ...any)
	at     []string // current position: product, version, item
	keys   []string // keys of the maps that are open
	words  *[256]string
	packed strings.Builder // memory for the strings that pack returns
	// documents are paths that no item may have, in addition to those of isIndex.
	documents map[string]bool
	// check means that only reports are needed, so no strings are kept.
	check bool

	v      version // memory that versions reuses
	beside object  // memory that product reuses
}

func newDecoder(doc []byte, report func(code, format string, args ...any)) *decoder {
	return &decoder{reader: reader{b: doc}, report: report}
}

// wrong reports a value of a wrong type and moves past it.
func (d *decoder) wrong(field, want string) {
	got := "a number"
	switch d.kind() {
	case '"':
		got = "a string"
	case '{':
		got = "an object"
	case '[':
		got = "an array"
	case 't', 'f':
		got = "a boolean"
	}
	raw := d.value()
	if got == "a number" {
		got = "the number " + string(raw[:min(len(raw), 30)])
	}
	d.report("bad-type", "%s%s is %s, not %s: clients refuse the whole document", d.where(), field, got, want)
}

// is reports whether the next value has the type that the byte first stands for.
// If not, it moves past the value, and reports it unless it is null.
func (d *decoder) is(first byte, field, want string) bool {
	switch d.kind() {
	case first:
		return true
	case 'n':
		d.value()
	default:
		d.wrong(field, want)
	}
	return false
}

// keep decodes a string.
func (d *decoder) keep(quoted []byte, plain bool) string {
	switch {
	case d.check:
		return ""
	case len(quoted) < 24: // most short strings repeat
		return d.word(quoted)
	case plain:
		return d.pack(quoted[1 : len(quoted)-1])
	}
	return text(quoted)
}

// maxPack is the size of the pieces of memory that strings share, in bytes.
const maxPack = 64 << 10

// pack is like string(b), but many short strings share one allocation.
func (d *decoder) pack(b []byte) string {
	if d.packed.Cap()-d.packed.Len() < len(b) {
		d.packed = strings.Builder{}
		d.packed.Grow(max(len(b), min(len(d.b), maxPack)))
	}
	start := d.packed.Len()
	d.packed.Write(b)
	return d.packed.String()[start:]
}

// word decodes a name. The same names repeat in every version, so a small cache
// avoids most copies.
func (d *decoder) word(quoted []byte) string {
	if d.words == nil {
		d.words = new([256]string)
	}
	inner := quoted[1 : len(quoted)-1]
	var sum uint64
	for _, c := range inner {
		sum = (sum ^ uint64(c)) * 0x9e3779b97f4a7c15
	}
	w := &d.words[sum>>56]
	if *w != string(inner) || bytes.IndexByte(inner, '\\') >= 0 {
		*w = text(quoted)
	}
	return *w
}

// where returns the current position, as the beginning of a message.
func (d *decoder) where() string {
	if len(d.at) == 0 {
		return ""
	}
	return place(d.at...) + ": "
}

// place returns the name of a product, a version or an item in messages.
func place(names ...string) string {
	shown := make([]string, len(names))
	for i, n := range names {
		shown[i] = show(n)
	}
	return strings.Join(shown, "/")
}

// show makes a name from a document safe for a message.
func show(s string) string { return catalog.Show(s) }

func (d *decoder) str(dst *string, field string) {
	if d.is('"', field, "a string") {
		*dst = d.keep(d.reader.str())
	}
}

func (d *decoder) bool(field string) {
	switch d.kind() {
	case 't', 'f', 'n':
		d.value()
	default:
		d.wrong(field, "a boolean")
	}
}

func (d *decoder) int(dst *int64, field string) {
	const want = "a whole number"
	switch c := d.kind(); {
	case c == 'n':
		d.value()
	case c == '-' || isDigit(c):
		start := d.i
		n, err := strconv.ParseInt(string(d.value()), 10, 64)
		if err != nil && !d.reader.bad {
			d.i = start
			d.wrong(field, want)
			return
		}
		*dst = n
	default:
		d.wrong(field, want)
	}
}

func (d *decoder) strs(dst *[]string, field string) {
	if !d.is('[', field, "an array of strings") {
		return
	}
	d.array(func() {
		s := ""
		if d.kind() == '"' {
			s = d.keep(d.reader.str())
		} else {
			d.str(&s, fmt.Sprintf("%s[%d]", field, len(*dst)))
		}
		*dst = append(*dst, s)
	})
}

// object reads a struct. It calls visit for every member, with its name from
// names ("" for a field that clients do not know), and with the name as it is in
// the text. visit must move past the value.
func (d *decoder) object(field string, names []string, visit func(name string, quoted []byte)) {
	if !d.is('{', field, "an object") {
		return
	}
	var seen uint64
	d.reader.object(func(quoted []byte) {
		name := ""
		if i := match(names, quoted); i >= 0 {
			name = names[i]
			if seen&(1<<i) != 0 {
				d.twice(name)
			}
			seen |= 1 << i
		}
		visit(name, quoted)
	})
}

// entries reads a map. It calls visit for every member, with its decoded key and
// with the key as it is in the text. visit must move past the value.
func (d *decoder) entries(field string, visit func(key string, quoted []byte)) {
	if !d.is('{', field, "an object") {
		return
	}
	base := len(d.keys)
	var seen map[string]bool // nil while the keys are in order: then no key can repeat
	d.reader.object(func(quoted []byte) {
		key, before := d.word(quoted), d.keys[base:]
		if n := len(before); seen == nil && n > 0 && before[n-1] >= key {
			seen = map[string]bool{}
			for _, k := range before {
				seen[k] = true
			}
		}
		if seen[key] {
			d.twice(key)
		}
		if seen != nil {
			seen[key] = true
		}
		d.keys = append(d.keys, key)
		visit(key, quoted)
	})
	d.keys = d.keys[:base]
}

// twice reports a name that one object has twice.
func (d *decoder) twice(name string) {
	d.report("duplicate-key", "%s%s is there twice: clients differ in which of them they take", d.where(), show(name))
}

// match returns the index of the field that encoding/json decodes a member into:
// the one with exactly this name, else the first that differs only in case; -1 for
// none.
func match(names []string, quoted []byte) int {
	name := quoted[1 : len(quoted)-1]
	for i, n := range names {
		if string(name) == n {
			return i
		}
	}
	folded := text(quoted)
	for i, n := range names {
		if strings.EqualFold(folded, n) {
			return i
		}
	}
	return -1
}

// under calls read with name added to the current position.
func (d *decoder) under(name string, read func()) {
	d.at = append(d.at, name)
	read()
	d.at = d.at[:len(d.at)-1]
}

var (
	indexFields   = []string{"index", "updated", "format"}
	streamFields  = []string{"datatype", "path", "updated", "products", "format"}
	catalogFields = []string{"content_id", "datatype", "format", "license", "products", "updated"}
	productFields = []string{"aliases", "arch", "os", "requirements", "release", "release_codename", "release_title",
		"supported", "support_eol", "version", "versions", "variant"}
	versionFields = []string{"items", "label", "pubname"}
	itemFields    = append([]string{"ftype", "md5", "path", "sha256", "size", "delta_base", "combined_type"},
		combinedFields[:]...)
)

// other reads a field whose value is not used. If clients know the field, it must
// be a string; "" is a field that they do not know.
func (d *decoder) other(name string) {
	if name == "" {
		d.value()
	} else if d.is('"', name, "a string") {
		d.reader.str()
	}
}

// index reads an index document.
func (d *decoder) index() (streams []stream) {
	d.object("the document", indexFields, func(name string, _ []byte) {
		if name != "index" {
			d.other(name)
			return
		}
		d.entries(name, func(key string, _ []byte) {
			s := stream{key: key}
			d.under(key, func() { d.stream(&s) })
			streams = append(streams, s)
		})
	})
	return streams
}

func (d *decoder) stream(s *stream) {
	d.object("the stream", streamFields, func(name string, _ []byte) {
		switch name {
		case "datatype":
			d.str(&s.datatype, name)
		case "path":
			d.str(&s.path, name)
		case "products":
			s.products = nil
			d.strs(&s.products, name)
		default:
			d.other(name)
		}
	})
}

// catalog splits a catalog into its members, and its products into theirs. Each
// product is read later, by productIn.
func (d *decoder) catalog() (top, products object) {
	d.object("the document", catalogFields, func(name string, quoted []byte) {
		start := d.i
		if name == "products" {
			d.entries(name, func(key string, quoted []byte) {
				products = append(products, member{name: key, quoted: quoted, raw: d.skim()})
			})
		} else {
			d.other(name)
		}
		top = append(top, member{name: text(quoted), quoted: quoted, raw: d.b[start:d.i]})
	})
	return top, products
}

// productIn reads one of the products that catalog returned. If a product was bad,
// bad stays set for the following ones.
func (d *decoder) productIn(m member) product {
	d.reader = reader{b: m.raw, depth: 2, bad: d.reader.bad} // depth: inside the document and its products
	return d.product(m.name)
}

// product reads the fields of a product except its versions.
func (d *decoder) product(key string) product {
	p := product{key: key, versions: -1, beside: d.beside[:0]}
	d.at = append(d.at[:0], key)
	d.object("the product", productFields, func(name string, quoted []byte) {
		start := d.i
		switch name {
		case "aliases":
			d.str(&p.aliases, name)
		case "arch":
			d.str(&p.arch, name)
		case "support_eol":
			d.str(&p.supportEOL, name)
		case "supported":
			d.bool(name)
		case "requirements":
			d.entries(name, func(key string, _ []byte) { d.other("requirements." + show(key)) })
		case "versions":
			p.versions = start
			d.skim()
			return
		default:
			d.other(name)
		}
		p.beside = append(p.beside, member{quoted: quoted, raw: d.b[start:d.i]})
	})
	d.beside = p.beside
	return p
}

// versions reads the versions of the product that was read last. The argument of
// visit is valid only during the call.
func (d *decoder) versions(p *product, visit func(*version)) {
	if p.versions < 0 || d.reader.bad {
		return
	}
	end := d.i
	d.i = p.versions
	d.depth++
	d.entries("versions", func(key string, _ []byte) {
		d.under(key, func() { d.version(key, &d.v) })
		visit(&d.v)
	})
	d.depth--
	if !d.reader.bad {
		d.i = end
	}
}

func (d *decoder) version(key string, v *version) {
	*v = version{key: key, items: v.items[:0], found: v.found[:0]}
	d.object("the version", versionFields, func(name string, _ []byte) {
		switch name {
		case "label":
			d.str(&v.label, name)
		case "pubname":
			d.str(&v.name, name)
		case "items":
			v.items = v.items[:0]
			d.entries(name, func(key string, _ []byte) {
				if len(v.items) < maxItems {
					v.items = append(v.items, item{key: key, size: -1})
					d.under(key, func() { d.item(&v.items[len(v.items)-1]) })
					return
				}
				if !v.full {
					v.full = true
					d.report("too-large", "%shas more than %d items", d.where(), maxItems)
				}
				d.value()
			})
		default:
			d.other(name)
		}
	})
	slices.SortStableFunc(v.items, func(a, b item) int { return strings.Compare(a.key, b.key) })
}

func (d *decoder) item(it *item) {
	start := d.i
	d.object("the item", itemFields, func(name string, _ []byte) {
		switch name {
		case "ftype":
			d.str(&it.ftype, name)
		case "md5":
			d.str(&it.md5, name)
		case "path":
			d.str(&it.path, name)
		case "sha256":
			d.hash(it)
		case "size":
			it.negative = d.kind() == '-'
			d.int(&it.size, name)
			if it.negative = it.negative && it.size < 0; it.negative {
				it.size = -1
			}
		case "delta_base":
			d.str(&it.deltaBase, name)
		case "combined_type":
			d.str(&it.combinedType, name)
		case "":
			d.value()
		default:
			d.str(&it.combined[slices.Index(combinedFields[:], name)], name)
		}
	})
	it.raw = d.b[start:d.i]
	if !d.check {
		it.file = follow(it.path, d.documents)
	}
}

// hash reads an item's sha256. If the path contains the hash, both share memory,
// which saves much for many thousand items.
func (d *decoder) hash(it *item) {
	if !d.is('"', "sha256", "a string") {
		return
	}
	quoted, plain := d.reader.str()
	base := it.path[strings.LastIndexByte(it.path, '/')+1:]
	if n := len(quoted) - 2; plain && n <= len(base) && base[:n] == string(quoted[1:n+1]) {
		it.sha256 = base[:n]
		return
	}
	it.sha256 = d.keep(quoted, plain)
}
