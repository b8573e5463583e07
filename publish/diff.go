package publish

import (
	"context"
	"errors"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Diff lists the differences between two trees.
type Diff struct {
	From    string     `json:"from"`
	To      string     `json:"to"`
	Added   []string   `json:"added"` // product/version; files of a plain tree
	Removed []string   `json:"removed"`
	Changed []string   `json:"changed"`
	Files   []FileDiff `json:"files"` // every path that differs, including indexes and pages
	// Base is as in StagingState, if staging is compared with production.
	Base int `json:"base,omitempty"`
}

// FileDiff is one path that differs.
type FileDiff struct {
	Path   string `json:"path"`
	Change string `json:"change"` // added, removed or changed
	Bytes  int64  `json:"bytes"`  // its size in the newer tree; if removed, in the older
	// Told reports whether Added, Removed and Changed already cover the file: an
	// item that an index names, a document, or any file of a tree without indexes.
	Told bool `json:"-"`
}

// Equal reports whether there is no difference.
func (d *Diff) Equal() bool {
	return len(d.Files) == 0 && len(d.Added)+len(d.Removed)+len(d.Changed) == 0
}

// Diff compares two trees: staging, production or generations by number. It
// takes no lock and writes nothing.
func (r *Repo) Diff(ctx context.Context, from, to string) (*Diff, error) {
	var d *Diff
	err := r.steady(ctx, func(s *state) (err error) {
		d, err = r.diff(ctx, s, from, to)
		return err
	})
	return d, err
}

func (r *Repo) diff(ctx context.Context, s *state, from, to string) (*Diff, error) {
	a, au, err := r.side(ctx, s, from)
	if err != nil {
		return nil, err
	}
	b, bu, err := r.side(ctx, s, to)
	if err != nil {
		return nil, err
	}
	d := &Diff{From: from, To: to, Files: diffRows(a, b)}
	d.Added, d.Removed, d.Changed = generation.DiffUnits(au, bu)
	if from == "production" && to == "staging" {
		d.Base = r.shared.behind(s)
	}
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

// formatOf returns the format as it is in one side of a Diff: the index of a tree says
// where its documents are.
func (r *Repo) formatOf(s *state, name string) (catalog.Format, error) {
	if name == "staging" {
		return r.Stage.Within()
	}
	if name == "production" && s.current == nil {
		return r.format, nil
	}
	g, err := r.resolve(s, name)
	if err != nil {
		return nil, err
	}
	v, err := g.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	documents, err := r.format.Documents(v.Contents())
	return catalog.Within(r.format, documents), errors.Join(v.Proved(), err)
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
	units, err := r.unitsOf(ctx, g)
	return tree.Unsigned(g.Own), units, err
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
				out = append(out, FileDiff{b[0].Path, "changed", b[0].Size, a[0].Role == catalog.Content ||
					b[0].Role == catalog.Content})
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}
