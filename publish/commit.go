package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site"
	"example.com/publish/publish/tombstone"
	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// candidate is a complete, validated and flushed tree in a private directory,
// with what its manifest will say of it.
type candidate struct {
	dir    string
	rows   []tree.Row
	treeID string
	units  []catalog.Unit

	kind        generation.Kind
	origin      int // 0: itself
	message     string
	barred      []tree.Row
	barredTrees []string
	force       bool // replace served content all the same
	revoked     []Revoked
	base        *generation.View // what its times were measured against; nil: what is live
	unnamed     []Named
	warnings    []catalog.Finding
	left        stage.LeftOut
}

// unitsOf returns what a diff counts of a generation.
func (r *Repo) unitsOf(ctx context.Context, g *generation.View) ([]catalog.Unit, error) {
	cat, err := stage.ReadCatalog(ctx, g.Dir, r.format)
	if err != nil {
		return nil, err
	}
	return r.units(cat.Units, g.Own), nil
}

// candidateOf is how a promoted tree comes to be: only from a stage.Valid.
func candidateOf(v *stage.Valid, message string) *candidate {
	return &candidate{dir: v.Dir, rows: v.Rows, treeID: v.TreeID, units: v.Catalog.Units, kind: generation.KindPromote, message: message}
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
	SwitchUS    int64      `json:"switch_us"` // from the commit point until the history has it, durably; 0 when nothing was switched

	Warnings []catalog.Finding `json:"warnings"`

	// LeftOut is what staging, or an adopted tree, has and this does not publish.
	LeftOut stage.LeftOut `json:"left_out"`

	// RevertKept is what keeps the previous content: a window that ends at
	// RevertUntil, or a pin or the configuration, without an end; "" when there
	// is nothing to revert to.
	RevertKept KeptBy `json:"revert_kept_by"`

	// Pruned is what was taken out of staging first; absent when nothing was.
	Pruned []retention.Decision `json:"pruned,omitempty"`
}

func (res *Result) revertible(t generation.Tenure) { res.RevertUntil, res.RevertKept = t.End(), t.By }

// commit makes the candidate production. The caller holds the production lock
// and has recovered: s is the state now. It returns a result, too, with an
// error of kind Switched.
//
// Nothing before swap changes what production resolves to or what it serves;
// nothing after it is undone by a signal.
func (r *Repo) commit(ctx context.Context, s *state, c *candidate, dryRun bool) (*Result, error) {
	n, err := r.next(s.history)
	if err != nil {
		return nil, err
	}
	m, res, ops, err := r.plan(ctx, s, c, n)
	if err != nil {
		return nil, err
	}
	if res.DryRun = dryRun; dryRun {
		return res, nil
	}
	if err := r.site.Probe(ctx); err != nil {
		return nil, err
	}
	abandon := func(err error) (*Result, error) {
		// Recovery would do it too; but nothing is wrong that needs one. What
		// tidy could not take back is not to be swept away.
		if r.site.Tidy(context.WithoutCancel(ctx)) == nil {
			_, _ = r.sweep(s, false, c.dir)
		}
		return nil, interrupted(err)
	}
	if err := r.seal(ctx, s, c, m, ops); err != nil {
		return abandon(err)
	}
	if err := r.hook(ctx, "before_switch", r.Config.Hooks.BeforeSwitch, m.Head); err != nil {
		switch {
		case ctx.Err() != nil:
			return abandon(ctx.Err())
		case m.Kind == generation.KindPromote:
			return abandon(fmt.Errorf("production is unchanged: %w", err))
		}
		// Nobody's veto keeps bad content live.
		r.opt.Warn(fmt.Sprintf("%v; only a promote is stopped by it", err))
	}
	if err := errors.Join(ctx.Err(), r.at("before-swap")); err != nil {
		return abandon(err)
	}

	// The commit point. A failure that was reported may have been applied all
	// the same (on a network, or by a signal in between): look.
	begin := r.now()
	from := 0
	if s.current != nil {
		from = s.current.Generation
	}
	err = errors.Join(r.site.Switch(ctx, from, n), r.at("after-swap"))
	if errors.Is(err, errForeign) {
		return abandon(err)
	}
	if err != nil {
		switch now, lookErr := r.site.Live(context.WithoutCancel(ctx)); {
		case lookErr != nil:
			return nil, &Error{Kind: Switched, Fact: "whether production was switched cannot be told", Err: errors.Join(err, lookErr), Hint: "run publish recover"}
		case now != n:
			return abandon(err)
		}
	}
	ctx = context.WithoutCancel(ctx)
	err = r.settle(ctx, s, m)
	res.SwitchUS = r.now().Sub(begin).Microseconds()
	if err == nil {
		err = r.follow(ctx, s, m)
	}
	if err != nil {
		if s.current != nil && s.current.Generation > n {
			return nil, err // it went back: the error tells to what
		}
		return res, err
	}
	return res, nil
}

