package stage

import (
	"context"
	"errors"
	"path"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// ResetTo makes sparse staging what theirs is, as [Stage.Reset] does where the tree of
// production is here. Documents and other files that no document names by digest come;
// content counts as present once Elsewhere returns theirs, so only what is here already,
// with the same bytes, stays. The rest moves to the directory trash. The order is that of
// Rebase; if ResetTo is killed, the next call ends the same.
func (s *Stage) ResetTo(ctx context.Context, verb string, theirs *Side, trash string) (added, dropped int, err error) {
	if s.Elsewhere == nil {
		return 0, 0, errors.New("staging has all files of its tree: see Reset")
	}
	unlock, err := s.Exclusive(ctx, verb)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	cache := tree.OpenCache(s.Hashes)
	now := theirs.sparse(ctx)
	src := &sideSource{sp: now, staged: nowhere{}, read: map[string][]byte{}}
	names, err := s.Format.Documents(src)
	if err != nil {
		return 0, 0, err
	}
	format := catalog.Within(s.Format, names)
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return 0, 0, err
	}
	want, dirs := make(map[string]tree.Row, len(theirs.rows())), map[string]bool{}
	comes := func(r tree.Row) bool { return r.Role != catalog.Content && format.Class(r.Path) != catalog.Whole }
	for _, r := range theirs.rows() {
		want[r.Path] = r
		for d := path.Dir(r.Path); comes(r) && d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	have, err := s.alike(ctx, entries, want, cache)
	if err != nil {
		return 0, 0, err
	}
	var stale, replaced, inTheWay []string
	for _, e := range entries {
		if have[e.Path] {
			continue
		}
		r, ok := want[e.Path]
		below := false
		for d := path.Dir(e.Path); d != "." && !below; d = path.Dir(d) {
			if r, is := want[d]; is {
				below = comes(r)
			}
		}
		switch {
		case below, dirs[e.Path], ok && e.Kind != tree.File && comes(r):
			inTheWay = append(inTheWay, e.Path)
		case ok && comes(r):
			replaced = append(replaced, e.Path)
		default:
			stale = append(stale, e.Path)
		}
	}
	d, err := s.Receive(ctx, verb)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	d.cache = cache
	batch, err := durable.NewBatch(s.Dir)
	if err != nil {
		return 0, 0, err
	}
	defer batch.Close()
	var docs []catalog.Document
	var others []tree.Row
	for _, r := range theirs.rows() {
		switch {
		case have[r.Path] || !comes(r):
		case format.Class(r.Path) == catalog.Index:
			data, err := src.Document(r.Path)
			if err != nil {
				return 0, 0, err
			}
			docs = append(docs, catalog.Document{Path: r.Path, Data: data})
		default:
			if err := d.bringRow(ctx, now, r, batch); err != nil {
				return 0, 0, err
			}
			others = append(others, r)
		}
	}
	if err := batch.Flush(); err != nil {
		return 0, 0, err
	}
	if err := s.discard(ctx, inTheWay, trash); err != nil {
		return 0, 0, err
	}
	if err := s.keep(ctx, replaced, trash); err != nil {
		return 0, 0, err
	}
	d.hold(".", others...)
	// The companions of the documents are among the other files.
	if _, err := d.land(&catalog.Change{Documents: docs}, s.apply); err != nil {
		return 0, 0, err
	}
	if err := s.writeRemoved(nil); err != nil {
		return 0, 0, err
	}
	if err := s.discard(ctx, stale, trash); err != nil {
		return 0, 0, err
	}
	return len(docs) + len(others), len(inTheWay) + len(replaced) + len(stale), nil
}
