package oci

import (
	"context"
	"slices"

	"example.com/publish/stage/catalog"
)

// Without names no image for which drop is true. What only dropped ones lead to
// goes with them from index.json: their untagged children, and their referrers. A
// repository that is left with nothing goes. What two tags stand for stays as long
// as one of them.
//
// It returns a *[catalog.DocumentError] for a document that clients cannot read.
func (Format) Without(
	ctx context.Context, src catalog.Source, drop func(catalog.Image) bool,
) ([]catalog.Document, error) {
	return without(ctx, src, func(l *layout, r *root) bool { return drop(l.image(r)) },
		func(string) bool { return false })
}

// WithoutVersions is Without for names, and for repositories without any.
func (Format) WithoutVersions(
	ctx context.Context, src catalog.Source, drop func(catalog.Name) bool,
) ([]catalog.Document, error) {
	return without(ctx, src,
		func(l *layout, r *root) bool { return drop(catalog.Name{Group: l.repository, Version: r.version}) },
		func(repository string) bool { return drop(catalog.Name{Group: repository}) })
}

func without(
	ctx context.Context, src catalog.Source, drop func(*layout, *root) bool, void func(repository string) bool,
) ([]catalog.Document, error) {
	var out []catalog.Document
	err := repositories(src, func(dir string) error {
		l, err := readSound(ctx, src, dir)
		if err != nil {
			return err
		}
		docs, err := l.without(func(r *root) bool { return drop(l, r) }, void)
		out = append(out, docs...)
		return err
	}, func(string) {})
	return out, err
}

// without returns the documents of the layout without some of its roots.
func (l *layout) without(drop func(*root) bool, void func(repository string) bool) ([]catalog.Document, error) {
	c := l.cut(drop)
	if len(l.roots) == 0 && void(l.repository) || c.all {
		return []catalog.Document{{Path: l.document}, {Path: l.version()}}, nil
	}
	if len(c.dropped) == 0 {
		return nil, nil
	}
	var entries []entry
	for i, e := range l.index.entries {
		if !c.gone[i] {
			entries = append(entries, e)
		}
	}
	data, err := l.index.bytes(entries)
	return []catalog.Document{{Path: l.document, Data: data}}, err
}

// cut is what goes from a layout when some of its roots go.
type cut struct {
	dropped map[string]bool // versions
	gone    []bool          // entries, by their places
	all     bool            // nothing is left
}

func (l *layout) cut(drop func(*root) bool) cut {
	kept := map[*node]bool{}
	c := cut{dropped: map[string]bool{}, gone: make([]bool, len(l.entries))}
	for i := range l.roots {
		if r := &l.roots[i]; drop(r) {
			c.dropped[r.version] = true
		} else {
			l.each(func(n *node) { kept[n] = true }, r.owns...)
		}
	}
	if len(c.dropped) == 0 {
		return c
	}
	odd := slices.Contains(l.entries, nil) // entries that are wrong stay: somebody has to look at them
	c.all = !odd && len(c.dropped) == len(l.roots)
	for i, n := range l.entries {
		c.gone[i] = n != nil && (!kept[n] || l.tags[i] != "" && c.dropped[l.tags[i]])
	}
	return c
}
