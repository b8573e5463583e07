package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// Bring accepts a layout as a directory, an OCI archive, or what docker save writes. What its images are
// called says opt.Name, or what the tool that wrote the layout recorded. An image
// comes with all that it leads to, and with what refers to it; no byte of it is
// made again.
func (Format) Bring(ctx context.Context, in catalog.Input, to catalog.Sink, opt catalog.Addition) (
	catalog.Edit, error) {
	if len(opt.Aliases)+len(opt.Requirements) > 0 || opt.NoDefaultAlias {
		return nil, catalog.Usage("give the image another tag instead", "an OCI image has no aliases or requirements")
	}
	p, err := open(ctx, in, to)
	if err != nil {
		return nil, err
	}
	list, err := p.arrivals(opt)
	if err != nil {
		return nil, err
	}
	b := &bringing{parcel: p, places: map[string]string{}}
	for _, group := range byRepository(list) {
		if err := b.take(ctx, group); err != nil {
			return nil, err
		}
	}
	return b.edit, nil
}

// bringing is the state of one call of Bring.
type bringing struct {
	*parcel
	layouts []*layout
	places  map[string]string
}

// take reads what comes into one repository, and puts all of it into the sink.
func (b *bringing) take(ctx context.Context, group []arrival) error {
	own := *b.parcel // with these images alone
	own.index = &index{members: map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"),
		"mediaType": json.RawMessage(`"` + ociIndex + `"`)}}
	named := map[string]bool{}
	for _, a := range group {
		e, err := a.entry.called(a.Reference)
		if err != nil {
			return err
		}
		own.index.entries, named[a.Tag] = append(own.index.entries, e), true
	}
	for _, e := range b.index.entries { // what refers to them is among these
		if recordedName(e) == "" && (tagOf(e) == "" || fallbackTag.MatchString(tagOf(e))) {
			own.index.entries = append(own.index.entries, e)
		}
	}
	var wrong error
	l, err := readLayout(ctx, &own, ".", func(s catalog.Severity, code, path, format string, args ...any) {
		if s == catalog.Error && code != "bad-repository" { // "." is only its name here
			wrong = cmp.Or(wrong, error(&catalog.DocumentError{Path: b.what + "/" + path, Code: code,
				Fact: fmt.Sprintf(format, args...)}))
		}
	})
	if err = cmp.Or(err, wrong); err != nil {
		return err
	}
	if err := l.only(func(r *root) bool { return named[r.version] || b.digests(group)[r.version] }); err != nil {
		return err
	}
	l.repository = group[0].Repository
	l.document = path.Join(l.repository, indexName)
	b.layouts = append(b.layouts, l)
	for _, n := range l.nodes {
		if err := b.place(ctx, l, n); err != nil {
			return err
		}
	}
	return nil
}

// digests are the versions of those that come without a tag.
func (b *bringing) digests(group []arrival) map[string]bool {
	out := map[string]bool{}
	for _, a := range group {
		if a.Tag == "" {
			out["@"+a.entry.Digest] = true
		}
	}
	return out
}

// only leaves in a layout what its roots that are wanted lead to.
func (l *layout) only(wanted func(*root) bool) error {
	kept := map[string]*node{}
	l.roots = slices.DeleteFunc(l.roots, func(r root) bool { return !wanted(&r) })
	for _, r := range l.roots {
		l.each(func(n *node) { kept[n.digest.String()] = n }, r.owns...)
	}
	l.nodes = kept
	var entries []entry
	for i, n := range l.entries {
		if n != nil && kept[n.digest.String()] != nil {
			entries = append(entries, l.index.entries[i])
		}
	}
	l.index = &index{members: l.index.members, entries: entries}
	return nil
}

