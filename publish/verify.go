package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Verify reads every byte of a generation and compares it with the manifest that was
// sealed before the generation was served. Before the first promote production has
// nothing to verify; then there are no findings and the number is 0. It takes no lock. Of a
// production in an object store it reads the bytes only if full is true.
func (r *Repo) Verify(ctx context.Context, name string, full bool) (*stage.Report, int, error) {
	if r.shared != nil {
		return r.shared.verify(ctx, name, full)
	}
	report, n, err := r.verify(ctx, name)
	for ctx.Err() == nil && (name == "" || name == "production") && (err != nil || len(report.Findings) > 0) {
		// A switch during the reading looks like damage, because a part of another
		// generation was read. So findings count only if they are found twice in
		// the same generation.
		again, m, err2 := r.verify(ctx, name)
		if m == n && (err == nil) == (err2 == nil) {
			return again, m, err2
		}
		report, n, err = again, m, err2
	}
	return report, n, err
}

func (r *Repo) verify(ctx context.Context, name string) (*stage.Report, int, error) {
	s, err := r.load(ctx)
	if err != nil {
		return nil, 0, err
	}
	if _, switched := s.history.Last(); s.current == nil && switched {
		return nil, 0, &Error{Path: r.Production(), Err: errDangling, Hint: "run publish recover"}
	}
	if s.current == nil && (name == "" || name == "production") {
		return &stage.Report{Findings: []catalog.Finding{}}, 0, nil
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, 0, err
	}
	report := &stage.Report{Findings: []catalog.Finding{}}
	fail := func(sev catalog.Severity, code, path, format string, args ...any) {
		report.Findings = append(report.Findings, catalog.Finding{Severity: sev, Code: code, Path: path,
			Message: fmt.Sprintf(format, args...)})
	}
	src, err := g.Open()
	if err != nil {
		return nil, 0, err
	}
	defer src.Close()
	switch id, err := r.store.Whose(g.Dir); {
	case errors.Is(err, generation.ErrForeign):
		fail(catalog.Error, "identity", generation.MarkName, "%v", err)
	case err != nil:
		return nil, 0, err
	case id != g.Generation:
		fail(catalog.Error, "identity", generation.IdentityName, "says generation %d, this is %d", id, g.Generation)
	}
	whole := src.Proved() == nil
	got, err := r.hashed(ctx, src, report)
	if whole && src.Proved() != nil {
		return nil, 0, notFound(r.keptHint(), "generation %d is not kept any more", g.Generation)
	}
	if err != nil {
		return nil, 0, err
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, 0, err
	}
	compare := func(row tree.Row, kind string, gone bool) {
		have, ok := got[row.Path]
		delete(got, row.Path)
		switch {
		case graves.Redacted(g.Generation, row):
			if report.Redacted = append(report.Redacted, row.Path); ok {
				fail(catalog.Error, "revoked", row.Path, "was revoked %s, and is still here: run publish recover",
					graves.Over(row.SHA256).Reason())
			}
		case !ok && !gone:
			fail(catalog.Error, "missing", row.Path, "the manifest has this %s file, and it is not there", kind)
		case !ok:
		case have.Size != row.Size:
			fail(catalog.Error, "size-mismatch", row.Path, "has %d bytes, the manifest says %d", have.Size, row.Size)
		case have.SHA256 != row.SHA256:
			fail(catalog.Error, "hash-mismatch", row.Path, "has sha256 %s, the manifest says %s", have.SHA256,
				row.SHA256)
		}
	}
	for _, row := range g.Own {
		compare(row, string(row.Role), false)
	}
	// Carried files must exist only in production, and only while their window is
	// open. A window can end, and gc can run, while this reads.
	now := r.now()
	if s.now.After(now) {
		now = s.now
	}
	retired := s.current == nil || g.Generation != s.current.Generation
	for _, c := range g.Carried {
		compare(c.Row, "carried", retired || !s.windows.Open(c.Dropped, now) || s.windows.WasOver(c.Dropped, now))
	}
	if server := catalog.Serving(r.format); server != nil {
		var listed map[string][]catalog.Naming
		if len(report.Findings)+len(report.Redacted) == 0 { // else what indexes list may be missing
			cat, err := r.format.Read(ctx, stage.Remembering(src, tree.ReadFacts(r.Stage.Facts)))
			if err != nil {
				return nil, 0, err
			}
			listed = cat.Listed
		}
		checkServed(server, g, src, listed, func(h generation.Held) bool {
			return !retired && s.windows.Open(h.Dropped, now) && !s.windows.WasOver(h.Dropped, now)
		}, func(code, path, format string, args ...any) { fail(catalog.Error, code, path, format, args...) })
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		fail(catalog.Error, "unexpected", p, "is not in the manifest: somebody else put it there")
	}
	if got := tree.ID(g.Own); got != g.TreeID {
		fail(catalog.Error, "tree-id", "", "the manifest's rows have tree id %s, it says %s", got, g.TreeID)
	}
	signatures, err := r.signatures(g)
	if err != nil {
		return nil, 0, err
	}
	report.Findings = append(report.Findings, signatures...)
	catalog.Sort(report.Findings)
	slices.Sort(report.Redacted)
	return report, g.Generation, nil
}

// hashed walks and hashes a tree.
func (r *Repo) hashed(ctx context.Context, src *tree.Source, report *stage.Report) (map[string]tree.Row, error) {
	checked, err := stage.HashTree(ctx, src, r.format, r.opt.Progress)
	if err != nil {
		return nil, err
	}
	report.Findings = append(report.Findings, checked.Report.Findings...)
	report.Files, report.Bytes, report.HashedBytes = checked.Report.Files, checked.Report.Bytes,
		checked.Report.HashedBytes
	out := make(map[string]tree.Row, len(checked.Rows))
	for _, row := range checked.Rows {
		out[row.Path] = row
	}
	return out, nil
}
