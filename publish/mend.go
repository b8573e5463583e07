package publish

import (
	"context"
	"errors"
	"fmt"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// mend repairs damage that no crash explains: damaged, lost, repeated and displaced
// lines of the history, lost tombstones, and damaged manifests, which it rebuilds from
// the trees. Records of a newer version are not damage: if there is one, mend changes
// nothing at all.
func (r *Repo) mend(ctx context.Context) ([]string, error) {
	// Look at production before writing anything. If all records are lost, Whose
	// accepts a tree by its id alone; after the first new record it would not.
	n, lookErr := r.site.Live(ctx)
	heads, err := r.store.Heads()
	if err != nil {
		return nil, err
	}
	if _, err := r.graveyard(); errors.Is(err, errNewer) {
		return nil, err
	}
	w, err := r.journal().Inspect(false)
	if err != nil {
		return nil, err
	}
	if w.Newer != "" {
		return nil, newer(w.Newer)
	}
	// Manifests first, because lost lines are rebuilt from them. If one cannot be
	// rebuilt, the rest is still repaired.
	var done []string
	var failed error
	if lookErr == nil && n != 0 { // else recover reports it
		done, failed = r.mendManifests(ctx, w, heads, n)
	}
	mended, h, err := r.repairHistory(ctx, w, heads, n)
	if done = append(done, mended...); err != nil {
		return done, errors.Join(err, failed)
	}
	mended, err = r.mendTombstones(h)
	return append(done, mended...), errors.Join(err, failed)
}

// mendManifests rebuilds the damaged and missing manifests of kept trees, and adds
// their heads to heads. Production is generation n.
func (r *Repo) mendManifests(ctx context.Context, w *journal.Wreck, heads map[int]generation.Head, n int) (
	done []string, err error) {
	kept, err := r.store.Kept(n)
	if err != nil {
		return nil, err
	}
	was := r.switched(w.Base, w.Entries, heads, n)
	for _, k := range kept {
		var e *Error
		if _, err := r.manifest(k); err == nil || !errors.As(err, &e) {
			continue // it is sound, or the disk cannot be read
		}
		dir := r.site.Dir(n)
		if k != n {
			dir = r.store.Dir(k)
			if _, err := r.store.Whose(dir); errors.Is(err, generation.ErrForeign) {
				r.opt.Warn(fmt.Sprintf("%v; it is left alone", err))
				continue
			}
		}
		if id, err := generation.Identity(dir); err != nil || id != k {
			continue // not a generation's tree, or recovery has yet to put it in its place
		}
		line, known := r.journal().Made(w, k)
		same, failed := r.remakeManifest(ctx, line, was, k, dir)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		done = append(done, fmt.Sprintf("rebuilt the manifest of generation %d from its tree", k))
		if known && !same {
			done = append(done, fmt.Sprintf("generation %d is not what history recorded, or some of its files were "+
				"carried: run publish validate --full %d", k, k))
		}
		m, failed := r.manifest(k)
		if failed != nil {
			return done, errors.Join(err, failed)
		}
		heads[k] = m.Head
	}
	return done, err
}

// remakeManifest writes a manifest for the tree of generation n, which is at dir. e is
// the history line that made the generation; switched are the generations that were
// production. Which files were carried, and since when, is lost: all item-like files
// that no index names count as dropped by this generation, and so does what documents
// hold. What a revert barred is
// derived again from the tree that it left, if that is kept. It reports whether the
// tree is the one that history recorded.
func (r *Repo) remakeManifest(
	ctx context.Context, e journal.Event, switched map[int]bool, n int, dir string,
) (same bool, err error) {
	was := e.Switch()
	src, err := tree.OpenSource(dir)
	if err != nil {
		return false, err
	}
	defer src.Close()
	cat, err := r.format.Read(ctx, tree.Contents(src.Root()))
	if err != nil {
		return false, err
	}
	rows, named, err := r.scan(ctx, src, cat)
	if err != nil {
		return false, err
	}
	m := &generation.Manifest{Head: generation.Head{Generation: n, From: e.From, Origin: max(e.Origin, 0),
		Kind: generation.Kind(e.Kind), Who: e.Who, Message: e.Message, Time: r.now().UTC(),
		Grace: was.Grace, Format: r.format.Name(), Added: was.Added, Removed: was.Removed, Changed: was.Changed}}
	if m.Origin == 0 {
		// The previous generation is not recorded. The next lower number is most likely.
		m.Origin, m.Kind = n, generation.KindPromote
		for o := range switched {
			if o < n {
				m.From = max(m.From, o)
			}
		}
	}
	for _, row := range rows {
		if !named[row.Path] && r.format.Class(row.Path) == catalog.ItemLike {
			row.Role = catalog.Content
			m.Carried = append(m.Carried, generation.Carried{Row: row, Dropped: n})
		} else {
			m.Own = append(m.Own, row)
		}
	}
	erased, err := r.erasedOf(n, cat, rows)
	if err != nil {
		return false, err
	}
	m.Own = append(m.Own, erased...)
	tree.SortRows(m.Own)
	if before, err := r.manifest(m.From); err == nil { // else the names that must not come back are lost
		m.Gone = r.gone(before, r.units(before.Units, before.Own), cat.Units)
	}
	if m.Held, err = generation.ReadHeld(src.Root(), r.format, rows, n); err != nil {
		return false, err
	}
	m.Own = r.signedIn(m.Own, cat, was.TreeID)
	m.TreeID = tree.ID(m.Own)
	if c, err := generation.ReadClaim(dir); err == nil {
		m.TreeSeal = c.Seal
	}
	if m.Kind == generation.KindRevert || m.Kind == generation.KindAutoRevert {
		if left, err := r.manifest(m.From); err == nil {
			m.Barred, m.BarredTrees = generation.Bar(left, m, m.Kind, r.format)
		}
	}
	return m.TreeID == was.TreeID, r.store.WriteManifest(m)
}

// erasedOf returns rows for files that the indexes of generation n name and that a
// revoke deleted. The manifest had these rows. Without them a revert would not know
// that it has to rewrite the indexes.
func (r *Repo) erasedOf(n int, cat *catalog.Catalog, rows []tree.Row) ([]tree.Row, error) {
	graves, err := r.graveyard()
	if err != nil || graves.Len() == 0 {
		return nil, err
	}
	seen := map[string]bool{}
	for _, row := range rows {
		seen[row.Path] = true
	}
	var out []tree.Row
	for _, i := range cat.Items {
		row := tree.Row{Path: i.Path, Size: max(i.Size, 0), SHA256: i.SHA256, Role: catalog.Content}
		if !seen[i.Path] && graves.Redacted(n, row) {
			seen[i.Path] = true
			out = append(out, row)
		}
	}
	return out, nil
}

// scan hashes the tree at dir and gives each row its role. named has the paths that
// the indexes name: items and documents.
func (r *Repo) scan(
	ctx context.Context, src *tree.Source, cat *catalog.Catalog,
) (rows []tree.Row, named map[string]bool, err error) {
	checked, err := stage.HashTree(ctx, src, r.format, r.opt.Progress)
	if err != nil {
		return nil, nil, err
	}
	named = map[string]bool{}
	for _, i := range cat.Items {
		named[i.Path] = true
	}
	for i, row := range checked.Rows {
		if named[row.Path] && row.Role == catalog.Mutable {
			checked.Rows[i].Role = catalog.Content
		}
	}
	for _, d := range cat.Documents {
		named[d] = true
	}
	return checked.Rows, named, nil
}
