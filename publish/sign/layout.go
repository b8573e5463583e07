package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxLine is how long a line of a clearsigned text may be. gpg reads 19,993 bytes of a line
// and drops the rest, without an error but that the signature is bad.
const maxLine = 16 << 10

// layOut returns a document as a clearsigned text can hold it: what gpgv prints of it has the
// same bytes. Blanks at the end of a line are not signed (RFC 9580, section 7.2), and the text
// ends with a line break. So both are made true first.
//
// JSON of one line, such as other tools write, is broken after commas. It says the same.
func layOut(document []byte) ([]byte, error) {
	text, long := trimmed(document)
	if !long {
		return text, nil
	}
	if !json.Valid(document) {
		return nil, fmt.Errorf("it has a line of more than %d bytes: gpgv could not read it", maxLine)
	}
	if text = broken(text); text == nil {
		return nil, errors.New("it has a text or a number that is too long for a line that gpgv could read")
	}
	text, _ = trimmed(text)
	return text, nil
}

// trimmed is a document without blanks at the ends of lines, and with a line break at its end;
// long is true if a line is too long.
func trimmed(document []byte) (text []byte, long bool) {
	text = make([]byte, 0, len(document)+1)
	for rest := document; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, newline)
		line = bytes.TrimRight(line, " \t\r")
		long = long || len(line) > maxLine
		text, rest = append(append(text, line...), '\n'), after
	}
	if len(text) == 0 {
		text = append(text, '\n')
	}
	return text, long
}

var newline = []byte("\n")

// broken is JSON with a line break where a line is too long: after the last comma, colon, bracket
// or blank that still fits; nil if there is none.
func broken(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/1024)
	begin, fits := 0, 0 // of the line; where it can be broken
	inside, escaped := false, false
	for i, c := range text {
		if c != '\n' && i-begin == maxLine {
			if fits == begin {
				return nil
			}
			out, begin = append(append(out, text[begin:fits]...), '\n'), fits
		}
		switch {
		case escaped:
			escaped = false
		case inside:
			escaped, inside = c == '\\', c != '"'
		case c == '"':
			inside = true
		case c == '\n':
			out, begin, fits = append(out, text[begin:i+1]...), i+1, i+1
		case c == ',' || c == ':' || c == '[' || c == '{' || c == ']' || c == '}' || c == ' ':
			fits = i + 1
		}
	}
	return append(out, text[begin:]...)
}
