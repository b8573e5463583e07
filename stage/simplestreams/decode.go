package simplestreams

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/publish/stage/catalog"
)

// decoder reads documents the way encoding/json reads them into the client's
// structs: names in any case, null for nothing, unknown fields passed over. The
// client gives up at the first value of a wrong type; a decoder reports every
// one of them, and goes on. What it reports counts only if the document is JSON
// to its end.
type decoder struct {
	reader
	report func(code, message string)
	at     []string // where it stands: product, version, item
	keys   []string // of the maps that are open
	words  *[256]string
	kept   strings.Builder // the strings that it hands out, one behind the other
	// documents are what no item may name, beside what isIndex tells.
	documents map[string]bool
	// check says that only what is wrong is wanted: no text is kept.
	check bool

	v      version // the one that versions visits
	beside object  // of product
}

func newDecoder(doc []byte, report func(code, message string)) *decoder {
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
	d.report("bad-type", d.where(fmt.Sprintf("%s is %s, not %s: clients refuse the whole document", field, got, want)))
}

// is reports whether the next value is of a type, by its first byte. If it is
// not, it moves past it, and reports it unless it is null.
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

// maxKept is the size of the pieces of memory that kept strings share, in bytes.
const maxKept = 64 << 10

// keep decodes a string. Nearly all are short: they share memory.
func (d *decoder) keep(quoted []byte, plain bool) string {
	if d.check {
		return ""
	}
	if !plain {
		return text(quoted)
	}
	start := d.room(len(quoted))
	d.kept.Write(quoted[1 : len(quoted)-1])
	return d.kept.String()[start:]
}

// join is keep for the parts of a string.
func (d *decoder) join(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	start := d.room(n)
	for _, p := range parts {
		d.kept.WriteString(p)
	}
	return d.kept.String()[start:]
}

// room makes room for n bytes of a string, and returns where it begins.
func (d *decoder) room(n int) int {
	if d.kept.Cap()-d.kept.Len() < n {
		d.kept = strings.Builder{}
		d.kept.Grow(max(n, min(len(d.b), maxKept)))
	}
	return d.kept.Len()
}

// word is keep for names that come again in every version: one copy of nearly
// each is enough.
func (d *decoder) word(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if d.words == nil {
		d.words = new([256]string)
	}
	var sum uint64
	for _, c := range inner {
		sum = (sum ^ uint64(c)) * 0x9e3779b97f4a7c15
	}
	w := &d.words[sum>>56]
	if *w != string(inner) {
		if bytes.IndexByte(inner, '\\') >= 0 || !utf8.Valid(inner) {
			return text(quoted)
		}
		*w = string(inner)
	}
	return *w
}

// where puts the place before a message.
func (d *decoder) where(message string) string {
	if len(d.at) == 0 {
		return message
	}
	return place(d.at...) + ": " + message
}

// place is how messages name a product, a version or an item.
func place(names ...string) string {
	shown := make([]string, len(names))
	for i, n := range names {
		shown[i] = show(n)
	}
	return strings.Join(shown, "/")
}

// show is a name from a document as a message can carry it.
func show(s string) string { return catalog.Show(s) }

func (d *decoder) str(dst *string, field string) {
	if d.is('"', field, "a string") {
		*dst = d.keep(d.reader.str())
	}
}

