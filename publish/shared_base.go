package publish

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/durable"
)

// basePath is the file with the generation that staging was made from, and with the one
// that it is being made from by a command at work, or by one that was killed.
func (b *shared) basePath() string { return b.r.path(".publish", "base") }

// base returns the generation that staging was made from; 0 for none.
func (b *shared) base() (int, error) {
	n, _, err := b.bases()
	return n, err
}

// bases is base, with the generation that staging is being made from: then it may have some
// of that already, or all. 0 is none.
func (b *shared) bases() (from, to int, err error) {
	data, err := durable.ReadFile(b.basePath(), 64)
	if err != nil {
		if gone(b.basePath()) {
			return 0, 0, nil
		}
		return 0, 0, err
	}
	first, second, two := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	from, ok := generation.ParseNumber(first)
	ok = ok || first == noBase && two
	if two && ok {
		to, ok = generation.ParseNumber(second)
	}
	if !ok {
		return 0, 0, &Error{Path: b.basePath(), Fact: "does not hold the number of a generation",
			Hint: "publish stage reset makes staging equal to production, and writes it anew"}
	}
	return from, to, nil
}

// noBase stands for no generation before another one.
const noBase = "-"

// behind returns the generation that staging was made from, if that is not production; 0
// for none.
func (b *shared) behind(s *state) int {
	if b == nil || s.current == nil {
		return 0
	}
	n, err := b.base()
	if err != nil || n == s.current.Generation {
		return 0 // promote says what is wrong
	}
	return n
}

// setBase notes that staging is made from generation n.
func (b *shared) setBase(n int) error {
	if was, to, err := b.bases(); err == nil && was == n && to == 0 {
		return nil
	}
	return durable.WriteFile(b.basePath(), []byte(generation.Number(n)+"\n"), 0o644)
}

// leaveBase notes that staging is being made from generation n. Who comes after a kill must
// know that: what n has, and the base lacks, would else look like changes of staging.
func (b *shared) leaveBase(n int) error {
	was, _, err := b.bases()
	if err != nil || was == n {
		return err
	}
	from := noBase
	if was != 0 {
		from = generation.Number(was)
	}
	return durable.WriteFile(b.basePath(), []byte(from+" "+generation.Number(n)+"\n"), 0o644)
}

// rebase brings staging onto the present production, if it was made from an earlier one:
// what staging changed since then stays changed, and what production changed comes.
func (b *shared) rebase(ctx context.Context, s *state, opt PromoteOptions) error {
	n, to, err := b.bases()
	if err != nil || s.current == nil || n == s.current.Generation && to == 0 {
		return err
	}
	if to != 0 && to != s.current.Generation && !opt.DryRun { // a command was killed in it
		if n, err = b.finishRebase(ctx, s); err != nil {
			return err
		}
	}
	base, err := b.baseSide(n)
	if err != nil {
		return err
	}
	var from *generation.Tree
	if base != nil {
		from = &generation.Tree{Manifest: base.manifest}
	}
	if !opt.Force {
		if err := b.brings(ctx, s, from); err != nil {
			return err
		}
	}
	if opt.DryRun {
		return refuse("publish promote without --dry-run unites them, if nothing contradicts",
			"production is generation %d by now, and staging was made from generation %d", s.current.Generation, n)
	}
	return b.unite(ctx, s, n, base, s.current.Manifest)
}

// baseOf is a generation that staging was made from.
type baseOf struct {
	manifest *generation.Manifest
	*stage.Side
}

// baseSide returns the generation that staging was made from; nil for 0: staging was filled
// before there was a production.
func (b *shared) baseSide(n int) (*baseOf, error) {
	if n == 0 {
		return nil, nil
	}
	if !slices.Contains(b.kept(b.at), n) {
		return nil, refuse("publish stage reset makes staging equal to production; stage what is missing again",
			"staging was made from generation %d, which is not kept any more: what was removed since cannot be told "+
				"from what is new", n)
	}
	m, err := b.r.store.Manifest(n)
	if err != nil {
		return nil, err
	}
	return &baseOf{m, b.side(m)}, nil
}

// unite makes generation to what staging is made from, instead of generation n, its base.
func (b *shared) unite(ctx context.Context, s *state, n int, base *baseOf, to *generation.Manifest) error {
	r := b.r
	if err := errors.Join(b.leaveBase(to.Generation), r.at("before-rebase")); err != nil {
		return err
	}
	var side *stage.Side
	if base != nil {
		side = base.Side
	}
	out, err := r.Stage.Rebase(ctx, "promote", side, b.side(to), r.trash())
	if err != nil {
		return interrupted(r.locks().explain(err))
	}
	if len(out.Conflicts) > 0 { // staging is unchanged
		err := b.clash(s, n, out.Conflicts)
		if n != 0 {
			err = errors.Join(err, b.setBase(n))
		}
		return err
	}
	for _, f := range out.Findings {
		r.opt.Warn(f.Path + ": " + f.Message)
	}
	if err := r.at("rebased"); err != nil {
		return err
	}
	return errors.Join(b.setBase(to.Generation), r.at("after-rebase"))
}

// finishRebase ends what a command began that was killed while it made staging from another
// generation. It returns what staging is made from then. Nothing is done twice: see
// stage.Rebase.
func (b *shared) finishRebase(ctx context.Context, s *state) (int, error) {
	n, to, err := b.bases()
	if err != nil || to == 0 {
		return n, err
	}
	base, err := b.baseSide(n)
	if err != nil {
		return 0, err
	}
	next, err := b.baseSide(to)
	if err != nil {
		return 0, err
	}
	return to, b.unite(ctx, s, n, base, next.manifest)
}
