package oci

import (
	"bytes"
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

// Bring is Gather for one input.
func (f Format) Bring(ctx context.Context, in catalog.Input, to catalog.Sink, opt catalog.Addition) (
	catalog.Edit, error) {
	return f.Gather(ctx, []catalog.Input{in}, to, opt)
}

// Gather accepts layouts as directories, OCI archives, and what docker save writes.
// What the images are called says opt.Name, or what the tool that wrote the layout
// recorded; opt.Repository is for tags without a repository. An image comes with all
// that it leads to, and with what refers to it; no byte of it is made again.
//
// An input that is wrong is a [catalog.InputError].
func (f Format) Gather(ctx context.Context, in []catalog.Input, to catalog.Sink, opt catalog.Addition) (
	catalog.Edit, error) {
	w, err := wantedOf(opt)
	if err != nil {
		return nil, err
	}
	b := &bringing{to: to, wanted: w, how: reading{picked: w.picked, sparse: f.Sparse}, places: map[string]string{},
		have: map[catalog.Digest]file{}}
	for i, input := range in {
		p, err := b.open(ctx, input, i)
		if err == nil {
			err = b.sort(p)
		}
		if err != nil {
			return nil, inputError(err)
		}
	}
	if err := b.checkWanted(); err != nil {
		return nil, inputError(err)
	}
	for _, p := range b.parcels {
		for _, group := range byRepository(p.list) {
			if err := b.take(ctx, p, group); err != nil {
				return nil, inputError(err)
			}
		}
	}
	return b.edit, nil
}

// inputError marks an error that says what is wrong with an input. One of the
// operating system is not that, nor is a wrong request, nor an interrupt.
func inputError(err error) error {
	usage, disk := new(catalog.UsageError), new(fs.PathError)
	switch {
	case err == nil, errors.As(err, &usage), errors.As(err, new(*catalog.InputError)), errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &disk) && !errors.Is(err, catalog.ErrDigest) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return &catalog.InputError{Err: err}
}

// hintSource says what a source may be.
const hintSource = "stage add takes an OCI image layout, an OCI archive or what docker save writes; " +
	"publish stage import takes a bundle or a tree of layouts"

// bringing is the state of one call of Gather.
type bringing struct {
	wanted
	how     reading
	to      catalog.Sink
	parcels []*parcel
	layouts []*layout
	places  map[string]string       // paths in the tree, by names in the sink
	have    map[catalog.Digest]file // blobs that came, from whichever input
}

// take reads what comes of a parcel into one repository, and puts all of it into the
// sink.
func (b *bringing) take(ctx context.Context, p *parcel, group []arrival) error {
	own := *p // with these images alone
	own.index = &index{members: map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"),
		"mediaType": json.RawMessage(`"` + ociIndex + `"`)}}
	wanted := map[string]bool{} // versions
	named := map[string]bool{}  // digests
	how := b.how
	how.recorded = map[string]platforms{}
	for _, a := range group {
		named[a.entry.Digest] = true
		if name, ok := recordedName(a.entry); ok {
			if was, _ := a.entry.identity(name.Repository); was.Platforms != nil {
				how.recorded[a.entry.Digest] = was.Platforms
			}
		}
		e, err := a.entry.called(a.Reference)
		if err != nil {
			return err
		}
		own.index.entries, wanted[a.version()] = append(own.index.entries, e), true
	}
	for _, e := range p.index.entries { // what refers to them is among these
		tag := tagOf(e)
		if _, ok := recordedName(e); !ok && (tag == "" && !named[e.Digest] || fallbackTag.MatchString(tag)) {
			own.index.entries = append(own.index.entries, e)
		}
	}
	var wrong error
	repository := group[0].Repository
	l, err := readLayout(ctx, &own, repository, func(s catalog.Severity, code, path, format string, args ...any) {
		path = p.what + strings.TrimPrefix(path, repository)
		fact := fmt.Sprintf(format, args...)
		switch f := (catalog.Finding{Severity: s, Code: code, Path: path, Message: fact}); {
		case s == catalog.Error:
			wrong = cmp.Or(wrong, error(&catalog.DocumentError{Path: path, Code: code, Fact: fact}))
		case code == "schema" && !slices.Contains(p.findings, f): // two repositories may get it
			p.findings = append(p.findings, f)
		}
	}, how)
	if err = cmp.Or(err, wrong); err != nil {
		return err
	}
	if err := l.only(func(r *root) bool { return wanted[r.version] }); err != nil {
		return err
	}
	if err := b.checkPlatforms(p, l); err != nil {
		return err
	}
	if err := l.record(p, group, b.wanted); err != nil {
		return err
	}
	b.layouts = append(b.layouts, l)
	for _, n := range l.nodes {
		if err := b.place(ctx, p, l, n); err != nil {
			return err
		}
	}
	return nil
}

