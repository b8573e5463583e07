package simplestreams

import "encoding/json"

// valid reports whether a document is JSON. encoding/json decides, at some 200
// MB a second; but the documents that programs write have neither escapes nor
// anything but ASCII in their strings, and no nesting to speak of. Of those
// plainJSON says yes at once, and of everything else nothing.
func valid(doc []byte) bool { return plainJSON(doc) || json.Valid(doc) }

// maxPlainDepth is more than a catalog needs: five objects and a list.
const maxPlainDepth = 16

// plain are the bytes of a string that stand for themselves.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plainJSON reports that a document is JSON. When it says no, the document may
// be JSON all the same.
func plainJSON(doc []byte) bool {
	var (
		inArray [maxPlainDepth]bool // of each value that is open
		depth   int
		i       int
	)
	space := func() {
		for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\r' || doc[i] == '\t') {
			i++
		}
	}
	next := func(c byte) bool {
		if space(); i < len(doc) && doc[i] == c {
			i++
			return true
		}
		return false
	}
	str := func() bool {
		if !next('"') {
			return false
		}
		for i < len(doc) && plain[doc[i]] {
			i++
		}
		i++ // the closing quote, if that is what stopped it
		return i <= len(doc) && doc[i-1] == '"'
	}
	name := func() bool { return str() && next(':') }
	for {
		// A value begins here.
		if space(); i == len(doc) {
			return false
		}
		switch c := doc[i]; {
		case c == '"':
			if !str() {
				return false
			}
		case c == '{' || c == '[':
			i++
			if next(c + 2) { // its other half, in ASCII
				break
			}
			if depth == maxPlainDepth {
				return false
			}
			inArray[depth] = c == '['
			depth++
			if c == '{' && !name() {
				return false
			}
			continue
		default:
			n := wordOrNumber(doc[i:])
			if n == 0 {
				return false
			}
			i += n
		}
		// A value has ended; perhaps with it those that hold it.
		for {
			if depth == 0 {
				space()
				return i == len(doc)
			}
			if next(',') {
				break
			}
			closing := byte('}')
			if inArray[depth-1] {
				closing = ']'
			}
			if !next(closing) {
				return false
			}
			depth--
		}
		if !inArray[depth-1] && !name() {
			return false
		}
	}
}

// wordOrNumber is the length of the whole number, true, false or null at the
// beginning of b; 0 for anything else.
func wordOrNumber(b []byte) int {
	for _, word := range []string{"true", "false", "null"} {
		if len(b) >= len(word) && string(b[:len(word)]) == word {
			return len(word)
		}
	}
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if n > 1 && b[0] == '0' {
		return 0
	}
	return n
}
