package generation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// A document of a catalog.Server names contents by their digests, and a client that
// read production before a switch asks for such a digest after it. The content itself
// is carried. So that the document still names it, a switch holds it there: the
// document in the new tree names, beside what the tree names, whatever the live one
// names and the new one does not, until the window ends. The manifest records that,
// and the rows of the documents are about the form without it.

// Held is a content that a document of the tree names only for clients of an earlier
// generation.
type Held struct {
	Document  string // its path
	Digest    catalog.Digest
	MediaType string
	Size      int64     // bytes
	Dropped   int       // the first generation that does not name it: see Carried
	Until     time.Time // as the document says; whole seconds, UTC
}

// naming is how the document names it.
func (h Held) naming() catalog.Naming {
	return catalog.Naming{Digest: h.Digest, MediaType: h.MediaType, Size: h.Size, Kind: catalog.NamedHeld,
		Until: h.Until}
}

// HeldIn returns what a document holds, by digest.
func (m *Manifest) HeldIn(document string) map[catalog.Digest]Held {
	var out map[catalog.Digest]Held
	first, _ := slices.BinarySearchFunc(m.Held, document, func(h Held, p string) int { return cmp.Compare(h.Document, p) })
	for _, h := range m.Held[first:] {
		if h.Document != document {
			break
		}
		if out == nil {
			out = map[catalog.Digest]Held{}
		}
		out[h.Digest] = h
	}
	return out
}

// Hold completes the manifest of the next generation with what its documents have to
// hold. m has its own and carried rows. next is its tree. A carried document keeps no
// name that was its own, so its row becomes that of the bare document.
//
// A content is held only if its file is served, and as long as that is carried. After a
// revoke, a content that needs what is revoked is not held, and its file is not carried.
func (c *Carrier) Hold(m *Manifest, next Inside) error {
	server := catalog.Serving(c.Format)
	if server == nil || c.Live == nil {
		return nil
	}
	h := &holding{Carrier: c, server: server, m: m, src: tree.Contents(c.Live.src.Root()), whole: map[string]bool{}}
	for row := range c.Live.All() {
		if !server.Serves(row.Path) || row.Role == catalog.Link {
			continue
		}
		was, err := stage.ReadServed(c.Live.src.Root(), row.Path)
		if isGone(err) {
			continue // nobody can have read it
		}
		if err != nil {
			return err
		}
		if i, ok := slices.BinarySearchFunc(m.Carried, row.Path, func(c Carried, p string) int {
			return cmp.Compare(c.Path, p)
		}); ok {
			bare := stage.OwnRow(server, row.Path, server.Bare(was))
			m.Carried[i].Size, m.Carried[i].SHA256 = bare.Size, bare.SHA256
			if err := h.add(row.Path, was, nil); err != nil {
				return err
			}
			continue
		}
		if _, ok := tree.Find(m.Own, row.Path); !ok {
			continue // it is not served any more, so its names are not
		}
		is, err := stage.ReadServed(next.root, row.Path)
		if err != nil {
			return err
		}
		if !bytes.Equal(was, is) {
			if err := h.add(row.Path, was, is); err != nil {
				return err
			}
		}
	}
	m.Carried = slices.DeleteFunc(m.Carried, func(c Carried) bool {
		whole, asked := h.whole[c.Path]
		return asked && !whole
	})
	sortHeld(m.Held)
	return nil
}

// sortHeld puts held contents into the order that a manifest has.
func sortHeld(list []Held) {
	slices.SortFunc(list, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Document, b.Document), cmp.Compare(a.Digest.String(), b.Digest.String()))
	})
}

// holding is the state of one call of Hold.
type holding struct {
	*Carrier
	server catalog.Server
	m      *Manifest
	src    catalog.Source  // of the live tree
	whole  map[string]bool // see complete; by path
}

// add holds what the document was names, and is, the one of the next tree, does not.
func (h *holding) add(path string, was, is []byte) error {
	before := h.Live.HeldIn(path)
	until := h.m.Time.Add(time.Duration(h.m.Grace) * time.Second).UTC().Truncate(time.Second)
	for _, n := range h.server.Lost(path, was, is) {
		if !h.m.has(n.Path) {
			continue
		}
		if whole, err := h.complete(n); !whole || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		next := Held{Document: path, Digest: n.Digest, MediaType: n.MediaType, Size: n.Size, Dropped: h.m.Generation,
			Until: until}
		if n.Kind == catalog.NamedHeld {
			old, ok := before[n.Digest]
			if !ok || !h.Windows.Open(old.Dropped, h.Now) {
				continue
			}
			next = old
		} else if h.Grace <= 0 {
			continue
		}
		h.m.Held = append(h.m.Held, next)
	}
	return nil
}

