package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// pointerKey is where the pointer lies: at the document that clients read first, if they
// read the store themselves and the format has one that names all others.
func (b *shared) pointerKey() string {
	if p := b.placer(); p != nil {
		return p.PointerPath()
	}
	return "_publish/pointer.json"
}

// placer says how documents lie that clients read in the store; nil if they read none, or
// if the format has no such form.
func (b *shared) placer() catalog.Placer {
	if b.r.Config.S3.Readers != ReadersBucket {
		return nil
	}
	p, _ := catalog.As[catalog.Placer](b.r.format)
	return p
}

// place returns the documents of the tree at dir as clients read them, by their paths in
// the tree. It puts into out what becomes of the pointer's, and of files that have no place
// there.
func (b *shared) place(ctx context.Context, dir string, rows []tree.Row, out *uploading) (
	map[string][]bucket.Upload, error) {
	if b.placer() == nil {
		return nil, nil
	}
	src, err := tree.OpenSource(dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	_, prefix, _ := strings.Cut(strings.TrimPrefix(b.r.Production(), schemeS3), "/")
	pl, err := stage.Place(ctx, b.r.format, tree.Contents(src.Root()), rows, prefix+"/")
	if err != nil {
		return nil, err
	}
	report := &stage.Report{Findings: pl.Findings}
	if len(report.Errors()) > 0 {
		return nil, &FindingsError{Report: report}
	}
	out.warnings, out.document = pl.Findings, pl.Pointer.Data
	placed := map[string][]bucket.Upload{}
	for _, d := range pl.Objects {
		sum := fmt.Sprintf("%x", sha256.Sum256(d.Data))
		placed[d.Path] = append(placed[d.Path], bucket.Upload{Key: d.Key, Type: d.Type, Body: bytesBody(d.Data, sum)})
	}
	for _, row := range pl.Lost {
		out.lost = append(out.lost, row.Path)
	}
	return placed, nil
}

// keys are the keys under which a row may lie. Which of them a document has cannot be told
// by its path.
func (b *shared) keys(row tree.Row) []string {
	keys, p := []string{bucket.KeyOf(row)}, b.placer()
	switch {
	case row.Role == catalog.Content:
		return []string{row.Path}
	case b.r.Config.S3.Readers != ReadersBucket || row.Path == b.pointerKey():
		return keys
	case p != nil:
		keys = append(keys, p.Placed(row.Path, row.SHA256))
	}
	return append(keys, row.Path) // beside the pointer
}

// key is where the bytes of content lie; of another row, those that revert needs.
func (b *shared) key(row tree.Row) string {
	if row.Role == catalog.Content {
		return row.Path
	}
	return bucket.KeyOf(row)
}

// keyIn returns where the bytes of the rows of a generation lie.
func (b *shared) keyIn(g *generation.Tree) (func(tree.Row) string, error) {
	placed, p := map[string]bool{}, b.placer()
	if p != nil {
		v, err := g.View()
		if err != nil {
			return nil, err
		}
		defer v.Close()
		names, err := b.r.format.Documents(v.Contents())
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			placed[name] = name != p.PointerPath()
		}
	}
	return func(row tree.Row) string {
		if placed[row.Path] {
			return p.Placed(row.Path, row.SHA256)
		}
		return b.key(row)
	}, nil
}

// Document is generation.Elsewhere.
func (b *shared) Document(ctx context.Context, row tree.Row) ([]byte, error) {
	if p := b.placer(); p != nil && row.Path != p.PointerPath() {
		data, err := b.site.Bytes(ctx, p.Placed(row.Path, row.SHA256), row)
		if err == nil || !errors.Is(err, bucket.ErrNotFound) {
			return data, b.explain(err)
		}
	}
	data, err := b.site.File(ctx, row)
	if errors.Is(err, bucket.ErrNotFound) {
		err = errors.Join(err, fs.ErrNotExist)
	}
	return data, b.explain(err)
}

// bare adds the documents that m only carries: they name nothing any more, so their bytes
// are others than before. s is the state before m.
func (b *shared) bare(s *state, m *generation.Manifest, out *uploading) error {
	server := catalog.Serving(b.r.format)
	if server == nil || s.current == nil {
		return nil
	}
	for _, c := range m.Carried {
		if c.Role != catalog.Mutable || !server.Serves(c.Path) || slices.Contains(s.current.Carried, c) {
			continue
		}
		was, err := durable.ReadFile(filepath.Join(s.current.Dir, filepath.FromSlash(c.Path)), catalog.MaxDocument)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was carried before, and nobody can read it
		}
		if err != nil {
			return err
		}
		out.objects = append(out.objects, bucket.FileUpload(c.Row, server.Bare(was)))
	}
	return nil
}

// typeOf is the Content-Type of a path.
func (b *shared) typeOf(path string) string { return catalog.MediaType(path) }
