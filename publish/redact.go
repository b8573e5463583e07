package publish

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// redact makes, in the draft, the tree of a generation without the rows for which gone
// is true, and without the versions in unnamed, which have no content. It rewrites the
// indexes, validates the result, and flushes it.
func (r *Repo) redact(ctx context.Context, s *state, g *generation.Tree, gone func(tree.Row) bool,
	unnamed catalog.Names, draft *generation.Draft) (*stage.Valid, error) {
	left := *g.Manifest
	own := tree.Unsigned(g.Own) // the signatures are of what it was
	left.Own = slices.DeleteFunc(slices.Clone(own), gone)
	if err := r.rebuild(ctx, s, &generation.Tree{Manifest: &left, Dir: g.Dir, Sparse: g.Sparse}, draft); err != nil {
		return nil, err
	}
	valid, report, changed, err := stage.Strip(ctx, draft.Dir, r.format, own, gone, unnamed, r.now(), r.elsewhere())
	if err != nil {
		return nil, err
	}
	if valid == nil {
		return nil, &FindingsError{Report: report}
	}
	for _, p := range report.Dropped {
		r.opt.Warn(fmt.Sprintf("production/%s: is left out, because the file that it belongs to has changed; "+
			"sign or make it again", p))
	}
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	if base.Source == nil { // what is sparse is a copy
		return valid, nil
	}
	defer base.Source.Close()
	rewritten := slices.DeleteFunc(slices.Clone(valid.Rows),
		func(row tree.Row) bool { return !slices.Contains(changed, row.Path) })
	if err := base.Settle(draft.Dir, rewritten, s.now); err != nil {
		return nil, err
	}
	for _, row := range rewritten {
		if err := durable.SyncFile(filepath.Join(draft.Dir, filepath.FromSlash(row.Path))); err != nil {
			return nil, err
		}
	}
	return valid, nil
}

// sound returns a generation in the form that can be reverted to. That is the
// generation itself, or, if it is redacted, the tree that redact makes in the draft.
func (r *Repo) sound(
	ctx context.Context, s *state, g *generation.Tree, draft *generation.Draft,
) (*generation.Tree, *stage.Valid, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, nil, err
	}
	gone := func(row tree.Row) bool { return graves.Redacted(g.Generation, row) }
	unnamed := graves.Unnamed(g.Generation)
	i := slices.IndexFunc(g.Own, gone)
	if i < 0 && len(unnamed) == 0 {
		return g, nil, nil
	}
	if i < 0 {
		// Only names were revoked. Most likely this generation does not have them.
		cat, err := r.catalogOf(ctx, g)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(cat.Images, func(i catalog.Image) bool { return unnamed[i.Of()] }) {
			return g, nil, nil
		}
	} else if row := g.Own[i]; r.format.Class(row.Path) == catalog.Whole {
		return nil, nil,
			refuse(r.keptHint(),
				"generation %d had %s, which was revoked %s; a tree without indexes cannot be reverted to in part",
				g.Generation, row.Path, graves.Over(row.SHA256).Reason())
	}
	valid, err := r.redact(ctx, s, g, gone, unnamed, draft)
	if err != nil {
		return nil, nil, err
	}
	m := *g.Manifest
	m.Own, m.TreeID = valid.Rows, valid.TreeID
	return &generation.Tree{Manifest: &m, Dir: g.Dir, Sparse: g.Sparse}, valid, nil
}
