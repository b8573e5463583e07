package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// resolve returns the generation that a name means: a number, or "production".
func (r *Repo) resolve(s *state, name string) (*generation, error) {
	if name == "" || name == "production" {
		if s.current == nil {
			return nil, notFound("publish promote makes the first generation", "production does not exist yet")
		}
		return s.current, nil
	}
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 {
		return nil, &Error{Kind: Usage, Path: name, Fact: "is neither staging, production nor a generation's number"}
	}
	if s.current != nil && n == s.current.Generation {
		return s.current, nil
	}
	m, err := r.manifest(n)
	if err != nil {
		return nil, err
	}
	dir := r.sw.dir(n)
	if _, err := os.Lstat(dir); err != nil {
		return nil, notFound(r.keptHint(), "the tree of generation %d is not kept", n)
	}
	return &generation{m, dir}, nil
}

// Verify reads every byte of a generation and compares it with the manifest
// that was sealed before the generation was ever served. Before the first
// promote there is nothing to verify in production: that is no error, and the
// number is 0. It takes no lock.
func (r *Repo) Verify(ctx context.Context, name string) (*stage.Report, int, error) {
	report, n, err := r.verify(ctx, name)
	for ctx.Err() == nil && (name == "" || name == "production") && (err != nil || len(report.Findings) > 0) {
		// A switch in between looks like damage: what was read was, in part,
		// another generation. Only what is found twice of one is true.
		again, m, err2 := r.verify(ctx, name)
		if m == n && (err == nil) == (err2 == nil) {
			return again, m, err2
		}
		report, n, err = again, m, err2
	}
	return report, n, err
}

func (r *Repo) verify(ctx context.Context, name string) (*stage.Report, int, error) {
	s, err := r.load()
	if err != nil {
		return nil, 0, err
	}
	if _, switched := s.history.last(); s.current == nil && switched {
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
		report.Findings = append(report.Findings, catalog.Finding{Severity: sev, Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
	}
	switch id, err := r.whose(g.dir); {
	case errors.Is(err, errForeign):
		fail(catalog.Error, "identity", treeName, "%v", err)
	case err != nil:
		return nil, 0, err
	case id != g.Generation:
		fail(catalog.Error, "identity", identityName, "says generation %d, this is %d", id, g.Generation)
	}
	got, err := r.hashed(ctx, g.dir, report)
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
		case graves.redacted(g.Generation, row):
			if report.Redacted = append(report.Redacted, row.Path); ok {
				fail(catalog.Error, "revoked", row.Path, "was revoked %s, and is still here: run publish recover", graves.by[row.SHA256].reason())
			}
		case !ok && !gone:
			fail(catalog.Error, "missing", row.Path, "the manifest has this %s file, and it is not there", kind)
		case !ok:
		case have.Size != row.Size:
			fail(catalog.Error, "size-mismatch", row.Path, "has %d bytes, the manifest says %d", have.Size, row.Size)
		case have.SHA256 != row.SHA256:
			fail(catalog.Error, "hash-mismatch", row.Path, "has sha256 %s, the manifest says %s", have.SHA256, row.SHA256)
		}
	}
	for _, row := range g.Own {
		compare(row, string(row.Role), false)
	}
	// What production serves now counts; of a retired tree nobody asks for
	// carried files. A window can end, and gc run, while we read.
	now := r.now()
	if s.now.After(now) {
		now = s.now
	}
	retired := s.current == nil || g.Generation != s.current.Generation
	for _, c := range g.Carried {
		compare(c.Row, "carried", retired || !s.windows.open(c.Dropped, now) || s.windows.was(c.Dropped, now))
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		fail(catalog.Error, "unexpected", p, "is not in the manifest: somebody else put it there")
	}
	if got := tree.ID(g.Own); got != g.TreeID {
		fail(catalog.Error, "tree-id", "", "the manifest's rows have tree id %s, it says %s", got, g.TreeID)
	}
	catalog.Sort(report.Findings)
	slices.Sort(report.Redacted)
	return report, g.Generation, nil
}

// hashed walks and hashes the tree at dir.
func (r *Repo) hashed(ctx context.Context, dir string, report *stage.Report) (map[string]tree.Row, error) {
	checked, err := stage.HashTree(ctx, dir, r.opt.Progress)
	if err != nil {
		return nil, err
	}
	report.Findings = append(report.Findings, checked.Report.Findings...)
	report.Files, report.Bytes, report.HashedBytes = checked.Report.Files, checked.Report.Bytes, checked.Report.HashedBytes
	out := make(map[string]tree.Row, len(checked.Rows))
	for _, row := range checked.Rows {
		out[row.Path] = row
	}
	return out, nil
}

