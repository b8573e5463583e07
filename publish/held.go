package publish

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// What documents hold for clients of earlier generations is explained at
// generation.Hold. Promote, revert and revoke record it in the manifest, gc shortens
// the documents when a window ends, and verify compares them with the manifest.

// shortened returns the documents of production that hold something whose window has
// ended, without that. Those that are to be deleted are among them: they are shorter
// before the first content goes.
func (r *Repo) shortened(s *state) ([]catalog.Document, error) {
	return r.shortenedBy(s, func(h generation.Held) bool { return !s.windows.Open(h.Dropped, s.now) })
}

// shortenedBy is shortened with what is over.
func (r *Repo) shortenedBy(s *state, over func(generation.Held) bool) ([]catalog.Document, error) {
	server := catalog.Serving(r.format)
	if server == nil || len(s.current.Held) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(s.current.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []catalog.Document
	list := s.current.Held
	for len(list) > 0 {
		path, due := list[0].Document, false
		open := map[catalog.Digest]generation.Held{}
		for ; len(list) > 0 && list[0].Document == path; list = list[1:] {
			if h := list[0]; !over(h) {
				open[h.Digest] = h
			} else {
				due = true
			}
		}
		if !due {
			continue
		}
		data, err := stage.ReadServed(root, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, tree.ErrNotRegular) {
			continue // somebody removed it: verify reports that
		}
		if err != nil {
			return nil, err
		}
		for d := range open {
			if !holds(server, path, data, d) {
				delete(open, d) // it may have been shorter before the grace was raised
			}
		}
		if shorter := generation.Served(server, data, open); !bytes.Equal(shorter, data) {
			out = append(out, catalog.Document{Path: path, Data: shorter})
		}
	}
	return out, nil
}

// holds reports whether a document holds a digest.
func holds(server catalog.Server, path string, data []byte, d catalog.Digest) bool {
	return slices.ContainsFunc(server.Names(path, data), func(n catalog.Naming) bool {
		return n.Kind == catalog.NamedHeld && n.Digest == d
	})
}

// checkServed compares what the documents of a generation name for clients, beside
// what the tree names, with its manifest. listed are what the indexes of the tree list;
// nil if that is not known. need reports whether a content must be held.
func checkServed(
	server catalog.Server, g *generation.Tree, src *tree.Source, listed map[string][]catalog.Naming,
	need func(generation.Held) bool, fail func(code, path, format string, args ...any),
) {
	for row := range g.All() {
		if !server.Serves(row.Path) || row.Role == catalog.Link {
			continue
		}
		data, err := stage.ReadServed(src.Root(), row.Path)
		if err != nil {
			continue // there is a finding, or it may be gone
		}
		here, held := g.HeldIn(row.Path), map[catalog.Digest]generation.Held{}
		names := slices.Clone(listed[row.Path])
		for _, n := range server.Names(row.Path, data) {
			switch h, ok := here[n.Digest]; {
			case n.Kind == catalog.NamedHeld && !ok:
				fail("served", row.Path, "holds %s, and the manifest does not", n.Digest)
			case n.Kind == catalog.NamedHeld:
				held[n.Digest] = h
			case n.Kind == catalog.NamedListed && listed == nil:
				names = append(names, n)
			}
		}
		for _, d := range slices.SortedFunc(maps.Keys(here), byText) {
			h := here[d]
			if _, ok := held[d]; !ok && need(h) {
				fail("served", row.Path, "does not hold %s, which clients may ask for until %s", d,
					h.Until.Format(time.RFC3339))
			}
		}
		if want := generation.Served(server, server.List(data, names), held); !bytes.Equal(want, data) {
			fail("served", row.Path, "its own entries are right, and those that were added for clients are not: %s",
				difference(server, row.Path, data, want))
		}
	}
}

func byText(a, b catalog.Digest) int { return cmp.Compare(a.String(), b.String()) }

// difference names a content that one of two documents names and the other does not.
func difference(server catalog.Server, path string, have, want []byte) string {
	named := map[catalog.Digest]catalog.Naming{}
	for _, n := range server.Names(path, have) {
		named[n.Digest] = n
	}
	for _, n := range server.Names(path, want) {
		switch is, ok := named[n.Digest]; {
		case !ok:
			return fmt.Sprintf("%s is missing", n.Digest)
		case is != n:
			return fmt.Sprintf("%s has another kind, type, size or end", n.Digest)
		}
		delete(named, n.Digest)
	}
	for _, d := range slices.SortedFunc(maps.Keys(named), byText) {
		return fmt.Sprintf("%s should not be there", d)
	}
	return "it is written in another way"
}
