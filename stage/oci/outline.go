package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

var _ catalog.Outliner = Format{}

// Addressed implements [catalog.Outliner].
func (Format) Addressed(dir string) bool {
	up, name := path.Split(dir)
	return name == catalog.SHA256 && path.Base(up) == blobsName
}

// outline is a tree of which an outline is made.
type outline struct {
	ctx    context.Context
	src    catalog.Source
	blobs  catalog.Blobs
	nodes  []leaf // for each blob
	kids   []int32
	vital  []int
	repos  []*outlined
	images []place
	marks  int32
	todo   []int32  // memory for each
	skim   skimming // memory for expand
}

// leaf is what a node of a graph is, in few bytes.
type leaf struct {
	first, count int32 // of kids: what it lists, its config, its layers
	subject      int32 // a place in outlined.subjects, and 1; 0 for none
	mark         int32 // of the last walk that met it
	kind         kind
	child        bool // an index lists it
	config       bool // a manifest has it as its config
	named        bool // it has a tag, or is listed already
	read, lost   bool
}

// outlined is a repository.
type outlined struct {
	*scanned
	dir      string // of the repository
	blobs    int32  // the directory of its blobs
	version  []byte // oci-layout
	entries  []int32
	roots    []stem
	subjects []catalog.Sum
}

// stem is a root.
type stem struct {
	version string
	entry   int32   // its place in the index
	owns    []int32 // blobs; nil: none but that of the entry
	lost    bool
}

// place is where an image stands.
type place struct{ repo, root int32 }

// errUnusual is for a tree that Read has to read.
var errUnusual = errors.New("is not in the usual form")

// Outline implements [catalog.Outliner].
func (f Format) Outline(ctx context.Context, src catalog.Source) (*catalog.Outline, error) {
	o := &outline{ctx: ctx, src: src}
	err := repositories(src, o.repository, func(string) { o.repos = append(o.repos, nil) })
	if err == nil && slices.Contains(o.repos, nil) { // repositories overlap
		err = errUnusual
	}
	if err == nil {
		slices.SortFunc(o.repos, func(a, b *outlined) int { return strings.Compare(a.dir, b.dir) })
		for _, r := range o.repos {
			if err == nil {
				err = o.follow(r)
			}
		}
	}
	if bad := new(catalog.DocumentError); errors.Is(err, errUnusual) || errors.As(err, &bad) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o.finish(), nil
}

