package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// PruneOptions say how to prune.
type PruneOptions struct {
	DryRun bool  // only plan, and write nothing
	Plan   bool  // only plan, but record which orphans were seen
	Apply  *Plan // carry out this plan or refuse; nil: make a plan
}

// PruneResult is a plan and whether it was carried out.
type PruneResult struct {
	Plan
	DryRun bool `json:"dry_run"`
	// Of a prune of tags that removed some.
	ID       string `json:"id,omitempty"`       // for Undo
	Verified *bool  `json:"verified,omitempty"` // what has to be true afterwards is true: see prove
}

// Prune removes from staging the versions that the retention rules do not keep, and
// the files that no index has named for the orphans' grace period. It never touches
// production. A crash between any two steps leaves a valid staging tree. The record
// may then list removals that did not happen, but never misses one:
//
//  1. make the plan, under the staging lock, from verified files
//  2. append the history line and flush it, before anything is deleted (as gc does)
//  3. write the indexes, by Stage.Apply; files that they no longer name are
//     orphans now
//  4. delete the orphans that are due: no index has named them for the whole
//     grace period, and generations have links or copies of their own
//  5. record the orphans' ages, including those of step 3
//
// If prune is killed before step 5, the files of step 3 are first seen as orphans
// later, so they stay longer.
func (r *Repo) Prune(ctx context.Context, opt PruneOptions) (*PruneResult, error) {
	return r.prune(ctx, opt, actor{verb: "prune"})
}

// prune is Prune, called by a promote or by Prune itself.
func (r *Repo) prune(ctx context.Context, opt PruneOptions, by actor) (*PruneResult, error) {
	if err := r.allows("prune"); err != nil {
		return nil, err
	}
	if tagger, ok := catalog.As[catalog.Tagger](r.format); ok { // before the long part
		if _, err := r.inventories(tagger, r.now()); err != nil {
			return nil, err
		}
	}
	if opt.DryRun {
		return r.dryPrune(ctx, opt)
	}
	if err := r.ownersOnly(dryForAll); err != nil {
		return nil, err
	}
	r.tryAgain(leftInStaging)
	if res, err := r.pruneOutlined(ctx, opt, by); res != nil || err != nil {
		return res, interrupted(err)
	}
	checked, unlock, err := r.Stage.Settle(ctx, "prune", stage.Checks{Now: r.now()})
	if err != nil {
		return nil, interrupted(r.locks().explain(err))
	}
	release := func() { unlock(); unlock = func() {} }
	defer func() { release() }()
	s, err := r.recovered(ctx, by)
	if err != nil {
		return nil, err
	}
	r.lighten(s)
	if _, err := r.ensureID(); err != nil {
		return nil, err
	}
	sv, plan, err := r.planPrune(ctx, s, checked, opt.Apply, tree.OpenCache)
	if err != nil {
		return nil, interrupted(err)
	}
	compact := func() error {
		checked.Catalog, sv.tags, sv.rows = nil, nil, nil // it is not asked again, and its memory is needed
		return r.Stage.Compact(checked)
	}
	if opt.Plan || len(plan.Remove)+len(plan.Orphans) == 0 {
		err := r.remember(s, sv, sv.strays, sv.images())
		return &PruneResult{Plan: *plan, DryRun: opt.Plan}, errors.Join(err, compact())
	}
	return r.enact(ctx, s, sv, plan, opt, by, release)
}

