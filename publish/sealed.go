package publish

import (
	"bytes"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// sealed is what an append-only file of sealed lines holds: history and
// tombstones.
type sealed struct {
	whole int64 // bytes before a torn last line
	torn  bool  // a crash left a part of a line that was being appended
	bad   []int // numbers of damaged lines, from 1
	newer int   // the number of the first sound line that this version does not know, from 1; 0 for none
}

// errNewer is what is wrong with a record whose checksum is right and which
// this version cannot read all the same: some other version wrote it. It is not
// damaged, so nobody mends it.
var errNewer = generation.ErrNewer

// newer is the error of the record at path.
func newer(path string) error {
	return &Error{Path: path, Err: errNewer, Hint: "use a newer publish; nothing was changed"}
}

// readSealed gives the text of each sound line to take, which reports whether
// this version knows what it says. A torn last line was never promised to anybody: it has no
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
		case ok:
			if !take(text) && s.newer == 0 {
				s.newer = n
			}
		case read == len(whole) && bytes.IndexByte(line, 0) >= 0:
			s.whole, s.torn = int64(read-len(line)), true
		default:
			s.bad = append(s.bad, n)
		}
	}
	return s
}
