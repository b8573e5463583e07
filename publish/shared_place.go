package publish

import (
	"context"
	"errors"
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
	if p := b.placer(); p != nil && p.PointerPath() != "" {
		return p.PointerPath()
	}
	return "_publish/pointer.json"
}

// direct reports whether clients read the store themselves.
func (b *shared) direct() bool { return b.r.Config.S3.Readers == ReadersBucket }

// placer says how what clients read in the store lies there; nil if they read none, or if
// all files of the format lie at their paths.
func (b *shared) placer() catalog.Placer {
	if !b.direct() {
		return nil
	}
	p, _ := catalog.As[catalog.Placer](b.r.format)
	return p
}

// layout names how trees lie in the store: see bucket.Birth.
func (b *shared) layout() string {
	if p := b.placer(); p != nil {
		return p.Layout()
	}
	return ""
}

// place says how the tree at dir lies in the store. Of its files only documents need be
// there. Without readers of the store, that is content at its paths.
func (b *shared) place(ctx context.Context, dir string, rows []tree.Row) (*stage.Placed, error) {
	_, prefix, _ := strings.Cut(strings.TrimPrefix(b.r.Production(), schemeS3), "/")
	if !b.direct() {
		rows = slices.DeleteFunc(slices.Clone(rows), func(row tree.Row) bool { return row.Role != catalog.Content })
		return stage.PlaceContent(rows, prefix+"/"), nil
	}
	src, err := tree.OpenSource(dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return stage.Place(ctx, b.r.format, tree.Contents(src.Root()), rows, prefix+"/")
}

// placed is place for a generation that is kept, or production. It is remembered for the
// last one.
func (b *shared) placed(ctx context.Context, m *generation.Manifest) (*stage.Placed, error) {
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if last.seal == m.Seal && last.Placed != nil {
		return last.Placed, nil
	}
	if err := b.r.store.Furnish(ctx, m); err != nil {
		return nil, err
	}
	out, err := b.place(ctx, b.r.store.Dir(m.Generation), m.Own)
	if err == nil {
		b.mu.Lock()
		b.last = laid{m.Seal, out}
		b.mu.Unlock()
	}
	return out, err
}

// laid is how the generation with a seal lies in the store.
type laid struct {
	seal string
	*stage.Placed
}

// maxNear is up to how many bytes a file of a tree without indexes is copied to each machine.
const maxNear = 1 << 20

// Away is generation.Elsewhere. Documents that are read to know what a tree has are never
// away, however large.
func (b *shared) Away(row tree.Row) bool {
	return row.Role == catalog.Content ||
		row.Role == catalog.Mutable && row.Size > maxNear && b.r.format.Class(row.Path) == catalog.Whole
}

// keys are the keys under which a row may lie, first that where publish reads it. Which of
// the others it has cannot be told by its path.
func (b *shared) keys(row tree.Row) []string {
	p := b.placer()
	if row.Role == catalog.Content {
		if p != nil {
			return p.ContentKeys(row.Path)
		}
		return []string{row.Path}
	}
	keys := []string{bucket.KeyOf(row)}
	if b.Away(row) {
		keys[0] = bucket.RawKeyOf(row)
	}
	if !b.direct() || row.Path == b.pointerKey() {
		return keys
	}
	if p != nil {
		if key := p.DocumentKey(row.Path, row.SHA256); key != "" {
			keys = append(keys, key)
		}
	}
	return append(keys, row.Path) // beside the pointer
}

// key is where the bytes of content lie; of another row, those that revert needs.
func (b *shared) key(row tree.Row) string { return b.keys(row)[0] }

// besideKeys are the keys of what lies beside the pointer, of a generation, and is no file
// of its tree.
func (b *shared) besideKeys(ctx context.Context, m *generation.Manifest) ([]string, error) {
	if b.placer() == nil {
		return nil, nil
	}
	placed, err := b.placed(ctx, m)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, o := range placed.Beside {
		if made(&o) {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// made reports whether an object beside the pointer is made by the format, and no file of
// the tree. Those are carried, and go when their windows end; what is made goes when
// production does not have it any more.
func made(o *stage.Object) bool { return o.Data != nil || o.Key != o.Row.Path }

// Document is generation.Elsewhere.
func (b *shared) Document(ctx context.Context, row tree.Row) ([]byte, error) {
	if p := b.placer(); p != nil {
		if key := p.DocumentKey(row.Path, row.SHA256); key != "" {
			data, err := b.site.Bytes(ctx, key, row)
			if err == nil || !errors.Is(err, bucket.ErrNotFound) {
				return data, b.explain(err)
			}
		}
	}
	data, err := b.site.File(ctx, row)
	if errors.Is(err, bucket.ErrNotFound) {
		err = errors.Join(err, fs.ErrNotExist)
	}
	return data, b.explain(err)
}

// bare returns the documents that m only carries: they name nothing any more, so their bytes
// are others than before. s is the state before m.
func (b *shared) bare(s *state, m *generation.Manifest) (out []bucket.Upload, err error) {
	server := catalog.Serving(b.r.format)
	if server == nil || s.current == nil {
		return nil, nil
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
			return nil, err
		}
		out = append(out, bucket.FileUpload(c.Row, server.Bare(was)))
	}
	return out, nil
}
