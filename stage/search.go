package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Search is the function Search for staging, by hash.
func (s *Stage) Search(ctx context.Context, what catalog.What) ([]tree.Row, error) {
	out, err := Search(ctx, s.Dir, s.Format, tree.OpenCache(s.Hashes), what, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	absent, err := s.absentNow(ctx)
	for _, r := range absent.rows {
		if r.Role != catalog.Link && what.Hash(r.SHA256) {
			r.Role = catalog.Content
			out = append(out, r)
		}
	}
	tree.SortRows(out)
	return out, err
}

// Search returns the files below dir whose path is named, or whose sha256 is what a word
// says. For a word that is a hash it reads files that the cache does not know. It ignores
// indexes and uploads in progress.
func Search(
	ctx context.Context, dir string, f catalog.Format, cache *tree.Cache, what catalog.What, named func(path string) bool,
) ([]tree.Row, error) {
	entries, sums, err := hashed(ctx, dir, f, cache, func(e tree.Entry) bool {
		return what.Digits() != "" || named(e.Path)
	})
	if err != nil {
		return nil, err
	}
	var out []tree.Row
	for _, e := range entries {
		if sum := sums[e.Path]; named(e.Path) || what.Hash(sum) {
			out = append(out, tree.Row{Path: e.Path, Size: e.Stat.Size, SHA256: sum, Role: catalog.Content})
		}
	}
	return out, nil
}

// hashed returns the files below dir that are taken, and their sha256 by path. It reads
// those that the cache does not know. Indexes and uploads in progress are never among them,
// nor a file that has gone meanwhile. A directory that is missing has none.
func hashed(
	ctx context.Context, dir string, f catalog.Format, cache *tree.Cache, take func(tree.Entry) bool,
) ([]tree.Entry, map[string]string, error) {
	entries, err := tree.Walk(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	var needs []*need
	sums := map[string]string{}
	for _, e := range entries {
		class := f.Class(e.Path)
		if e.Kind != tree.File || class == catalog.Index || class == catalog.InProgress || !take(e) {
			continue
		}
		if known, _, ok := cache.Lookup(e.Path, e.Stat); ok {
			sums[e.Path] = known
		} else {
			needs = append(needs, &need{path: e.Path})
		}
	}
	got, _, err := readAll(ctx, root, needs, func(int64) {})
	if err != nil {
		return nil, nil, err
	}
	for _, n := range got {
		switch err := n.got.err(); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, fmt.Errorf("%s: %w", join(dir, n.path), err)
		default:
			sums[n.path] = n.got.sha256
		}
	}
	return slices.DeleteFunc(entries, func(e tree.Entry) bool { _, ok := sums[e.Path]; return !ok }), sums, nil
}
