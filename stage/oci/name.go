package oci

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// find returns the layout and the root that a reference names. The name that the
// tree has counts first: host_5000/x, for instance, is none that people write for a
// registry.
//
// It returns a *[catalog.DocumentError] that is fs.ErrNotExist if there is none, and
// an error that wraps [catalog.ErrDigest] if a tag stands for another digest than the
// one that the reference has.
func find(ref string, read func(repository string) (*layout, error)) (*layout, *root, error) {
	if n := (Format{}).ParseRef(ref); n.Version != "" && checkRepository(n.Group) == "" {
		if l, err := read(n.Group); err == nil {
			if r, err := l.called(n.Version); r != nil || err != nil {
				return l, r, err
			}
		}
	}
	r, err := ParseReference(ref)
	if err != nil {
		return nil, nil, err
	}
	l, err := read(r.Repository)
	if err != nil {
		return nil, nil, err
	}
	root, err := l.called(r.version())
	if err != nil {
		return nil, nil, err
	}
	if root == nil {
		return nil, nil, &catalog.DocumentError{Path: l.document, Code: "missing", Fact: "does not have " + r.Name()}
	}
	if r.Digest != (catalog.Digest{}) && root.entry.digest() != r.Digest {
		return nil, nil, digestError(ref, root.entry.digest().String())
	}
	return l, root, nil
}

// called returns the root of a version, or the first with its digest; nil for none.
func (l *layout) called(version string) (*root, error) {
	at := slices.IndexFunc(l.roots, func(r root) bool {
		return r.version == version || untagged(r.entry.digest()) == version
	})
	if at >= 0 {
		return &l.roots[at], nil
	}
	digest, ok := strings.CutPrefix(version, "@")
	if !ok {
		return nil, nil
	}
	return l.inner(digest)
}

// inner returns a root for a manifest that is none: the image of one platform, a
// referrer, or what index.json names only because clients may still ask for it. nil for
// none.
func (l *layout) inner(digest string) (*root, error) {
	d := descriptor{Digest: digest}
	var held []entry
	if n := l.nodes[digest]; n != nil {
		d.MediaType, d.Size = n.mediaType, &n.size
	} else {
		data, err := l.src.Document(l.document)
		if err != nil {
			return nil, err
		}
		all, err := parseEntries(data)
		if err != nil {
			return nil, nil // changed meanwhile
		}
		held = slices.DeleteFunc(all.entries, func(e entry) bool { return !e.marked() })
		at := slices.IndexFunc(held, func(e entry) bool { return e.Digest == digest })
		if at < 0 {
			return nil, nil
		}
		d.MediaType, d.Size = held[at].MediaType, held[at].Size
	}
	n := l.node(l.document, &d)
	if n == nil {
		return nil, nil
	}
	if index, manifest := leads(n.mediaType); !index && !manifest {
		return nil, nil
	}
	if err := l.expand(n, 1); err != nil {
		return nil, err
	}
	if err := l.admit(n); err != nil {
		return nil, err
	}
	r := &root{version: untagged(n.digest()), entry: n, owns: []*node{n}, place: len(l.entries) - 1}
	return r, l.heldBy(r, held)
}

// admit adds an entry without a tag.
func (l *layout) admit(n *node) error {
	raw, err := json.Marshal(map[string]any{"mediaType": n.mediaType, "digest": n.key, "size": n.size})
	if err != nil {
		return err
	}
	d := descriptor{MediaType: n.mediaType, Digest: n.key, Size: &n.size}
	l.index.entries, l.index.places = append(l.index.entries, entry{d, raw}), nil
	l.entries, l.tags = append(l.entries, n), append(l.tags, "")
	return nil
}

// heldBy gives a root what refers to it, of what is held beside it.
func (l *layout) heldBy(r *root, held []entry) error {
	below := map[string]bool{}
	reach := func(n *node) { l.each(func(n *node) { below[n.key] = true }, n) }
	reach(r.entry)
	for grew := true; grew; {
		grew = false
		for i := range held {
			if below[held[i].Digest] {
				continue
			}
			n := l.node(l.document, &held[i].descriptor)
			if n == nil {
				continue
			}
			if err := l.expand(n, 1); err != nil {
				return err
			}
			if n.subject == "" || !below[n.subject] {
				continue
			}
			if err := l.admit(n); err != nil {
				return err
			}
			r.owns, grew = append(r.owns, n), true
			reach(n)
		}
	}
	return nil
}

// name is the whole name of a root.
func (l *layout) name(r *root) string {
	return Format{}.Ref(catalog.Name{Group: l.repository, Version: r.version})
}