// complete reports whether the next generation has all that clients need of a content, of
// what the live one has. Only a revoke takes some of it.
func (h *holding) complete(n catalog.Naming) (bool, error) {
	if h.m.Kind != KindRevoke && len(h.m.Revoked) == 0 {
		return true, nil
	}
	if whole, ok := h.whole[n.Path]; ok {
		return whole, nil
	}
	h.whole[n.Path] = true // it may lead back to itself
	needs, err := h.server.Needs(h.src, n)
	for _, need := range needs {
		whole := h.m.has(need.Path)
		if whole {
			whole, err = h.complete(need)
		} else if !h.Live.has(need.Path) {
			whole = true // it was not there before
		}
		if err != nil {
			break
		}
		if !whole {
			h.whole[n.Path] = false
		}
	}
	return h.whole[n.Path], err
}

// has reports whether the generation has a row for a path, own or carried.
func (m *Manifest) has(path string) bool {
	_, own := tree.Find(m.Own, path)
	_, carried := findCarried(m.Carried, path)
	return own || carried
}

// serve writes the documents of a draft as clients are served them, with what m holds.
// Their times follow the rule of Times, for the bytes that are served.
func (d *Draft) serve(m *Manifest, live *View, now time.Time, batch *durable.Batch) error {
	server := catalog.Serving(d.store.Format)
	if server == nil {
		return nil
	}
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m.Held = slices.DeleteFunc(m.Held, func(h Held) bool { return !m.has(h.Document) }) // it cannot be carried
	for row := range m.All() {
		if !server.Serves(row.Path) || row.Role == catalog.Link {
			continue
		}
		have, err := stage.ReadServed(root, row.Path)
		if err != nil {
			return err
		}
		served := have
		if _, carried := findCarried(m.Carried, row.Path); carried {
			served = server.Bare(have)
		}
		if held := m.HeldIn(row.Path); len(held) > 0 {
			served = Served(server, served, held)
		}
		if err := d.serveOne(live, row.Path, have, served, now, batch); err != nil {
			return err
		}
	}
	return nil
}

// serveOne writes one document, of which the draft has other bytes, or these.
func (d *Draft) serveOne(
	live *View, path string, have, served []byte, now time.Time, batch *durable.Batch,
) error {
	if len(served) > catalog.MaxDocument {
		return &fault.Error{Path: path, Fact: fmt.Sprintf(
			"with what clients may still ask it for it would have %d bytes; a document may have %d", len(served),
			catalog.MaxDocument), Hint: "try again when the grace window has ended"}
	}
	if !bytes.Equal(served, have) {
		if err := stage.Rewrite(d.Dir, path, served, batch); err != nil {
			return err
		}
		batch.Add(filepath.Dir(join(d.Dir, path)))
	}
	at, err := servedTime(live, path, served, now)
	if err != nil || at.IsZero() {
		return err
	}
	full := join(d.Dir, path)
	fi, err := os.Lstat(full)
	if err != nil || fi.ModTime().Equal(at) {
		return err
	}
	if err := os.Chtimes(full, time.Time{}, at); err != nil {
		return err
	}
	batch.Add(full)
	return nil
}

// servedTime is the time of a document with these bytes, by the rule of Times; zero if
// it may have any.
func servedTime(live *View, path string, served []byte, now time.Time) (time.Time, error) {
	was, err := stage.ReadServed(live.src.Root(), path)
	if isGone(err) || errors.Is(err, tree.ErrNotRegular) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	fi, err := live.Lstat(path)
	if err != nil {
		return time.Time{}, err
	}
	if bytes.Equal(was, served) {
		return fi.ModTime(), nil
	}
	return latest(now, fi.ModTime().Add(time.Second)), nil
}

// Served returns a document with these held, instead of those that it holds.
func Served(server catalog.Server, data []byte, held map[catalog.Digest]Held) []byte {
	var names []catalog.Naming
	for _, h := range held {
		names = append(names, h.naming())
	}
	return server.Hold(data, names)
}

// ReadHeld returns what the documents of a tree hold, for a manifest that is made anew:
// all of it counts as dropped by generation n, as of rows.
func ReadHeld(root *os.Root, f catalog.Format, rows []tree.Row, n int) (out []Held, err error) {
	server := catalog.Serving(f)
	if server == nil {
		return nil, nil
	}
	for _, row := range rows {
		if !server.Serves(row.Path) {
			continue
		}
		data, err := stage.ReadServed(root, row.Path)
		if err != nil {
			return nil, err
		}
		for _, is := range server.Names(row.Path, data) {
			if is.Kind == catalog.NamedHeld {
				out = append(out, Held{Document: row.Path, Digest: is.Digest, MediaType: is.MediaType, Size: is.Size,
					Dropped: n, Until: is.Until})
			}
		}
	}
	sortHeld(out)
	return out, nil
}
