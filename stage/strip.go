package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// copies adds documents at other paths that had the same bytes as one of docs. A
// link led there, so they must change as well. For a removed document it adds only
// copies with the same file name, because unrelated signatures may have equal
// bytes. own are the documents that the format itself changes: they may be equal by
// chance.
func copies(docs []catalog.Document, rows map[string]tree.Row, own []string) []catalog.Document {
	taken := map[string]bool{}
	for _, p := range own {
		taken[p] = true
	}
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

// RevokedError is returned for content that was revoked. Staging has not changed.
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

// Strip rewrites the indexes of a private tree so that they name no path for which
// gone is true, and no empty version in unnamed. Then it validates the tree, and
// removes files that no index names any more.
//
// The tree at dir has the rows of a sealed generation, except those that are gone,
// and shares no index with it. Strip trusts the hashes of the generation, combined
// hashes too, so it reads only what it wrote itself.
//
// open, if it is not nil, reads the content of a row: then the tree has only documents,
// and the content of rows counts as present.
//
// It returns the paths whose bytes are new. The Valid is nil if the report has
// errors. An empty tree is not an error here.
func Strip(ctx context.Context, dir string, f catalog.Format, rows []tree.Row, gone func(tree.Row) bool,
	unnamed catalog.Names, now time.Time, open func(context.Context, tree.Row) (io.ReadCloser, error),
) (*Valid, *Report, []string, error) {
	known, lost := map[string]tree.Row{}, map[string]bool{}
	for _, r := range rows {
		if gone(r) {
			lost[r.Path] = true
		} else {
			known[r.Path] = r
		}
	}
	var sp *sparse
	if open != nil {
		here := slices.DeleteFunc(slices.Clone(rows), gone)
		sp = &sparse{Elsewhere: &Elsewhere{Rows: here, Open: open}, ctx: ctx, format: f}
	}
	sealed, err := sp.catalog(ctx, dir, f)
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
		docs, gone, err := follow(dir, f, docs)
		if err != nil {
			return err
		}
		dropped = append(dropped, gone...)
		for _, d := range copies(docs, known, sealed.Documents) {
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
	if err := strip(ctx, dir, f, sp, func(p string) bool { return lost[p] }, unnamed, write); err != nil {
		return nil, nil, nil, err
	}
	// A companion that was already stale may still name what is gone.
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
	out, err := validateTree(ctx, src, f, sp, RefuseLinks, everything, cache, tree.ReadFacts(""),
		Checks{Now: now}, known, s.progress)
	if err != nil {
		return nil, nil, nil, err
	}
	out.Report.Findings = slices.DeleteFunc(out.Report.Findings,
		func(x catalog.Finding) bool { return x.Code == "empty-tree" })
	listed, err := relist(f, out.Catalog, dir, out.Report)
	if err != nil {
		return nil, nil, nil, err
	}
	changed = append(changed, listed...)
	out.Report.Dropped = append(dropped, stale...)
	if len(out.Report.Errors()) > 0 {
		return nil, out.Report, nil, nil
	}
	for _, r := range out.Rows {
		delete(known, r.Path)
	}
	for p := range known {
		if sp != nil && gonePath(join(dir, p)) {
			continue
		}
		if err := errors.Join(os.Remove(join(dir, p)), durable.SyncDir(filepath.Dir(join(dir, p)))); err != nil {
			return nil, nil, nil, err
		}
	}
	slices.Sort(changed)
	return &Valid{Dir: dir, Rows: out.Rows, Catalog: out.Catalog, TreeID: tree.ID(out.Rows), Report: out.Report},
		out.Report, slices.Compact(changed), nil
}

// relist is listAll, durably.
func relist(f catalog.Format, cat *catalog.Catalog, dir string, report *Report) ([]string, error) {
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return nil, err
	}
	defer batch.Close()
	changed, err := listAll(f, cat, dir, false, batch, report)
	for _, p := range changed {
		batch.Add(filepath.Dir(join(dir, p)))
	}
	return changed, errors.Join(err, batch.Flush())
}

// strip calls write with the indexes of the tree at dir, without images that need
// a lost path, and without those versions in unnamed whose files are all lost,
// missing or empty. A version in unnamed that has content was added later, and
// stays.
func strip(ctx context.Context, dir string, f catalog.Format, sp *sparse, lost func(string) bool, unnamed catalog.Names,
	write func([]catalog.Document) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	hollow := func(p string) bool {
		if row, ok := sp.row(p); ok {
			return row.Size == 0
		}
		fi, err := root.Lstat(p)
		return err != nil || fi.Size() == 0 || lost(p)
	}
	docs, err := f.Without(ctx, sp.source(tree.Contents(root)), func(i catalog.Image) bool {
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

// catalog is ReadCatalog.
func (sp *sparse) catalog(ctx context.Context, dir string, f catalog.Format) (*catalog.Catalog, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return f.Read(ctx, sp.source(tree.Contents(root)))
}

func gonePath(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// WithoutVersions returns the documents of staging that no longer name the
// versions for which drop is true.
func (s *Stage) WithoutVersions(ctx context.Context, drop func(catalog.Name) bool) ([]catalog.Document, error) {
	src, done, err := s.Contents(ctx, true)
	if err != nil {
		return nil, err
	}
	var docs []catalog.Document
	err = s.rewrite(ctx, func() (err error) {
		docs, err = s.Format.WithoutVersions(ctx, src, drop)
		return err
	})
	return docs, errors.Join(err, done())
}

// Contents are file contents to search for, under any path, and versions without
// content.
type Contents struct {
	Sums    map[string]bool // sha256, lower-case hex
	Sizes   map[int64]bool  // sizes of these contents; files of other sizes are not read
	Unnamed catalog.Names
}

// Find is the function Find for staging.
func (s *Stage) Find(ctx context.Context, want Contents) ([]tree.Entry, error) {
	return Find(ctx, s.Dir, s.Format, tree.OpenCache(s.Hashes), want)
}

// Find returns the files below dir that have one of the contents. It reads files
// that the cache does not know. It ignores indexes and uploads in progress.
func Find(ctx context.Context, dir string, f catalog.Format, cache *tree.Cache, want Contents) ([]tree.Entry, error) {
	entries, sums, err := hashed(ctx, dir, f, cache, func(e tree.Entry) bool { return want.Sizes[e.Stat.Size] })
	return slices.DeleteFunc(entries, func(e tree.Entry) bool { return !want.Sums[sums[e.Path]] }), err
}

// Purge deletes contents from staging. First it removes them, and empty versions
// in want.Unnamed, from the indexes. Then it deletes the files, under any path and
// without trash, even if the indexes could not be rewritten. It returns the files.
// The caller holds the staging lock.
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
				lost[i.Path] = true // the file itself may be missing
			}
		}
		var sp *sparse
		if sp, err = s.sparse(ctx); err == nil {
			err = strip(ctx, s.Dir, s.Format, sp, func(p string) bool { return lost[p] }, want.Unnamed, s.Apply)
		}
	}
	if err == nil {
		err = s.dropStale() // stale companions may still name what is gone
	}
	if rmErr := s.unlink(found, cache); rmErr != nil {
		return found, errors.Join(rmErr, err)
	}
	return found, err
}

// dropStale makes stale companions of documents again, and removes those that
// cannot be made again. The caller holds the staging lock.
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
			if first == nil { // continue with the others
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

// Row hashes one file of staging, whether or not an index names it. ok is false if
// there is no regular file, or it is still being uploaded.
func (s *Stage) Row(ctx context.Context, p string) (row tree.Row, ok bool, err error) {
	if clean, _, ok := catalog.Clean(p); !ok || clean != p {
		return row, false, nil
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return row, false, err
	}
	defer root.Close()
	fi, err := root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		absent, err := s.absentNow(ctx)
		row, ok := absent.row(p)
		ok = ok && row.Role != catalog.Link
		row.Role = catalog.Content
		return row, ok, err
	}
	if err != nil || !fi.Mode().IsRegular() || s.Format.Class(p) == catalog.InProgress ||
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
