package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// verify compares the objects of a generation with its manifest: their sizes and the
// digests that they had when they were made; with full, all bytes.
func (b *shared) verify(ctx context.Context, name string, full bool) (*stage.Report, int, error) {
	r := b.r
	s, err := b.load(ctx, 0)
	if err != nil {
		return nil, 0, err
	}
	report := &stage.Report{Findings: []catalog.Finding{}}
	if s.current == nil && (name == "" || name == "production") {
		return report, 0, nil
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, 0, err
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, 0, err
	}
	retired := g.Generation != s.current.Generation
	rows := func(yield func(tree.Row) bool) {
		for _, row := range g.Own {
			if graves.Redacted(g.Generation, row) {
				report.Redacted = append(report.Redacted, row.Path)
			} else if report.Files, report.Bytes = report.Files+1, report.Bytes+row.Size; !yield(row) {
				return
			}
		}
		for _, c := range g.Carried {
			if graves.Redacted(g.Generation, c.Row) { // of a target
				report.Redacted = append(report.Redacted, c.Path)
				continue
			}
			over := retired || !s.windows.Open(c.Dropped, s.now) || s.windows.WasOver(c.Dropped, s.now)
			if !over && !yield(c.Row) {
				return
			}
		}
	}
	checks, err := b.checks(ctx, g, rows, !retired && b.at.Settled)
	if err != nil {
		return nil, 0, err
	}
	flaws, read, err := b.site.Verify(ctx, checks, full)
	if err != nil {
		return nil, 0, b.explain(err)
	}
	report.HashedBytes = read
	for _, f := range flaws {
		report.Findings = append(report.Findings, catalog.Finding{Severity: catalog.Error, Code: "object", Path: f.Key,
			Message: f.Fact})
	}
	if got := tree.ID(g.Own); got != g.TreeID {
		report.Findings = append(report.Findings, catalog.Finding{Severity: catalog.Error, Code: "tree-id",
			Message: fmt.Sprintf("the manifest's rows have tree id %s, it says %s", got, g.TreeID)})
	}
	signatures, err := r.signatures(g)
	if err != nil {
		return nil, 0, err
	}
	report.Findings = append(report.Findings, signatures...)
	catalog.Sort(report.Findings)
	return report, g.Generation, nil
}

// checks are the objects of the rows of a generation, each of them wherever it lies; with
// beside, also those that lie beside the pointer.
func (b *shared) checks(ctx context.Context, g *generation.Tree, rows iter.Seq[tree.Row], beside bool) (
	iter.Seq[bucket.Check], error) {
	placed, err := b.placed(ctx, g.Manifest)
	if err != nil {
		return nil, err
	}
	keys := map[string][]string{} // by path
	for _, o := range placed.Objects {
		keys[o.Row.Path] = append(keys[o.Row.Path], o.Key)
	}
	if p, server := b.placer(), catalog.Serving(b.r.format); p != nil && server != nil {
		v, err := g.View()
		if err != nil {
			return nil, err
		}
		defer v.Close()
		for row := range g.All() {
			if row.Role == catalog.Content || !server.Serves(row.Path) {
				continue
			}
			data, err := v.Contents().Document(row.Path)
			if catalog.Missing(err) {
				continue // it is only carried, and its window is over
			}
			if err != nil {
				return nil, err
			}
			for _, n := range server.Names(row.Path, data) {
				if n.Kind == catalog.NamedHeld { // it lies there as the generation before placed it
					keys[n.Path] = p.ContentKeys(n.Path)
				}
			}
		}
	}
	return func(yield func(bucket.Check) bool) {
		live := map[string]bool{}
		for row := range rows {
			live[row.Path] = true
			at := keys[row.Path]
			if len(at) == 0 {
				at = []string{b.key(row)}
			}
			for _, key := range at {
				if !yield(bucket.Check{Key: key, Row: row}) {
					return
				}
			}
		}
		for _, o := range placed.Beside {
			row := tree.Row{Path: o.Key, Size: o.Size, SHA256: o.SHA256}
			if beside && (o.Data != nil || live[o.Row.Path]) && !yield(bucket.Check{Key: o.Key, Row: row}) {
				return
			}
		}
	}, nil
}

// eachEvent is Repo.eachEvent.
func (b *shared) eachEvent(yield func(journal.Event) bool) error {
	ctx := context.Background()
	p, err := b.pointer(ctx, freshFor)
	if err != nil {
		return err
	}
	for line, err := range b.site.Events(ctx, p.Event) {
		if err != nil {
			return b.explain(err)
		}
		h := journal.Parse(line)
		if len(h.Events) != 1 {
			return &Error{Path: b.r.Production(), Fact: "a line of the history is damaged", Err: errDamagedLine}
		}
		if !yield(h.Events[0]) {
			return nil
		}
	}
	return nil
}

var errDamagedLine = errors.New("it is not what its checksum says")
