package publish

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// PromoteOptions say how to promote.
type PromoteOptions struct {
	DryRun  bool
	Message string
	Force   bool // also if an operator reverted or revoked the content; never overrides findings or a hold
	NoPrune bool // do not prune staging first, even if publish.yaml says so
}

// Promote makes the content of staging production. The result is also non-nil if the
// error is of kind Switched.
func (r *Repo) Promote(ctx context.Context, opt PromoteOptions) (res *Result, err error) {
	if r.shared != nil {
		return r.shared.promote(ctx, opt)
	}
	start := r.now()
	unlockPrepare, err := r.lock(ctx, prepareLock, "promote")
	if err != nil {
		return nil, err
	}
	defer unlockPrepare()
	s, err := r.recovered(ctx, actor{verb: "promote", preparing: true})
	if err != nil {
		return nil, err
	}
	if err := held(s.history); err != nil {
		return nil, err
	}
	var pruned *PruneResult
	var docs []catalog.Document // documents that a real run would write and a dry run only imagines
	if r.Config.Promote.Prune && !opt.NoPrune {
		if pruned, err = r.prune(ctx, PruneOptions{DryRun: opt.DryRun},
			actor{verb: "prune", preparing: true}); err != nil {
			return nil, err
		}
		defer func() {
			if res == nil && pruned.ID != "" {
				r.opt.Warn(fmt.Sprintf("staging was pruned; publish prune --undo %s brings the tags back", pruned.ID))
			}
		}()
		if opt.DryRun {
			if docs, err = r.without(ctx, &pruned.Plan); err != nil {
				return nil, err
			}
		}
	}

	if opt.DryRun {
		docs, err = r.Stage.Imagine(docs)
	} else {
		err = r.Stage.Refresh(ctx)
	}
	if err != nil {
		return nil, interrupted(r.locks().explain(err))
	}

	var draft *generation.Draft
	var valid *stage.Valid
	var next *candidate
	var base *generation.Tree
	var mark int
	for {
		if draft, err = r.store.Draft(generation.SnapshotPrefix); err != nil {
			return nil, err
		}
		draft.Look = opt.DryRun
		defer r.discard(draft, false)
		graves, err := r.graveyard()
		if err != nil {
			return nil, err
		}
		done, _ := graves.Split()
		mark = done.Len()
		base = s.current
		valid, err = r.prepare(ctx, s, draft, docs)
		if errors.Is(err, generation.ErrMoved) {
			// The tree that was production is no longer kept: start again from the present one.
			now, err := r.recovered(ctx, actor{verb: "promote", preparing: true})
			if err == nil {
				err = reverted(base, now)
			}
			if err != nil {
				return nil, err
			}
			if now.current == nil || now.current.Generation != base.Generation {
				s = now
				continue
			}
		}
		if err != nil {
			return nil, interrupted(r.locks().explain(err))
		}
		if !opt.DryRun && !valid.Same {
			r.seeTags(ctx, s, valid.Catalog.Images)
		}
		next = candidateOf(draft, valid, opt.Message)
		if err := r.signAhead(ctx, s, next, opt.DryRun); err != nil {
			return nil, err
		}
		if err := r.at("prepared"); err != nil {
			return nil, err
		}
		if base != nil {
			draft.Since = base.Manifest
		}

		// The slow part, copying and hashing, is done: now take the production lock.
		var unlock func()
		if s, _, unlock, err = r.exclusive(ctx, actor{verb: "promote", preparing: true, draft: draft.Dir}); err != nil {
			return nil, err
		}
		err = held(s.history)
		if err == nil {
			err = reverted(base, s)
		}
		if err != nil {
			unlock()
			return nil, err
		}
		if !valid.Same || s.current.TreeID == valid.TreeID {
			defer unlock()
			break
		}
		// No tree was made, because staging equalled production. Then a revoke
		// switched production. So start again.
		unlock()
	}
	res, err = r.publishValid(ctx, s, next, mark, valid, opt)
	if res != nil {
		res.Warnings = append(noNil(res.Warnings), valid.Report.Findings...)
		res.LeftOut = valid.Report.LeftOut
		catalog.Sort(res.Warnings)
		res.DurationMS = r.now().Sub(start).Milliseconds()
		if pruned != nil {
			res.Pruned, res.PruneID = pruned.Remove, pruned.ID
		}
	}
	return res, err
}

// recovered reads the state from which a verb starts. If a killed command left
// something to finish, that is done first: without recovery, production may have no
// manifest to link from safely.
func (r *Repo) recovered(ctx context.Context, by actor) (*state, error) {
	s, err := r.load(ctx)
	if err == nil && !r.pending(s) {
		return s, nil
	}
	s, _, unlock, err := r.exclusive(ctx, by)
	if err != nil {
		return nil, err
	}
	unlock()
	return s, nil
}

