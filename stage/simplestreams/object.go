package simplestreams

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// member is one member of an object. name is the decoded name; quoted and raw are
// the name and the value as they are in the document.
type member struct {
	name   string
	quoted []byte
	raw    []byte
}

// object is the members of a JSON object in their order.
type object []member

// split parses an object in a document that was already checked. It returns no
// members for null and for any other value that is not an object.
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

// join is the inverse of split.
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

// key returns the index of the member with exactly this name; -1 for none.
func (o object) key(name string) int {
	for i, m := range o {
		if m.name == name {
			return i
		}
	}
	return -1
}

// field returns the index of the member that a client decodes into the field of
// this name; -1 for none. It ignores case, because encoding/json does.
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

// get returns the value of a field; nil for none.
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

// compact removes the white space between values. A document without line breaks
// and without a space after a colon is taken to be compact already, which saves
// the time to scan it.
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

// insert returns the object with a new member, before the first member with a
// greater name, so that sorted objects stay sorted.
func (o object) insert(name string, raw []byte) object {
	i := slices.IndexFunc(o, func(m member) bool { return m.name > name })
	if i < 0 {
		i = len(o)
	}
	return slices.Insert(o, i, member{name: name, quoted: quote(name), raw: raw})
}

// value is like get, but returns null for a missing field.
func (o object) value(name string) []byte {
	if raw := o.get(name); raw != nil {
		return raw
	}
	return []byte("null")
}
