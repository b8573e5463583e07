package site

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// AsideSuffix is appended to the name of a directory that Replace moves aside.
const AsideSuffix = ".before-publish"

// local is the common part of sites whose production is a directory of this
// machine.
type local struct{ Place }

// kept is where the tree of generation n is when it is not live.
func (l local) kept(n int) string { return filepath.Join(l.Store, generation.Number(n)) }

// waiting is where the tree of generation n waits for its switch.
func (l local) waiting(n int) string {
	return filepath.Join(l.Store, generation.NextPrefix+generation.Number(n))
}

// Expire is the same for all local sites.
func (l local) Expire(
	_ context.Context, live *generation.Tree, gone []tree.Row, anew []catalog.Document,
) (stay []Stay, err error) {
	root := live.Dir
	if stay, err := l.rewriteAll(root, anew); len(stay) > 0 || err != nil {
		return stay, err // the old documents still name the files
	}
	dirs := map[string]bool{}
	for _, row := range gone {
		path := filepath.Join(root, filepath.FromSlash(row.Path))
		if err := l.Remove(path); err != nil {
			stay = append(stay, Stay{row.Path, path, err})
		}
		if err := l.At("after-uncarry"); err != nil {
			return stay, err
		}
		dirs[filepath.Dir(path)] = true
	}
	// Where a directory goes, the one that it was in is flushed: on btrfs what was flushed
	// of a directory that is gone does not count, and its files would come back with it.
	flush := map[string]bool{}
	for dir := range dirs {
		for ; dir != root && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
		}
		flush[dir] = true
	}
	for dir := range flush {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			stay = append(stay, Stay{"", dir, err})
		}
	}
	return stay, nil
}

// rewriteAll replaces live documents.
func (l local) rewriteAll(root string, docs []catalog.Document) (stay []Stay, err error) {
	if len(docs) == 0 {
		return nil, nil
	}
	// In the store, where recovery sweeps it: production is served.
	private, err := durable.MkdirTemp(l.Store, generation.RevertPrefix)
	if err != nil {
		return []Stay{{"", l.Store, err}}, nil
	}
	defer durable.RemoveAll(private) // else it is swept
	for _, d := range docs {
		path := filepath.Join(root, filepath.FromSlash(d.Path))
		if err := l.rewrite(private, path, d.Data); err != nil {
			stay = append(stay, Stay{d.Path, path, err})
		}
		if err := l.At("after-rewrite"); err != nil {
			return stay, err
		}
	}
	return stay, nil
}

// rewrite replaces a live document in one step. The new one is at least a second
// newer: a web server compares whole seconds, and answers 304 if the document is not
// newer than the client's copy.
func (l local) rewrite(private, path string, data []byte) error {
	old, err := os.Lstat(path)
	if err != nil {
		return err
	}
	at := l.Now()
	if next := old.ModTime().Add(time.Second); next.After(at) {
		at = next
	}
	next := filepath.Join(private, "document")
	if err := durable.WriteDated(next, data, old.Mode().Perm(), at); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}
