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
	kept := map[*node]bool{}
	dropped := map[string]bool{} // versions
	for i := range l.roots {
		if r := &l.roots[i]; drop(r) {
			dropped[r.version] = true
		} else {
			l.each(func(n *node) { kept[n] = true }, r.owns...)
		}
	}
	odd := slices.Contains(l.entries, nil) // entries that are wrong stay: somebody has to look at them
	if len(l.roots) == 0 && void(l.repository) || !odd && len(dropped) > 0 && len(dropped) == len(l.roots) {
		return []catalog.Document{{Path: l.document}, {Path: l.version()}}, nil
	}
	if len(dropped) == 0 {
		return nil, nil
	}
	var entries []entry
	for i, e := range l.index.entries {
		if n, tag := l.entries[i], l.tags[i]; n == nil || kept[n] && (tag == "" || !dropped[tag]) {
			entries = append(entries, e)
		}
	}
	data, err := l.index.bytes(entries)
	return []catalog.Document{{Path: l.document, Data: data}}, err
}
