package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// promote is Repo.Promote for a production in an object store. Where another machine
// switched since staging was made, or while this one uploads, staging is rebased on what
// is production now, validated again, and tried again.
func (b *shared) promote(ctx context.Context, opt PromoteOptions) (*Result, error) {
	r, start := b.r, b.r.now()
	unlock, err := r.lock(ctx, prepareLock, "promote")
	if err != nil {
		return nil, err
	}
	defer unlock()
	var pruned *PruneResult
	var res *Result
	took := time.Duration(0)
	for lost := 0; ; lost++ {
		done, err := b.turn(ctx, lost, took)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		res, pruned, err = b.tryPromote(ctx, opt, pruned)
		took = time.Since(begin)
		done()
		if moved := new(bucket.MovedError); errors.As(err, &moved) {
			continue
		}
		if res != nil {
			res.DurationMS = r.now().Sub(start).Milliseconds()
			if pruned != nil {
				res.Pruned, res.PruneID = pruned.Remove, pruned.ID
			}
		}
		return res, err
	}
}

// turn waits before the next try, after lost of them, of which the last one took so long. Then it
// reads the pointer: others may have moved it meanwhile, and a try that begins with what it was
// before would be lost from the start.
func (b *shared) turn(ctx context.Context, lost int, took time.Duration) (done func(), err error) {
	if lost == 0 {
		return func() {}, nil
	}
	if done, err = b.site.Turn(ctx, lost, took); err != nil {
		return nil, interrupted(b.explain(err))
	}
	if _, err = b.pointer(ctx, 0); err != nil {
		done()
		return nil, interrupted(err)
	}
	return done, nil
}

func (b *shared) tryPromote(ctx context.Context, opt PromoteOptions, pruned *PruneResult) (
	*Result, *PruneResult, error) {
	r := b.r
	s, err := r.recovered(ctx, actor{verb: "promote", preparing: true})
	if err != nil {
		return nil, pruned, err
	}
	if err := errors.Join(held(s.history), b.checking(s)); err != nil {
		return nil, pruned, err
	}
	draft, err := r.store.Draft(generation.SnapshotPrefix)
	if err != nil {
		return nil, pruned, err
	}
	draft.Look = opt.DryRun
	defer draft.Discard()
	at, err := b.rebased(ctx, s, draft, opt)
	if err != nil {
		return nil, pruned, err
	}
	defer at.done()
	var docs []catalog.Document
	if r.Config.Promote.Prune && !opt.NoPrune && (pruned == nil || opt.DryRun) {
		if pruned, err = at.repo.prune(ctx, PruneOptions{DryRun: opt.DryRun},
			actor{verb: "prune", preparing: true, draft: draft.Dir}); err != nil {
			return nil, nil, err
		}
		if opt.DryRun {
			if docs, err = at.repo.without(ctx, &pruned.Plan); err != nil {
				return nil, pruned, err
			}
		}
	}
	if opt.DryRun {
		docs, err = at.repo.Stage.Imagine(docs)
	} else {
		err = r.Stage.Refresh(ctx)
	}
	if err != nil {
		return nil, pruned, interrupted(r.locks().explain(err))
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, pruned, err
	}
	buried, _ := graves.Split()
	valid, err := at.repo.prepare(ctx, s, draft, docs)
	if err != nil {
		return nil, pruned, interrupted(r.locks().explain(err))
	}
	if !opt.DryRun && !valid.Same {
		r.seeTags(ctx, s, valid.Catalog.Images)
	}
	next := candidateOf(draft, valid, opt.Message)
	if err := r.signAhead(ctx, s, next, opt.DryRun); err != nil {
		return nil, pruned, err
	}
	if err := r.at("prepared"); err != nil {
		return nil, pruned, err
	}
	// What can be refused is refused before anything is sent. Then what takes long to send,
	// without the production lock: a revert does not wait for it.
	res, err := r.publishValid(ctx, s, next, buried.Len(), valid, PromoteOptions{DryRun: true, Message: opt.Message,
		Force: opt.Force})
	if err == nil && !opt.DryRun && !res.Unchanged {
		err = b.sendAhead(ctx, s, next)
	}
	if err != nil {
		return nil, pruned, err
	}
	var unlock func()
	if s, _, unlock, err = r.exclusive(ctx, actor{"promote", true, draft.Dir, s}); err != nil {
		return nil, pruned, err
	}
	defer unlock()
	if err := held(s.history); err != nil {
		return nil, pruned, err
	}
	if s.current != nil && at.generation != s.current.Generation {
		return nil, pruned, &bucket.MovedError{Now: b.at}
	}
	res, err = r.publishValid(ctx, s, next, buried.Len(), valid, opt)
	if res == nil {
		return nil, pruned, err
	}
	if err == nil && res.Unchanged && !opt.DryRun {
		_, err = b.finishBeside(ctx)
	}
	res.Warnings = append(noNil(res.Warnings), valid.Report.Findings...)
	res.LeftOut = valid.Report.LeftOut
	catalog.Sort(res.Warnings)
	return res, pruned, err
}

