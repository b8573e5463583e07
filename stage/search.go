package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Search is the function Search for staging, by hash.
func (s *Stage) Search(ctx context.Context, what catalog.What) ([]tree.Row, error) {
	return Search(ctx, s.Dir, s.Format, tree.OpenCache(s.Hashes), what, func(string) bool { return false })
}

// Search returns the files below dir whose path is named, or whose sha256 is what a word
// says. For a word that is a hash it reads files that the cache does not know. It ignores
// indexes and uploads in progress.
func Search(
	ctx context.Context, dir string, f catalog.Format, cache *tree.Cache, what catalog.What, named func(path string) bool,
) ([]tree.Row, error) {
	entries, err := tree.Walk(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var needs []*need
	var out []tree.Row
	add := func(p string, size int64, sha256 string) {
		if named(p) || what.Hash(sha256) {
			out = append(out, tree.Row{Path: p, Size: size, SHA256: sha256, Role: catalog.Content})
		}
	}
	for _, e := range entries {
		class := f.Class(e.Path)
		if e.Kind != tree.File || class == catalog.Index || class == catalog.InProgress ||
			what.Digits() == "" && !named(e.Path) {
			continue
		}
		if known, _, ok := cache.Lookup(e.Path, e.Stat); ok {
			add(e.Path, e.Stat.Size, known)
		} else {
			needs = append(needs, &need{path: e.Path, stat: e.Stat})
		}
	}
	got, _, err := readAll(ctx, root, needs, func(int64) {})
	if err != nil {
		return nil, err
	}
	for _, n := range got {
		switch err := n.got.err(); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("%s: %w", join(dir, n.path), err)
		default:
			add(n.path, n.stat.Size, n.got.sha256)
		}
	}
	return out, nil
}
