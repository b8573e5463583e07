package simplestreams

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// member is one member of an object: its decoded name, and both as they stand
// in the document.
type member struct {
	name   string
	quoted []byte
	raw    []byte
}

// object is the members of a JSON object in their order.
type object []member

// split takes an object apart, in a document that was read. null, and anything
// else that is no object, has no members.
func split(raw []byte) object {
	r := reader{b: raw}
	if r.kind() != '{' {
		return nil
	}
	var o object
	r.object(func(quoted []byte) {
		o = append(o, member{name: text(quoted), quoted: quoted, raw: r.skim()})
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
