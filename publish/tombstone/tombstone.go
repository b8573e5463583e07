// Package tombstone has what was revoked, as values: which contents and which
// names must not be there, in which generations, by whom and why. Select works
// out what to revoke.
//
// A Stone is the line of one revoke in .publish/tombstones, and a Graveyard all
// of them. The line is the promise that its contents will be deleted everywhere:
// until a later line says that this is done, every recovery goes on with it.
// Stones are never taken back: content that --force lets in needs it each time.
//
// The package opens no file. Package publish reads and appends the lines, and
// deletes what they name.
package tombstone

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// The words of revoked content; see package generation.
type (
	Revoked = generation.Revoked
	Named   = generation.Named
)

// Stone is what one revoke revoked.
type Stone struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Before  int       `json:"before"` // generations of lower numbers are redacted
	Revoked []Revoked `json:"revoked"`
	Unnamed []Named   `json:"unnamed,omitempty"` // versions that had no content: no such generation names them any more
	Done    bool      `json:"done,omitempty"`    // all above was deleted everywhere
}

// Reason says who revoked it, when and why, in the words of a message after "was
// revoked".
func (s *Stone) Reason() string {
	return fmt.Sprintf("by %s at %s: %s", s.Who, s.Time.UTC().Format(time.RFC3339), s.Why)
}

// Marshal returns the text of the stone's line.
func (s Stone) Marshal() ([]byte, error) {
	s.Time = s.Time.UTC()
	if s.Revoked == nil {
		s.Revoked = []Revoked{}
	}
	return json.Marshal(s)
}

// Graveyard is all stones, in the order of their lines. The zero value has none.
type Graveyard struct {
	stones []Stone
	by     map[string]*Stone // by sha256, the newest
}

// Of is a graveyard of these stones.
func Of(stones ...Stone) *Graveyard {
	g := &Graveyard{}
	for _, s := range stones {
		g.add(s)
	}
	return g
}

// Parse reads the sound lines of a file of stones, and how the file is.
func Parse(data []byte) (*Graveyard, journal.Sealed) {
	g := &Graveyard{}
	sealed := journal.ReadSealed(data, func(text []byte) bool {
		var s Stone
		ok := json.Unmarshal(text, &s) == nil
		if ok {
			g.add(s)
		}
		return ok
	})
	return g, sealed
}

func (g *Graveyard) add(s Stone) {
	if g.by == nil {
		g.by = map[string]*Stone{}
	}
	g.stones = append(g.stones, s)
	for _, c := range s.Revoked {
		g.by[c.SHA256] = &s
	}
}

// Stones are all of them: do not write to them.
func (g *Graveyard) Stones() []Stone { return g.stones }

// Len is the number of stones.
func (g *Graveyard) Len() int { return len(g.stones) }

// Over is the newest stone over a content; nil where it was not revoked.
func (g *Graveyard) Over(sha256 string) *Stone { return g.by[sha256] }

// Split returns the stones whose deletion has ended, and the others.
func (g *Graveyard) Split() (done *Graveyard, pending []Stone) {
	n := 0
	for i, s := range g.stones {
		if s.Done {
			n = i + 1
		}
	}
	return Of(g.stones[:n]...), g.stones[n:]
}

// Redacted reports whether a row of generation n must not be there any more. A
// generation that was made by force after the revoke keeps it.
func (g *Graveyard) Redacted(n int, row tree.Row) bool {
	s := g.by[row.SHA256]
	return s != nil && n < s.Before && row.Role != catalog.Link
}

// Unnamed are the versions without content that generation n must not name any
// more.
func (g *Graveyard) Unnamed(n int) catalog.Names {
	out := catalog.Names{}
	for _, s := range g.stones {
		if n < s.Before {
			maps.Copy(out, NamesOf(s.Unnamed))
		}
	}
	return out
}

// Has reports whether a stone is about what.
func (g *Graveyard) Has(what catalog.What) bool {
	return slices.ContainsFunc(g.stones, func(s Stone) bool {
		return slices.ContainsFunc(s.Revoked, func(c Revoked) bool {
			return what.Path(c.Path) || what.Hash(c.SHA256) || what.Hash(c.Fingerprint) ||
				what.Name(nameOf(c.Product, c.Version))
		}) || slices.ContainsFunc(s.Unnamed, func(v Named) bool { return what.Name(nameOf(v.Product, v.Version)) })
	})
}

// Lacks reports whether some of what s revoked is under no stone.
func (g *Graveyard) Lacks(s Stone) bool {
	return slices.ContainsFunc(s.Revoked, func(c Revoked) bool { return g.by[c.SHA256] == nil }) ||
		slices.ContainsFunc(s.Unnamed, func(v Named) bool {
			return !slices.ContainsFunc(g.stones, func(s Stone) bool { return slices.Contains(s.Unnamed, v) })
		})
}

// Among returns the rows with revoked content, except for contents that
// production has already: they came by force, and are not asked for again.
func (g *Graveyard) Among(rows, production []tree.Row) (out []tree.Row) {
	if len(g.by) == 0 {
		return nil
	}
	have := map[string]bool{}
	for _, row := range production {
		have[row.SHA256] = true
	}
	for _, row := range rows {
		if g.by[row.SHA256] != nil && !have[row.SHA256] && row.Role != catalog.Link {
			out = append(out, row)
		}
	}
	return out
}

// NamedSince finds a version without content that a tree names and one of the
// stones after the first n revoked. The stone is nil where there is none.
func (g *Graveyard) NamedSince(n int, images []catalog.Image, rows []tree.Row) (catalog.Name, *Stone) {
	for _, s := range g.stones[min(n, len(g.stones)):] {
		unnamed := NamesOf(s.Unnamed)
		if len(unnamed) == 0 {
			continue
		}
		here := map[string]tree.Row{}
		for _, row := range rows {
			here[row.Path] = row
		}
		for _, i := range images {
			if unnamed[i.Of()] && hollow(i, here) {
				return i.Of(), &s
			}
		}
	}
	return catalog.Name{}, nil
}

// hollow reports whether nothing of an image is among the rows of its tree.
func hollow(i catalog.Image, rows map[string]tree.Row) bool {
	return !slices.ContainsFunc(i.Paths, func(p string) bool { return rows[p].Size > 0 })
}

// NamesOf is the set of these names.
func NamesOf(list []Named) catalog.Names {
	out := catalog.Names{}
	for _, v := range list {
		out[nameOf(v.Product, v.Version)] = true
	}
	return out
}

func nameOf(product, version string) catalog.Name {
	return catalog.Name{Group: product, Version: version}
}