// checkPlatforms refuses platforms that an image does not have.
func (b *bringing) checkPlatforms(p *parcel, l *layout) error {
	if b.picked == nil {
		return nil
	}
	var all platforms
	refuse := func(there, picked platforms) error {
		return catalog.Usage("it has "+there[:min(len(there), maxTold)].String(), "%s: has no image for %s", p.what, picked)
	}
	for _, r := range l.roots {
		list, err := l.platforms(r.entry)
		if err != nil {
			return err
		}
		if len(list) > 0 && !slices.ContainsFunc(list, b.picked.has) {
			return refuse(list, b.picked)
		}
		all = append(all, list...)
	}
	for _, pick := range b.picked {
		if len(all) > 0 && !slices.ContainsFunc(all, platforms{pick}.has) {
			return refuse(all, platforms{pick})
		}
	}
	return nil
}

// only leaves in a layout what its roots that are wanted lead to.
func (l *layout) only(wanted func(*root) bool) error {
	kept := map[string]*node{}
	l.roots = slices.DeleteFunc(l.roots, func(r root) bool { return !wanted(&r) })
	for _, r := range l.roots {
		l.each(func(n *node) { kept[n.key] = n }, r.owns...)
	}
	l.nodes = kept
	var entries []entry
	for i, n := range l.entries {
		if n != nil && kept[n.key] != nil {
			entries = append(entries, l.index.entries[i])
		}
	}
	l.index = &index{members: l.index.members, entries: entries}
	return nil
}

// record writes into the entries of what comes where it comes from.
func (l *layout) record(p *parcel, group []arrival, w wanted) error {
	places := map[string]int{}
	for i := range l.roots {
		places[l.roots[i].version] = i
	}
	for _, a := range group {
		at := l.index.find(a.entry.Digest, a.Tag)
		i, ok := places[a.version()]
		if at < 0 || !ok {
			continue
		}
		partial := false
		l.each(func(n *node) { partial = partial || n.partial }, l.roots[i].entry)
		e, err := l.index.entries[at].recording(a.Reference, p.identify(a, w, partial))
		if err != nil {
			return err
		}
		l.index.entries[at] = e
	}
	return nil
}