// repository reads the documents of one.
func (o *outline) repository(dir string) error {
	r := &outlined{dir: dir}
	if checkRepository(dir) != "" {
		return errUnusual
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	version, err := o.src.Document(path.Join(dir, layoutName))
	if err != nil {
		return err
	}
	if json.Unmarshal(version, &v) != nil || v.Version != "1.0.0" {
		return errUnusual
	}
	data, err := o.src.Document(path.Join(dir, indexName))
	if err != nil {
		return err
	}
	x, ok := scan(data)
	if !ok {
		return errUnusual
	}
	r.version, r.scanned, r.blobs = version, x, int32(len(o.blobs.Dirs))
	o.blobs.Dirs = append(o.blobs.Dirs, path.Join(dir, blobsName, catalog.SHA256))
	o.repos = append(o.repos, r)
	return nil
}

// node returns the blob of a descriptor.
func (o *outline) node(r *outlined, sum catalog.Sum, size int64, k kind) (int32, error) {
	at, fresh := o.blobs.Add(r.blobs, sum, size)
	if fresh {
		o.nodes = append(o.nodes, leaf{kind: k})
	} else if o.blobs.At(at).Size != size || o.nodes[at].kind != k {
		return 0, errUnusual // one of two descriptors is wrong
	}
	return int32(at), nil
}

// follow reads what the entries lead to.
func (o *outline) follow(r *outlined) error {
	n := 3*len(r.scanned.entries) + 16 // a manifest, its config and a layer
	o.blobs.Grow(n)
	o.nodes, o.kids = slices.Grow(o.nodes, n), slices.Grow(o.kids, n)
	r.entries = make([]int32, len(r.scanned.entries))
	todo := make([]int32, 0, len(r.entries))
	for i := range r.scanned.entries {
		e := &r.scanned.entries[i]
		at, err := o.node(r, e.sum, e.size, e.kind)
		if err != nil {
			return err
		}
		r.entries[i] = at
		if x := &o.nodes[at]; !x.read {
			x.read = true
			todo = append(todo, at)
		}
	}
	for depth := 1; len(todo) > 0; depth++ {
		if depth > maxDepth {
			return errUnusual
		}
		var next []int32
		if err := o.facts(r, todo, func(at int32, fact []byte) (err error) {
			next, err = o.expand(r, at, fact, next)
			return err
		}); err != nil {
			return err
		}
		todo = next
	}
	return o.sort(r)
}

// expand adds what a manifest leads to, of which this is the fact. It appends to next
// those that have to be read in turn.
func (o *outline) expand(r *outlined, at int32, fact []byte, next []int32) ([]int32, error) {
	m := &o.skim
	m.begin(fact)
	first := int32(len(o.kids))
	add := func(d *skimmed) (int32, error) {
		if d.bad || d.size < 0 || d.size > maxBlob {
			return 0, errUnusual
		}
		kid, err := o.node(r, d.sum, d.size, d.kind)
		o.kids = append(o.kids, kid)
		return kid, err
	}
	for m.more() {
		d := &m.descriptor
		switch m.part {
		case partSubject:
			if d.bad {
				return nil, errUnusual
			}
			r.subjects = append(r.subjects, d.sum)
			o.nodes[at].subject = int32(len(r.subjects))
			continue
		case partManifest:
			kid, err := add(d)
			if err != nil || d.kind == other || d.size > maxManifest {
				return nil, errUnusual
			}
			o.vital = append(o.vital, int(kid)) // or the index is partial
			x := &o.nodes[kid]
			if x.child = true; !x.read {
				x.read = true
				next = append(next, kid)
			}
		case partConfig:
			kid, err := add(d)
			if err != nil || d.kind != other {
				return nil, errUnusual
			}
			o.nodes[kid].config = true
		case partLayer:
			kid, err := add(d)
			if err != nil || d.kind != other {
				return nil, errUnusual
			}
			if d.elsewhere {
				o.vital = append(o.vital, int(kid)) // or it may be missing
			}
		}
	}
	if m.bad() {
		return nil, errUnusual
	}
	x := &o.nodes[at]
	x.first, x.count = first, int32(len(o.kids))-first
	return next, nil
}

// sort is layout.sort.
func (o *outline) sort(r *outlined) error {
	var referrers []int32
	r.roots = make([]stem, 0, len(r.entries))
	for i, at := range r.entries {
		switch _, refers := o.subjectOf(r, i); {
		case refers:
			referrers = append(referrers, int32(i))
		case r.scanned.entries[i].tag != "":
			r.roots = append(r.roots, stem{version: r.scanned.entries[i].tag, entry: int32(i)})
			o.nodes[at].named = true
		}
	}
	byVersion := func(a, b stem) int { return strings.Compare(a.version, b.version) }
	if !slices.IsSortedFunc(r.roots, byVersion) {
		slices.SortStableFunc(r.roots, byVersion)
	}
	once := r.roots[:0]
	for _, x := range r.roots {
		if n := len(once); n == 0 || once[n-1].version != x.version {
			once = append(once, x)
		} else if r.entries[once[n-1].entry] != r.entries[x.entry] {
			return errUnusual // one tag stands for two
		}
	}
	r.roots = once
	for i, at := range r.entries {
		e, x := &r.scanned.entries[i], &o.nodes[at]
		if e.tag != "" || x.child || x.named || x.subject != 0 {
			continue
		}
		x.named = true
		r.roots = append(r.roots, stem{version: "@" + e.digest, entry: int32(i)})
	}
	o.refer(r, referrers)
	if !slices.IsSortedFunc(r.roots, byVersion) {
		slices.SortFunc(r.roots, byVersion)
	}
	return nil
}

// subjectOf is the function subjectOf for an entry.
func (o *outline) subjectOf(r *outlined, entry int) (sum catalog.Sum, ok bool) {
	if tag := r.scanned.entries[entry].tag; strings.HasPrefix(tag, catalog.SHA256+"-") {
		if m := fallbackTag.FindStringSubmatch(tag); m != nil {
			return catalog.ParseSum(m[2])
		}
	}
	if s := o.nodes[r.entries[entry]].subject; s != 0 {
		return r.subjects[s-1], true
	}
	return sum, false
}

// refer is layout.refer.
func (o *outline) refer(r *outlined, referrers []int32) {
	if len(referrers) == 0 {
		return
	}
	waiting := map[int32][]int32{} // entries, by the blob that is their subject
	for _, i := range referrers {
		sum, _ := o.subjectOf(r, int(i))
		if at := o.blobs.Find(r.blobs, &sum); at >= 0 {
			waiting[int32(at)] = append(waiting[int32(at)], i)
		}
	}
	owners := map[int32][]int{} // roots, of each subject
	taken := map[int32]bool{}
	var todo []int32
	own := func(root int, from int32) {
		o.each(func(at int32) {
			if _, is := waiting[at]; is {
				owners[at] = append(owners[at], root)
				todo = append(todo, at)
			}
		}, from)
	}
	for i := range r.roots {
		own(i, r.entries[r.roots[i].entry])
	}
	for len(todo) > 0 {
		subject := todo[0]
		todo = todo[1:]
		for _, i := range waiting[subject] {
			taken[i] = true
			for _, at := range owners[subject] {
				x := &r.roots[at]
				if x.owns == nil {
					x.owns = []int32{r.entries[x.entry]}
				}
				if !slices.Contains(x.owns, r.entries[i]) {
					x.owns = append(x.owns, r.entries[i])
					own(at, r.entries[i])
				}
			}
		}
	}
	for _, i := range referrers {
		if e := &r.scanned.entries[i]; !taken[i] {
			version := e.tag
			if version == "" {
				version = "@" + e.digest
			}
			r.roots = append(r.roots, stem{version: version, entry: i, lost: true})
		}
	}
}

// each calls f once for every blob that these lead to, themselves included.
func (o *outline) each(f func(int32), from ...int32) {
	o.marks++
	mark := o.marks
	todo := append(o.todo[:0], from...)
	o.todo = nil
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		x := &o.nodes[at]
		if x.mark == mark {
			continue
		}
		x.mark = mark
		f(at)
		todo = append(todo, o.kids[x.first:x.first+x.count]...)
	}
	o.todo = todo
}