// enact carries out a plan, records it, and runs the hooks. The caller holds the staging
// lock; release gives it up.
func (r *Repo) enact(
	ctx context.Context, s *state, sv *survey, plan *Plan, opt PruneOptions, by actor, release func(),
) (*PruneResult, error) {
	res := &PruneResult{}
	var after proof
	var err error
	if plan.ByTags() && len(plan.Remove) > 0 {
		after = sv.proofOf(plan, s)
		if res.ID, err = r.saveUndo(ctx, sv, plan); err != nil {
			return nil, interrupted(err)
		}
		if err := r.at("after-undo-saved"); err != nil {
			return nil, err
		}
	}
	if err := r.notePrune(ctx, by, plan, res.ID, opt.Apply != nil); err != nil {
		return nil, err
	}
	res.Plan = *plan
	// From here on signals are ignored, because the record is already written.
	if err := r.carryOut(context.WithoutCancel(ctx), s, sv, plan); err != nil {
		return nil, &Error{Fact: "the prune did not finish; staging is valid, and production is unchanged",
			Hint: "run publish prune again: it continues", Err: err}
	}
	res.Plan = r.happened(res.Plan)
	if res.ID != "" {
		err := r.prove(context.WithoutCancel(ctx), after)
		verified := err == nil
		if res.Verified = &verified; err != nil {
			return res, err
		}
	}
	if len(r.left[leftInStaging]) > 0 && !by.preparing { // else the promote notes it
		if _, _, unlock, err := r.exclusive(ctx, by); err == nil {
			unlock()
		}
	}
	release()
	if len(r.Config.Hooks.AfterPrune) == 0 {
		return res, nil
	}
	h := generation.Head{Kind: generation.Kind(journal.KindPrune), Who: r.who(), Time: s.now.UTC()}
	if s.current != nil {
		h = s.current.Head
	}
	if err := r.run(ctx, "after_prune", r.Config.Hooks.AfterPrune, time.Duration(r.Config.Hooks.Timeout), h,
		detail{Plan: plan}); err != nil {
		return res, fmt.Errorf("staging was pruned, and production is unchanged: %w", err)
	}
	return res, nil
}

// dryForAll is what a user who may not prune can do.
const dryForAll = "others can see with --dry-run what it would do"

// happened returns the plan without the files that could not be deleted.
func (r *Repo) happened(p Plan) Plan {
	stays := map[string]bool{}
	for _, l := range r.left[leftInStaging] {
		stays[r.absolute(l.Path)] = true
	}
	p.Orphans = slices.DeleteFunc(slices.Clone(p.Orphans), func(o Orphan) bool {
		left := stays[filepath.Join(r.Stage.Dir, filepath.FromSlash(o.Path))]
		if left {
			p.BytesNow -= o.Bytes
		}
		return left
	})
	return p
}

// dryPrune plans without a lock and writes nothing.
func (r *Repo) dryPrune(ctx context.Context, opt PruneOptions) (*PruneResult, error) {
	s, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	r.lighten(s)
	if opt.Apply == nil {
		if sv, err := r.outlined(ctx, s, true); sv != nil || err != nil {
			if err != nil {
				return nil, interrupted(err)
			}
			return &PruneResult{Plan: *r.planned(s, sv), DryRun: true}, nil
		}
	}
	checked, err := r.Stage.Look(ctx)
	if err != nil {
		return nil, interrupted(err)
	}
	_, plan, err := r.planPrune(ctx, s, checked, opt.Apply, tree.ReadCache)
	if err != nil {
		return nil, interrupted(err)
	}
	return &PruneResult{Plan: *plan, DryRun: true}, nil
}

// lighten forgets the rows of production. A plan needs none of them, and for a large
// tree they are a third of the memory.
func (r *Repo) lighten(s *state) {
	r.store.Forget()
	if c := s.current; c != nil {
		s.current = &generation.Tree{Manifest: &generation.Manifest{Head: c.Head}, Dir: c.Dir}
	}
}

// cacheOpener opens the hash cache: tree.OpenCache, or tree.ReadCache if new results
// must not be stored.
type cacheOpener = func(path string) *tree.Cache

// planPrune makes the plan for staging as it was checked. If there is a plan to apply, it
// returns that plan, or the reason why it cannot be applied.
func (r *Repo) planPrune(
	ctx context.Context, s *state, checked *stage.Checked, apply *Plan, open cacheOpener,
) (*survey, *Plan, error) {
	sv, err := r.survey(ctx, s, checked, open)
	if err != nil {
		return nil, nil, err
	}
	plan := r.planned(s, sv)
	if apply == nil {
		return sv, plan, nil
	}
	if apply.Time.After(sv.now) {
		return nil, nil, refuse(planHint, "the plan was made at %s, which is in the future",
			apply.Time.Format(time.RFC3339))
	}
	// Compare versions by their ages at the plan's time. For orphans use the
	// present time: an orphan that was due then is still due now.
	then := *sv
	then.now = apply.Time
	was, _ := then.plan()
	was.Orphans = plan.Orphans
	return sv, apply, apply.fits(was)
}

// planned makes a plan, and warns of what is unwise or keeps files from being deleted.
func (r *Repo) planned(s *state, sv *survey) *Plan {
	plan, unmatched := sv.plan()
	r.warnUnmatched(plan, unmatched)
	if len(sv.strays) > 0 && s.clockBehind() {
		r.opt.Warn("the clock is behind the newest line of the history: no file is deleted; " + ClockRemedy)
	} else if len(sv.strays) > 0 && !sv.sure {
		r.opt.Warn("staging holds links that lead out of it or in a circle, folders that cannot be listed, or " +
			"special files: no file is deleted, because an index may name it by another path")
	}
	return plan
}

