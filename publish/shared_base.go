package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

// based is staging, made from the present production.
type based struct {
	repo       *Repo // whose staging that is: a copy for a dry run, if what is staged had to change
	generation int   // which it is made from; 0 before the first one
	done       func()
}

// rebased brings staging onto the present production, if it was made from an earlier one:
// what staging changed since then stays changed, and what production changed comes. A dry
// run does it to a copy of staging beside the draft.
func (b *shared) rebased(ctx context.Context, s *state, draft *generation.Draft, opt PromoteOptions) (*based, error) {
	out := &based{repo: b.r, done: func() {}}
	n, to, err := b.bases()
	if err != nil || s.current == nil {
		return out, err
	}
	if out.generation = s.current.Generation; n == out.generation && to == 0 {
		return out, nil
	}
	if to != 0 && to != out.generation { // a command was killed in it
		if opt.DryRun {
			return nil, refuse("publish recover ends it", "a command was killed while it made staging from generation %d", to)
		}
		if n, err = b.finishRebase(ctx, s); err != nil {
			return nil, err
		}
	}
	base, err := b.baseSide(n)
	if err != nil {
		return nil, err
	}
	if !opt.Force {
		var from *generation.Tree
		if base != nil {
			from = &generation.Tree{Manifest: base.manifest}
		}
		if err := b.brings(ctx, s, from); err != nil {
			return nil, err
		}
	}
	if opt.DryRun {
		return b.imagined(ctx, s, draft, n, base)
	}
	return out, b.unite(ctx, s, n, base, s.current.Manifest)
}

// imagined unites a copy of staging with production.
func (b *shared) imagined(ctx context.Context, s *state, draft *generation.Draft, n int, base *baseOf) (*based, error) {
	dir := draft.Dir + ".staging" // a sweep of drafts finds it
	out := &based{generation: s.current.Generation, done: func() { _ = durable.RemoveAll(dir) }}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	theirs, at := b.side(s.current.Manifest), base.side()
	to, err := b.r.Stage.Scratch(ctx, dir, func() (*stage.Elsewhere, error) { return at.Elsewhere(), nil })
	if err != nil {
		out.done()
		return nil, interrupted(b.r.locks().explain(err))
	}
	if _, err := b.uniteIn(ctx, s, n, to, base, theirs, filepath.Join(dir, "trash")); err != nil {
		out.done()
		return nil, err
	}
	at = theirs
	copied := *b.r
	copied.Stage, out.repo = to, &copied
	return out, nil
}

// baseOf is a generation that staging was made from.
type baseOf struct {
	manifest *generation.Manifest
	*stage.Side
}

func (o *baseOf) side() *stage.Side {
	if o == nil {
		return nil
	}
	return o.Side
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
	if err := errors.Join(b.leaveBase(to.Generation), b.r.at("before-rebase")); err != nil {
		return err
	}
	clashes, err := b.uniteIn(ctx, s, n, b.r.Stage, base, b.side(to), b.r.trash())
	if clashes && n != 0 { // staging is unchanged
		err = errors.Join(err, b.setBase(n))
	}
	if err != nil {
		return err
	}
	if err := b.r.at("rebased"); err != nil {
		return err
	}
	return errors.Join(b.setBase(to.Generation), b.r.at("after-rebase"))
}

// uniteIn unites a staging tree, whose base is generation n, with another side. clashes says that
// the error is that they contradict.
func (b *shared) uniteIn(ctx context.Context, s *state, n int, in *stage.Stage, base *baseOf, with *stage.Side,
	trash string) (clashes bool, err error) {
	out, err := in.Rebase(ctx, "promote", base.side(), with, trash)
	if err != nil {
		return false, interrupted(b.r.locks().explain(err))
	}
	if len(out.Conflicts) > 0 {
		return true, b.clash(s, n, out.Conflicts)
	}
	for _, f := range out.Findings {
		b.r.opt.Warn(f.Path + ": " + f.Message)
	}
	return false, nil
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
