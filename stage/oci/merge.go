package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"slices"

	"example.com/publish/stage/catalog"
)

// Merge returns the Edit with which a tree has all repositories of theirs, and all
// their tags. A tag that both have stands for what it stands for there. What only
// it led to here goes from index.json, with its referrers.
//
// It returns a *[catalog.DocumentError] for a document that clients cannot read,
// here or there.
func (Format) Merge(ctx context.Context, theirs catalog.Source) (catalog.Edit, error) {
	var from []*layout
	err := repositories(theirs, func(dir string) error {
		l, err := readSound(ctx, theirs, dir)
		from = append(from, l)
		return err
	}, func(string) {})
	if err != nil {
		return nil, err
	}
	if len(from) == 0 {
		return nil, &catalog.DocumentError{Path: indexName, Code: "no-index",
			Fact: "does not exist, nor in any directory: there is no OCI image layout"}
	}
	return func(ctx context.Context, tree catalog.Source) (*catalog.Change, error) {
		out := &catalog.Change{}
		for _, l := range from {
			out.United = append(out.United, l.document, l.version())
			moved, err := l.into(ctx, tree, out)
			if err != nil {
				return nil, err
			}
			for i := range l.roots {
				if before := moved[l.roots[i].version]; before != "" {
					image := l.image(&l.roots[i])
					image.Before = before
					out.Images = append(out.Images, image)
				}
			}
		}
		slices.Sort(out.Replaced)
		return out, nil
	}, nil
}

// readSound reads a layout that is to be rewritten.
func readSound(ctx context.Context, src catalog.Source, dir string) (*layout, error) {
	l, err := readLayout(ctx, src, dir, func(catalog.Severity, string, string, string, ...any) {}, reading{})
	if err == nil && l.index == nil {
		// Say again what is wrong, as an error.
		if _, err = src.Document(l.document); err == nil {
			bad := &catalog.DocumentError{Path: l.document, Code: "schema", Fact: "cannot be read as an image index"}
			if err = bad; l.half {
				err = &catalog.HalfError{DocumentError: bad}
			}
		}
	}
	return l, err
}

// version is the path of oci-layout.
func (l *layout) version() string { return path.Join(l.repository, layoutName) }

// into adds the documents with which a tree has what the layout has. It returns the
// digests that versions stand for in the tree, where they are others.
func (l *layout) into(ctx context.Context, tree catalog.Source, out *catalog.Change) (map[string]string, error) {
	ours, err := readSound(ctx, tree, l.repository)
	if catalog.Missing(err) {
		index, err := l.index.bytes(l.index.entries)
		version, err2 := l.src.Document(l.version())
		if err == nil {
			err = err2
		}
		if err != nil {
			return nil, err
		}
		out.Documents = append(out.Documents, catalog.Document{Path: l.version(), Data: version},
			catalog.Document{Path: l.document, Data: index})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	moved := map[string]string{}
	theirs := map[string]*node{}
	for _, r := range l.roots {
		theirs[r.version] = r.entry
	}
	kept := map[string]bool{} // digests
	for i := range ours.roots {
		r := &ours.roots[i]
		if n := theirs[r.version]; n != nil && n.key != r.entry.key {
			moved[r.version] = r.entry.key
		} else {
			ours.each(func(n *node) { kept[n.key] = true }, r.owns...)
		}
	}
	united := []entry{}
	for i, e := range ours.index.entries {
		n, tag := ours.entries[i], ours.tags[i]
		if n == nil || kept[e.Digest] && moved[tag] == "" && !l.index.has(e.Digest, tag) {
			united = append(united, e)
		}
	}
	for _, e := range l.index.entries {
		if i := ours.index.find(e.Digest, tagOf(e)); i >= 0 && sameEntry(ours.index.entries[i], e) {
			e = ours.index.entries[i] // as it stands there
		}
		united = append(united, e)
	}
	index, err := ours.index.bytes(inOrderOf(ours.index.entries, united))
	if err != nil {
		return nil, err
	}
	before, err := ours.index.bytes(ours.index.entries)
	if err != nil || bytes.Equal(before, index) {
		return nil, err
	}
	for d := range l.nodes {
		kept[d] = true
	}
	for d, n := range ours.nodes {
		if !kept[d] && !n.absent {
			out.Replaced = append(out.Replaced, ours.at(n))
		}
	}
	out.Documents = append(out.Documents, catalog.Document{Path: ours.document, Data: index})
	return moved, nil
}

// inOrderOf sorts entries so that those that stood in old keep their order, and
// new ones come last.
func inOrderOf(old, entries []entry) []entry {
	place := map[string]int{}
	for i, e := range old {
		place[e.Digest+" "+tagOf(e)] = i
	}
	at := func(e entry) int {
		if i, ok := place[e.Digest+" "+tagOf(e)]; ok {
			return i
		}
		return len(old)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return at(a) - at(b) })
	return entries
}

func tagOf(e entry) string {
	tag, _ := e.tag()
	return tag
}

// has reports whether the index has an entry of this digest with this tag.
func (x *index) has(digest, tag string) bool { return x.find(digest, tag) >= 0 }

// find is the place of an entry; -1 for none.
func (x *index) find(digest, tag string) int {
	if x.places == nil {
		x.places = map[string]int{}
		for i, e := range x.entries {
			x.places[e.Digest+" "+tagOf(e)] = i
		}
	}
	if i, ok := x.places[digest+" "+tag]; ok {
		return i
	}
	return -1
}

// sameEntry reports whether two entries say the same, whatever their white space.
func sameEntry(a, b entry) bool { return bytes.Equal(compact(a.raw), compact(b.raw)) }

func compact(raw []byte) []byte {
	var buf bytes.Buffer
	if json.Compact(&buf, raw) != nil {
		return raw
	}
	return buf.Bytes()
}
