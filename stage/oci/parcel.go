package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// parcel is a layout that was given from outside: its documents, and its blobs as
// they stand in a sink, at their paths in the layout.
type parcel struct {
	what   string // for messages
	number int    // among the inputs
	index  *index
	list   []arrival // what of it comes
	to     catalog.Sink
	have   map[catalog.Digest]file // what came, of all inputs
	// bring returns the name of a blob in the sink, and puts it there first if it has
	// to. It returns fs.ErrNotExist for one that the layout does not have.
	bring    func(ctx context.Context, d catalog.Digest) (string, error)
	ctx      context.Context
	findings []catalog.Finding // about the archive
	made     map[string]bool   // digests of manifests that it does not have
}

// part is a name for a blob in the sink. Its path in the tree is decided later.
func part(d catalog.Digest) string { return blobPath(".", d) }

// Document returns the documents, for readLayout, of a layout that lies at ".".
func (p *parcel) Document(name string) ([]byte, error) {
	switch path.Base(name) {
	case indexName:
		return p.index.bytes(p.index.entries)
	case layoutName:
		return []byte(layoutVersion), nil
	}
	return nil, &catalog.DocumentError{Path: name, Code: "missing", Fact: "does not exist"}
}

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// checkLayout returns what is wrong with the oci-layout of a source: a layout of another
// version may mean something else. One that has none is taken.
func checkLayout(data []byte) error {
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if patch, ok := strings.CutPrefix(v.Version, "1.0."); !ok || patch == "" || strings.Trim(patch, "0123456789") != "" {
		return fmt.Errorf("has the layout version %s; only 1.0 is known", shorten(v.Version))
	}
	return nil
}

// Blob returns a manifest, and has it put into the sink.
func (p *parcel) Blob(_ string, want catalog.Digest, limit int64) ([]byte, error) {
	at, err := p.bring(p.ctx, want)
	if err != nil {
		return nil, err
	}
	if limit == 0 { // asked only whether it is there
		return nil, catalog.ErrDigest
	}
	f, err := p.to.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = catalog.ErrDigest
	}
	return data, err
}

// List returns nothing: there is one layout, and it is known.
func (p *parcel) List(string) iter.Seq2[string, error] { return func(func(string, error) bool) {} }

// arrival is an image that comes into a tree.
type arrival struct {
	Reference
	requested string // its name, as somebody wrote it
	entry     entry
}

// wanted is what a person says about what comes.
type wanted struct {
	catalog.Addition
	picked platforms       // nil: all
	found  map[string]bool // of Only
}

// wantedOf checks an Addition.
func wantedOf(opt catalog.Addition) (w wanted, err error) {
	w = wanted{Addition: opt, found: map[string]bool{}}
	if len(opt.Aliases)+len(opt.Requirements) > 0 || opt.NoDefaultAlias {
		return w, catalog.Usage("give the image another tag instead", "an OCI image has no aliases or requirements")
	}
	if opt.Name != "" && opt.Repository != "" {
		return w, catalog.Usage("", "--name and --repository: give one of them")
	}
	if opt.Name != "" {
		if _, err := ParseReference(opt.Name); err != nil {
			return w, err
		}
	}
	if opt.Repository != "" {
		r, err := ParseReference(opt.Repository)
		if err == nil && !r.Defaulted {
			err = catalog.Usage("give the whole name with --name", "--repository: %s is more than a repository",
				catalog.Show(opt.Repository))
		}
		if err != nil {
			return w, err
		}
	}
	for _, tag := range opt.Only {
		if !tagName.MatchString(tag) {
			return w, catalog.Usage("", "--only: %s is no tag", catalog.Show(tag))
		}
	}
	w.picked, err = parsePlatforms(opt.Platforms)
	return w, err
}

