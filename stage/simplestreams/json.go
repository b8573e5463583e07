package simplestreams

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// maxNesting is how deep values may nest for encoding/json, with which the client
// decodes.
const maxNesting = 10_000

// A reader walks over JSON in one pass, and accepts what encoding/json accepts.
// Where a text stops to be JSON the reader is bad, and stands at the end: what
// was read until then counts for nothing.
type reader struct {
	b     []byte
	i     int
	depth int // of the objects and arrays that are open
	bad   bool
}

func (r *reader) fail() { r.i, r.bad = len(r.b), true }

// ended reports whether the text was JSON; where something else follows, it is
// none.
func (r *reader) ended() bool {
	r.kind()
	if r.i < len(r.b) {
		r.fail()
	}
	return !r.bad
}

// kind moves to the next value and returns its first byte, 0 at the end.
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
	case '{':
		r.object(func([]byte) { r.value() })
	case '[':
		r.array(func() { r.value() })
	default:
		r.scalar()
	}
	return r.b[start:r.i]
}

// object calls visit for every member of the next value, an object, with the
// name as it stands there. visit has to move past the value, on which the reader
// stands.
func (r *reader) object(visit func(quoted []byte)) {
	for more := r.open('}'); more; more = r.another('}') {
		r.kind()
		quoted, _ := r.str()
		if r.kind() != ':' {
			r.fail()
			return
		}
		r.i++
		r.kind()
		visit(quoted)
	}
}

// array calls visit for every element of the next value, an array.
func (r *reader) array(visit func()) {
	for more := r.open(']'); more; more = r.another(']') {
		r.kind()
		visit()
	}
}

// open goes into an object or an array, and reports whether there is anything
// in it.
func (r *reader) open(end byte) bool {
	if r.depth++; r.depth > maxNesting {
		r.fail()
		return false
	}
	r.i++
	if r.kind() == end {
		r.i++
		r.depth--
		return false
	}
	return true
}

// another reports whether a comma follows, and not the end.
func (r *reader) another(end byte) bool {
	switch r.kind() {
	case ',':
		r.i++
		return true
	case end:
		r.i++
		r.depth--
	default:
		r.fail()
	}
	return false
}

// str moves past a string and returns it with its quotes. It is plain if each
// of its bytes is a character of its own: ASCII without an escape.
func (r *reader) str() (quoted []byte, plain bool) {
	if r.i == len(r.b) || r.b[r.i] != '"' {
		r.fail()
		return []byte(`""`), true
	}
	b, start, escaped := r.b, r.i, false
	plain = true
	for i := start + 1; i < len(b); {
		if i+8 <= len(b) {
			special := notPlain(binary.LittleEndian.Uint64(b[i:]))
			if special == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(special) / 8
		}
		switch c := b[i]; {
		case c == '"':
			r.i = i + 1
			if escaped && !json.Valid(b[start:r.i]) {
				r.fail()
			}
			return b[start : i+1], plain
		case c == '\\':
			plain, escaped = false, true
			i += 2
		case c < 0x20:
			r.fail()
			return []byte(`""`), true
		default:
			plain = plain && c < 0x80
			i++
		}
	}
	r.fail()
	return []byte(`""`), true
}

// notPlain has a bit for each of eight bytes that is a quote, a backslash, a
// control character or not ASCII. Above the lowest one that is right, bits may
// be wrong.
func notPlain(word uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	quote, back := word^(ones*'"'), word^(ones*'\\')
	return ((word-ones*0x20)&^word | (quote-ones)&^quote | (back-ones)&^back | word) & high
}

// scalar moves past a number, true, false or null, and returns it.
func (r *reader) scalar() []byte {
	start, digits := r.i, true
	for r.i < len(r.b) && !ends(r.b[r.i]) {
		digits = digits && isDigit(r.b[r.i])
		r.i++
	}
	raw := r.b[start:r.i]
	if (!digits || len(raw) == 0 || raw[0] == '0' && len(raw) > 1) && !json.Valid(raw) {
		r.fail()
	}
	return raw
}

// ends reports whether a byte stands after a number, true, false or null.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', ',', ']', '}':
		return true
	}
	return false
}

// skim is value for one that is read by another reader, or was: it looks for the
// end only. In what is no JSON that may be anywhere.
func (r *reader) skim() []byte {
	first := r.kind()
	if first != '{' && first != '[' {
		return r.value()
	}
	start := r.i
	for depth := 0; r.i < len(r.b); {
		switch r.b[r.i] {
		case '"':
			if n := bytes.IndexByte(r.b[r.i+1:], '"'); n >= 0 && r.b[r.i+n] != '\\' {
				r.i += n + 2
			} else {
				r.str()
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		r.i++
		if depth == 0 {
			return r.b[start:r.i]
		}
	}
	r.fail()
	return nil
}

// syntax is the fault of a document that made a reader bad.
func syntax(name string, doc []byte) *DocumentError {
	fact := "is not JSON"
	// Decoding into nothing tells where.
	var at *json.SyntaxError
	switch err := json.Unmarshal(doc, &struct{}{}); {
	case len(doc) == 0:
		fact = "is empty"
	case errors.As(err, &at):
		fact = fmt.Sprintf("is not JSON: byte %d of %d: %s", at.Offset, len(doc), at.Error())
	}
	return broken(name, "bad-json", "%s: clients cannot read it", fact)
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