// warnUnmatched warns of rules that decide on nothing, and of inventories that name
// nothing here: most likely they are mistakes.
func (r *Repo) warnUnmatched(p *Plan, unmatched []retention.Unmatched) {
	key, what := "retention", "product"
	if p.ByTags() {
		key, what = "tags", "tag"
	}
	for _, u := range unmatched {
		why := "matches no " + what
		if u.Shadowed {
			why = "decides on nothing: earlier rules match all its " + what + "s"
		}
		r.opt.Warn(fmt.Sprintf("%s: rule %d (%s) %s", key, u.Rule, u.Match, why))
	}
	for _, v := range p.InUse {
		if v.References > 0 && v.Matched == 0 && len(p.Keep)+len(p.Remove) > 0 {
			r.opt.Warn(fmt.Sprintf("in_use: %s names no image of staging: does served_as have every name under which "+
				"production is served?", v.File))
		}
	}
}

// survey reads the inputs of a plan. Invalid documents are an error, because a file
// that they seem not to name may be named in the part that cannot be read.
func (r *Repo) survey(
	ctx context.Context, s *state, checked *stage.Checked, open cacheOpener,
) (*survey, error) {
	sv, used, err := r.beginSurvey(s)
	if err != nil {
		return nil, err
	}
	sv.checked, sv.strays = checked, checked.Strays
	if tags := sv.tags; tags != nil {
		few := *checked.Catalog
		few.Items = nil // images tell the files of tags
		checked.Catalog = &few
		tags.used = used.find(checked.Catalog.Images)
		tags.read = used.summary()
	}
	if err := readable(r.format, checked, sv.strays); err != nil {
		return nil, err
	}
	sv.sure = checked.Sure && !s.clockBehind()
	sv.expires, err = r.expiries(ctx, checked, open)
	return sv, err
}

// beginSurvey reads the inputs that are not in staging.
func (r *Repo) beginSurvey(s *state) (*survey, *uses, error) {
	tags, used, err := r.surveyTags(s.now)
	if err != nil {
		return nil, nil, err
	}
	sv := &survey{rules: r.Config.Retention, now: s.now, grace: r.Config.orphanGrace(), tags: tags, format: r.format}
	if sv.seen, err = r.orphans().read(); err != nil {
		return nil, nil, err
	}
	if s.current != nil {
		sv.generation = s.current.Generation
	}
	sv.repository, err = r.store.ID()
	return sv, used, err
}

// readable refuses a staging tree whose documents have errors, unless the tree is
// empty.
func readable(f catalog.Format, c *stage.Checked, strays []tree.Entry) error {
	bad, format := &stage.Report{}, catalog.Within(f, c.Catalog.Documents)
	for _, f := range c.Report.Findings {
		if f.Severity == catalog.Error && format.Class(f.Path) == catalog.Index && f.Code != "combined-mismatch" {
			bad.Findings = append(bad.Findings, f)
		}
	}
	if len(bad.Findings) == 0 || len(c.Rows)+len(strays) == 0 {
		return nil
	}
	return &FindingsError{Report: bad}
}

// orphanGrace is how long files that no index names stay.
func (c *Config) orphanGrace() time.Duration {
	if c.OrphanGrace > 0 {
		return time.Duration(c.OrphanGrace)
	}
	return time.Duration(c.Grace)
}

// expiries reads when versions expire, for products whose rule needs that. If the time
// cannot be read, the version never expires and there is a warning.
func (r *Repo) expiries(ctx context.Context, c *stage.Checked, open cacheOpener) (map[catalog.Name]time.Time, error) {
	if !slices.ContainsFunc(r.Config.Retention, func(r RetentionRule) bool { return r.Expired != "" }) {
		return nil, nil
	}
	rule := r.Config.Policy().RuleFor()
	e, err := r.Stage.Expiries(ctx, c, func(product string) bool {
		n := rule(product)
		return n > 0 && r.Config.Retention[n-1].Expired != ""
	}, open)
	if err != nil {
		return nil, err
	}
	for n, err := range e.Unread {
		if n == maxUnread {
			r.opt.Warn(fmt.Sprintf("the expiry of %d more images cannot be read either", len(e.Unread)-n))
			break
		}
		r.opt.Warn(fmt.Sprintf("staging/%v: its expiry is unknown, so the image does not expire", err))
	}
	return e.At, nil
}