// scan hashes the tree at dir and gives each row its role; named tells the
// paths that the indexes name, items and documents.
func (r *Repo) scan(ctx context.Context, dir string) (rows []tree.Row, named map[string]bool, err error) {
	checked, err := stage.HashTree(ctx, dir, r.opt.Progress)
	if err != nil {
		return nil, nil, err
	}
	cat, err := stage.ReadCatalog(dir, r.format)
	if err != nil {
		return nil, nil, err
	}
	named = map[string]bool{}
	for _, i := range cat.Items {
		named[i.Path] = true
	}
	for i, row := range checked.Rows {
		if named[row.Path] && row.Role == catalog.Mutable {
			checked.Rows[i].Role = catalog.Content
		}
	}
	for _, d := range cat.Documents {
		named[d] = true
	}
	return checked.Rows, named, nil
}

// Validate checks staging, production or a kept generation as a format: what a
// client would meet. full reads everything anew. It takes no lock.
func (r *Repo) Validate(ctx context.Context, name string, full bool) (*stage.Report, error) {
	c := stage.Checks{Full: full, Now: r.now()}
	if name != "" && name != "staging" {
		s, err := r.load()
		if err != nil {
			return nil, err
		}
		g, err := r.resolve(s, name)
		if err != nil {
			return nil, err
		}
		known := map[string]tree.Row{}
		for _, row := range g.Own {
			known[row.Path] = row
		}
		checked, err := stage.ValidateTree(ctx, g.dir, r.format, c, known, r.opt.Progress)
		if err != nil {
			return nil, err
		}
		return checked.Report, r.forgive(g, checked.Report)
	}
	checked, err := r.Stage.Validate(ctx, c)
	if err != nil {
		return nil, err
	}
	// What staging is worth is told even where production is in trouble.
	if s, err := r.load(); err != nil {
		r.opt.Warn(fmt.Sprintf("not compared with production: %v", err))
	} else {
		checked.Report.Findings = append(checked.Report.Findings, r.replacedBy(s, checked.Rows, r.Stage.Dir)...)
		revoked, err := r.revokedAmong(s, checked.Rows)
		if err != nil {
			return nil, err
		}
		for _, row := range revoked.rows {
			checked.Report.Findings = append(checked.Report.Findings, catalog.Finding{Severity: catalog.Warning, Code: "revoked", Path: row.Path,
				Message: "was revoked " + revoked.by[row.SHA256].reason() + ": promote refuses it without --force"})
		}
		catalog.Sort(checked.Report.Findings)
	}
	return checked.Report, nil
}

// forgive takes from the report on a kept generation that what was revoked of it
// is missing: a revert brings back what is left, with indexes made anew.
func (r *Repo) forgive(g *generation, report *stage.Report) error {
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	redacted := map[string]bool{}
	for _, row := range g.Own {
		if graves.redacted(g.Generation, row) {
			redacted[row.Path] = true
		}
	}
	report.Redacted = slices.Sorted(maps.Keys(redacted))
	report.Findings = slices.DeleteFunc(report.Findings, func(f catalog.Finding) bool {
		return f.Code == "missing" && redacted[f.Path] || f.Code == "empty-tree" && len(redacted) > 0
	})
	return nil
}

// Diff is what differs between two trees.
type Diff struct {
	From    string     `json:"from"`
	To      string     `json:"to"`
	Added   []string   `json:"added"` // product/version; files of a plain tree
	Removed []string   `json:"removed"`
	Changed []string   `json:"changed"`
	Files   []FileDiff `json:"files"` // every path that differs, indexes and pages included
}

// FileDiff is one path that differs.
type FileDiff struct {
	Path   string `json:"path"`
	Change string `json:"change"` // added, removed or changed
	Bytes  int64  `json:"bytes"`  // its size in the newer tree; in the older when removed
	// Told is true for what the names of versions tell already: an item that an
	// index names, a document, and each file of a tree without indexes.
	Told bool `json:"-"`
}

// Equal reports whether there is no difference.
func (d *Diff) Equal() bool {
	return len(d.Files) == 0 && len(d.Added)+len(d.Removed)+len(d.Changed) == 0
}

