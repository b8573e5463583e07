// Package tombstone has the types for revoked content: which contents and which
// names were revoked, from which generations, by whom and why. Select works out
// what to revoke.
//
// A Stone is the line of one revoke in .publish/tombstones. A Graveyard has all
// stones. The line is a promise that its contents will be deleted everywhere:
// every recovery continues the deletion until a later line says that it is done.
// A stone is never removed: revoked content needs --force each time it is staged
// or promoted.
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

// The types of revoked content; see package generation.
type (
	Revoked = generation.Revoked
	Named   = generation.Named
)

// Stone is one revoke.
type Stone struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Before  int       `json:"before"` // generations with lower numbers are redacted
	Revoked []Revoked `json:"revoked"`
	Unnamed []Named   `json:"unnamed,omitempty"` // versions without content; those generations must not name them
	Done    bool      `json:"done,omitempty"`    // the content of all earlier lines is deleted everywhere
}

// Reason says who revoked it, when and why. It completes a message that ends with "was
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

// Graveyard has all stones, in the order of their lines. The zero value has none.
type Graveyard struct {
	stones []Stone
	by     map[string]*Stone // by sha256, the newest
}

// Of returns a graveyard of these stones.
func Of(stones ...Stone) *Graveyard {
	g := &Graveyard{}
	for _, s := range stones {
		g.add(s)
	}
	return g
}

// Parse returns the sound lines of a file of stones, and the state of the file.
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

// Stones returns all stones. The caller must not change them.
func (g *Graveyard) Stones() []Stone { return g.stones }

// Len is the number of stones.
func (g *Graveyard) Len() int { return len(g.stones) }

// Over returns the newest stone for a content; nil if it was not revoked.
func (g *Graveyard) Over(sha256 string) *Stone { return g.by[sha256] }

// OverFile returns the newest stone for the content that was at path, or has this sha256;
// nil if none of that was revoked. A path is enough only if its content never changes.
func (g *Graveyard) OverFile(path, sha256 string) *Stone {
	for _, s := range slices.Backward(g.stones) {
		if slices.ContainsFunc(s.Revoked, func(c Revoked) bool { return c.Path == path || c.SHA256 == sha256 }) {
			return &s
		}
	}
	return nil
}

// Split returns the stones whose deletion is done, and the others.
func (g *Graveyard) Split() (done *Graveyard, pending []Stone) {
	n := 0
	for i, s := range g.stones {
		if s.Done {
			n = i + 1
		}
	}
	return Of(g.stones[:n]...), g.stones[n:]
}

// Redacted reports whether generation n must not have this row. A generation that was
// made by force after the revoke may have it.
func (g *Graveyard) Redacted(n int, row tree.Row) bool {
	s := g.by[row.SHA256]
	return s != nil && n < s.Before && row.Role != catalog.Link
}

// Unnamed returns the versions without content that generation n must not name.
func (g *Graveyard) Unnamed(n int) catalog.Names {
	out := catalog.Names{}
	for _, s := range g.stones {
		if n < s.Before {
			maps.Copy(out, NamesOf(s.Unnamed))
		}
	}
	return out
}

// Has reports whether some stone covers what.
func (g *Graveyard) Has(what catalog.What) bool {
	return slices.ContainsFunc(g.stones, func(s Stone) bool {
		return slices.ContainsFunc(s.Revoked, func(c Revoked) bool {
			return what.Path(c.Path) || what.Hash(c.SHA256) || what.Hash(c.Fingerprint) ||
				what.Called(c.Product, c.Called())
		}) || slices.ContainsFunc(s.Unnamed, func(v Named) bool { return what.Called(v.Product, v.String()) })
	})
}

// Lacks reports whether s revoked something that no stone covers.
func (g *Graveyard) Lacks(s Stone) bool {
	return slices.ContainsFunc(s.Revoked, func(c Revoked) bool { return g.by[c.SHA256] == nil }) ||
		slices.ContainsFunc(s.Unnamed, func(v Named) bool {
			return !slices.ContainsFunc(g.stones, func(s Stone) bool { return slices.Contains(s.Unnamed, v) })
		})
}

// Among returns the rows with revoked content. It leaves out content that production
// has: that was promoted by force, which need not be repeated.
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

// NamedSince returns what people call a version without content that the tree names, and that a stone
// after the first n revoked. The stone is nil if there is none.
func (g *Graveyard) NamedSince(n int, images []catalog.Image, rows []tree.Row) (string, *Stone) {
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
				return i.Called(), &s
			}
		}
	}
	return "", nil
}

// hollow reports whether no file of an image has content among the rows of its tree.
func hollow(i catalog.Image, rows map[string]tree.Row) bool {
	return !slices.ContainsFunc(i.Paths, func(p string) bool { return rows[p].Size > 0 })
}

// NamesOf returns the set of these names.
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