// maxUnread is the maximum number of warnings of one kind.
const maxUnread = 20

// notePrune writes the history line. A plan that a person reviewed is valid only while
// production is the one that it was made for.
func (r *Repo) notePrune(ctx context.Context, by actor, p *Plan, id string, reviewed bool) error {
	s, _, unlock, err := r.exclusive(ctx, by)
	if err != nil {
		return err
	}
	defer unlock()
	now := 0
	if s.current != nil {
		now = s.current.Generation
	}
	if now != p.Generation && reviewed {
		return refuse(planHint, "production went from generation %d to %d since the plan was made", p.Generation, now)
	}
	if now != p.Generation { // nothing else in the plan depends on it
		p.Generation = now
		p.PlanHash = p.hash()
	}
	b := &journal.Prune{ID: id, PlanHash: p.PlanHash, BytesNow: p.BytesNow, BytesAfterGrace: p.BytesAfterGrace}
	for _, d := range p.Remove {
		b.Pruned = append(b.Pruned, journal.Pruned{Product: d.Product, Version: d.Version, Ref: d.Ref,
			Digest: d.Digest, Reasons: d.Reasons, Bytes: d.Bytes})
	}
	for _, o := range p.Orphans {
		b.Orphans = append(b.Orphans, journal.Orphan(o))
	}
	e := r.note(s, journal.KindPrune, "")
	e.Body = b
	return r.log(s.history, e)
}

// carryOut executes the plan. The caller holds the staging lock.
func (r *Repo) carryOut(ctx context.Context, s *state, sv *survey, p *Plan) error {
	if err := r.at("after-prune-history"); err != nil {
		return err
	}
	docs, err := r.without(ctx, p)
	if err != nil {
		return err
	}
	if err := r.Stage.Apply(docs); err != nil {
		return err
	}
	if err := r.at("after-prune-indexes"); err != nil {
		return err
	}
	due := make(map[string]bool, len(p.Orphans))
	for _, o := range p.Orphans {
		due[o.Path] = true
	}
	var going []tree.Entry
	for _, e := range sv.strays {
		if due[e.Path] {
			going = append(going, e)
		}
	}
	if sv.outline != nil {
		if still, err := sv.outline.Still(); err != nil {
			return err
		} else if !still {
			return errors.New("another program has just written to an index of staging")
		}
	}
	gone, err := r.Stage.Delete(going)
	if err != nil {
		return err
	}
	if err := r.at("after-prune-orphans"); err != nil {
		return err
	}
	if len(docs) == 0 { // the indexes name what they named
		return r.remember(s, sv, without(sv.strays, gone), sv.images())
	}
	cat, err := r.Stage.Catalog(ctx)
	if err != nil {
		return err
	}
	strays, _, err := r.Stage.Orphans(ctx, cat)
	if err != nil {
		return err
	}
	return r.remember(s, sv, strays, named(cat.Images))
}

// without returns the entries of a list that are not in another. Both are in the same order.
func without(list, gone []tree.Entry) []tree.Entry {
	var out []tree.Entry
	for _, e := range list {
		if len(gone) > 0 && gone[0].Path == e.Path {
			gone = gone[1:]
		} else {
			out = append(out, e)
		}
	}
	return out
}

// without returns the documents rewritten without what the plan removes.
func (r *Repo) without(ctx context.Context, p *Plan) ([]catalog.Document, error) {
	if len(p.Remove) == 0 {
		return nil, nil
	}
	return r.Stage.WithoutVersions(ctx, p.removes())
}

// remember records since when files have been orphans, and tags have stood for what
// they stand for. It does nothing while the clock is behind the history, because the
// times would be wrong.
func (r *Repo) remember(
	s *state, sv *survey, strays []tree.Entry, images iter.Seq2[catalog.Name, string],
) error {
	if s.clockBehind() {
		return nil
	}
	if sv.tags != nil {
		if next := sv.tags.seen.next(images, s.now); next != nil {
			if err := r.tagged().replace(next); err != nil {
				return err
			}
		}
	}
	// What is an orphan only now begins now, although an older record may have it:
	// in between, an index named it.
	next := sv.seen.next(sv.strays, s.now).next(strays, s.now)
	if next.equal(sv.seen) {
		return nil
	}
	return r.orphans().write(next)
}
