package durable

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Line returns a sealed line for an append-only file: a checksum in eight hex
// digits, a space, the text, and a newline. The text must not contain a newline.
func Line(text []byte) []byte {
	out := make([]byte, 0, len(text)+10)
	out = fmt.Appendf(out, "%08x ", crc32.Checksum(text, castagnoli))
	out = append(out, text...)
	return append(out, '\n')
}

// Unline returns the text of a sealed line, which is given without its newline. It
// returns false if the checksum is wrong.
func Unline(line []byte) ([]byte, bool) {
	if len(line) < 9 || line[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	text := line[9:]
	return text, err == nil && uint32(sum) == crc32.Checksum(text, castagnoli)
}

// SplitTorn splits the data of an append-only file into complete lines and a torn
// last line, which a crash may have left.
func SplitTorn(data []byte) (whole, torn []byte) {
	i := bytes.LastIndexByte(data, '\n') + 1
	return data[:i], data[i:]
}
