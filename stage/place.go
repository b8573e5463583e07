package stage

import (
	"context"
	"fmt"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Placed is how a whole tree lies in an object store that clients read directly.
type Placed struct {
	*catalog.Placement
	Content []tree.Row // created at their paths, never overwritten
	// Beside are files that are rewritten under their names, such as pages: no reader
	// needs them to agree with the pointer.
	Beside []tree.Row
	// Lost are the companions of documents, such as compressed copies and signatures.
	// They are about bytes that do not lie in the store, so they do not either. There is
	// a warning for each.
	Lost []tree.Row
}

// Place says how a tree with these rows lies in an object store, below a prefix that is
// "" or ends in a slash. src reads the documents. It returns [ErrNoPlace] for a format
// without such a form. The findings of the result are sorted.
func Place(ctx context.Context, f catalog.Format, src catalog.Source, rows []tree.Row, prefix string) (*Placed, error) {
	p, ok := catalog.As[catalog.Placer](f)
	if !ok {
		return nil, fmt.Errorf("%s: %w", f.Name(), ErrNoPlace)
	}
	placement, err := p.Place(ctx, src)
	if err != nil {
		return nil, err
	}
	names, err := f.Documents(src)
	if err != nil {
		return nil, err
	}
	out := &Placed{Placement: placement}
	of := documents(f, names, nil)
	keys := []string{placement.Pointer.Path}
	for _, o := range placement.Objects {
		keys = append(keys, o.Key)
	}
	for _, row := range rows {
		switch {
		case slices.Contains(names, row.Path):
			continue
		case row.Role == catalog.Content:
			out.Content = append(out.Content, row)
		default:
			if document := of.Of(row.Path); document != "" {
				out.Lost = append(out.Lost, row)
				out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Warning, Code: "no-place",
					Path: row.Path, Message: "is left out of the object store: it is about " + document +
						", which has other bytes or another name there"})
				continue
			}
			out.Beside = append(out.Beside, row)
		}
		keys = append(keys, row.Path)
	}
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			out.Findings = append(out.Findings, catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: keys[i],
				Message: "is the name of two objects"})
		}
	}
	out.Findings = append(out.Findings, catalog.KeyFindings(prefix, slices.Values(slices.Compact(keys)))...)
	catalog.Sort(out.Findings)
	return out, nil
}
