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

// maxNesting is the deepest nesting that encoding/json accepts. Clients decode
// with that package.
const maxNesting = 10_000

// A reader scans JSON in one pass. To read a catalog of 5,000 versions by it, and to make all that
// a format has to know of it, takes two thirds of the time in which encoding/json only decodes it
// (BenchmarkRead, BenchmarkUnmarshal). A reader accepts what encoding/json accepts. At a
// syntax error it sets bad and moves to the end. Then all that it read before must
// be discarded.
type reader struct {
	b     []byte
	i     int
	depth int // number of open objects and arrays
	bad   bool
}

func (r *reader) fail() { r.i, r.bad = len(r.b), true }

// ended reports whether the text was valid JSON, with nothing behind the value.
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

// object calls visit for every member of the next value, which is an object.
// quoted is the name as it is in the text. The reader is at the member's value,
// and visit must move past it.
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

// array calls visit for every element of the next value, which is an array. visit
// must move past the element.
func (r *reader) array(visit func()) {
	for more := r.open(']'); more; more = r.another(']') {
		r.kind()
		visit()
	}
}

// open enters an object or an array, and reports whether it is not empty.
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

// another moves past a comma or the end, and reports whether it was a comma.
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

// str moves past a string and returns it with its quotes. plain means that it has
// only ASCII characters and no escapes.
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

// notPlain sets the highest bit of each of eight bytes that is a quote, a
// backslash, a control character or not ASCII. Only the lowest bit that is set is
// reliable: borrows may set wrong bits above it.
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

// ends reports whether a byte ends a number, true, false or null.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', ',', ']', '}':
		return true
	}
	return false
}

// skim is a faster value, for a value that another reader checks. It only looks
// for the end. If the text is not valid JSON, the end may be wrong.
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

// syntax returns the error for a document with a syntax error.
func syntax(name string, doc []byte) *DocumentError {
	fact := "is not JSON"
	// Decode with encoding/json to learn where the error is.
	var at *json.SyntaxError
	switch err := json.Unmarshal(doc, &struct{}{}); {
	case len(doc) == 0:
		fact = "is empty"
	case errors.As(err, &at):
		fact = fmt.Sprintf("is not JSON: byte %d of %d: %s", at.Offset, len(doc), at.Error())
	}
	return broken(name, "bad-json", "%s: clients cannot read it", fact)
}

// text decodes a quoted string as encoding/json does: invalid UTF-8 becomes
// U+FFFD.
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

// quote encodes a string with encoding/json, as incus-simplestreams does.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string always encodes
	return b
}
