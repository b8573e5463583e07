package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/tombstone"
	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// candidate is a complete, validated and flushed tree in a private directory, with
// what its manifest will record.
type candidate struct {
	draft  *generation.Draft
	rows   []tree.Row
	kept   []tree.Row // those of a kept generation; nil for none
	treeID string
	units  []catalog.Unit

	kind        generation.Kind
	origin      int // 0: itself
	message     string
	barred      []tree.Row
	barredTrees []string
	force       bool // allow it to replace content that production serves
	revoked     []Revoked
	unnamed     []Named
	warnings    []catalog.Finding
	left        stage.LeftOut

	// Of a target: see Reception.
	follows bool // it is a generation of a leader, which skips those between
	number  int  // of the generation; 0: the next one
	// body is the bytes of a content that is not in the draft; nil: it is in production, or in
	// a kept generation.
	body func(tree.Row) bucket.Body
	sent *sent // counts what is uploaded; nil: nobody wants to know

	up         *uploading // what it sends; nil: not worked out yet
	signedAs   int        // the generation that its signatures are of; 0: none yet
	signatures *generation.Signatures
	who        string // "": the user
}

// candidateOf makes the candidate of a promote. It takes a stage.Valid, so that only a
// validated tree can be promoted.
func candidateOf(d *generation.Draft, v *stage.Valid, message string) *candidate {
	return &candidate{draft: d, rows: v.Rows, treeID: v.TreeID, units: v.Catalog.Units, kind: generation.KindPromote,
		message: message}
}

// Result is what a promote or a revert did, or would do.
type Result struct {
	Generation  int        `json:"generation"`
	From        int        `json:"from"`
	Origin      int        `json:"origin"`
	TreeID      string     `json:"tree_id"`
	Unchanged   bool       `json:"unchanged"`
	DryRun      bool       `json:"dry_run"`
	Added       []string   `json:"added"`
	Removed     []string   `json:"removed"`
	Changed     []string   `json:"changed"`
	Carried     int        `json:"carried"`
	NewBytes    int64      `json:"new_bytes"`
	RevertUntil *time.Time `json:"revert_until"` // until when the previous content is kept; null: see RevertKept
	DurationMS  int64      `json:"duration_ms"`
	// from the commit point until the switch is durable in the history; 0 if nothing was switched
	SwitchUS int64 `json:"switch_us"`

	Warnings []catalog.Finding `json:"warnings"`

	// NotAtomic: as in Status.
	NotAtomic bool `json:"not_atomic,omitempty"`

	// LeftOut counts files of staging, or of an adopted tree, that are not published.
	LeftOut stage.LeftOut `json:"left_out"`

	// RevertKept is the reason why the previous content is kept: a window that
	// ends at RevertUntil, or a pin or the configuration, which have no end. It is
	// "" if there is nothing to revert to.
	RevertKept KeptBy `json:"revert_kept_by"`

	// Pruned lists the versions that were removed from staging first; absent if none were.
	Pruned []retention.Decision `json:"pruned,omitempty"`
	// PruneID is for Undo: the ID of that prune; absent if it cannot be undone.
	PruneID string `json:"prune_id,omitempty"`
}

func (res *Result) revertible(t generation.Tenure) { res.RevertUntil, res.RevertKept = t.End(), t.By }