// Resolve implements [catalog.Resolver].
func (Format) Resolve(ctx context.Context, src catalog.Source, ref string) (*catalog.Resolved, error) {
	return resolve(ref, func(repository string) (*layout, error) { return readSound(ctx, src, repository) })
}

// ResolveMany implements [catalog.ManyResolver]. It keeps one layout at a time.
func (Format) ResolveMany(
	ctx context.Context, src catalog.Source, refs []string, yield func(n int, r *catalog.Resolved, err error),
) {
	order := make([]int, len(refs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(refs[a], refs[b]) })
	var last string
	var l *layout
	var failed error
	for _, n := range order {
		r, err := resolve(refs[n], func(repository string) (*layout, error) {
			if repository == last && (l != nil || failed != nil) {
				return l, failed
			}
			last = repository
			l, failed = readSound(ctx, src, repository)
			return l, failed
		})
		if strings.Contains(refs[n], "@") {
			l, failed = nil, nil // to find a digest may have added to the layout
		}
		yield(n, r, err)
	}
}

func resolve(ref string, read func(repository string) (*layout, error)) (*catalog.Resolved, error) {
	l, r, err := find(ref, read)
	if err != nil {
		return nil, err
	}
	digest := r.entry.key
	out := &catalog.Resolved{Name: l.repository + "@" + digest, Ref: l.name(r), Digest: digest}
	tag := r.version
	if strings.HasPrefix(tag, "@") {
		tag = ""
	}
	if at := l.index.find(digest, tag); at >= 0 {
		id, _ := l.index.entries[at].identity(l.repository)
		for _, p := range id.Platforms {
			out.Platforms = append(out.Platforms, p.String())
		}
	}
	list, err := l.described(r.entry)
	for _, p := range list {
		out.Also = append(out.Also, p.Manifest, p.IncusFingerprint)
	}
	return out, err
}

// Tag implements [catalog.Namer].
func (Format) Tag(ref string, tags []string, now time.Time) (catalog.Edit, error) {
	if _, err := ParseReference(ref); err != nil && checkRepository((Format{}).ParseRef(ref).Group) != "" {
		return nil, err
	}
	for i, tag := range tags {
		switch {
		case !tagName.MatchString(tag):
			return nil, catalog.Usage("letters, digits, _ . -, at most 128", "%s: is no tag", catalog.Show(tag))
		case fallbackTag.MatchString(tag):
			return nil, catalog.Usage("", "%s: is a tag for what refers to an image", tag)
		case slices.Contains(tags[:i], tag):
			return nil, catalog.Usage("", "%s: is given twice", tag)
		}
	}
	return func(ctx context.Context, tree catalog.Source) (*catalog.Change, error) {
		return retag(ctx, tree, ref, tags, now)
	}, nil
}

// retag gives an image further tags.
func retag(
	ctx context.Context, tree catalog.Source, ref string, tags []string, now time.Time,
) (*catalog.Change, error) {
	ours, r, err := find(ref, func(repository string) (*layout, error) { return readSound(ctx, tree, repository) })
	if err != nil {
		return nil, err
	}
	was := strings.TrimPrefix(r.version, "@")
	if was != r.version {
		was = ""
	}
	at := ours.index.find(r.entry.key, was)
	if at < 0 {
		at = slices.IndexFunc(ours.index.entries, func(e entry) bool { return e.Digest == r.entry.key })
	}
	from := ours.index.entries[at]
	id, _ := from.identity(ours.repository)
	g := *ours.graph
	g.nodes = map[string]*node{}
	ours.each(func(n *node) { g.nodes[n.key] = n }, r.owns...)
	l := &layout{graph: &g, document: ours.document, index: &index{members: ours.index.members}}
	for _, tag := range tags {
		name := Reference{Repository: ours.repository, Tag: tag}
		e, err := from.recording(name, identity{Requested: name.Name(), Platforms: id.Platforms, StagedAt: now,
			Source: id.Source})
		if err != nil {
			return nil, err
		}
		l.index.entries = append(l.index.entries, e)
		l.roots = append(l.roots, root{version: tag, entry: r.entry, owns: r.owns})
	}
	before, err := l.settle(ctx, tree)
	if err != nil {
		return nil, err
	}
	out := &catalog.Change{}
	if _, err := l.into(ctx, tree, out); err != nil {
		return nil, err
	}
	for i := range l.roots {
		image := l.image(&l.roots[i])
		image.Before = before[image.Version]
		out.Images = append(out.Images, image)
	}
	slices.Sort(out.Replaced)
	return out, nil
}
