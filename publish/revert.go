package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// RevertOptions say how to revert.
type RevertOptions struct {
	To      int // a kept generation; 0: the content that was live before the current one
	DryRun  bool
	Message string
	Force   bool // also if a path gets other content than clients have seen there
}

// Revert makes the content of a kept generation production, as a new generation. It
// takes only the production lock. The result is also non-nil if the error is of kind
// Switched.
func (r *Repo) Revert(ctx context.Context, opt RevertOptions) (*Result, error) {
	if r.shared != nil {
		return r.shared.revert(ctx, opt)
	}
	return r.revert(ctx, opt)
}

func (r *Repo) revert(ctx context.Context, opt RevertOptions) (*Result, error) {
	start := r.now()
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "revert"})
	if err != nil {
		return nil, err
	}
	defer unlock()
	target, err := r.target(s, opt.To)
	if err != nil {
		return nil, err
	}
	res, err := r.revertTo(ctx, s, target, generation.KindRevert, opt)
	if res != nil {
		res.Warnings = noNil(res.Warnings)
		res.DurationMS = r.now().Sub(start).Milliseconds()
	}
	return res, err
}

// unchanged is the result of a promote or a revert to the content that production
// already has.
func (r *Repo) unchanged(s *state, dryRun bool) *Result {
	cur := s.current
	res := &Result{Generation: cur.Generation, From: cur.From, Origin: cur.Origin, TreeID: cur.TreeID, Unchanged: true,
		DryRun:  dryRun,
		LeftOut: stage.LeftOut{Examples: []string{}},
		Added:   []string{}, Removed: []string{}, Changed: []string{}, Carried: len(cur.Carried),
		Warnings: []catalog.Finding{}}
	res.revertible(r.revertTenure(s))
	return res
}

// target finds the generation to revert to.
func (r *Repo) target(s *state, to int) (*generation.Tree, error) {
	if s.current == nil {
		return nil, notFound("publish promote makes the first generation", "production does not exist yet")
	}
	cur := s.current
	kept, err := r.store.Kept(cur.Generation)
	if err != nil {
		return nil, err
	}
	if to == 0 {
		origin, ok := s.before()
		if !ok {
			return nil, notFound(r.keptHint(), "there is no content before generation %d", cur.Origin)
		}
		// Any kept generation with that content is right. The newest is kept longest.
		for _, n := range slices.Backward(kept) {
			if m, err := r.manifest(n); err == nil && m.Origin == origin && n != cur.Generation {
				to = n
				break
			}
		}
		if to == 0 {
			return nil,
				notFound(r.keptHint(), "the content before the current one, of generation %d, is no longer kept",
					origin)
		}
	}
	if !slices.Contains(kept, to) {
		return nil, notFound(r.keptHint(), "generation %d is not kept", to)
	}
	target := cur
	if to != cur.Generation {
		if target, err = r.tree(to); err != nil {
			return nil, err
		}
	}
	switch n, err := r.store.Whose(target.Dir); {
	case err != nil:
		return nil, err
	case n != to:
		return nil, &Error{Path: target.Dir, Fact: fmt.Sprintf("is not generation %d", to), Err: generation.ErrForeign,
			Hint: r.keptHint()}
	}
	return target, nil
}

// before returns the origin of the content that was live just before the current
// origin, so that a second revert goes back one step further.
func (s *state) before() (origin int, ok bool) {
	return s.history.Before(s.current.Origin)
}

// keptHint lists the generations that can be reverted to.
func (r *Repo) keptHint() string {
	current, err := r.site.Live(context.Background())
	if err != nil {
		return ""
	}
	kept, err := r.store.Kept(current)
	if err != nil {
		return ""
	}
	var out []string
	for _, n := range kept {
		if n != current {
			out = append(out, fmt.Sprint(n))
		}
	}
	if len(out) == 0 {
		return "no earlier generation is kept"
	}
	return "these can be reverted to: " + strings.Join(out, ", ")
}

// revertTo builds a tree with the target's own rows, without those revoked since, and
// commits it.
func (r *Repo) revertTo(
	ctx context.Context, s *state, target *generation.Tree, kind generation.Kind, opt RevertOptions,
) (*Result, error) {
	draft, err := r.store.Draft(generation.RevertPrefix)
	if err != nil {
		return nil, err
	}
	draft.Look = opt.DryRun
	defer r.discard(draft, true)
	target, valid, err := r.sound(ctx, s, target, draft)
	if err == nil && target.TreeID == s.current.TreeID {
		return r.unchanged(s, opt.DryRun), nil // not checked earlier: a redacted tree differs from its manifest
	}
	if err == nil && valid == nil {
		err = r.rebuild(ctx, s, target, draft)
	}
	if err != nil {
		return nil, interrupted(err)
	}
	units := target.Units
	switch {
	case valid != nil: // its indexes are new
		units = valid.Catalog.Units
	case !target.Counts():
		cat, err := stage.ReadCatalog(ctx, draft.Dir, r.format)
		if err != nil {
			return nil, err
		}
		units = cat.Units
	}
	c := &candidate{draft: draft, rows: target.Own, kept: target.Own, treeID: target.TreeID, units: units, kind: kind,
		origin: target.Origin, message: opt.Message, force: opt.Force}
	c.barred, c.barredTrees = generation.Bar(s.current.Manifest, target.Manifest, kind, r.format)
	return r.commit(ctx, s, c, opt.DryRun)
}

// rebuild makes the target's own tree in the draft and flushes it.
func (r *Repo) rebuild(ctx context.Context, s *state, target *generation.Tree, draft *generation.Draft) error {
	base, err := s.base()
	if err != nil {
		return err
	}
	if base.Source != nil {
		defer base.Source.Close()
	}
	return draft.Rebuild(ctx, target, base, r.format, s.now)
}
