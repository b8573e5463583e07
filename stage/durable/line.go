package durable

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Line seals one line of an append-only file: a checksum in eight hex digits,
// a space, the text, a newline. The text holds no newline.
func Line(text []byte) []byte {
	out := make([]byte, 0, len(text)+10)
	out = fmt.Appendf(out, "%08x ", crc32.Checksum(text, castagnoli))
	out = append(out, text...)
	return append(out, '\n')
}

// Unline returns the text of a sealed line without its newline, or false when
// a bit of it is wrong.
func Unline(line []byte) ([]byte, bool) {
	if len(line) < 9 || line[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	text := line[9:]
	return text, err == nil && uint32(sum) == crc32.Checksum(text, castagnoli)
}

// SplitTorn splits the data of an append-only file into its complete lines and
// what a crash left of one that was being appended.
func SplitTorn(data []byte) (whole, torn []byte) {
	i := bytes.LastIndexByte(data, '\n') + 1
	return data[:i], data[i:]
}
