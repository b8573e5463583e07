package oci

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// An index.json may have 100,000 entries, and is read several times in each promote.
// encoding/json looks at each of its bytes four times to find where an entry ends, and
// copies it twice. The functions below look once, and copy nothing. Their input is
// valid: see json.Valid.

// members returns the members of an object, or the first of too many; nil for another
// value. Of two with one name the last one counts, as for encoding/json.
func members(valid []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	object := eachMember(valid, func(name, value []byte) {
		if len(out) <= maxMembers {
			out[text(name)] = value
		}
	})
	if !object {
		return nil
	}
	return out
}

// eachMember calls f for the members of an object, with their quoted names; it reports
// whether it is one.
func eachMember(valid []byte, f func(name, value []byte)) bool {
	s := splitter{data: valid}
	if s.skipSpace(); len(valid) == 0 || !s.take('{') {
		return false
	}
	for s.skipSpace(); !s.take('}'); s.skipSpace() {
		s.take(',')
		s.skipSpace()
		name := s.value()
		s.skipSpace()
		s.take(':')
		s.skipSpace()
		f(name, s.value())
	}
	return true
}

// descriptorOf reads a descriptor as encoding/json does, in a fourth of the time: what
// is not as usual is left to that.
func descriptorOf(valid []byte) (d descriptor, err error) {
	usual := true
	word := func(to *string, value []byte) {
		if usual = usual && value[0] == '"'; usual {
			*to = common(value)
		}
	}
	object := eachMember(valid, func(name, value []byte) {
		switch string(name) {
		case `"mediaType"`:
			word(&d.MediaType, value)
		case `"digest"`:
			word(&d.Digest, value)
		case `"artifactType"`:
			word(&d.ArtifactType, value)
		case `"size"`:
			n, err := strconv.ParseInt(string(value), 10, 64)
			d.Size, usual = &n, usual && err == nil
		case `"annotations"`:
			usual = usual && d.Annotations == nil
			usual = eachMember(value, func(name, value []byte) {
				var s string
				word(&s, value)
				if usual = usual && len(d.Annotations) < fewNotes; usual {
					d.Annotations.set(common(name), s)
				}
			}) && usual
		default: // a member that is not known, or one that encoding/json finds by another name
			usual = usual && !slices.ContainsFunc(name, func(c byte) bool {
				return c >= 'A' && c <= 'Z' || c == '\\' || c >= 0x80
			}) && string(name) != `"urls"` && string(name) != `"platform"` && string(name) != `"mediatype"` &&
				string(name) != `"artifacttype"`
		}
	})
	if usual && object {
		return d, nil
	}
	d = descriptor{}
	return d, json.Unmarshal(valid, &d)
}

// eachElement calls f for the elements of an array, until it returns false; it reports
// whether it is one.
func eachElement(valid []byte, f func(value []byte) bool) bool {
	s := splitter{data: valid}
	if s.skipSpace(); len(valid) == 0 || !s.take('[') {
		return false
	}
	for s.skipSpace(); !s.take(']'); s.skipSpace() {
		s.take(',')
		s.skipSpace()
		if !f(s.value()) {
			break
		}
	}
	return true
}

// common is text, without a copy for what stands in most entries.
func common(quoted []byte) string {
	if len(quoted) > 2 {
		switch inner := quoted[1 : len(quoted)-1]; string(inner) {
		case ociManifest:
			return ociManifest
		case ociIndex:
			return ociIndex
		case dockerManifest:
			return dockerManifest
		case dockerList:
			return dockerList
		case refName:
			return refName
		case imageName:
			return imageName
		case requestedNote:
			return requestedNote
		case stagedNote:
			return stagedNote
		case sourceNote:
			return sourceNote
		case heldMark:
			return heldMark
		}
	}
	return text(quoted)
}

