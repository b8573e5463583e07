package stage

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// beside copies the companions of the tree's documents to the copies of the
// documents, and returns the other entries. Stale companions are left out. A list
// of checksums for a whole folder also names other files, so it is not copied
// here: it comes with the other files, as does its signature, and Apply corrects
// it.
func (im *importer) beside(
	ctx context.Context, entries, rest []tree.Entry, g *gate, batch *durable.Batch,
) ([]tree.Entry, error) {
	paths := make([]string, len(im.docs))
	for i, r := range im.docs {
		paths[i] = r.Path
	}
	docs := documents(im.s.Format, paths, nil)
	found, err := companion.Find(tree.FS(im.src.Root()), docs)
	if err != nil {
		return nil, err
	}
	near := map[string]bool{}
	for _, c := range found {
		near[c.Path] = docs.Of(c.Path) != ""
	}
	var ops []tree.Op
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool {
		if near[e.Path] && g.admit(e) {
			ops = append(ops, im.document(e))
		}
		return near[e.Path]
	})
	if _, err := im.clone(ctx, im.indexes, ops, batch); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(im.indexes)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	stale, err := companion.Check(tree.FS(root), docs, times(entries))
	if err != nil {
		return nil, err
	}
	if im.near, err = companion.Find(tree.FS(root), docs); err != nil {
		return nil, err
	}
	im.near = slices.DeleteFunc(im.near, func(c companion.Companion) bool { return docs.Of(c.Path) == "" })
	for _, s := range stale {
		im.report.add(catalog.Warning, "stale-companion", s.Path, "%s: it is not imported", s.Why)
		im.near = slices.DeleteFunc(im.near, func(c companion.Companion) bool { return c.Path == s.Path })
	}
	return rest, nil
}

// withCompanions returns the documents to write, with the companions that the tree
// has of them. A companion is added only if staging will have its document with
// the same bytes as the tree. Otherwise it does not fit and is left out, with a
// warning unless it can be made again.
func (im *importer) withCompanions(docs []catalog.Document) ([]catalog.Document, error) {
	if len(im.near) == 0 {
		return docs, nil
	}
	theirs, err := os.OpenRoot(im.indexes)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	same := map[string]bool{}
	for _, r := range im.docs {
		ours, err := im.final(r.Path, docs)
		if err != nil {
			return nil, err
		}
		doc, err := readDocument(theirs, r.Path)
		if err != nil {
			return nil, err
		}
		same[r.Path] = ours != nil && bytes.Equal(ours, doc)
	}
	out := docs
	for len(im.near) > 0 { // a companion comes after what it belongs to
		i := slices.IndexFunc(im.near, func(c companion.Companion) bool { _, known := same[c.Of]; return known })
		if i < 0 {
			break // the others belong to stale companions
		}
		c := im.near[i]
		im.near = slices.Delete(im.near, i, i+1)
		if same[c.Path] = same[c.Of]; !same[c.Path] {
			if !c.Remade() && c.Kind != companion.List {
				im.report.add(catalog.Warning, "stale-companion", c.Path,
					"belongs to the tree's %s, and staging's is another: it is not imported", c.Of)
			}
			continue
		}
		data, err := readDocument(theirs, c.Path)
		if err != nil {
			return nil, err
		}
		if ours, err := im.final(c.Path, nil); err != nil {
			return nil, err
		} else if ours == nil || !bytes.Equal(ours, data) {
			out = append(out, catalog.Document{Path: c.Path, Data: data})
			im.out.Files++
			im.out.Bytes += int64(len(data))
		}
	}
	return out, nil
}

// final returns the bytes that a document of staging will have; nil for none.
func (im *importer) final(p string, docs []catalog.Document) ([]byte, error) {
	for _, d := range docs {
		if d.Path == p {
			return d.Data, nil
		}
	}
	data, err := readDocument(im.dst, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
