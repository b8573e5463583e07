package companion

import (
	"errors"
	"io/fs"

	"example.com/publish/stage/catalog"
)

// Follow returns the documents that are to be written together with what
// becomes of their companions. Compressed copies (.gz, .zst) and lists of
// checksums are made again; a copy comes before its document, since web servers
// hand it out in the document's place, and a list after all. What cannot be made
// again is removed, before its document changes: gone are the paths of these. A
// companion that is among the documents is left to the caller.
func Follow(fsys fs.FS, docs []catalog.Document, of Documents) (out []catalog.Document, gone []string, err error) {
	w := follower{changed: map[string][]byte{}}
	of.Paths = nil
	for _, d := range docs {
		w.changed[d.Path] = d.Data
		of.Paths = append(of.Paths, d.Path)
	}
	found, err := Find(fsys, of)
	if err != nil {
		return nil, nil, err
	}
	w.beside = map[string][]Companion{}
	for _, c := range found {
		w.beside[c.Of] = append(w.beside[c.Of], c)
	}
	for _, d := range docs {
		if err := w.before(d.Path, d.Data); err != nil {
			return nil, nil, err
		}
		w.out = append(w.out, d)
	}
	// Lists name all that was made above, and each other.
	lists := map[string][]byte{}
	for _, c := range found {
		if _, done := w.changed[c.Path]; c.Kind != List || done {
			continue
		}
		list, big, err := readList(fsys, c.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist), big: // validate reports one that is too large
		case err != nil:
			return nil, nil, err
		case len(list) > 0:
			lists[c.Path] = list
		}
	}
	for _, c := range ordered(found, lists) {
		next, same := c.rewrite(lists[c.Path], w.changed)
		if same {
			continue
		}
		w.changed[c.Path] = next
		if err := w.before(c.Path, next); err != nil {
			return nil, nil, err
		}
		w.out = append(w.out, catalog.Document{Path: c.Path, Data: next})
	}
	return w.out, w.gone, nil
}

// follower is Follow at work.
type follower struct {
	changed map[string][]byte
	beside  map[string][]Companion
	out     []catalog.Document
	gone    []string
}

// before is what becomes of the companions of p, lists excepted.
func (w *follower) before(p string, data []byte) error {
	for _, c := range w.beside[p] {
		if _, done := w.changed[c.Path]; done || c.Kind == List {
			continue
		}
		var made []byte
		if data != nil && c.Remade() {
			var err error
			if made, err = Pack(c.Path, data); err != nil {
				return err
			}
		} else if data != nil {
			w.gone = append(w.gone, c.Path)
		}
		w.changed[c.Path] = made
		if err := w.before(c.Path, made); err != nil {
			return err
		}
		w.out = append(w.out, catalog.Document{Path: c.Path, Data: made})
	}
	return nil
}
