package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
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
// and the kept generations, newest first; and trash for what none of these has.
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
		t, err := r.tree(n)
		if err != nil {
			// Continue, because production must be made safe. The content is
			// deleted from this generation by its hash.
			r.opt.Warn(fmt.Sprintf("generation %d was not searched for names: %v", n, err))
			continue
		}
		if err := read(fmt.Sprintf("generation %d", n), t); err != nil {
			return nil, err
		}
	}
	// Search the unpublished files of staging, and trash, only if nothing else has the name.
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
			continue
		}
		rows, err := r.Stage.Search(ctx, w)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			out[staging].Carried[row.Path] = row
		}
		trash, err := r.inTrash(ctx, w)
		if err != nil {
			return nil, err
		}
		out = append(out, trash...)
	}
	return out, nil
}

// inTrash returns a tree for each removal of which trash has a file that a word names, by
// its former path or by its hash.
func (r *Repo) inTrash(ctx context.Context, w catalog.What) ([]tombstone.Holder, error) {
	former := func(p string) string {
		_, rest, _ := strings.Cut(p, "/") // behind the time of the removal
		return rest
	}
	rows, err := stage.Search(ctx, r.path(".publish", "trash"), everyFile{r.format}, tree.OpenCache(""), w,
		func(p string) bool { return w.Path(former(p)) })
	if err != nil {
		return nil, err
	}
	var out []tombstone.Holder
	at := map[string]int{}
	for _, row := range rows {
		when, _, _ := strings.Cut(row.Path, "/")
		if row.Path = former(row.Path); r.format.Class(row.Path) == catalog.Index {
			continue
		}
		n, ok := at[when]
		if !ok {
			n, at[when] = len(out), len(out)
			out = append(out, tombstone.NewHolder("trash of "+when, r.format, &catalog.Catalog{}, nil))
		}
		out[n].Carried[row.Path] = row
	}
	return out, nil
}