// place has a blob put into the sink, and says where it is to lie.
func (b *bringing) place(ctx context.Context, l *layout, n *node) error {
	name, err := b.bring(ctx, n.digest)
	if errors.Is(err, fs.ErrNotExist) {
		return &catalog.DocumentError{Path: path.Join(b.what, blobPath(".", n.digest)), Code: "missing",
			Fact: "does not exist, and the image needs it"}
	}
	if err != nil {
		return err
	}
	if b.places[name] != "" { // another repository has it too: a file of its own
		f, err := b.to.Open(name)
		if err != nil {
			return err
		}
		name = l.at(n)
		_, _, err = b.to.Put(ctx, name, f, n.digest)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	b.places[name] = l.at(n)
	return nil
}

// edit names the images in the tree.
func (b *bringing) edit(ctx context.Context, tree catalog.Source) (*catalog.Change, error) {
	out := &catalog.Change{Places: maps.Clone(b.places), Findings: b.findings}
	for _, l := range b.layouts {
		if err := l.into(ctx, tree, out); err != nil {
			return nil, err
		}
		for i := range l.roots {
			out.Images = append(out.Images, l.image(&l.roots[i]))
		}
	}
	slices.Sort(out.Replaced)
	return out, nil
}

// called returns an entry with a name: the tag in one annotation, as the layout
// specification says, and all of it in another, for engines that load an archive.
func (e entry) called(r Reference) (entry, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(e.raw, &members); err != nil {
		return e, err
	}
	notes := maps.Clone(e.Annotations)
	if notes == nil {
		notes = map[string]string{}
	}
	delete(notes, refName)
	delete(notes, imageName)
	if r.Tag != "" {
		notes[refName], notes[imageName] = r.Tag, r.Name()
	}
	if delete(members, "annotations"); len(notes) > 0 {
		text, err := json.Marshal(notes)
		if err != nil {
			return e, err
		}
		members["annotations"] = text
	}
	raw, err := json.Marshal(members)
	e.raw, e.Annotations = raw, notes
	return e, err
}

// open reads the index of what was given.
func open(ctx context.Context, in catalog.Input, to catalog.Sink) (*parcel, error) {
	p := &parcel{to: to, ctx: ctx, what: cmp.Or(in.Dir, "standard input")}
	switch {
	case in.Entries != nil:
		return p, p.unpack(ctx, in.Entries)
	case in.Dir != "":
		return p, p.directory(in)
	case len(in.Files) == 1:
		p.what = in.Files[0]
		f, err := in.Open(in.Files[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return p, p.archive(ctx, f)
	}
	return nil, catalog.Usage("add one after the other", "an OCI image comes as one directory or one archive")
}

// directory is a layout in one.
func (p *parcel) directory(in catalog.Input) error {
	data, err := document(in, in.Dir+"/"+indexName)
	if errors.Is(err, fs.ErrNotExist) {
		return catalog.Usage("", "%s: has no index.json: this is no OCI image layout", in.Dir)
	}
	if err == nil {
		p.index, err = parseIndex(data)
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", in.Dir, indexName, err)
	}
	put := map[catalog.Digest]bool{}
	p.bring = func(ctx context.Context, d catalog.Digest) (string, error) {
		if put[d] {
			return part(d), nil
		}
		f, err := in.Open(in.Dir + "/" + part(d))
		if err != nil {
			return "", err
		}
		_, _, err = p.to.Put(ctx, part(d), f, d)
		put[d] = err == nil
		return part(d), errors.Join(err, f.Close())
	}
	return nil
}

// document reads a document of an Input.
func document(in catalog.Input, name string) ([]byte, error) {
	f, err := in.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded(f)
}

// bounded reads no more than a document may have.
func bounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, catalog.MaxDocument+1))
	if err == nil && len(data) > catalog.MaxDocument {
		err = fmt.Errorf("has more than %d bytes", catalog.MaxDocument)
	}
	return data, err
}

// inLayout is a name in an archive, as one in a layout: many begin with "./".
func inLayout(name string) (string, bool) {
	clean, _, ok := catalog.Clean(strings.TrimPrefix(name, "./"))
	return clean, ok
}
