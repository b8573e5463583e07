package journal

import (
	"bytes"

	"example.com/publish/stage/durable"
)

// Sealed is the state of an append-only file of sealed lines.
type Sealed struct {
	Whole int64 // bytes before a torn last line
	Torn  bool  // a crash left a part of a line that was being appended
	Bad   []int // numbers of damaged lines, from 1
	Newer int   // the number of the first sound line that this version does not know, from 1; 0 for none
}

// ReadSealed calls take with the text of each sound line. take reports whether
// this version knows the content of the line.
//
// A torn last line is not damage, because no command reported success for it. It
// lacks its newline, or has zero bytes: a power cut can leave the length of a
// file without its data. Any other line that is not sound is damaged.
func ReadSealed(data []byte, take func(text []byte) bool) Sealed {
	whole, torn := durable.SplitTorn(data)
	s := Sealed{Whole: int64(len(whole)), Torn: len(torn) > 0}
	n, read := 0, 0
	for line := range bytes.Lines(whole) {
		n, read = n+1, read+len(line)
		text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
		switch {
		case ok:
			if !take(text) && s.Newer == 0 {
				s.Newer = n
			}
		case read == len(whole) && bytes.IndexByte(line, 0) >= 0:
			s.Whole, s.Torn = int64(read-len(line)), true
		default:
			s.Bad = append(s.Bad, n)
		}
	}
	return s
}
