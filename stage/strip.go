package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// copies returns documents with those that have the same bytes as one of them,
// under another path: a link led there, and names what the document named.
// Of what is removed only those of its name count: signatures may be alike.
func copies(docs []catalog.Document, rows map[string]tree.Row) []catalog.Document {
	taken := map[string]bool{}
	bySum := map[string]catalog.Document{}
	for _, d := range docs {
		taken[d.Path] = true
		if r, ok := rows[d.Path]; ok {
			bySum[r.SHA256] = d
		}
	}
	out := docs
	for _, p := range slices.Sorted(maps.Keys(rows)) {
		d, ok := bySum[rows[p].SHA256]
		if ok && !taken[p] && rows[p].Role == catalog.Mutable && (d.Data != nil || path.Base(p) == path.Base(d.Path)) {
			out = append(out, catalog.Document{Path: p, Data: d.Data})
		}
	}
	return out
}

// RevokedError is returned for content that was revoked and is not wanted
// again. Staging has not changed.
type RevokedError struct {
	Path string // where the content was to go
	Why  string // who revoked it, when, and why
}

func (e *RevokedError) Error() string {
	return fmt.Sprintf("%s: this content was revoked: %s", e.Path, e.Why)
}

// refuseRevoked returns a RevokedError for the first row whose content was
// revoked. The caller holds the staging lock: a revoke deletes from
// staging under it, after the tombstones are written.
func (s *Stage) refuseRevoked(rows ...tree.Row) error {
	if s.Revoked == nil {
		return nil
	}
	revoked, err := s.Revoked()
	if err != nil {
		return err
	}
	for _, r := range rows {
		if why, ok := revoked(r.SHA256); ok && r.Role != catalog.Link {
			return &RevokedError{Path: r.Path, Why: why}
		}
	}
	return nil
}