// Diff compares two trees: staging, production or generations by number. It
// takes no lock and writes nothing.
func (r *Repo) Diff(ctx context.Context, from, to string) (*Diff, error) {
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	a, au, err := r.side(ctx, s, from)
	if err != nil {
		return nil, err
	}
	b, bu, err := r.side(ctx, s, to)
	if err != nil {
		return nil, err
	}
	d := &Diff{From: from, To: to, Files: diffRows(a, b)}
	d.Added, d.Removed, d.Changed = diffUnits(au, bu)
	for _, name := range []string{from, to} {
		format, err := r.formatOf(s, name)
		if err != nil {
			return nil, err
		}
		for i, f := range d.Files {
			class := format.Class(f.Path)
			d.Files[i].Told = f.Told || class == catalog.Index || class == catalog.Whole
		}
	}
	return d, nil
}

// formatOf is the format as it is in a side of a Diff: documents lie where its
// index says.
func (r *Repo) formatOf(s *state, name string) (catalog.Format, error) {
	if name == "staging" {
		return stage.Within(r.Stage.Dir, r.format)
	}
	if name == "production" && s.current == nil {
		return r.format, nil
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, err
	}
	return stage.Within(g.dir, r.format)
}

func (r *Repo) side(ctx context.Context, s *state, name string) ([]tree.Row, []catalog.Unit, error) {
	if name == "staging" {
		c, err := r.Stage.Peek(ctx)
		if err != nil {
			return nil, nil, err
		}
		return c.Rows, r.units(c.Catalog.Units, c.Rows), nil
	}
	if name == "production" && s.current == nil {
		return nil, nil, nil // before the first promote everything is new
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, nil, err
	}
	units, err := r.unitsOf(g)
	return g.Own, units, err
}

func diffRows(a, b []tree.Row) []FileDiff {
	out := []FileDiff{}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Path < b[0].Path:
			out = append(out, FileDiff{a[0].Path, "removed", a[0].Size, a[0].Role == catalog.Content})
			a = a[1:]
		case len(a) == 0 || b[0].Path < a[0].Path:
			out = append(out, FileDiff{b[0].Path, "added", b[0].Size, b[0].Role == catalog.Content})
			b = b[1:]
		default:
			if a[0].SHA256 != b[0].SHA256 {
				out = append(out, FileDiff{b[0].Path, "changed", b[0].Size, a[0].Role == catalog.Content || b[0].Role == catalog.Content})
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// Reset makes staging equal to production's own rows. What it drops waits in
// trash for one grace window.
func (r *Repo) Reset(ctx context.Context) (added, dropped int, err error) {
	return r.reset(ctx, nil)
}

// reset is Reset; links are those that the tree had which production was made of.
func (r *Repo) reset(ctx context.Context, links []tree.Entry) (added, dropped int, err error) {
	if err := r.notInHook("stage reset"); err != nil {
		return 0, 0, err
	}
	s, err := r.load()
	if err != nil {
		return 0, 0, err
	}
	if s.current == nil {
		return 0, 0, notFound("publish promote makes the first generation", "production does not exist yet")
	}
	src, err := tree.OpenSource(s.current.dir)
	if err != nil {
		return 0, 0, err
	}
	defer src.Close()
	added, dropped, err = r.Stage.Reset(ctx, src, s.current.Own, r.trash(), links...)
	r.tell(leftInStaging)
	return added, dropped, r.lockError(err)
}

// Remove takes images, or files of a plain tree, out of staging.
func (r *Repo) Remove(ctx context.Context, what ...string) ([]catalog.Image, error) {
	if err := r.notInHook("stage remove"); err != nil {
		return nil, err
	}
	out, err := r.Stage.Remove(ctx, r.trash(), what...)
	if errors.Is(err, stage.ErrNotFound) {
		return nil, &Error{Kind: NotFound, Err: err, Hint: "publish stage list shows what is there; nothing was removed"}
	}
	r.tell(leftInStaging)
	return out, r.lockError(err)
}

// Add puts an image into staging.
func (r *Repo) Add(ctx context.Context, req stage.AddRequest) (*stage.Added, error) {
	if err := r.notInHook("stage add"); err != nil {
		return nil, err
	}
	if req.Move {
		if err := r.checkMove(req.Files); err != nil {
			return nil, err
		}
	}
	out, err := r.Stage.Add(ctx, req)
	return out, refused(r.lockError(err))
}

// Import merges a tree that others made into staging; with force, revoked
// content too.
func (r *Repo) Import(ctx context.Context, dir string, force bool) (*stage.Imported, error) {
	if err := r.notInHook("stage import"); err != nil {
		return nil, err
	}
	s := *r.Stage
	if force {
		s.Revoked = nil
	}
	out, err := s.Import(ctx, dir)
	return out, refused(r.lockError(err))
}

// gone reports whether a file is not there.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