func held(h *journal.History) error {
	if e, ok := h.Hold(); ok {
		return standing("publish unhold ends it", e, "production is held by")
	}
	return nil
}

// prepare makes, validates and flushes the snapshot in the draft. docs replace the
// documents that staging has.
func (r *Repo) prepare(
	ctx context.Context, s *state, draft *generation.Draft, docs []catalog.Document,
) (*stage.Valid, error) {
	batch, err := durable.NewBatch(draft.Dir)
	if err != nil {
		return nil, err
	}
	defer batch.Close()
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	base.Former = func(ctx context.Context) (*tree.Former, error) { return draft.Former(ctx, base.Source) }
	if base.Source != nil {
		defer base.Source.Close()
	}
	snap, err := r.Stage.Snapshot(ctx, draft.Dir, base, batch, docs...)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	valid, report, err := snap.Validate(ctx, stage.Checks{Now: r.now()})
	if err != nil {
		return nil, err
	}
	if err := r.at("validated"); err != nil {
		return nil, err
	}
	if valid == nil {
		replaced, err := r.replacedBy(ctx, s, snap.Rows(), snap.Dir)
		if err != nil {
			return nil, err
		}
		report.Findings = append(report.Findings, replaced...)
		catalog.Sort(report.Findings)
		return nil, &FindingsError{Report: report}
	}
	if err := r.yield(ctx, valid); err != nil {
		return nil, err
	}
	if s.current != nil && s.current.TreeID == valid.TreeID {
		return valid, nil // nothing to make durable
	}
	return valid, batch.Flush()
}

// base is production as a snapshot sees it.
func (s *state) base() (*stage.Base, error) { return s.current.Base(s.windows, s.now) }

// reverted refuses to continue if an operator reverted while the snapshot was being
// prepared: the snapshot may have the content that the operator reverted.
func reverted(base *generation.Tree, s *state) error {
	was := 0
	if base != nil {
		was = base.Generation
	}
	if s.current == nil || s.current.Generation == was {
		return nil
	}
	if e, ok := s.history.Turned(was); ok {
		return refuse("look at publish history, then promote again",
			"%s went to generation %d while this promote was being prepared; production is unchanged by it", e.Who,
			s.current.Generation)
	}
	return nil
}

// publishValid is the part of Promote under the production lock. c is the candidate of v. mark is how many
// lines of tombstones were done when the snapshot began.
func (r *Repo) publishValid(
	ctx context.Context, s *state, c *candidate, mark int, v *stage.Valid, opt PromoteOptions,
) (*Result, error) {
	cur := s.current
	if cur != nil && cur.TreeID == v.TreeID {
		return r.unchanged(s, opt.DryRun), nil
	}
	if cur != nil && !opt.Force {
		if err := barredBy(r.format, cur, v); err != nil {
			return nil, err
		}
	}
	if !opt.Force {
		if err := r.revokedIn(s, v, mark); err != nil {
			return nil, err
		}
	}
	if !opt.DryRun {
		v.Catalog = nil // that of a large tree needs more memory than all that is left to do
	}
	return r.commit(ctx, s, c, opt.DryRun)
}

// barredBy refuses a tree that would bring back content that a revert removed.
func barredBy(f catalog.Format, cur *generation.Tree, v *stage.Valid) error {
	const hint = "take it out of staging, revert forward to it, or give --force"
	for _, id := range cur.BarredTrees {
		if id == v.TreeID {
			if cur.Kind == generation.KindAutoRevert {
				return refuse("change staging, or give --force", "staging is exactly the tree that failed its health "+
					"check; production went back to generation %d's content", cur.Origin)
			}
			why := ""
			if cur.Message != "" {
				why = " (" + cur.Message + ")"
			}
			return refuse(hint, "staging is exactly the tree that was reverted by %s%s", cur.Who, why)
		}
	}
	type bytes struct{ path, sha256 string }
	barred := map[bytes]bool{}
	for _, row := range cur.Barred {
		barred[bytes{row.Path, row.SHA256}] = true
	}
	var back []string
	for _, row := range v.Rows {
		if barred[bytes{row.Path, row.SHA256}] {
			back = append(back, row.Path)
		}
	}
	if len(back) == 0 {
		return nil
	}
	owner := back[0]
	for _, i := range v.Catalog.Items {
		if i.Path == back[0] {
			owner = f.Ref(i.Of())
		}
	}
	more := ""
	if len(back) > 1 {
		more = fmt.Sprintf(" and %d more", len(back)-1)
	}
	return refuse(hint, "staging still names %s (%s%s), which %s reverted in generation %d", owner,
		filepath.Base(back[0]), more, cur.Who, cur.Generation)
}