// sort decides which images of a parcel come, and under which names.
func (b *bringing) sort(p *parcel) error {
	b.parcels = append(b.parcels, p)
	unnamed := ""
	seen := map[string]bool{}
	for _, e := range p.index.entries {
		if err := p.ctx.Err(); err != nil {
			return err // there may be very many
		}
		recorded, named := recordedName(e)
		tag := tagOf(e)
		if named {
			tag = recorded.Tag
		}
		switch {
		case fallbackTag.MatchString(tag), tag == "" && !named && len(p.index.entries) > 1:
			continue // a child of another, or a referrer
		case len(b.Only) > 0 && !slices.Contains(b.Only, tag):
			continue
		case b.Name != "" && seen[e.Digest]:
			continue // the name that is given stands for all that it had
		}
		if _, code, fact := e.check(); code != "" {
			return &catalog.DocumentError{Path: p.what + "/" + indexName, Code: code, Fact: fact}
		}
		if tag, ok := e.tag(); !ok && !named && b.Name == "" {
			return catalog.WrongInput("give the image a name: --name REFERENCE", "%s/%s: %s is not a tag", p.what, indexName,
				shorten(tag))
		}
		seen[e.Digest] = true
		b.found[tag] = true
		a, ok, err := b.nameOf(e)
		switch {
		case err != nil:
			return err
		case ok:
			p.list = append(p.list, a)
		case unnamed != "":
		case tag != "":
			unnamed = "its tag " + tag
		default:
			unnamed = "its image " + shorten(e.Digest)
		}
	}
	if len(p.index.entries) > 1 && len(p.list) == 0 && unnamed == "" && len(b.Only) == 0 {
		root, err := p.onlyRoot()
		if err != nil {
			return err
		}
		if root != nil {
			a, ok, err := b.nameOf(*root)
			if err != nil {
				return err
			}
			if ok {
				p.list = append(p.list, a)
			} else {
				unnamed = "its image " + shorten(root.Digest)
			}
		}
	}
	if unnamed != "" {
		return catalog.Usage("give it: --name REFERENCE, or --repository for tags", "%s: does not say what %s belongs to",
			p.what, unnamed)
	}
	p.noteMade()
	if len(p.list) == 0 && len(b.Only) == 0 {
		return catalog.WrongInput("its index.json lists none; what wrote it may have failed", "%s: has no image", p.what)
	}
	return nil
}

// noteMade says which of the images that come have a manifest that was made.
func (p *parcel) noteMade() {
	told := map[string]bool{}
	for _, a := range p.list {
		if d := a.entry.Digest; p.made[d] && !told[d] {
			told[d] = true
			p.findings = append(p.findings, catalog.Finding{Severity: catalog.Warning, Code: "made-manifest", Path: p.what,
				Message: "has no manifest of its image: one was made, and its digest " + d + " is not that of a registry"})
		}
	}
}

// onlyRoot returns the entry of a layout without tags that is neither listed by another one
// nor refers to one; nil if there is none. Tools list what an image leads to beside it.
func (p *parcel) onlyRoot() (*entry, error) {
	l, err := readLayout(p.ctx, p, ".", func(catalog.Severity, string, string, string, ...any) {}, reading{sparse: true})
	if err != nil {
		return nil, err
	}
	var roots []root
	for _, r := range l.roots {
		if !r.lost && !fallbackTag.MatchString(r.version) {
			roots = append(roots, r)
		}
	}
	switch len(roots) {
	case 0:
		return nil, nil
	case 1:
		return &l.index.entries[roots[0].place], nil
	}
	return nil, catalog.Usage("give them tags in the layout first", "%s: has %d images without a tag, such as %s and %s",
		p.what, len(roots), roots[0].entry.key, roots[1].entry.key)
}

