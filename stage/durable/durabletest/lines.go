// Package durabletest makes sealed text for tests, and breaks it.
package durabletest

import (
	"bytes"
	"strings"

	"example.com/publish/stage/durable"
)

// Lines seals each line of text.
func Lines(text string) []byte {
	var out []byte
	for line := range strings.Lines(text) {
		out = append(out, durable.Line([]byte(strings.TrimSuffix(line, "\n")))...)
	}
	return out
}

// Flipped is data with one bit of it wrong: none that would only turn a digit
// of a checksum into the other case.
func Flipped(data []byte, at uint) []byte {
	out := bytes.Clone(data)
	out[at%uint(len(out))] ^= 1
	return out
}
