package publish

import (
	"bytes"

	"example.com/publish/stage/durable"
)

// sealed is what an append-only file of sealed lines holds: history and
// tombstones.
type sealed struct {
	whole int64 // bytes before a torn last line
	torn  bool  // a crash left a part of a line that was being appended
	bad   []int // numbers of damaged lines, from 1
}

// readSealed gives the text of each sound line to take, which reports whether
// it can be read. A torn last line was never promised to anybody: it has no
// newline, or zeros where a power cut left its length but not its bytes. Any
// other line that is not sound is damage.
func readSealed(data []byte, take func(text []byte) bool) sealed {
	whole, torn := durable.SplitTorn(data)
	s := sealed{whole: int64(len(whole)), torn: len(torn) > 0}
	n, read := 0, 0
	for line := range bytes.Lines(whole) {
		n, read = n+1, read+len(line)
		text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
		switch {
		case ok && take(text):
		case read == len(whole) && bytes.IndexByte(line, 0) >= 0:
			s.whole, s.torn = int64(read-len(line)), true
		default:
			s.bad = append(s.bad, n)
		}
	}
	return s
}
