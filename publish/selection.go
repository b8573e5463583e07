package publish

import (
	"context"
	"fmt"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
)

// Shared is a file of a revoked image that stays; see package tombstone.
type Shared = tombstone.Shared

// selectContent works out what to revoke from the content of the trees.
func (r *Repo) selectContent(
	ctx context.Context, s *state, graves *tombstone.Graveyard, words []string,
) (*tombstone.Selection, error) {
	var what []catalog.What
	for _, w := range words {
		what = append(what, catalog.WhatIn(r.format, w))
	}
	holders, err := r.holders(ctx, s, graves, what)
	if err != nil {
		return nil, err
	}
	return tombstone.Select(holders, graves, what...)
}

// holders reads the trees that may have the content to revoke: production, staging,
// and the kept generations, newest first.
func (r *Repo) holders(
	ctx context.Context, s *state, graves *tombstone.Graveyard, what []catalog.What,
) ([]tombstone.Holder, error) {
	var out []tombstone.Holder
	read := func(name string, g *generation.Tree) error {
		cat, err := r.catalogOf(ctx, g)
		if err == nil {
			out = append(out, graves.Holder(name, r.format, cat, g.Manifest))
		}
		return err
	}
	current := 0
	if s.current != nil {
		current = s.current.Generation
		if err := read(tombstone.Production, s.current); err != nil {
			return nil, err
		}
	}
	staged, err := r.Stage.Peek(ctx)
	if err != nil {
		return nil, err
	}
	staging := len(out)
	out = append(out, tombstone.NewHolder("staging", r.format, staged.Catalog, staged.Rows))
	kept, err := r.store.Kept(current)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(kept) {
		if n == current {
			continue
		}
		m, err := r.manifest(n)
		if err != nil {
			// Continue, because production must be made safe. The content is
			// deleted from this generation by its hash.
			r.opt.Warn(fmt.Sprintf("generation %d was not searched for names: %v", n, err))
			continue
		}
		if err := read(fmt.Sprintf("generation %d", n),
			&generation.Tree{Manifest: m, Dir: r.treeOf(s, n)}); err != nil {
			return nil, err
		}
	}
	// Search the unpublished files of staging only if nothing else has the name.
	for _, w := range what {
		if slices.ContainsFunc(out, func(h tombstone.Holder) bool { return h.Holds(w) }) {
			continue
		}
		row, ok, err := r.Stage.Row(ctx, w.String())
		if err != nil {
			return nil, err
		}
		if ok {
			out[staging].Carried[row.Path] = row
		}
	}
	return out, nil
}