// place has a blob put into the sink, and says where it is to lie.
func (b *bringing) place(ctx context.Context, p *parcel, l *layout, n *node) error {
	name, err := p.bring(ctx, n.digest())
	if errors.Is(err, fs.ErrNotExist) {
		return &catalog.DocumentError{Path: path.Join(p.what, blobPath(".", n.digest())), Code: "missing",
			Fact: "does not exist, and the image needs it"}
	}
	if err != nil {
		return err
	}
	if f, ok := b.have[n.digest()]; ok && f.size != n.size {
		return &catalog.DocumentError{Path: path.Join(p.what, blobPath(".", n.digest())), Code: "size-mismatch",
			Fact: fmt.Sprintf("has %d bytes, and its descriptor says %d", f.size, n.size)}
	}
	to := l.at(n)
	if b.places[name] == to || b.places[to] == to {
		return nil
	}
	if b.places[name] != "" { // another repository has it too: a file of its own
		f, err := b.to.Open(name)
		if err != nil {
			return err
		}
		name = to
		_, _, err = b.to.Put(ctx, name, f, n.digest())
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	b.places[name] = to
	return nil
}

// edit names the images in the tree.
func (b *bringing) edit(ctx context.Context, tree catalog.Source) (*catalog.Change, error) {
	out := &catalog.Change{Places: maps.Clone(b.places), Apart: map[string]bool{}}
	over := &overlay{Source: tree, parcels: b.parcels}
	for _, p := range b.parcels {
		out.Findings = append(out.Findings, p.findings...)
	}
	for _, of := range b.layouts {
		l := *of // this may run again
		for _, n := range l.nodes {
			if n.apart() {
				out.Apart[l.at(n)] = true
			}
		}
		before, err := l.settle(ctx, over)
		if err != nil {
			return nil, err
		}
		one := &catalog.Change{}
		if _, err := l.into(ctx, over, one); err != nil {
			return nil, err
		}
		out.Replaced = append(out.Replaced, one.Replaced...)
		for _, doc := range one.Documents { // a second layout may change what the first has changed
			out.Documents = append(slices.DeleteFunc(out.Documents, func(d catalog.Document) bool {
				return d.Path == doc.Path
			}), doc)
		}
		over.documents = out.Documents
		for i := range l.roots {
			image := l.image(&l.roots[i])
			image.Before = before[image.Version]
			out.Images = append(out.Images, image)
		}
	}
	slices.Sort(out.Replaced)
	out.Replaced = slices.Compact(out.Replaced)
	return out, nil
}

// settle compares what comes with what a tree has: see entry.settle. It returns the
// digests that versions stood for there, where they are others.
func (l *layout) settle(ctx context.Context, tree catalog.Source) (map[string]string, error) {
	before := map[string]string{}
	ours, err := readSound(ctx, tree, l.repository)
	if catalog.Missing(err) {
		return before, nil
	}
	if err != nil {
		return nil, err
	}
	base := &graph{ctx: ctx, src: tree, repository: l.repository}
	if o, ok := tree.(*overlay); ok {
		base.src = o.Source // a source may have more than what comes of it
	}
	places := map[string]int{} // of the first entry of each version
	for i, e := range slices.Backward(ours.index.entries) {
		places[cmp.Or(tagOf(e), "@"+e.Digest)] = i
	}
	entries := slices.Clone(l.index.entries)
	for i, e := range entries {
		tag := tagOf(e)
		version := cmp.Or(tag, "@"+e.Digest)
		at, there := places[version]
		if name, ok := recordedName(e); !there || !ok || name.version() != version {
			continue // what refers to others has no record
		}
		if old := &ours.index.entries[at]; old.Digest != e.Digest {
			before[tag] = old.Digest
		}
		if entries[i], err = e.settle(l.repository, &ours.index.entries[at]); err != nil {
			return nil, err
		}
		if entries[i], err = l.unpicked(base, entries[i]); err != nil {
			return nil, err
		}
	}
	l.index = &index{members: l.index.members, entries: entries, convert: l.index.convert}
	return before, nil
}

// overlay is a tree with documents that are to be written, and with blobs that have
// come.
type overlay struct {
	catalog.Source
	documents []catalog.Document
	parcels   []*parcel
}

func (o *overlay) Document(name string) ([]byte, error) {
	i := slices.IndexFunc(o.documents, func(d catalog.Document) bool { return d.Path == name })
	if i < 0 || o.documents[i].Data == nil {
		return o.Source.Document(name)
	}
	return o.documents[i].Data, nil
}

// Recall is that of the tree, if it remembers anything.
func (o *overlay) Recall(d catalog.Digest) ([]byte, bool) {
	if m, ok := o.Source.(catalog.Memory); ok {
		return m.Recall(d)
	}
	return nil, false
}

// Remember is that of the tree, likewise.
func (o *overlay) Remember(d catalog.Digest, fact []byte) {
	if m, ok := o.Source.(catalog.Memory); ok {
		m.Remember(d, fact)
	}
}

func (o *overlay) Blob(name string, want catalog.Digest, limit int64) ([]byte, error) {
	data, err := o.Source.Blob(name, want, limit)
	for _, p := range o.parcels {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		data, err = p.Blob(name, want, limit)
	}
	return data, err
}

// open reads the index of an input.
func (b *bringing) open(ctx context.Context, in catalog.Input, number int) (*parcel, error) {
	p := &parcel{to: b.to, ctx: ctx, what: cmp.Or(in.Dir, "standard input"), number: number, have: b.have,
		made: map[string]bool{}}
	switch {
	case in.Entries != nil:
		return p, p.unpack(ctx, in.Entries)
	case in.Dir != "":
		return p, p.directory(ctx, in)
	case len(in.Files) == 1:
		if in.Files[0] != "-" {
			p.what = in.Files[0]
		}
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
func (p *parcel) directory(ctx context.Context, in catalog.Input) error {
	read := func() (half bool, err error) {
		data, err := document(in, indexName)
		if errors.Is(err, fs.ErrNotExist) {
			return false, catalog.WrongInput(hintSource, "%s: has no index.json: this is no OCI image layout", in.Dir)
		}
		if err != nil {
			return false, err
		}
		if p.index, err = parseIndex(data); err != nil {
			return !ended(data), fmt.Errorf("%s/%s: %w", in.Dir, indexName, err)
		}
		data, err = document(in, layoutName)
		switch wrong := checkLayout(data); {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		case err == nil && wrong != nil:
			return !ended(data), fmt.Errorf("%s/%s: %w", in.Dir, layoutName, wrong)
		}
		return false, err
	}
	if in.Again == nil {
		in.Again = func(_ context.Context, read func() (bool, error)) error {
			_, err := read()
			return err
		}
	}
	if err := in.Again(ctx, read); err != nil {
		return err
	}
	p.bring = func(ctx context.Context, d catalog.Digest) (string, error) {
		if f := p.have[d]; f.at != "" {
			return f.at, nil
		}
		f, err := in.Inside(part(d))
		if err != nil {
			return "", err
		}
		_, size, err := p.to.Put(ctx, part(d), f, d)
		if err == nil {
			p.have[d] = file{d, size, part(d)}
		}
		return part(d), errors.Join(err, f.Close())
	}
	return nil
}

// document reads a document of a directory.
func document(in catalog.Input, name string) ([]byte, error) {
	f, err := in.Inside(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int64(0)
	if s, ok := f.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if fi, err := s.Stat(); err == nil {
			size = fi.Size()
		}
	}
	data, err := bounded(f, size)
	if err != nil {
		err = fmt.Errorf("%s/%s: %w", in.Dir, name, err)
	}
	return data, err
}

// bounded reads no more than a document may have. size is how much there seems to be:
// it counts when some of that is there.
func bounded(r io.Reader, size int64) ([]byte, error) {
	const some = 1 << 20
	var buf bytes.Buffer
	_, err := buf.ReadFrom(io.LimitReader(r, some))
	if err == nil && buf.Len() == some {
		buf.Grow(int(max(0, min(size, catalog.MaxDocument)-some)) + bytes.MinRead) // else the last read doubles it
		_, err = buf.ReadFrom(io.LimitReader(r, catalog.MaxDocument+1-some))
	}
	if err == nil && buf.Len() > catalog.MaxDocument {
		err = fmt.Errorf("has more than %d bytes", catalog.MaxDocument)
	}
	return buf.Bytes(), err
}

// inLayout is a name in an archive, as one in a layout: many begin with "./".
func inLayout(name string) (string, bool) {
	clean, _, ok := catalog.Clean(strings.TrimPrefix(name, "./"))
	return clean, ok
}