// checkWanted refuses a request that does not fit what was given.
func (b *bringing) checkWanted() error {
	digests := map[string]bool{}
	var tags []string
	for _, p := range b.parcels {
		for _, a := range p.list {
			digests[a.entry.Digest] = true
		}
		for _, e := range p.index.entries {
			tag := tagOf(e)
			if tag != "" && !slices.Contains(tags, tag) && len(tags) <= maxTold && !fallbackTag.MatchString(tag) {
				tags = append(tags, tag)
			}
		}
	}
	for _, tag := range b.Only {
		if !b.found[tag] {
			if len(tags) > maxTold {
				tags[maxTold] = "and more"
			}
			return catalog.Usage("there are the tags "+strings.Join(tags, ", "), "--only: there is no tag %s", tag)
		}
	}
	if b.Name != "" && len(digests) > 1 {
		return catalog.Usage("leave --name out, and the names in it count; or choose one of its tags with --only",
			"%s: has %d images, and one name was given", b.parcels[0].what, len(digests))
	}
	return b.checkNames()
}

// checkNames refuses images that are called the same: the tag could stand for one of them.
func (b *bringing) checkNames() error {
	type of struct{ digest, what string }
	called := map[string]of{}
	for _, p := range b.parcels {
		for _, a := range p.list {
			name := a.Name()
			first, there := called[name]
			if there && first.digest != a.entry.Digest {
				return catalog.WrongInput("give one of them another name, or choose tags with --only",
					"%s: %s is %s there, and %s in %s", p.what, name, a.entry.Digest, first.digest, first.what)
			}
			called[name] = of{a.entry.Digest, p.what}
		}
	}
	return nil
}

// maxTold is how many tags a message lists.
const maxTold = 10

// nameOf returns what an entry is to be called.
func (w wanted) nameOf(e entry) (a arrival, ok bool, err error) {
	a = arrival{entry: e, requested: w.Name}
	recorded, named := recordedName(e)
	switch tag := tagOf(e); {
	case w.Name != "":
		a.Reference, err = ParseReference(w.Name)
		if err == nil && a.Digest != (catalog.Digest{}) && a.Digest.String() != e.Digest {
			err = &catalog.InputError{Err: digestError(w.Name, e.Digest)}
		}
		return a, err == nil, err
	case named:
		a.Reference, a.requested = recorded, recordedText(e)
		return a, true, nil
	case w.Repository != "" && tag != "":
		a.requested = w.Repository + ":" + tag
		a.Reference, err = ParseReference(a.requested)
		return a, err == nil, err
	}
	return a, false, nil
}

// recordedText is the whole name that an entry has; "" for none.
func recordedText(e entry) string {
	for _, key := range []string{imageName, refName} {
		name := e.Annotations.of(key)
		if _, ok := fullName(name, e.Digest); ok {
			return name
		}
	}
	return ""
}

// recordedName is recordedText, read.
func recordedName(e entry) (Reference, bool) { return fullName(recordedText(e), e.Digest) }

// identify is what is recorded of an image that comes. What was recorded of it
// before goes on with it.
func (p *parcel) identify(a arrival, w wanted, partial bool) identity {
	var old identity
	if own, ok := recordedName(a.entry); ok {
		old, _ = a.entry.identity(own.Repository)
	}
	id := identity{Requested: a.requested, Defaulted: a.Defaulted, StagedAt: w.Now, Source: old.Source,
		Platforms: old.Platforms}
	switch {
	case w.Name == "" && old.Requested != "":
		id.Requested, id.Defaulted, id.Pinned = old.Requested, old.Defaulted, old.Pinned
	case a.Tag != "":
		id.Pinned = a.Digest.String()
	}
	if w.Requested != "" {
		id.Requested = w.Requested
	}
	if w.Source != "" {
		id.Source = w.Source
	}
	if id.Source == "" && p.what != "standard input" {
		id.Source = sourceName(p.what)
	}
	if w.picked != nil && partial {
		id.Platforms = w.picked
	}
	return id
}

// byRepository groups what comes by repository, in the order of names.
func byRepository(list []arrival) [][]arrival {
	slices.SortStableFunc(list, func(a, b arrival) int { return strings.Compare(a.Repository, b.Repository) })
	var out [][]arrival
	for i, a := range list {
		if i == 0 || list[i-1].Repository != a.Repository {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], a)
	}
	return out
}