// commit makes the candidate production. The caller holds the production lock and has
// recovered; s is the state after that. The result is also non-nil if the error is of
// kind Switched.
//
// No step before the switch changes what production resolves to or serves. After the
// switch, signals are ignored until commit returns.
func (r *Repo) commit(ctx context.Context, s *state, c *candidate, dryRun bool) (*Result, error) {
	n, err := r.number(s.history, c)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		if err := r.sign(ctx, s, c, n); err != nil {
			return nil, err
		}
	}
	carrier, err := r.carrier(s)
	if err != nil {
		return nil, err
	}
	if carrier.Live != nil {
		defer carrier.Live.Close()
	}
	m, res, err := r.plan(ctx, s, c, n, carrier)
	if err != nil {
		return nil, err
	}
	if res.DryRun = dryRun; dryRun {
		return res, nil
	}
	if r.shared != nil {
		return r.shared.switchTo(ctx, s, c, m, res)
	}
	if err := r.site.Probe(ctx); err != nil {
		return nil, err
	}
	abandon := func(err error) (*Result, error) {
		// Clean up now, so that no recovery is needed. If Tidy failed, a tree may
		// be out of its place, and the sweep could delete it.
		if r.site.Tidy(context.WithoutCancel(ctx)) == nil {
			_, _ = r.sweep(s, actor{draft: c.draft.Dir})
		}
		return nil, interrupted(err)
	}
	done := r.compareDue(ctx, s, c.draft)
	defer done()
	if err := r.seal(ctx, s, c, m, carrier.Live); err != nil {
		return abandon(err)
	}
	if err := r.hook(ctx, "before_switch", r.Config.Hooks.BeforeSwitch, m.Head); err != nil {
		switch {
		case ctx.Err() != nil:
			return abandon(ctx.Err())
		case m.Kind == generation.KindPromote:
			return abandon(fmt.Errorf("production is unchanged: %w", err))
		}
		// A hook must not be able to keep bad content live.
		r.opt.Warn(fmt.Sprintf("%v; the switch continues, because this hook can stop only a promote", err))
	}
	if err := errors.Join(ctx.Err(), r.at("before-swap")); err != nil {
		return abandon(err)
	}

	// The commit point. A switch that returned an error may still have happened,
	// for example on a network file system. So look at production.
	begin := r.now()
	from := 0
	if s.current != nil {
		from = s.current.Generation
	}
	err = errors.Join(r.site.Switch(ctx, from, n), r.at("after-swap"))
	switched := time.Now()
	if errors.Is(err, generation.ErrForeign) {
		return abandon(err)
	}
	if err != nil {
		switch now, lookErr := r.site.Live(context.WithoutCancel(ctx)); {
		case lookErr != nil:
			return nil, &Error{Kind: Switched, Fact: "it is not known whether production was switched",
				Err: errors.Join(err, lookErr), Hint: "run publish recover"}
		case now != n:
			return abandon(err)
		}
	}
	ctx = context.WithoutCancel(ctx)
	err = r.settle(ctx, s, m)
	res.SwitchUS = r.now().Sub(begin).Microseconds()
	linger(switched)
	if err == nil {
		err = r.follow(ctx, s, m)
	}
	if err != nil {
		if s.current != nil && s.current.Generation > n {
			return nil, err // the health check failed and production went back; the error says to what
		}
		return res, err
	}
	return res, nil
}

// interrupted gives a cancellation the kind Interrupted, unless it has it already.
func interrupted(err error) error {
	if e := new(Error); errors.As(err, &e) && e.Kind == Interrupted {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: Interrupted, Fact: "interrupted; production is unchanged", Err: err}
	}
	return err
}

// plan works out the manifest of generation n, with the files that it carries.
func (r *Repo) plan(ctx context.Context, s *state, c *candidate, n int, carrier *generation.Carrier) (
	*generation.Manifest, *Result, error) {
	m := &generation.Manifest{Own: c.rows, Barred: c.barred, Units: c.units, Head: generation.Head{
		Generation: n, Origin: c.origin, TreeID: c.treeID, Kind: c.kind, Who: cmp.Or(c.who, r.who()),
		Message: c.message, Time: s.now.UTC(),
		Grace: int64(r.grace() / time.Second), Format: r.format.Name(),
		BarredTrees: c.barredTrees, Revoked: c.revoked, Unnamed: c.unnamed, Units: generation.UnitScheme,
		Signatures: c.signatures}}
	if m.Origin == 0 {
		m.Origin = n
	}
	res := &Result{Generation: n, Origin: m.Origin, TreeID: m.TreeID, NotAtomic: !r.Atomic(),
		LeftOut: stage.LeftOut{Examples: []string{}}}
	var units []catalog.Unit
	if cur := s.current; cur != nil {
		var err error
		if units, err = r.liveUnits(ctx, cur); err != nil {
			return nil, nil, err
		}
		if c.kind == generation.KindPromote && !c.follows {
			if moved := r.moves(cur.Manifest, units, c.units); len(moved) > 0 {
				return nil, nil, &FindingsError{Report: &stage.Report{Findings: moved}}
			}
		}
		m.Gone = r.gone(cur.Manifest, units, c.units)
		m.From = cur.Generation
		res.From = cur.Generation
		res.revertible(r.revertTenureAfter(s, c.origin))
		if res.Warnings, err = c.carry(m, carrier); err != nil {
			return nil, nil, err
		}
	}
	m.Added, m.Removed, m.Changed = generation.DiffUnits(units, r.units(c.units, c.rows))
	res.NewBytes = carrier.NewBytes(c.rows)
	res.Added, res.Removed, res.Changed = m.Added, m.Removed, m.Changed
	res.Carried = len(m.Carried)
	return m, res, nil
}