// usual reports whether a text is valid JSON of the usual kind: printable ASCII, strings
// without escapes, whole numbers. It takes a fourth of the time of json.Valid, which
// decides on all others.
func usual(data []byte) bool {
	const deepest = 64
	var objects uint64 // a bit for each level: whether it is an object
	depth, i := 0, 0
	space := func() {
		for i < len(data) && space(data[i]) {
			i++
		}
	}
	str := func() bool {
		if i >= len(data) || data[i] != '"' {
			return false
		}
		for i++; i < len(data); i++ {
			switch c := data[i]; {
			case c == '"':
				i++
				return true
			case c < 0x20 || c >= 0x7f || c == '\\':
				return false
			}
		}
		return false
	}
	name := func() bool {
		if !str() {
			return false
		}
		space()
		if i >= len(data) || data[i] != ':' {
			return false
		}
		i++
		space()
		return true
	}
	word := func(w string) bool {
		ok := bytes.HasPrefix(data[i:], []byte(w))
		i += len(w)
		return ok
	}
	space()
	for {
		if i >= len(data) {
			return false
		}
		switch c := data[i]; {
		case c == '{' || c == '[':
			if depth == deepest {
				return false
			}
			i++
			space()
			object, end := c == '{', c+2 // } and ] are two after { and [
			if i < len(data) && data[i] == end {
				i++
				break
			}
			if depth++; object {
				objects |= 1 << (depth - 1)
			} else {
				objects &^= 1 << (depth - 1)
			}
			if object && !name() {
				return false
			}
			continue
		case c == '"':
			if !str() {
				return false
			}
		case c == 't':
			if !word("true") {
				return false
			}
		case c == 'f':
			if !word("false") {
				return false
			}
		case c == 'n':
			if !word("null") {
				return false
			}
		case c == '0':
			i++
		case c >= '1' && c <= '9':
			for i++; i < len(data) && data[i] >= '0' && data[i] <= '9'; i++ {
			}
		default:
			return false
		}
		// Behind a value stands a comma, or the end of what has it.
		for {
			if space(); depth == 0 {
				return i == len(data)
			}
			if i >= len(data) {
				return false
			}
			object := objects>>(depth-1)&1 != 0
			c := data[i]
			if i++; c == ',' {
				if space(); object && !name() {
					return false
				}
				break
			}
			if object != (c == '}') || object == (c == ']') {
				return false
			}
			depth--
		}
	}
}

// text is the value of a string.
func text(quoted []byte) (s string) {
	if bytes.IndexByte(quoted, '\\') < 0 && plain(quoted) {
		return string(quoted[1 : len(quoted)-1])
	}
	_ = json.Unmarshal(quoted, &s) // it is valid
	return s
}

// plain reports whether bytes are printable ASCII.
func plain(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < 0x20 || c >= 0x7f })
}

// splitter goes through a valid text. At its end it finds nothing more.
type splitter struct {
	data []byte
	at   int
}

func (s *splitter) take(c byte) bool {
	ok := s.at >= len(s.data) || s.data[s.at] == c // the end ends all
	if ok {
		s.at++
	}
	return ok
}

func (s *splitter) skipSpace() {
	for s.at < len(s.data) && space(s.data[s.at]) {
		s.at++
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// value returns the next value.
func (s *splitter) value() []byte {
	from, depth := s.at, 0
	for s.at < len(s.data) {
		switch c := s.data[s.at]; c {
		case '"':
			s.skipString()
			if depth == 0 {
				return s.data[from:s.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.at++
				return s.data[from:s.at]
			}
			if depth < 0 { // the end of what a number or a name stands in
				return s.data[from:s.at]
			}
		default:
			if depth == 0 && (c == ',' || space(c)) {
				return s.data[from:s.at]
			}
		}
		s.at++
	}
	return s.data[from:min(s.at, len(s.data))]
}

func (s *splitter) skipString() {
	for s.at++; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
}

// appendCompact appends a valid text without its white space.
func appendCompact(to, valid []byte) []byte {
	from, inside := 0, false
	for i := 0; i < len(valid); i++ {
		switch c := valid[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case !inside && space(c):
			to = append(to, valid[from:i]...)
			from = i + 1
		}
	}
	return append(to, valid[from:]...)
}
