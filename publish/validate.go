package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Validate checks that staging, production or a kept generation is a valid tree of its
// format, as a client would see it. If full is true it reads all content again. It
// takes no lock.
func (r *Repo) Validate(ctx context.Context, name string, full bool) (*stage.Report, error) {
	c := stage.Checks{Full: full, Now: r.now()}
	if name != "" && name != "staging" {
		for last := 0; ; {
			n, moved, report, err := r.validateKept(ctx, name, c)
			if !moved || n == last {
				return report, err
			}
			last = n
		}
	}
	checked, err := r.Stage.Validate(ctx, c)
	if err != nil {
		return nil, err
	}
	signatures, err := r.stagedSignatures(checked.Rows)
	if err != nil {
		return nil, err
	}
	checked.Report.Findings = append(checked.Report.Findings, signatures...)
	// Report the findings in staging even if production cannot be read.
	if s, err := r.load(ctx); err != nil {
		r.opt.Warn(fmt.Sprintf("not compared with production: %v", err))
	} else {
		replaced, err := r.replacedBy(ctx, s, checked.Rows, r.Stage.Dir)
		if err != nil {
			return nil, err
		}
		moved, err := r.movedBy(ctx, s, checked.Catalog.Units)
		if err != nil {
			return nil, err
		}
		checked.Report.Findings = append(append(checked.Report.Findings, replaced...), moved...)
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

// validateKept is Validate for production or a kept generation. It also returns the
// generation.
func (r *Repo) validateKept(
	ctx context.Context, name string, c stage.Checks,
) (n int, moved bool, _ *stage.Report, err error) {
	s, err := r.load(ctx)
	if err != nil {
		return 0, false, nil, err
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return 0, false, nil, err
	}
	src, err := g.Open()
	if err != nil {
		return g.Generation, errors.Is(err, fs.ErrNotExist), nil, err
	}
	defer src.Close()
	known := map[string]tree.Row{}
	for _, row := range g.Own {
		known[row.Path] = row
	}
	facts := tree.ReadFacts(r.Stage.Facts)
	if c.Full {
		facts = tree.ReadFacts("") // all is read again
	}
	checked, err := stage.ValidateTree(ctx, src, r.format, c, known, facts, r.elsewhere(), r.opt.Progress)
	moved = src.Proved() != nil
	if err != nil {
		return g.Generation, moved, nil, err
	}
	signatures, err := r.signatures(g)
	if err != nil {
		return g.Generation, moved || errors.Is(err, generation.ErrMoved), nil, err
	}
	checked.Report.Findings = append(checked.Report.Findings, signatures...)
	catalog.Sort(checked.Report.Findings)
	return g.Generation, moved, checked.Report, r.forgive(g, checked.Report)
}

// forgive removes from the report the findings that revoked files are missing. They
// are not errors: a revert brings back the rest, with new indexes.
func (r *Repo) forgive(g *generation.Tree, report *stage.Report) error {
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	redacted, signed := map[string]bool{}, map[string]bool{}
	for _, row := range g.Own {
		signed[row.Path] = row.Role == catalog.Signature
		if graves.Redacted(g.Generation, row) {
			redacted[row.Path] = true
		}
	}
	report.Redacted = slices.Sorted(maps.Keys(redacted))
	report.Findings = slices.DeleteFunc(report.Findings, func(f catalog.Finding) bool {
		// In an object store the signed index names documents as they lie there.
		return f.Code == "missing" && redacted[f.Path] || f.Code == "stale-companion" && signed[f.Path] ||
			f.Code == "empty-tree" && len(redacted) > 0
	})
	return nil
}
