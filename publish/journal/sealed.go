package journal

import (
	"bytes"

	"example.com/publish/stage/durable"
)

// Sealed is how an append-only file of sealed lines is.
type Sealed struct {
	Whole int64 // bytes before a torn last line
	Torn  bool  // a crash left a part of a line that was being appended
	Bad   []int // numbers of damaged lines, from 1
	Newer int   // the number of the first sound line that this version does not know, from 1; 0 for none
}

// ReadSealed gives the text of each sound line to take, which reports whether
// this version knows what it says. A torn last line was never promised to anybody: it has no
// newline, or zeros where a power cut left its length but not its bytes. Any
// other line that is not sound is damage.
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