// interrupted gives a cancellation its kind, once.
func interrupted(err error) error {
	if e := new(Error); errors.As(err, &e) && e.Kind == Interrupted {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: Interrupted, Fact: "interrupted; production is unchanged", Err: err}
	}
	return err
}

// plan works out what generation n would be: its manifest, with what is
// carried, and the links that bring the carried files into its tree.
func (r *Repo) plan(ctx context.Context, s *state, c *candidate, n int) (*Manifest, *Result, []tree.Op, error) {
	m := &Manifest{Own: c.rows, Barred: c.barred, Units: c.units, Head: Head{Generation: n, Origin: c.origin, TreeID: c.treeID, Kind: c.kind,
		Who: r.who(), Message: c.message, Time: s.now.UTC(), Grace: int64(r.grace() / time.Second), Format: r.format.Name(), BarredTrees: c.barredTrees, Revoked: c.revoked, Unnamed: c.unnamed, Units: generation.UnitScheme}}
	if m.Origin == 0 {
		m.Origin = n
	}
	res := &Result{Generation: n, Origin: m.Origin, TreeID: m.TreeID, LeftOut: stage.LeftOut{Examples: []string{}}}
	before := map[string]tree.Row{}
	var units []catalog.Unit
	var ops []tree.Op
	if cur := s.current; cur != nil {
		if units = r.units(cur.Units, cur.Own); !cur.Counts() {
			var err error
			if units, err = r.unitsOf(ctx, cur); err != nil {
				return nil, nil, nil, err
			}
		}
		before = cur.Promised(s.windows, s.now)
		m.From = cur.Generation
		res.From = cur.Generation
		res.revertible(r.revertTenureAfter(s, c.origin))
		var findings []catalog.Finding
		if m.Carried, ops, findings = r.carry(s, c.rows, c.dir, n); c.force {
			for i := range findings {
				findings[i].Severity = catalog.Warning
			}
		}
		if c.kind == generation.KindRevoke {
			beside, err := stage.Companions(cur.Dir, r.format)
			if err != nil {
				return nil, nil, nil, err
			}
			m.Carried, ops = leave(m.Carried, ops, n, c.revoked, func(p string) bool { return beside(p) != "" })
		}
		aged, err := r.aged(cur, m.Carried, before, c.rows)
		if err != nil {
			return nil, nil, nil, err
		}
		report := &stage.Report{Findings: findings}
		if len(report.Errors()) > 0 {
			return nil, nil, nil, &FindingsError{Report: report}
		}
		res.Warnings = append(findings, aged...)
	}
	m.Added, m.Removed, m.Changed = diffUnits(units, r.units(c.units, c.rows))
	for _, row := range c.rows {
		if before[row.Path].SHA256 != row.SHA256 {
			res.NewBytes += row.Size
		}
	}
	res.Added, res.Removed, res.Changed = m.Added, m.Removed, m.Changed
	res.Carried = len(m.Carried)
	return m, res, ops, nil
}