// Strip makes the indexes of a private tree anew so that they name nothing
// that is gone, and no empty version of those that are unnamed, and validates
// what is left. The tree at dir has the rows of a
// sealed generation, but for those that are gone, and shares no index with it;
// what was sealed is believed, combined hashes too, so that nothing is read but
// what is written here. Files that no index names afterwards are removed from
// dir. It returns the paths whose bytes are new. The Valid is nil when the
// report has errors; a tree that is left empty is none.
func Strip(ctx context.Context, dir string, f catalog.Format, rows []tree.Row, gone func(tree.Row) bool,
	unnamed catalog.Names, now time.Time) (*Valid, *Report, []string, error) {
	known, lost := map[string]tree.Row{}, map[string]bool{}
	for _, r := range rows {
		if gone(r) {
			lost[r.Path] = true
		} else {
			known[r.Path] = r
		}
	}
	sealed, err := ReadCatalog(ctx, dir, f)
	if err != nil {
		return nil, nil, nil, err
	}
	cache := tree.OpenCache("")
	for _, p := range sealed.Pairs {
		first, second := sealed.Items[p.First].Path, sealed.Items[p.Second].Path
		cache.PutPair(known[first].SHA256, known[second].SHA256, p.SHA256)
	}
	var changed []string
	var dropped []string
	write := func(docs []catalog.Document) error {
		docs, gone, err := Follow(dir, f, docs)
		if err != nil {
			return err
		}
		dropped = append(dropped, gone...)
		for _, d := range copies(docs, known) {
			delete(known, d.Path)
			if d.Data == nil {
				if err := os.Remove(join(dir, d.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				continue
			}
			changed = append(changed, d.Path)
			if err := durable.WriteFile(join(dir, d.Path), d.Data, 0o444); err != nil {
				return err
			}
		}
		return nil
	}
	if err := strip(ctx, dir, f, func(p string) bool { return lost[p] }, unnamed, write); err != nil {
		return nil, nil, nil, err
	}
	// A companion that was stale before may name what is gone.
	docs, stale, err := renewed(dir, f, true)
	if err == nil {
		err = write(docs)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	src, err := tree.OpenSource(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer src.Close()
	s := Stage{}
	out, err := validateTree(ctx, src, f, RefuseLinks, everything, cache, Checks{Now: now}, known, s.progress)
	if err != nil {
		return nil, nil, nil, err
	}
	out.Report.Findings = slices.DeleteFunc(out.Report.Findings,
		func(x catalog.Finding) bool { return x.Code == "empty-tree" })
	out.Report.Dropped = append(dropped, stale...)
	if len(out.Report.Errors()) > 0 {
		return nil, out.Report, nil, nil
	}
	for _, r := range out.Rows {
		delete(known, r.Path)
	}
	for p := range known {
		if err := errors.Join(os.Remove(join(dir, p)), durable.SyncDir(filepath.Dir(join(dir, p)))); err != nil {
			return nil, nil, nil, err
		}
	}
	slices.Sort(changed)
	return &Valid{Dir: dir, Rows: out.Rows, Catalog: out.Catalog, TreeID: tree.ID(out.Rows), Report: out.Report},
		out.Report, slices.Compact(changed), nil
}

// strip has the indexes of the tree at dir written without what needs a lost
// path, and without the versions of unnamed that have no content: those whose
// files are lost, missing or empty. A version of that name with other content
// came later, and stays.
func strip(ctx context.Context, dir string, f catalog.Format, lost func(string) bool, unnamed catalog.Names,
	write func([]catalog.Document) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	hollow := func(p string) bool {
		fi, err := root.Lstat(p)
		return err != nil || fi.Size() == 0 || lost(p)
	}
	docs, err := f.Without(ctx, tree.Contents(root), func(i catalog.Image) bool {
		if slices.ContainsFunc(i.Paths, lost) {
			return true
		}
		return unnamed[i.Of()] && !slices.ContainsFunc(i.Paths, func(p string) bool { return !hollow(p) })
	})
	if err != nil {
		return err
	}
	return write(docs)
}

// Contents are bytes to look for, under whatever name, and versions that have
// none.
type Contents struct {
	Sums    map[string]bool // sha256, lower-case hex
	Sizes   map[int64]bool  // of those: a file of another size is not read
	Unnamed catalog.Names
}

// Find returns the files below dir that have one of the contents. What the
// cache does not know is read. Documents that are indexes, and uploads in
// progress, are passed over.
func Find(ctx context.Context, dir string, f catalog.Format, cache *tree.Cache, want Contents) ([]tree.Entry, error) {
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
	sum := map[string]string{}
	for _, e := range entries {
		if class := f.Class(e.Path); e.Kind != tree.File || !want.Sizes[e.Stat.Size] || class == catalog.Index ||
			class == catalog.InProgress {
			continue
		}
		if known, _, ok := cache.Lookup(e.Path, e.Stat); ok {
			sum[e.Path] = known
		} else {
			needs = append(needs, &need{path: e.Path})
		}
	}
	got, _, err := readAll(ctx, root, needs, func(int64) {})
	if err != nil {
		return nil, err
	}
	for p, g := range got {
		if g.err != nil && !errors.Is(g.err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", join(dir, p), g.err)
		}
		sum[p] = g.sha256
	}
	return slices.DeleteFunc(entries, func(e tree.Entry) bool { return !want.Sums[sum[e.Path]] }), nil
}

// Purge deletes contents from staging: first no index names them or an empty
// version of those that are unnamed, then the
// files go, under whatever name, and past any trash. Where the indexes cannot
// be rewritten the files go all the same. The caller holds the staging lock.
func (s *Stage) Purge(ctx context.Context, want Contents) ([]tree.Entry, error) {
	cache := tree.OpenCache(s.Hashes)
	found, err := Find(ctx, s.Dir, s.Format, cache, want)
	if err != nil {
		return nil, err
	}
	lost := map[string]bool{}
	for _, e := range found {
		lost[e.Path] = true
	}
	cat, err := s.Catalog(ctx)
	if err == nil {
		for _, i := range cat.Items {
			if want.Sums[i.SHA256] {
				lost[i.Path] = true // named, and perhaps not there
			}
		}
		err = strip(ctx, s.Dir, s.Format, func(p string) bool { return lost[p] }, want.Unnamed, s.Apply)
	}
	if err == nil {
		err = s.dropStale() // which may name what is gone
	}
	if rmErr := s.unlink(found, cache); rmErr != nil {
		return found, errors.Join(rmErr, err)
	}
	return found, err
}

// dropStale makes the stale companions of documents again, and takes away those
// that cannot be made. The caller holds the staging lock.
func (s *Stage) dropStale() error {
	docs, gone, err := renewed(s.Dir, s.Format, true)
	if err == nil {
		err = s.apply(docs)
	}
	if err == nil {
		s.lost(gone)
	}
	return err
}

func (s *Stage) unlink(found []tree.Entry, cache *tree.Cache) error {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	dirs := map[string]bool{}
	var first error
	for _, e := range found {
		if err := root.Remove(e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if first == nil { // the others go all the same
				if at := new(fs.PathError); errors.As(err, &at) {
					err = at.Err
				}
				first = &fs.PathError{Op: "remove", Path: join(s.Dir, e.Path), Err: err}
			}
			continue
		}
		cache.Forget(e.Path)
		dirs[path.Dir(e.Path)] = true
	}
	for d := range dirs {
		if err := durable.SyncDir(join(s.Dir, d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.removeEmpty(d)
	}
	return errors.Join(first, cache.Save())
}

// Row hashes one file of staging, whether or not an index names it. ok is false
// for what is no file, or is still being uploaded.
func (s *Stage) Row(ctx context.Context, p string) (row tree.Row, ok bool, err error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return row, false, err
	}
	defer root.Close()
	if fi, err := root.Lstat(p); err != nil || !fi.Mode().IsRegular() || s.Format.Class(p) == catalog.InProgress ||
		catalog.Reserved(p) {
		return row, false, nil
	}
	f, st, err := tree.Open(root, p)
	if err != nil {
		return row, false, err
	}
	defer f.Close()
	sum, err := tree.HashFile(ctx, f, st)
	return tree.Row{Path: p, Size: st.Size, SHA256: sum, Role: catalog.Content}, err == nil, err
}