// name is str for one of a few words.
func (d *decoder) name(dst *string, field string) {
	if d.is('"', field, "a string") {
		quoted, _ := d.reader.str()
		*dst = d.word(quoted)
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

// object reads a struct. visit is called for every member with its place in
// names, -1 for one that clients do not know, and has to move past its value.
func (d *decoder) object(field string, names []string, visit func(i int, quoted []byte)) {
	if !d.is('{', field, "an object") {
		return
	}
	var seen uint64
	d.reader.object(func(quoted []byte) {
		i := match(names, quoted)
		if i >= 0 {
			if seen&(1<<i) != 0 {
				d.twice(names[i])
			}
			seen |= 1 << i
		}
		visit(i, quoted)
	})
}

// entries reads a map. visit is called for every member, with its key decoded
// and as it stands there, and has to move past its value.
func (d *decoder) entries(field string, visit func(key string, quoted []byte)) {
	if !d.is('{', field, "an object") {
		return
	}
	base, sorted, seen := len(d.keys), true, map[string]bool(nil)
	d.reader.object(func(quoted []byte) {
		key, before := d.word(quoted), d.keys[base:]
		twice := false
		switch sorted = sorted && (len(before) == 0 || before[len(before)-1] < key); {
		case sorted: // as tools write them
		case len(before) < 16:
			twice = slices.Contains(before, key)
		default:
			if seen == nil {
				seen = map[string]bool{}
				for _, k := range before {
					seen[k] = true
				}
			}
			twice = seen[key]
			seen[key] = true
		}
		if twice {
			d.twice(key)
		}
		d.keys = append(d.keys, key)
		visit(key, quoted)
	})
	d.keys = d.keys[:base]
}

// twice reports a name that one object has twice: nothing says which counts.
func (d *decoder) twice(name string) {
	d.report("duplicate-key", d.where(show(name)+" is there twice: clients differ in which of them they take"))
}

// match finds the field that encoding/json decodes a member into: by its exact
// name, else by its name in another case.
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

// under reads what stands below a name.
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
	itemFields    = append([]string{"ftype", "md5", "path", "sha256", "size", "delta_base", "combined_type"}, combinedFields[:]...)
)

// index reads an index document.
func (d *decoder) index() index {
	var idx index
	d.object("the document", indexFields, func(i int, _ []byte) {
		if nameOf(indexFields, i) != "index" {
			d.other(indexFields, i)
			return
		}
		d.entries("index", func(key string, _ []byte) {
			s := stream{key: key}
			d.under(key, func() { d.stream(&s) })
			idx.streams = append(idx.streams, s)
		})
	})
	return idx
}

// other reads a field that is only checked, a string, or one that clients do
// not know.
func (d *decoder) other(names []string, i int) {
	if i < 0 {
		d.value()
	} else if d.is('"', names[i], "a string") {
		d.reader.str()
	}
}

func (d *decoder) stream(s *stream) {
	d.object("the stream", streamFields, func(i int, _ []byte) {
		switch nameOf(streamFields, i) {
		case "datatype":
			d.str(&s.datatype, "datatype")
		case "path":
			d.str(&s.path, "path")
		case "products":
			s.products = nil
			d.strs(&s.products, "products")
		default:
			d.other(streamFields, i)
		}
	})
}

// nameOf is the name of a field that object yielded.
func nameOf(names []string, i int) string {
	if i < 0 {
		return ""
	}
	return names[i]
}

// catalog takes a catalog apart: its members, and those of its products, which
// are read by product, each with the reader that within makes.
func (d *decoder) catalog() (top, products object) {
	d.object("the document", catalogFields, func(i int, quoted []byte) {
		start := d.i
		if nameOf(catalogFields, i) == "products" {
			d.entries("products", func(key string, quoted []byte) {
				products = append(products, member{name: key, quoted: quoted, raw: d.skim()})
			})
		} else {
			d.other(catalogFields, i)
		}
		top = append(top, member{name: text(quoted), quoted: quoted, raw: d.b[start:d.i]})
	})
	return top, products
}

// productIn is product for one of those that catalog returned. Once one of them
// was bad, the reader stays so.
func (d *decoder) productIn(m member) product {
	d.reader = reader{b: m.raw, depth: 2, bad: d.reader.bad} // in the document, among its products
	return d.product(m.name)
}

// product reads what stands beside the versions of a product.
func (d *decoder) product(key string) product {
	p := product{key: key, versions: -1, beside: d.beside[:0]}
	d.at = append(d.at[:0], key)
	d.object("the product", productFields, func(i int, quoted []byte) {
		start := d.i
		switch nameOf(productFields, i) {
		case "aliases":
			d.str(&p.aliases, "aliases")
		case "arch":
			d.str(&p.arch, "arch")
		case "support_eol":
			d.str(&p.supportEOL, "support_eol")
		case "supported":
			d.bool("supported")
		case "requirements":
			d.entries("requirements", func(key string, _ []byte) {
				var value string
				d.str(&value, "requirements."+show(key))
			})
		case "versions":
			p.versions = start
			d.skim()
			return
		default:
			d.other(productFields, i)
		}
		p.beside = append(p.beside, member{quoted: quoted, raw: d.b[start:d.i]})
	})
	d.beside = p.beside
	return p
}

// versions reads the versions of the product that was read last. What visit is
// called with is valid during the call.
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
	d.object("the version", versionFields, func(i int, _ []byte) {
		switch nameOf(versionFields, i) {
		case "label":
			d.str(&v.label, "label")
		case "pubname":
			d.str(&v.name, "pubname")
		case "items":
			v.items = v.items[:0]
			d.entries("items", func(key string, _ []byte) {
				if len(v.items) == maxItems {
					if !v.full {
						v.full = true
						d.report("too-large", d.where(fmt.Sprintf("has more than %d items", maxItems)))
					}
					d.value()
					return
				}
				v.items = append(v.items, item{key: key, size: -1})
				d.under(key, func() { d.item(&v.items[len(v.items)-1]) })
			})
		default:
			d.value()
		}
	})
	slices.SortStableFunc(v.items, func(a, b item) int { return strings.Compare(a.key, b.key) })
}

func (d *decoder) item(it *item) {
	start := d.i
	d.object("the item", itemFields, func(i int, _ []byte) {
		switch nameOf(itemFields, i) {
		case "ftype":
			d.name(&it.ftype, "ftype")
		case "md5":
			d.str(&it.md5, "md5")
		case "path":
			d.str(&it.path, "path")
		case "sha256":
			d.hash(it)
		case "size":
			it.negative = d.kind() == '-'
			d.int(&it.size, "size")
			if it.negative = it.negative && it.size < 0; it.negative {
				it.size = -1
			}
		case "delta_base":
			d.str(&it.deltaBase, "delta_base")
		case "combined_type":
			d.name(&it.combinedType, "combined_type")
		case "":
			d.value()
		default:
			d.str(&it.combined[i-(len(itemFields)-len(combinedFields))], itemFields[i])
		}
	})
	it.raw = d.b[start:d.i]
	if !d.check {
		it.file = follow(it.path, d.documents)
	}
}

// hash reads an item's sha256. Where content is named by its hash, it is a part
// of the path: of many thousand items every copy counts.
func (d *decoder) hash(it *item) {
	if !d.is('"', "sha256", "a string") {
		return
	}
	quoted, plain := d.reader.str()
	base := it.path[strings.LastIndexByte(it.path, '/')+1:]
	if n := len(quoted) - 2; plain && n > 0 && len(base) >= n && base[:n] == string(quoted[1:n+1]) {
		it.sha256 = base[:n]
		return
	}
	it.sha256 = d.keep(quoted, plain)
}
