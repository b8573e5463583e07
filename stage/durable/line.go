package durable

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Line returns a sealed line for an append-only file: a checksum in eight hex
// digits, a space, the text, and a newline. The text must not contain a newline.
func Line(text []byte) []byte { return LineTo(make([]byte, 0, len(text)+10), text) }

// LineTo appends the line to out.
func LineTo(out, text []byte) []byte {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(text, castagnoli))
	out = append(hex.AppendEncode(out, sum[:]), ' ')
	return append(append(out, text...), '\n')
}

// Unline returns the text of a sealed line, which is given without its newline. It
// returns false if the checksum is wrong.
func Unline(line []byte) ([]byte, bool) {
	if len(line) < 9 || line[8] != ' ' {
		return nil, false
	}
	var sum [4]byte
	_, err := hex.Decode(sum[:], line[:8])
	text := line[9:]
	return text, err == nil && binary.BigEndian.Uint32(sum[:]) == crc32.Checksum(text, castagnoli)
}

// SplitTorn splits the data of an append-only file into complete lines and a torn
// last line, which a crash may have left.
func SplitTorn(data []byte) (whole, torn []byte) {
	i := bytes.LastIndexByte(data, '\n') + 1
	return data[:i], data[i:]
}