// seal completes the candidate's tree and makes it durable under its number,
// with its manifest: after it only the switch is missing.
func (r *Repo) seal(ctx context.Context, s *state, c *candidate, m *Manifest, ops []tree.Op) error {
	if err := r.upgrade(); err != nil {
		return err
	}
	batch, err := durable.NewBatch(c.dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	if len(ops) > 0 {
		src, err := tree.OpenSource(s.current.Dir)
		if err != nil {
			return err
		}
		defer src.Close()
		for i := range ops {
			ops[i].From = src
		}
		cloner := tree.Cloner{Dst: c.dir, Batch: batch}
		done, err := cloner.Run(ctx, ops)
		if err != nil {
			return err
		}
		m.Carried = slices.DeleteFunc(m.Carried, func(c Carried) bool {
			i, _ := slices.BinarySearchFunc(ops, c.Path, func(op tree.Op, p string) int { return strings.Compare(op.Path, p) })
			lost := errors.Is(done[i].Err, fs.ErrNotExist)
			if lost {
				// Refusing would not bring it back, and every later promote
				// would stop here.
				r.opt.Warn(fmt.Sprintf("%s: somebody removed this file from production; it cannot be carried", c.Path))
			}
			return lost
		})
		for i, d := range done {
			if d.Err != nil && !errors.Is(d.Err, fs.ErrNotExist) {
				return &Error{Path: filepath.Join(s.current.Dir, ops[i].Path), Fact: "production serves this file and it cannot be carried", Err: d.Err,
					Hint: "run publish verify"}
			}
		}
	}
	id, err := r.ensureID()
	if err != nil {
		return err
	}
	if err := r.settleHome(); err != nil {
		return err
	}
	if err := generation.WriteIdentity(c.dir, m.Generation); err != nil {
		return err
	}
	if s.current != nil {
		t := &timer{ctx: ctx, live: s.current, was: c.base, dir: c.dir, tmp: c.dir, now: latest(r.now(), s.now), batch: batch}
		if err := errors.Join(t.settle(c.rows), t.rise(identityName, identityName)); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	if err := r.at("before-manifest"); err != nil {
		return err
	}
	// The manifest before the name: from the moment the number shows in the
	// file system it is taken, and a sealed manifest says what it is. The tree
	// bears its seal before it has a name, so whose it is can be told wherever
	// a crash leaves it.
	if err := errors.Join(r.store.WriteManifest(m), r.at("after-manifest")); err != nil {
		return err
	}
	if err := generation.WriteMark(c.dir, id, m.Seal); err != nil {
		return err
	}
	next := r.path("generations", site.NextPrefix+number(m.Generation))
	if err := errors.Join(os.Rename(c.dir, next), r.at("after-next")); err != nil {
		return err
	}
	return errors.Join(r.site.Prepare(ctx, m.Generation), r.at("after-ready"))
}

// settle makes a switch durable and appends it to the history. Its errors are
// of kind Switched, as those of follow.
func (r *Repo) settle(ctx context.Context, s *state, m *Manifest) error {
	n := m.Generation
	const hint = "run publish recover"
	if err := errors.Join(r.at("before-sync"), r.site.Settle(ctx), r.at("after-sync")); err != nil {
		return afterSwitch(n, "a power cut may still undo the switch; "+hint, err)
	}
	if err := errors.Join(r.site.Tidy(ctx), r.at("after-tidy")); err != nil {
		return afterSwitch(n, hint, err)
	}
	if err := r.record(s, m, false); err != nil {
		return afterSwitch(n, "the history does not name the switch yet; "+hint, err)
	}
	return nil
}

// follow does what comes after a switch that the history names.
func (r *Repo) follow(ctx context.Context, s *state, m *Manifest) error {
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

// record appends the switch to m's generation to the history, and makes it
// the state's current one.
func (r *Repo) record(s *state, m *Manifest, recovered bool) error {
	// Windows are counted from here: never before the switch was made, also
	// where the clock was set back before recovery came to record it.
	now := latest(r.now(), s.now, m.Time)
	// The switch is durable: from here on the content is revoked, and what it
	// takes to delete it everywhere is promised before the history tells.
	if len(m.Revoked)+len(m.Unnamed) > 0 {
		t := tombstone.Stone{Time: now, Who: m.Who, Why: m.Message, Before: m.Generation, Revoked: m.Revoked, Unnamed: m.Unnamed}
		if err := errors.Join(r.bury(t), r.at("after-tombstones")); err != nil {
			return err
		}
	}
	e := switchEvent(&m.Head)
	e.Time, e.Switch().Recovered = now, recovered
	if len(r.Config.HealthCheck.Command) > 0 && m.Kind != generation.KindAutoRevert {
		e.Switch().Health = "pending"
	}
	if err := r.log(s.history, e); err != nil {
		return err
	}
	s.now = now
	s.windows = r.window(s.history)
	s.current = &generation.View{Manifest: m, Dir: r.site.Dir(m.Generation)}
	return nil
}