// reach calls f once for every blob that a root needs.
func (o *outline) reach(r *outlined, x *stem, f func(int32)) {
	if x.owns == nil {
		o.each(f, r.entries[x.entry])
	} else {
		o.each(f, x.owns...)
	}
}

// finish makes the outline.
func (o *outline) finish() *catalog.Outline {
	n := 0
	for _, r := range o.repos {
		n += len(r.roots)
	}
	out := &catalog.Outline{Type: imageType, Blobs: &o.blobs, Vital: o.vital, Images: make([]catalog.Outlined, 0, n)}
	o.images = make([]place, 0, n)
	for i, r := range o.repos {
		out.Documents = append(out.Documents, path.Join(r.dir, indexName), path.Join(r.dir, layoutName))
		for j := range r.roots {
			x := &r.roots[j]
			image := catalog.Outlined{Product: r.dir, Version: x.version, Digest: r.scanned.entries[x.entry].digest,
				Rank: int(x.entry)}
			if x.lost {
				image.Exempt = exempt
			}
			out.Images = append(out.Images, image)
			o.images = append(o.images, place{int32(i), int32(j)})
		}
	}
	slices.Sort(out.Documents)
	out.Each = func(image int, f func(int)) {
		at := o.images[image]
		r := o.repos[at.repo]
		o.reach(r, &r.roots[at.root], func(blob int32) { f(int(blob)) })
	}
	out.Digests = o.digests
	out.Lost = func(blob int) bool { return o.nodes[blob].lost }
	out.Forms = o.forms
	out.Without = o.without
	return out
}

// digests are those of image.Digests.
func (o *outline) digests(image int) (out []string) {
	at := o.images[image]
	r := o.repos[at.repo]
	o.each(func(blob int32) {
		if x := &o.nodes[blob]; x.kind != other || x.config {
			sum := o.blobs.At(int(blob)).Sum
			out = append(out, catalog.SHA256+":"+hex.EncodeToString(sum[:]))
		}
	}, r.entries[r.roots[at.root].entry])
	return out
}

// forms are the own forms of the documents.
func (o *outline) forms() (out []catalog.Form) {
	add := func(path string, parts ...[]byte) {
		h, size := sha256.New(), 0
		for _, data := range parts {
			h.Write(data)
			size += len(data)
		}
		out = append(out, catalog.Form{Path: path, Size: int64(size), SHA256: hex.EncodeToString(h.Sum(nil))})
	}
	for _, r := range o.repos {
		add(path.Join(r.dir, indexName), r.own()...)
		add(path.Join(r.dir, layoutName), r.version)
	}
	slices.SortFunc(out, func(a, b catalog.Form) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// without is the function without.
func (o *outline) without(drop func(image int) bool) (out []catalog.Document) {
	image := 0
	for _, r := range o.repos {
		kept, dropped := make([]bool, o.blobs.Len()), map[string]bool{}
		for i := range r.roots {
			if drop(image + i) {
				dropped[r.roots[i].version] = true
			} else {
				o.reach(r, &r.roots[i], func(blob int32) { kept[blob] = true })
			}
		}
		image += len(r.roots)
		switch len(dropped) {
		case 0:
		case len(r.roots):
			out = append(out, catalog.Document{Path: path.Join(r.dir, indexName)},
				catalog.Document{Path: path.Join(r.dir, layoutName)})
		default:
			out = append(out, catalog.Document{Path: path.Join(r.dir, indexName), Data: r.listing(func(i int) bool {
				tag := r.scanned.entries[i].tag
				return kept[r.entries[i]] && (tag == "" || !dropped[tag])
			})})
		}
	}
	return out
}
