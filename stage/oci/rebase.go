package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"example.com/publish/stage/catalog"
)

// Rebase implements [catalog.Rebaser], by repository and tag. The result begins as
// theirs. Entries without a tag (the referrers of an image, and what its index lists) come
// and go with the tags that lead to them, or where one side added or removed them alone.
func (Format) Rebase(ctx context.Context, base, ours, theirs catalog.Source) (*catalog.Rebased, error) {
	out := &catalog.Rebased{}
	sides := []struct {
		name string
		src  catalog.Source
		at   map[string]*layout
	}{{"the production that staging began from: ", base, nil}, {"", ours, nil}, {"production: ", theirs, nil}}
	dirs := map[string]bool{}
	for i, side := range sides {
		sides[i].at = map[string]*layout{}
		err := repositories(side.src, func(dir string) error {
			l, err := readSound(ctx, side.src, dir)
			sides[i].at[dir], dirs[dir] = l, true
			return err
		}, func(string) {})
		if err != nil {
			return nil, fmt.Errorf("%s%w", side.name, err)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		r := &rebase{out: out, repository: dir, b: sides[0].at[dir], o: sides[1].at[dir], t: sides[2].at[dir]}
		if err := r.unite(ours); err != nil {
			return nil, err
		}
	}
	catalog.SortClashes(out.Conflicts)
	catalog.Sort(out.Findings)
	if len(out.Conflicts) > 0 {
		out.Documents = nil
	}
	return out, nil
}

// rebase unites three states of a repository; nil where it does not exist.
type rebase struct {
	out        *catalog.Rebased
	repository string
	b, o, t    *layout

	take, drop map[string]bool // versions: from ours, out of theirs
}

// state is what a version stands for; "" where it does not exist.
func (l *layout) state() map[string]string {
	out := map[string]string{}
	if l != nil {
		for i := range l.roots {
			out[l.roots[i].version] = l.roots[i].entry.key
		}
	}
	return out
}

func (r *rebase) unite(ours catalog.Source) error {
	r.take, r.drop = map[string]bool{}, map[string]bool{}
	b, o, t := r.b.state(), r.o.state(), r.t.state()
	all := maps.Clone(b)
	maps.Copy(all, o)
	for _, version := range slices.Sorted(maps.Keys(all)) {
		was, own, their := b[version], o[version], t[version]
		switch catalog.Choose(own == was, their == was, own == their) {
		case catalog.Ours:
			r.take[version], r.drop[version] = own != "", their != ""
		case catalog.Neither:
			r.out.Conflicts = append(r.out.Conflicts, catalog.Clash{
				Ref:  Format{}.Ref(catalog.Name{Group: r.repository, Version: version}),
				Here: catalog.DeedOf(was != "", own != ""), There: catalog.DeedOf(was != "", their != "")})
		}
	}
	entries := r.entries()
	from := r.t
	if from == nil {
		from = r.o
	}
	if from == nil {
		return nil // both removed it
	}
	emptied := r.b != nil && (r.o == nil || r.t == nil)
	for _, dropped := range r.drop {
		emptied = emptied || dropped
	}
	if len(entries) == 0 && emptied {
		if r.o != nil {
			r.out.Documents = append(r.out.Documents, catalog.Document{Path: r.o.document},
				catalog.Document{Path: r.o.version()})
		}
		return nil
	}
	x := *from.index
	x.members = r.members(from)
	data, err := x.bytes(entries)
	if err != nil {
		return err
	}
	if r.o != nil {
		own, err := r.o.index.bytes(r.o.index.entries)
		if err != nil || bytes.Equal(own, data) {
			return err
		}
	} else {
		version, err := from.src.Document(from.version())
		if err != nil {
			return err
		}
		r.out.Documents = append(r.out.Documents, catalog.Document{Path: from.version(), Data: version})
	}
	r.out.Documents = append(r.out.Documents, catalog.Document{Path: from.document, Data: data})
	return nil
}

// entries are those of the result.
func (r *rebase) entries() (list []entry) {
	if r.t != nil {
		gone := r.t.cut(func(root *root) bool { return r.drop[root.version] }).gone
		lost := r.withdrawn()
		for i, e := range r.t.index.entries {
			if !gone[i] && !lost[e.Digest+" "+tagOf(e)] {
				list = append(list, r.said(e))
			}
		}
	}
	if r.o == nil {
		return list
	}
	had := map[string]bool{}
	for _, e := range list {
		had[e.Digest+" "+tagOf(e)] = true
	}
	needed := map[string]bool{} // digests that the tags taken from ours lead to
	for i := range r.o.roots {
		if root := &r.o.roots[i]; r.take[root.version] {
			r.o.each(func(n *node) { needed[n.key] = true }, root.owns...)
		}
	}
	for i, e := range r.o.index.entries {
		tag := r.o.tags[i]
		ours := r.b == nil || !r.b.index.has(e.Digest, tag)
		switch {
		case had[e.Digest+" "+tag]:
		case r.take[tag], r.versionless(tag) && (needed[e.Digest] || ours && r.lives(e)):
			list = append(list, e)
		}
	}
	return list
}

// versionless reports whether an entry with this tag is no version: it has none, or one
// that stands for the referrers of an image, which theirs does not have.
func (r *rebase) versionless(tag string) bool {
	return tag == "" || fallbackTag.MatchString(tag) && (r.t == nil || !slices.Contains(r.t.tags, tag))
}

// lives reports whether an entry without a tag, which is new here, still has something
// that it belongs to: a version that stays, or itself as a version.
func (r *rebase) lives(e entry) bool {
	stays := r.t.state()
	for i := range r.o.roots {
		root := &r.o.roots[i]
		if !r.take[root.version] && stays[root.version] != root.entry.key {
			continue
		}
		found := false
		r.o.each(func(n *node) { found = found || n.key == e.Digest }, root.owns...)
		if found {
			return true
		}
	}
	return false
}

// withdrawn has the entries without a tag that we removed although the version that they
// belong to stayed: signatures that somebody took back, for instance.
func (r *rebase) withdrawn() map[string]bool {
	out := map[string]bool{}
	if r.b == nil || r.o == nil {
		return out
	}
	own, kept := r.o.state(), map[string]bool{}
	for i := range r.b.roots {
		if root := &r.b.roots[i]; own[root.version] == root.entry.key {
			r.b.each(func(n *node) { kept[n.key] = true }, root.owns...)
		}
	}
	for i, e := range r.b.index.entries {
		if r.b.tags[i] == "" && kept[e.Digest] && !r.o.index.has(e.Digest, "") {
			out[e.Digest+" "] = true
		}
	}
	return out
}

// said returns an entry of theirs with what was changed about it here: its annotations,
// for instance.
func (r *rebase) said(e entry) entry {
	if r.b == nil || r.o == nil {
		return e
	}
	tag := tagOf(e)
	was, own := r.b.index.find(e.Digest, tag), r.o.index.find(e.Digest, tag)
	if was < 0 || own < 0 {
		return e
	}
	b, o := r.b.index.entries[was], r.o.index.entries[own]
	switch catalog.Choose(sameEntry(o, b), sameEntry(e, b), sameEntry(o, e)) {
	case catalog.Ours:
		return o
	case catalog.Neither:
		r.warn("the entry of " + e.Digest)
	}
	return e
}

// members are those of index.json beside the entries.
func (r *rebase) members(from *layout) map[string]json.RawMessage {
	out := maps.Clone(from.index.members)
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	if r.o == nil || r.t == nil {
		return out
	}
	var was map[string]json.RawMessage
	if r.b != nil {
		was = r.b.index.members
	}
	same := func(a, b json.RawMessage) bool {
		return (a == nil) == (b == nil) && bytes.Equal(compact(a), compact(b))
	}
	all := maps.Clone(r.o.index.members)
	maps.Copy(all, was)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b, o, t := was[name], r.o.index.members[name], out[name]
		if name == "manifests" {
			continue
		}
		switch catalog.Choose(same(o, b), same(t, b), same(o, t)) {
		case catalog.Ours:
			if out[name] = o; o == nil {
				delete(out, name)
			}
		case catalog.Neither:
			r.warn(catalog.Show(name))
		}
	}
	return out
}

func (r *rebase) warn(what string) {
	r.out.Findings = append(r.out.Findings, catalog.Finding{Severity: catalog.Warning, Code: "both-changed",
		Path: r.t.document, Message: what + " was changed here and in production: production's stays"})
}
