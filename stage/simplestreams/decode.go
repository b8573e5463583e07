package simplestreams

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
)

// decoder reads documents the way encoding/json reads them into the client's
// structs: names in any case, null for nothing, unknown fields passed over. The
// client gives up at the first value of a wrong type; a decoder tells every
// one of them, and goes on.
type decoder struct {
	reader
	report func(code, message string)
	at     []string // where it stands: product, version, item
	words  map[string]string
	// documents are what no item may name, beside what isIndex tells.
	documents map[string]bool
	// check tells that only what is wrong is wanted, and the names of
	// products: no text is decoded.
	check bool
}

func newDecoder(doc []byte, report func(code, message string)) *decoder {
	return &decoder{reader: reader{b: doc}, report: report}
}

// bad reports a value of a wrong type and moves past it.
func (d *decoder) bad(field, want string) {
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

// maxWords bounds decoder.words.
const maxWords = 4096

// word is text for names that come again in every version: one copy is enough.
func (d *decoder) word(quoted []byte) string {
	if w, ok := d.words[string(quoted)]; ok {
		return w
	}
	w := text(quoted)
	if len(d.words) < maxWords {
		if d.words == nil {
			d.words = map[string]string{}
		}
		d.words[string(quoted)] = w
	}
	return w
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
	switch d.kind() {
	case '"':
		if raw := d.reader.str(); !d.check {
			*dst = text(raw)
		}
	case 'n':
		d.value()
	default:
		d.bad(field, "a string")
	}
}

func (d *decoder) bool(field string) {
	switch d.kind() {
	case 't', 'f', 'n':
		d.value()
	default:
		d.bad(field, "a boolean")
	}
}

func (d *decoder) int(dst *int64, field string) {
	switch c := d.kind(); {
	case c == 'n':
		d.value()
	case c == '-' || c >= '0' && c <= '9':
		start := d.i
		n, err := strconv.ParseInt(string(d.value()), 10, 64)
		if err != nil {
			d.i = start
			d.bad(field, "a whole number")
			return
		}
		*dst = n
	default:
		d.bad(field, "a whole number")
	}
}

func (d *decoder) strs(dst *[]string, field string) {
	switch d.kind() {
	case '[':
		d.array(func() {
			s := ""
			d.str(&s, fmt.Sprintf("%s[%d]", field, len(*dst)))
			*dst = append(*dst, s)
		})
	case 'n':
		d.value()
	default:
		d.bad(field, "an array of strings")
	}
}

// object reads a struct: visit is called for every member with one of the
// names, and has to move past its value.
func (d *decoder) object(field string, names []string, visit func(i int)) {
	switch d.kind() {
	case '{':
		var seen uint64
		d.reader.object(func(quoted []byte) {
			i := match(names, quoted)
			if i < 0 {
				d.value()
				return
			}
			if seen&(1<<i) != 0 {
				d.twice(names[i])
			}
			seen |= 1 << i
			visit(i)
		})
	case 'n':
		d.value()
	default:
		d.bad(field, "an object")
	}
}

// entries reads a map: visit is called for every member.
func (d *decoder) entries(field string, visit func(key string)) {
	switch d.kind() {
	case '{':
		seen := map[string]struct{}{}
		d.reader.object(func(quoted []byte) {
			key := d.word(quoted)
			if _, ok := seen[key]; ok {
				d.twice(key)
			}
			seen[key] = struct{}{}
			visit(key)
		})
	case 'n':
		d.value()
	default:
		d.bad(field, "an object")
	}
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
	idx := index{raw: d.b}
	d.object("the document", indexFields, func(i int) {
		if indexFields[i] != "index" {
			var ignored string
			d.str(&ignored, indexFields[i])
			return
		}
		d.entries("index", func(key string) {
			s := stream{key: key}
			d.under(key, func() { d.stream(&s) })
			idx.streams = append(idx.streams, s)
		})
	})
	return idx
}

func (d *decoder) stream(s *stream) {
	var ignored string
	d.object("the stream", streamFields, func(i int) {
		switch name := streamFields[i]; name {
		case "datatype":
			d.str(&s.datatype, name)
		case "path":
			d.str(&s.path, name)
		case "products":
			s.products = nil
			d.strs(&s.products, name)
		default:
			d.str(&ignored, name)
		}
	})
}

// catalog reads a catalog and hands out every product, before its versions,
// and every version; what it hands out is valid during the call. Either
// function may be nil.
func (d *decoder) catalog(onProduct func(*product), onVersion func(*product, *version)) {
	var v version
	d.object("the document", catalogFields, func(i int) {
		if catalogFields[i] != "products" {
			var ignored string
			d.str(&ignored, catalogFields[i])
			return
		}
		d.entries("products", func(key string) {
			d.under(key, func() { d.product(key, &v, onProduct, onVersion) })
		})
	})
}

// product reads the fields of a product first, wherever they stand, and then
// its versions.
func (d *decoder) product(key string, v *version, onProduct func(*product), onVersion func(*product, *version)) {
	p := product{key: key}
	versions, ignored := -1, ""
	start := d.i
	d.object("the product", productFields, func(i int) {
		switch name := productFields[i]; name {
		case "aliases":
			d.str(&p.aliases, name)
		case "arch":
			d.str(&p.arch, name)
		case "os":
			d.str(&p.os, name)
		case "release":
			d.str(&p.release, name)
		case "release_title":
			d.str(&p.releaseTitle, name)
		case "variant":
			d.str(&p.variant, name)
		case "support_eol":
			d.str(&p.supportEOL, name)
		case "supported":
			d.bool(name)
		case "requirements":
			d.entries(name, func(key string) {
				value := ""
				d.str(&value, "requirements."+show(key))
				if p.requirements == nil {
					p.requirements = map[string]string{}
				}
				p.requirements[key] = value
			})
		case "versions":
			versions = d.i
			d.value()
		default:
			d.str(&ignored, name)
		}
	})
	p.raw = d.b[start:d.i]
	if onProduct != nil {
		onProduct(&p)
	}
	if versions < 0 {
		return
	}
	end := d.i
	d.i = versions
	d.entries("versions", func(key string) {
		d.under(key, func() { d.version(key, v) })
		if onVersion != nil {
			onVersion(&p, v)
		}
	})
	d.i = end
}

func (d *decoder) version(key string, v *version) {
	*v = version{key: key, items: v.items[:0]}
	d.object("the version", versionFields, func(i int) {
		switch versionFields[i] {
		case "label":
			d.str(&v.label, "label")
		case "pubname":
			d.str(&v.name, "pubname")
		case "items":
			v.items = v.items[:0]
			d.entries("items", func(key string) {
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
		}
	})
	slices.SortStableFunc(v.items, func(a, b item) int { return strings.Compare(a.key, b.key) })
}

func (d *decoder) item(it *item) {
	start := d.i
	d.object("the item", itemFields, func(i int) {
		switch name := itemFields[i]; name {
		case "ftype":
			if d.kind() == '"' {
				it.ftype = d.word(d.reader.str())
				return
			}
			d.str(&it.ftype, name)
		case "md5":
			d.str(&it.md5, name)
		case "path":
			d.str(&it.path, name)
		case "sha256":
			d.str(&it.sha256, name)
		case "size":
			it.negative = d.kind() == '-'
			d.int(&it.size, name)
			if it.negative = it.negative && it.size < 0; it.negative {
				it.size = -1
			}
		case "delta_base":
			d.str(&it.deltaBase, name)
		case "combined_type":
			if d.kind() == '"' {
				it.combinedType = d.word(d.reader.str())
				return
			}
			d.str(&it.combinedType, name)
		default:
			d.str(&it.combined[i-(len(itemFields)-len(combinedFields))], name)
		}
	})
	it.raw = d.b[start:d.i]
	if !d.check {
		it.file = follow(it.path, d.documents)
	}
}
