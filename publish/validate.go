package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Validate checks staging, production or a kept generation as a format: what a
// client would meet. full reads everything anew. It takes no lock.
func (r *Repo) Validate(ctx context.Context, name string, full bool) (*stage.Report, error) {
	c := stage.Checks{Full: full, Now: r.now()}
	if name != "" && name != "staging" {
		for last := 0; ; {
			g, report, err := r.validateKept(ctx, name, c)
			if g == nil || !moved(g) || g.Generation == last {
				return report, err
			}
			last = g.Generation
		}
	}
	checked, err := r.Stage.Validate(ctx, c)
	if err != nil {
		return nil, err
	}
	// What staging is worth is told even where production is in trouble.
	if s, err := r.load(ctx); err != nil {
		r.opt.Warn(fmt.Sprintf("not compared with production: %v", err))
	} else {
		replaced, err := r.replacedBy(ctx, s, checked.Rows, r.Stage.Dir)
		if err != nil {
			return nil, err
		}
		checked.Report.Findings = append(checked.Report.Findings, replaced...)
		revoked, graves, err := r.revokedAmong(s, checked.Rows)
		if err != nil {
			return nil, err
		}
		for _, row := range revoked {
			checked.Report.Findings = append(checked.Report.Findings, catalog.Finding{Severity: catalog.Warning,
				Code: "revoked", Path: row.Path,
				Message: "was revoked " + graves.Over(row.SHA256).Reason() + ": promote refuses it without --force"})
		}
		catalog.Sort(checked.Report.Findings)
	}
	return checked.Report, nil
}

// validateKept is Validate for production or a kept generation, which it returns.
func (r *Repo) validateKept(ctx context.Context, name string, c stage.Checks) (*generation.Tree, *stage.Report, error) {
	s, err := r.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, nil, err
	}
	known := map[string]tree.Row{}
	for _, row := range g.Own {
		known[row.Path] = row
	}
	checked, err := stage.ValidateTree(ctx, g.Dir, r.format, c, known, r.opt.Progress)
	if err != nil {
		return g, nil, err
	}
	return g, checked.Report, r.forgive(g, checked.Report)
}

// forgive takes from the report on a kept generation that what was revoked of it
// is missing: a revert brings back what is left, with indexes made anew.
func (r *Repo) forgive(g *generation.Tree, report *stage.Report) error {
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	redacted := map[string]bool{}
	for _, row := range g.Own {
		if graves.Redacted(g.Generation, row) {
			redacted[row.Path] = true
		}
	}
	report.Redacted = slices.Sorted(maps.Keys(redacted))
	report.Findings = slices.DeleteFunc(report.Findings, func(f catalog.Finding) bool {
		return f.Code == "missing" && redacted[f.Path] || f.Code == "empty-tree" && len(redacted) > 0
	})
	return nil
}
