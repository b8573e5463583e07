package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"

	"example.com/publish/stage/catalog"
)

// record is what a prune took out of the documents of a tree, for an undo.
type record struct {
	Repositories []recorded `json:"repositories"`
}

// recorded is what went from a repository.
type recorded struct {
	Repository string                     `json:"repository"`
	Members    map[string]json.RawMessage `json:"members"` // of index.json, without its entries
	Layout     []byte                     `json:"layout"`  // oci-layout
	Versions   map[string]string          `json:"versions"`
	Entries    []placed                   `json:"entries"` // in their order
	Needs      []string                   `json:"needs"`   // digests of all that the versions lead to, sorted
}

// placed is an entry, and where it stood among all of them.
type placed struct {
	Place int             `json:"place"`
	Entry json.RawMessage `json:"entry"`
}

// Saved implements [catalog.Tagger].
func (Format) Saved(ctx context.Context, src catalog.Source, drop func(catalog.Name) bool) ([]byte, error) {
	out := record{Repositories: []recorded{}}
	err := repositories(src, func(dir string) error {
		l, err := readSound(ctx, src, dir)
		if err != nil {
			return err
		}
		r, err := l.saved(drop)
		if r != nil {
			out.Repositories = append(out.Repositories, *r)
		}
		return err
	}, func(string) {})
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // entries come back as they were
	err = enc.Encode(out)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// saved returns what goes from a layout; nil for nothing.
func (l *layout) saved(drop func(catalog.Name) bool) (*recorded, error) {
	out := &recorded{Repository: l.repository, Members: maps.Clone(l.index.members), Versions: map[string]string{}}
	delete(out.Members, "manifests")
	needs := map[string]bool{}
	c := l.cut(func(r *root) bool {
		if !drop(catalog.Name{Group: l.repository, Version: r.version}) {
			return false
		}
		out.Versions[r.version] = r.entry.key
		return true
	})
	if len(c.dropped) == 0 {
		return nil, nil
	}
	for i := range l.roots {
		if r := &l.roots[i]; c.dropped[r.version] {
			l.each(func(n *node) { needs[n.key] = true }, r.owns...)
		}
	}
	out.Needs = slices.Sorted(maps.Keys(needs))
	for i, gone := range c.gone {
		if gone {
			out.Entries = append(out.Entries, placed{i, l.index.entries[i].raw})
		}
	}
	version, err := l.src.Document(l.version())
	if catalog.Missing(err) {
		version, err = []byte(layoutVersion), nil
	}
	out.Layout = version
	return out, err
}

// Restore implements [catalog.Tagger]. An entry returns to where it stood, as far as
// its neighbours are still there, so what is undone at once gives the same bytes.
func (Format) Restore(ctx context.Context, src catalog.Source, data []byte) (*catalog.Restoration, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	out := &catalog.Restoration{}
	for i := range r.Repositories {
		if err := r.Repositories[i].restore(ctx, src, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *recorded) restore(ctx context.Context, src catalog.Source, out *catalog.Restoration) error {
	index := &index{members: r.Members}
	l, err := readSound(ctx, src, r.Repository)
	fresh := catalog.Missing(err)
	if !fresh {
		if err != nil {
			return err
		}
		index = l.index
	}
	back, there, err := r.missingIn(index)
	if err != nil {
		return err
	}
	for _, text := range r.Needs {
		d, err := catalog.ParseDigest(text)
		if err != nil {
			return err
		}
		_, err = src.Blob(blobPath(r.Repository, d), d, 0)
		if bad := new(catalog.DocumentError); errors.Is(err, fs.ErrNotExist) {
			return &catalog.GoneError{Path: blobPath(r.Repository, d), Digest: d}
		} else if err != nil && !errors.Is(err, catalog.ErrDigest) && !errors.As(err, &bad) {
			return err
		}
	}
	data, err := index.bytes(weave(index.entries, back))
	if err != nil {
		return err
	}
	docs := &overlay{Source: src, documents: []catalog.Document{
		{Path: path.Join(r.Repository, layoutName), Data: r.Layout}, {Path: path.Join(r.Repository, indexName), Data: data}}}
	if l, err = readSound(ctx, docs, r.Repository); err != nil {
		return err
	}
	for i := range l.roots {
		if v := l.roots[i].version; r.Versions[v] != "" {
			out.Images = append(out.Images, l.image(&l.roots[i]))
			if there[v] {
				out.There = append(out.There, catalog.Name{Group: r.Repository, Version: v})
			}
		}
	}
	if len(back) == 0 {
		return nil
	}
	if fresh {
		out.Documents = append(out.Documents, catalog.Document{Path: l.version(), Data: r.Layout})
	}
	out.Documents = append(out.Documents, catalog.Document{Path: l.document, Data: data})
	return nil
}

// missingIn returns the entries that an index lacks, and the versions that it has.
func (r *recorded) missingIn(x *index) (back []placedEntry, there map[string]bool, err error) {
	tags := map[string]string{}
	for _, e := range x.entries {
		if tag := tagOf(e); tag != "" {
			tags[tag] = e.Digest
		}
	}
	there = map[string]bool{}
	for _, p := range r.Entries {
		e := entry{raw: p.Entry}
		if err := json.Unmarshal(p.Entry, &e.descriptor); err != nil {
			return nil, nil, err
		}
		tag := tagOf(e)
		switch now := tags[tag]; {
		case tag != "" && now != "" && now != e.Digest:
			return nil, nil, &catalog.MovedError{Name: catalog.Name{Group: r.Repository, Version: tag}, Now: now}
		case tag != "" && now != "":
			there[tag] = true
		case tag == "" && x.has(e.Digest, ""):
			there["@"+e.Digest] = true
		default:
			back = append(back, placedEntry{p.Place, e})
		}
	}
	return back, there, nil
}

type placedEntry struct {
	place int
	entry entry
}

// weave puts entries back among others.
func weave(others []entry, back []placedEntry) []entry {
	out := make([]entry, 0, len(others)+len(back))
	for len(others)+len(back) > 0 {
		if len(back) > 0 && (len(others) == 0 || back[0].place <= len(out)) {
			out, back = append(out, back[0].entry), back[1:]
		} else {
			out, others = append(out, others[0]), others[1:]
		}
	}
	return out
}
