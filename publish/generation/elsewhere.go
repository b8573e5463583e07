package generation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Elsewhere is where the generations are if their content is not on this machine, such
// as in an object store. The folders of the store then hold copies: manifests, and trees
// with documents and without content. They may be deleted at any time.
type Elsewhere interface {
	// Kept returns the numbers of the generations that are kept, production included.
	Kept() ([]int, error)
	// Manifest fetches the manifest of a generation that is kept. The error is of kind
	// NotFound if it is not.
	Manifest(ctx context.Context, n int) (*Manifest, error)
	// Away reports whether the bytes of a row stay there, and are opened by who wants them:
	// those of content, and of large files that no index names.
	Away(row tree.Row) bool
	// Document fetches the bytes of a row that is not away, in the form that clients read,
	// without what is held. The error wraps fs.ErrNotExist if they are not there.
	Document(ctx context.Context, row tree.Row) ([]byte, error)
	// Open opens a row that is away, for one reader. The error wraps fs.ErrNotExist if it is not there,
	// ErrAway if it cannot be asked for now, ErrOther if it is not that of the row; it may
	// come at the first read, or of Far.Expect.
	Open(ctx context.Context, row tree.Row) (Content, error)
}

// Furnish makes the directory of a generation that is Elsewhere: its documents, number and
// mark. What is away is not there. It is a copy, so it is not flushed.
func (s *Store) Furnish(ctx context.Context, m *Manifest) error {
	dir := s.Dir(m.Generation)
	if c, err := ReadClaim(dir); err == nil && c.Number == m.Generation && c.Seal == m.Borne() {
		return nil
	}
	return s.furnish(ctx, m, s.furnished(m.From), func(row tree.Row) ([]byte, error) {
		return s.Elsewhere.Document(ctx, row)
	})
}

// FurnishFrom is Furnish with the documents of a draft, which it takes. Of a tree without
// indexes a draft has only what is new.
func (s *Store) FurnishFrom(ctx context.Context, d *Draft, m *Manifest) error {
	return s.furnish(ctx, m, s.furnished(m.From), func(row tree.Row) ([]byte, error) {
		data, err := durable.ReadFile(join(d.Dir, row.Path), catalog.MaxDocument)
		if isGone(err) {
			return s.Elsewhere.Document(ctx, row)
		}
		return data, err
	})
}

// furnish makes the directory of a generation. own returns the bytes of its own documents.
// They get the form that clients read, with what they hold: see Hold. What is carried and is
// not away is there, too. All get the time of the generation, which is the same on each
// machine, and later than that of the documents before. A document that the generation
// before has, of which these are the rows, is linked from its copy.
func (s *Store) furnish(
	ctx context.Context, m *Manifest, before []tree.Row, own func(tree.Row) ([]byte, error),
) error {
	tmp, err := s.Scratch(copyPrefix)
	if err != nil {
		return err
	}
	defer durable.RemoveAll(tmp)
	server := catalog.Serving(s.Format)
	put := func(row tree.Row, own func(tree.Row) ([]byte, error)) error {
		serves := server != nil && server.Serves(row.Path)
		if was, ok := tree.Find(before, row.Path); ok && !serves && was == row && s.link(m.From, tmp, row.Path) {
			return nil
		}
		data, err := own(row)
		if held := m.HeldIn(row.Path); err == nil && serves && len(held) > 0 {
			data = Served(server, data, held)
		}
		if err != nil {
			return err
		}
		return lay(tmp, row.Path, data, m.Time)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for _, row := range m.Own {
		if !s.Elsewhere.Away(row) && gctx.Err() == nil {
			g.Go(func() error { return put(row, own) })
		}
	}
	elsewhere := func(row tree.Row) ([]byte, error) { return s.Elsewhere.Document(gctx, row) }
	for _, c := range m.Carried {
		if !s.Elsewhere.Away(c.Row) && gctx.Err() == nil {
			g.Go(func() error {
				err := put(c.Row, elsewhere)
				if isGone(err) { // its window has ended
					return nil
				}
				return err
			})
		}
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return err
	}
	return s.settleFurnished(tmp, m)
}

// fetches is how many documents are fetched at once.
const fetches = 8

// furnished returns the rows of which the copy of generation n has documents; none if it
// is not there.
func (s *Store) furnished(n int) []tree.Row {
	c, err := ReadClaim(s.Dir(n))
	if n == 0 || err != nil || c.Number != n || gone(s.ManifestPath(n)) {
		return nil
	}
	m, err := s.Manifest(n)
	if err != nil || m.Borne() != c.Seal {
		return nil
	}
	return m.Own
}

// link links a document from the copy of generation n. It returns false if that fails.
func (s *Store) link(n int, dir, path string) bool {
	at := join(dir, path)
	return os.MkdirAll(filepath.Dir(at), 0o755) == nil && os.Link(join(s.Dir(n), path), at) == nil
}

// Drafts returns what killed commands may have left of trees in the making. The caller
// holds the locks of those who make them.
func (s *Store) Drafts() []string {
	list, _ := os.ReadDir(s.Trees)
	var out []string
	for _, d := range list {
		name := d.Name()
		switch {
		case strings.HasPrefix(name, SnapshotPrefix), strings.HasPrefix(name, RevertPrefix),
			strings.HasPrefix(name, trashPrefix), strings.HasPrefix(name, copyPrefix) && old(d):
			out = append(out, filepath.Join(s.Trees, name))
		}
	}
	return out
}

// old reports whether a copy is so old that nobody can be making it: that takes no lock.
func old(d os.DirEntry) bool {
	fi, err := d.Info()
	return err == nil && time.Since(fi.ModTime()) > 24*time.Hour
}

func lay(dir, path string, data []byte, modified time.Time) error {
	at := join(dir, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at, data, 0o444); err != nil || modified.IsZero() {
		return err
	}
	return os.Chtimes(at, time.Time{}, modified)
}

// copySparse copies what there is of a sparse tree, its documents.
func (d *Draft) copySparse(target *Tree) error {
	for _, row := range target.Own {
		if d.store.Elsewhere.Away(row) {
			continue
		}
		data, err := durable.ReadFile(join(target.Dir, row.Path), catalog.MaxDocument)
		if server := catalog.ServingAt(d.store.Format, row.Path); err == nil && server != nil {
			data = server.Hold(data, nil)
		}
		if err == nil {
			err = lay(d.Dir, row.Path, data, time.Time{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) settleFurnished(tmp string, m *Manifest) error {
	id, err := s.EnsureID(func() string { return "" })
	if err != nil {
		return err
	}
	if err := s.WriteManifest(m); err != nil {
		return err
	}
	batch, err := durable.NewBatch(tmp)
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := writeIdentity(batch, tmp, m.Generation); err != nil {
		return err
	}
	if err := writeMark(tmp, id, m.Borne()); err != nil {
		return err
	}
	dir := s.Dir(m.Generation)
	if gone(dir) {
		err := os.Rename(tmp, dir)
		if c, bad := ReadClaim(dir); err != nil && bad == nil && c.Number == m.Generation && c.Seal == m.Borne() {
			return nil // another one was first
		}
		return err
	}
	// Another process furnished it meanwhile, or it is a half one.
	if c, err := ReadClaim(dir); err == nil && c.Number == m.Generation && c.Seal == m.Borne() {
		return nil
	}
	aside, err := s.Aside(m.Generation)
	if err != nil {
		return err
	}
	_ = durable.RemoveAll(aside)
	return os.Rename(tmp, dir)
}
