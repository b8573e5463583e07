package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"path"
	"slices"
	"time"
)

// State is what a walk of a tree found, in a few bytes.
type State [sha256.Size]byte

// StateOf is the state of a tree with these entries.
func StateOf(entries []Entry) State {
	h := sha256.New()
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for i := range entries {
		e := &entries[i]
		text(e.Path)
		text(e.Target())
		b = append(b, byte(e.Kind))
		for _, n := range []uint64{e.Stat.Ino, uint64(e.Stat.Size), uint64(e.Stat.Mtime), uint64(e.Stat.Ctime),
			uint64(e.Stat.Mode), uint64(e.Stat.Links), uint64(e.Stat.UID)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		if len(b) > 1<<14 {
			h.Write(b)
			b = b[:0]
		}
	}
	h.Write(b)
	return State(h.Sum(nil))
}

// Still reports whether a tree is what it was at the time since, if a walk after that found
// the state was. Then whatever was read of it after that time, such as its documents, is
// what would be read now. What changed so shortly before that its times do not show whether
// it changed again counts as changed, and so does what cannot be read. Documents may be in
// directories without files.
func (s *Source) Still(ctx context.Context, was State, since time.Time, documents []string) (bool, error) {
	entries, err := s.Walk(ctx)
	if err != nil || StateOf(entries) != was {
		return false, err
	}
	folders := map[string]bool{} // that have not changed
	unchanged := func(p string) bool {
		for p != "." {
			if p = path.Dir(p); folders[p] {
				break
			}
			fi, err := s.root.Lstat(p)
			if err != nil || !StatOf(fi).settled(since) {
				return false
			}
			folders[p] = true
		}
		return true
	}
	for i := range entries {
		e := &entries[i]
		if e.Kind == Unreadable || !e.Stat.settled(since) || !unchanged(e.Path) {
			return false, nil
		}
	}
	return !slices.ContainsFunc(documents, func(p string) bool { return !unchanged(p) }), nil
}