// brings refuses staging that would bring back what an operator's revert removed: that
// which is production, or that which staging was made from. The latter is a revert on this
// machine: what it removed is still staged here, as if it were new, and a promote of
// another machine on top of it does not change that. What other machines reverted, rebase
// takes out of staging as soon as somebody has promoted on top of it.
func (b *shared) brings(ctx context.Context, s *state, from *generation.Tree) error {
	trees := []*generation.Tree{s.current}
	if from != nil {
		back := *from.Manifest
		now := tree.NewRows(s.current.Own)
		back.Barred = slices.DeleteFunc(slices.Clone(back.Barred), func(row tree.Row) bool {
			at, ok := now.Get(row.Path)
			return ok && at.SHA256 == row.SHA256 // it came back
		})
		back.BarredTrees = slices.DeleteFunc(slices.Clone(back.BarredTrees), func(id string) bool {
			return id == s.current.TreeID
		})
		trees = append(trees, &generation.Tree{Manifest: &back})
	}
	trees = slices.DeleteFunc(trees, func(t *generation.Tree) bool { return len(t.Barred)+len(t.BarredTrees) == 0 })
	if len(trees) == 0 {
		return nil
	}
	staged, err := b.r.Stage.Peek(ctx)
	if err != nil {
		return interrupted(b.r.locks().explain(err))
	}
	valid := &stage.Valid{Rows: staged.Rows, Catalog: staged.Catalog, TreeID: tree.ID(staged.Rows)}
	for _, t := range trees {
		if err := barredBy(b.r.format, t, valid); err != nil {
			return err
		}
	}
	return nil
}

// clash is the error for changes of staging and of production that cannot be united.
func (b *shared) clash(s *state, base int, list []catalog.Clash) error {
	c := list[0]
	more := ""
	if len(list) > 1 {
		more = fmt.Sprintf("; and %d more", len(list)-1)
	}
	made, _ := s.history.Made(s.current.Generation)
	for _, n := range b.kept(b.at) { // the first generation since the base that did it
		m, err := b.r.store.Manifest(n)
		if n > base && err == nil && slices.Contains(slices.Concat(m.Added, m.Removed, m.Changed), c.Ref) {
			made, _ = s.history.Made(n)
			break
		}
	}
	return refuse("publish stage remove takes it out of staging; publish stage reset makes staging equal to production",
		"%s: %s in staging, and %s in production by %s at %s, in generation %d%s", c.Ref, c.Here, c.There, made.Who,
		made.Time.UTC().Format(time.RFC3339), made.Generation, more)
}

// me names this process, for others.
func (b *shared) me() string { return b.r.who() + "@" + stage.Self() }

// revert is Repo.Revert: it begins again where another machine was first.
func (b *shared) revert(ctx context.Context, opt RevertOptions) (res *Result, err error) {
	err = b.again(ctx, func() error {
		res, err = b.r.revert(ctx, opt)
		return err
	})
	return res, err
}

// again calls do until no other machine was faster.
func (b *shared) again(ctx context.Context, do func() error) error {
	took := time.Duration(0)
	for lost := 0; ; lost++ {
		done, err := b.turn(ctx, lost, took)
		if err != nil {
			return err
		}
		begin := time.Now()
		err = do()
		took = time.Since(begin)
		done()
		if moved := new(bucket.MovedError); !errors.As(err, &moved) {
			return err
		}
	}
}
