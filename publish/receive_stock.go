package publish

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// stock knows where on a target the contents of a generation are: in kept trees, and in
// the directory of those that came and are not in a tree yet.
type stock struct {
	r     *Repo
	kept  map[string]generation.Place
	came  map[string]bool
	trees []*tree.Source
}

// incoming is the directory of contents that came: files named by their sha256, and links
// with the text of a link. A file counts if its bytes have the hash: a sync that was
// killed leaves a part of one.
func (r *Repo) incoming() string { return r.path(".publish", "incoming") }

// stockKey tells a document that clients are served in another form from its own bytes.
func (r *Repo) stockKey(row tree.Row) string {
	key := generation.ContentKey(row)
	if row.Role != catalog.Link && catalog.ServingAt(r.format, row.Path) != nil {
		return "document:" + key
	}
	return key
}

// stockFor looks for the contents of rows, by the manifests of the kept trees. A file must
// be there with its size; its bytes are trusted, as those of any kept tree are. Close it
// after use.
func (r *Repo) stockFor(ctx context.Context, s *state, rows []tree.Row, came map[string]bool) (*stock, error) {
	out := &stock{r: r, kept: map[string]generation.Place{}, came: came}
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(rows))
	for _, row := range rows {
		wanted[r.stockKey(row)] = true
	}
	live := 0
	if s.current != nil {
		live = s.current.Generation
	}
	kept, err := r.store.Kept(live)
	if err != nil {
		return nil, err
	}
	slices.Reverse(kept)
	if i := slices.Index(kept, live); i > 0 { // production first
		kept = append([]int{live}, slices.Delete(kept, i, i+1)...)
	}
	for _, n := range kept {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, out.Close())
		}
		g := s.current
		if n != live {
			if g, err = r.tree(n); err != nil {
				continue // it is deleted, or damaged: others may have the content
			}
		}
		src, err := g.Open()
		if err != nil {
			continue
		}
		used := false
		for row := range g.All() {
			key := r.stockKey(row)
			if _, met := out.kept[key]; met || !wanted[key] || graves.Redacted(n, row) || !holdsFile(src, row,
				strings.HasPrefix(key, "document:")) {
				continue
			}
			out.kept[key], used = generation.Place{From: src, Name: row.Path}, true
		}
		if !used || src.Proved() != nil {
			if used {
				for key, at := range out.kept {
					if at.From == src {
						delete(out.kept, key)
					}
				}
			}
			_ = src.Close() // it was only read
			continue
		}
		out.trees = append(out.trees, src)
	}
	return out, nil
}

// holdsFile reports whether a tree has the file or link of a row. A document may be longer
// than its row says, for what it holds.
func holdsFile(src *tree.Source, row tree.Row, document bool) bool {
	fi, err := src.Root().Lstat(row.Path)
	if err != nil {
		return false
	}
	if row.Role == catalog.Link {
		return fi.Mode()&fs.ModeSymlink != 0
	}
	return fi.Mode().IsRegular() && (document || fi.Size() == row.Size)
}

// Close releases the trees.
func (k *stock) Close() error {
	var err error
	for _, src := range k.trees {
		err = errors.Join(err, src.Close())
	}
	k.trees = nil
	return err
}

func (k *stock) has(row tree.Row) bool {
	_, kept := k.kept[k.r.stockKey(row)]
	return kept || k.came[generation.ContentKey(row)]
}

// lacks returns a row for each content that is not here.
func (k *stock) lacks(rows []tree.Row) (out []tree.Row) {
	seen := map[string]bool{}
	for _, row := range rows {
		if key := generation.ContentKey(row); !seen[key] && !k.has(row) {
			seen[key] = true
			out = append(out, row)
		}
	}
	return out
}

// place returns where the content of a row is. in has the contents that came.
func (k *stock) place(in *tree.Source) func(row tree.Row) (generation.Place, error) {
	return func(row tree.Row) (generation.Place, error) {
		if at, ok := k.kept[k.r.stockKey(row)]; ok {
			return at, nil
		}
		if !k.came[generation.ContentKey(row)] {
			return generation.Place{}, &Error{Path: row.Path, Fact: "its content is not here any more", Hint: "sync again"}
		}
		return generation.Place{From: in, Name: incomingName(row)}, nil
	}
}

// incomingName is the name of the file with the content of a row.
func incomingName(row tree.Row) string {
	return strings.Replace(generation.ContentKey(row), ":", "-", 1)
}

// findIncoming returns which of the contents of rows an earlier sync left, and removes
// what is no use: part of a file, and contents that are not wanted.
func (r *Repo) findIncoming(ctx context.Context, rows []tree.Row) (map[string]bool, error) {
	came, wanted := map[string]bool{}, map[string]tree.Row{}
	for _, row := range rows {
		wanted[incomingName(row)] = row
	}
	if err := durable.MkdirAll(r.incoming(), 0o700); err != nil {
		return nil, err
	}
	src, err := tree.OpenSource(r.incoming())
	if err != nil {
		return nil, err
	}
	defer src.Close()
	list, err := os.ReadDir(r.incoming())
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		row, ok := wanted[d.Name()]
		if ok {
			ok, err = isContent(ctx, src, d.Name(), row)
		}
		if err != nil {
			return nil, err
		}
		if ok {
			came[generation.ContentKey(row)] = true
		} else if err := r.remove(filepath.Join(r.incoming(), d.Name())); err != nil {
			return nil, err
		}
	}
	return came, nil
}

// isContent reports whether a file that came has the content of a row.
func isContent(ctx context.Context, src *tree.Source, name string, row tree.Row) (bool, error) {
	if row.Role == catalog.Link {
		text, err := src.Root().Readlink(name)
		sum := tree.NewSHA256()
		io.WriteString(sum, text)
		return err == nil && hex.EncodeToString(sum.Sum(nil)) == row.SHA256, nil
	}
	if !holdsFile(src, tree.Row{Path: name, Size: row.Size}, false) {
		return false, nil
	}
	_, err := src.CopyOut(ctx, io.Discard, name, catalog.Digest{Algorithm: catalog.SHA256, Hex: row.SHA256}, nil)
	return err == nil, ctx.Err()
}

// putIncoming keeps a content that comes. The error wraps [catalog.ErrDigest] for others
// than those of the row.
func (r *Repo) putIncoming(ctx context.Context, batch *durable.Batch, row tree.Row, content io.Reader) error {
	dir, err := durable.OpenBelow(r.incoming(), ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	batch.Add(dir.Path())
	if row.Role == catalog.Link {
		text, err := io.ReadAll(io.LimitReader(content, row.Size+1))
		if err != nil {
			return err
		}
		return dir.Symlink(string(text), incomingName(row))
	}
	if free, err := durable.Free(r.incoming()); err == nil && row.Size > free {
		return &fs.PathError{Op: "write", Path: r.incoming(), Err: syscall.ENOSPC}
	}
	f, err := dir.Create(incomingName(row))
	if err != nil {
		return err
	}
	sum := tree.NewSHA256()
	n, err := tree.Spread(ctx, io.LimitReader(content, row.Size+1), f, sum)
	if err == nil && (n != row.Size || hex.EncodeToString(sum.Sum(nil)) != row.SHA256) {
		err = fmt.Errorf("%s: %w, sha256:%s", row.Path, catalog.ErrDigest, row.SHA256)
	}
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err != nil {
		return errors.Join(err, f.Close(), dir.Remove(incomingName(row)))
	}
	return batch.Take(f)
}