// carry works out what m, the generation made from the candidate, has to carry and to
// hold. Content that would be replaced is a FindingsError, unless the candidate is
// forced.
func (c *candidate) carry(m *generation.Manifest, carrier *generation.Carrier) ([]catalog.Finding, error) {
	next, err := c.draft.Files()
	if err != nil {
		return nil, err
	}
	defer next.Close()
	carried, findings := carrier.Carry(m.Generation, c.rows, next)
	if c.follows { // the leader said the rest
		findings = slices.DeleteFunc(findings, func(f catalog.Finding) bool { return f.Severity != catalog.Error })
	}
	if c.force {
		for i := range findings {
			findings[i].Severity = catalog.Warning
		}
	}
	if c.kind == generation.KindRevoke || len(c.revoked)+len(c.unnamed) > 0 {
		if carried, err = leave(carrier, carried, m.Generation, c.revoked, c.follows); err != nil {
			return nil, err
		}
	}
	aged, err := carrier.Aged(carried, c.rows)
	if err != nil {
		return nil, err
	}
	report := &stage.Report{Findings: findings}
	if len(report.Errors()) > 0 {
		return nil, &FindingsError{Report: report}
	}
	m.Carried = carried
	return append(findings, aged...), carrier.Hold(m, next)
}

// seal completes the candidate's tree and makes it durable under its number, with its
// manifest. After it only the switch is missing. live is a view of production.
func (r *Repo) seal(ctx context.Context, s *state, c *candidate, m *generation.Manifest, live *generation.View) error {
	if err := errors.Join(r.upgrade(), r.settleHome()); err != nil {
		return err
	}
	lost, err := c.draft.Seal(ctx, m, live, latest(r.now(), s.now))
	for _, row := range lost {
		r.opt.Warn(fmt.Sprintf("%s: somebody removed this file from production; it cannot be carried", row.Path))
	}
	if err != nil {
		return err
	}
	next := &generation.Tree{Manifest: m, Dir: r.store.Waiting(m.Generation)}
	return errors.Join(r.site.Prepare(ctx, next, s.current), r.at("after-ready"))
}

// settle makes a switch durable and appends it to the history. Its errors are of kind
// Switched, like those of follow.
func (r *Repo) settle(ctx context.Context, s *state, m *generation.Manifest) error {
	n := m.Generation
	const hint = "run publish recover"
	if err := errors.Join(r.at("before-sync"), r.site.Settle(ctx), r.at("after-sync")); err != nil {
		return afterSwitch(n, "a power cut may still undo the switch; "+hint, err)
	}
	if err := errors.Join(r.site.Tidy(ctx), r.at("after-tidy")); err != nil {
		return afterSwitch(n, hint, err)
	}
	if err := r.record(s, m, byItself); err != nil {
		return afterSwitch(n, "the history does not name the switch yet; "+hint, err)
	}
	return nil
}

// follow does what comes after a switch that is in the history: the health check, gc,
// hooks.
func (r *Repo) follow(ctx context.Context, s *state, m *generation.Manifest) error {
	n := m.Generation
	if err := r.at("after-history"); err != nil {
		return afterSwitch(n, "run publish recover", err)
	}
	if err := r.checkHealth(ctx, s); err != nil {
		return err
	}
	if res, err := r.collect(ctx, s, false); err != nil {
		r.opt.Warn(fmt.Sprintf("gc failed, and will be tried again: %v", err))
	} else if err := r.hookGC(ctx, s, res); err != nil {
		r.opt.Warn(fmt.Sprintf("the hook of gc failed: %v", err))
	}
	if err := r.hook(ctx, "after_switch", r.Config.Hooks.AfterSwitch, m.Head); err != nil {
		return afterSwitch(n, "it serves, and can be reverted; repair the hook", err)
	}
	return nil
}

// recorder says who records a switch in the history.
type recorder int

const (
	byItself   recorder = iota // the verb that switched
	byRecovery                 // a later verb, because the one that switched was killed
)

// record appends the switch to m's generation to the history, and makes it the state's
// current generation.
func (r *Repo) record(s *state, m *generation.Manifest, by recorder) error {
	// Windows begin at this time. It must not be earlier than the switch, even if
	// the clock was set back before recovery records it.
	now := latest(r.now(), s.now, m.Time)
	// The switch is durable, so the content counts as revoked. The tombstones must
	// be written before the history line: they make sure that it is deleted.
	if len(m.Revoked)+len(m.Unnamed) > 0 {
		t := tombstone.Stone{Time: now, Who: m.Who, Why: m.Message, Before: m.Generation, Revoked: m.Revoked,
			Unnamed: m.Unnamed}
		if err := errors.Join(r.bury(t), r.at("after-tombstones")); err != nil {
			return err
		}
	}
	e := switchEvent(&m.Head)
	e.Time, e.Switch().Recovered = now, by == byRecovery
	if len(r.Config.HealthCheck.Command) > 0 && m.Kind != generation.KindAutoRevert {
		e.Switch().Health = journal.HealthPending
	}
	if err := r.log(s.history, e); err != nil {
		return err
	}
	s.now = now
	s.windows = r.window(s.history)
	s.current = &generation.Tree{Manifest: m, Dir: r.site.Dir(m.Generation)}
	return nil
}
