package simplestreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkSyntax tells what is wrong with a document as JSON, and at which byte;
// "" when nothing is. Whether a text is JSON is decided by encoding/json, which
// the client uses too, and which refuses nesting deeper than 10,000: what is
// read by a reader below has passed this.
func checkSyntax(doc []byte) string {
	if len(doc) == 0 {
		return "is empty"
	}
	if valid(doc) {
		return ""
	}
	// Decoding into nothing repeats the check and tells where it failed.
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(doc, &struct{}{}); {
	case errors.As(err, &syntax):
		return fmt.Sprintf("is not JSON: byte %d of %d: %s", syntax.Offset, len(doc), syntax.Error())
	default:
		return "is not JSON"
	}
}

// A reader walks over JSON that has passed checkSyntax, in one pass and without
// recursion of its own.
type reader struct {
	b []byte
	i int
}

// kind moves to the next value and returns its first byte.
func (r *reader) kind() byte {
	for r.i < len(r.b) {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return c
		}
	}
	return 0
}

// value moves past the next value and returns its bytes.
func (r *reader) value() []byte {
	first := r.kind()
	start := r.i
	switch first {
	case '"':
		r.str()
	case '{', '[':
		for depth := 0; r.i < len(r.b); {
			switch r.b[r.i] {
			case '"':
				r.str()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			r.i++
			if depth == 0 {
				break
			}
		}
	default:
		for r.i < len(r.b) && !ends(r.b[r.i]) {
			r.i++
		}
	}
	return r.b[start:r.i]
}

// ends reports whether a byte stands after a number, true, false or null.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', ',', ']', '}':
		return true
	}
	return false
}

// str moves past a string, the reader standing on its first quote, and returns
// it with its quotes.
func (r *reader) str() []byte {
	start := r.i
	r.i++
	for r.i < len(r.b) {
		n := bytes.IndexByte(r.b[r.i:], '"')
		if n < 0 {
			r.i = len(r.b)
			break
		}
		r.i += n + 1
		back := 0
		for r.b[r.i-2-back] == '\\' { // stops at the first quote at the latest
			back++
		}
		if back%2 == 0 {
			break
		}
	}
	return r.b[start:r.i]
}

// object calls visit for every member of the next value, an object. visit has
// to move past exactly one value. name is the member's name as it stands there,
// with its quotes.
func (r *reader) object(visit func(name []byte)) {
	r.kind()
	r.i++
	for {
		switch r.kind() {
		case '"':
			name := r.str()
			r.kind()
			r.i++ // the colon
			r.kind()
			visit(name)
		case ',':
			r.i++
		default: // the closing brace, or the end
			r.i++
			return
		}
	}
}

// array calls visit for every element of the next value, an array.
func (r *reader) array(visit func()) {
	r.kind()
	r.i++
	for {
		switch r.kind() {
		case ',':
			r.i++
		case ']', 0:
			r.i++
			return
		default:
			visit()
		}
	}
}

// text decodes a string with its quotes, as encoding/json does: what is not
// UTF-8 becomes U+FFFD.
func text(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner)
	}
	return s
}

// quote encodes a string as encoding/json does for incus-simplestreams.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string always encodes
	return b
}

// member is one member of an object: its decoded name, and both as they stand
// in the document.
type member struct {
	name   string
	quoted []byte
	raw    []byte
}

// object is the members of a JSON object in their order.
type object []member

// split takes an object apart. null, and anything else that is no object, has
// no members.
func split(raw []byte) object {
	r := reader{b: raw}
	if r.kind() != '{' {
		return nil
	}
	var o object
	r.object(func(name []byte) {
		o = append(o, member{name: text(name), quoted: name, raw: r.value()})
	})
	return o
}

// join is the opposite of split.
func (o object) join() []byte {
	n := 2
	for _, m := range o {
		n += len(m.quoted) + len(m.raw) + 2
	}
	out := append(make([]byte, 0, n), '{')
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.raw...)
	}
	return append(out, '}')
}

// key is the place of the member of exactly this name, -1 without one.
func (o object) key(name string) int {
	for i, m := range o {
		if m.name == name {
			return i
		}
	}
	return -1
}

// field is the place of the member that a client decodes into the field of
// this name: encoding/json takes another case for the same name.
func (o object) field(name string) int {
	if i := o.key(name); i >= 0 {
		return i
	}
	for i, m := range o {
		if strings.EqualFold(m.name, name) {
			return i
		}
	}
	return -1
}

// get is the value of a field, nil without one.
func (o object) get(name string) []byte {
	if i := o.field(name); i >= 0 {
		return o[i].raw
	}
	return nil
}

// set returns the object with the field set: in its place, or at the end.
func (o object) set(name string, raw []byte) object {
	if i := o.field(name); i >= 0 {
		o[i].raw = raw
		return o
	}
	return append(o, member{name: name, quoted: quote(name), raw: raw})
}

// remove returns the object without the field.
func (o object) remove(name string) object {
	if i := o.field(name); i >= 0 {
		return append(o[:i:i], o[i+1:]...)
	}
	return o
}

// compact drops the white space between values. Documents that were indented, or
// written with a space after every colon, are told by that; one that is compact
// already is not gone through again.
func compact(doc []byte) []byte {
	if bytes.IndexByte(doc, '\n') < 0 && !bytes.Contains(doc, []byte(`": `)) {
		return doc
	}
	var out bytes.Buffer
	out.Grow(len(doc))
	if json.Compact(&out, doc) != nil {
		return doc
	}
	return out.Bytes()
}

// insert returns the object with a new member, before the first one with a
// greater name: sorted objects stay sorted.
func (o object) insert(name string, raw []byte) object {
	i := slices.IndexFunc(o, func(m member) bool { return m.name > name })
	if i < 0 {
		i = len(o)
	}
	return slices.Insert(o, i, member{name: name, quoted: quote(name), raw: raw})
}

// value is get, with null for a field that is not there.
func (o object) value(name string) []byte {
	if raw := o.get(name); raw != nil {
		return raw
	}
	return []byte("null")
}
