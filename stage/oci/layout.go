package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// repositories calls f for each directory of a tree that is a layout, in the order
// of paths: one that has an index.json or an oci-layout. What stands in a layout's
// blobs is no layout, and overlap is called for a directory there that is none of
// an algorithm.
func repositories(src catalog.Source, f func(dir string) error, overlap func(dir string)) error {
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		var folders []string
		layout, blobs := false, false
		for name, err := range src.List(dir) {
			if err != nil {
				return err
			}
			folder, is := strings.CutSuffix(name, "/")
			switch {
			case !is:
				layout = layout || name == indexName || name == layoutName
			case folder == blobsName:
				blobs = true
			default:
				folders = append(folders, folder)
			}
		}
		switch {
		case layout:
			if err := f(dir); err != nil {
				return err
			}
			if blobs {
				if err := inBlobs(src, path.Join(dir, blobsName), overlap); err != nil {
					return err
				}
			}
		case blobs:
			folders = append(folders, blobsName)
			slices.Sort(folders)
		}
		for _, name := range folders {
			sub := path.Join(dir, name)
			if depth < maxFolders && (Format{}).Class(path.Join(sub, indexName)) == catalog.Index {
				if err := walk(sub, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(".", 0)
}

// maxFolders bounds how deep repositories are looked for: no path of the tree has more parts.
const maxFolders = 2048

// inBlobs looks for repositories whose path leads through the blobs of another.
func inBlobs(src catalog.Source, dir string, overlap func(dir string)) error {
	for name, err := range src.List(dir) {
		if err != nil {
			return err
		}
		folder, is := strings.CutSuffix(name, "/")
		if is && folder != catalog.SHA256 && folder != catalog.SHA512 {
			overlap(path.Join(dir, folder))
		}
	}
	return nil
}

// Documents are the indexes of all layouts.
func (Format) Documents(src catalog.Source) ([]string, error) {
	var out []string
	err := repositories(src, func(dir string) error {
		out = append(out, path.Join(dir, indexName), path.Join(dir, layoutName))
		return nil
	}, func(string) {})
	slices.Sort(out)
	return out, err
}

// layout is one repository, as its index.json leads through it.
type layout struct {
	*graph
	document string   // the path of index.json
	index    *index   // nil when it cannot be read
	half     bool     // index.json ends before its time: somebody may be writing it
	entries  []*node  // nil for one that is wrong
	tags     []string // of the entries; "" for none
	roots    []root   // sorted by version
}

// root is a version: what an entry leads to, and what refers to that.
type root struct {
	version string
	entry   *node
	owns    []*node // the entry, and the referrers of all that it leads to
	place   int     // of the entry in index.json
	lost    bool    // it is a referrer whose subject is not here
}

// readLayout reads one, and tells what is wrong with it.
func readLayout(
	ctx context.Context, src catalog.Source, dir string, note func(catalog.Severity, string, string, string, ...any),
	how reading,
) (*layout, error) {
	note, rest := first(note)
	defer rest(path.Join(dir, indexName))
	l := &layout{document: path.Join(dir, indexName), graph: &graph{ctx: ctx, src: src, repository: dir,
		nodes: map[string]*node{}, note: note, reading: how}}
	if why := checkRepository(dir); why != "" {
		note(catalog.Error, "bad-repository", l.document, "%s", why)
	}
	if err := l.checkVersion(); err != nil {
		return nil, err
	}
	data, err := l.read(l.document)
	if data == nil || err != nil {
		return l, err
	}
	if l.index, err = parseIndex(data); err != nil {
		l.half = !ended(data)
		note(catalog.Error, "schema", l.document, "%s", err)
		return l, nil
	}
	n := len(l.index.entries)
	l.entries, l.tags = make([]*node, 0, n), make([]string, 0, n)
	for i := range l.index.entries {
		l.enter(&l.index.entries[i].descriptor)
	}
	if bad := indexRule.misfit(data); bad.grave() && !slices.Contains(l.entries, nil) {
		note(catalog.Error, "schema", l.document, "%s", bad)
	} else if bad != nil && bad.mild {
		note(catalog.Warning, "schema", l.document, "%s", bad)
	}
	if err := l.follow(); err != nil {
		return nil, err
	}
	l.sort()
	return l, nil
}

// read returns a document; none, with a finding, where clients cannot read it.
func (l *layout) read(p string) ([]byte, error) {
	data, err := l.src.Document(p)
	if bad := new(catalog.DocumentError); errors.As(err, &bad) {
		l.note(catalog.Error, bad.Code, p, "%s", bad.Fact)
		return nil, nil
	}
	return data, err
}

// checkVersion looks at oci-layout.
func (l *layout) checkVersion() error {
	p := l.version()
	data, err := l.read(p)
	if data == nil || err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(data, &v); err != nil || v.Version != "1.0.0" {
		l.note(catalog.Error, "layout-version", p, "does not say that the layout has the version 1.0.0")
	}
	return nil
}

// enter looks at an entry of index.json.
func (l *layout) enter(d *descriptor) {
	n := l.node(l.document, d)
	tag, ok := d.tag()
	switch {
	case !ok:
		l.note(catalog.Error, "bad-tag", l.document, "%s is not a tag: letters, digits, _ . -, at most 128",
			catalog.Show(d.Annotations.of(refName)))
		n = nil
	case n != nil:
		if index, manifest := leads(n.mediaType); !index && !manifest {
			l.note(catalog.Warning, "unknown-media-type", l.at(n), "is %s, which clients pass over",
				catalog.Show(n.mediaType))
		}
		id, stale := d.identity(l.repository)
		version := Format{}.Ref(catalog.Name{Group: l.repository, Version: cmp.Or(tag, untagged(n.digest()))})
		if stale != "" {
			l.note(catalog.Warning, "identity-stale", l.document, "%s of %s: what it records is not believed", stale, version)
		}
		if id.Pinned != "" && id.Pinned != d.Digest {
			l.note(catalog.Error, "pinned-digest", l.document, "%s stands for %s, and was pinned to %s", version, d.Digest,
				shorten(id.Pinned))
		}
	}
	l.entries, l.tags = append(l.entries, n), append(l.tags, tag)
}

// follow reads what the entries lead to. An index may lack platforms that nobody
// picked, if all entries that lead to it say so: those that do not come first.
func (l *layout) follow() error {
	for _, picked := range []bool{false, true} {
		var nodes []*node
		var lefts []platforms
		for i, n := range l.entries {
			if n == nil {
				continue
			}
			id, _ := l.index.entries[i].identity(l.repository)
			left := id.Platforms
			if left == nil {
				left = l.recorded[n.key]
			}
			if (left != nil) == picked {
				nodes, lefts = append(nodes, n), append(lefts, left)
			}
		}
		if err := l.expandAll(nodes, func(i int) platforms { return lefts[i] }); err != nil {
			return err
		}
	}
	return nil
}

// sort makes the roots of the entries, and gives each referrer to its subject.
func (l *layout) sort() {
	var referrers []int
	l.roots = make([]root, 0, len(l.entries))
	for i, n := range l.entries {
		switch tag := l.tags[i]; {
		case n == nil:
		case subjectOf(tag, n) != "":
			referrers = append(referrers, i)
		case tag != "":
			l.roots = append(l.roots, root{version: tag, entry: n, owns: []*node{n}, place: i})
		}
	}
	slices.SortStableFunc(l.roots, byVersion)
	once := l.roots[:0]
	for _, r := range l.roots {
		if n := len(once); n == 0 || once[n-1].version != r.version {
			once = append(once, r)
			r.entry.named = true
		} else if first := once[n-1].entry; first != r.entry {
			l.note(catalog.Error, "duplicate-tag", l.document, "the tag %s stands for %s and for %s", r.version,
				first.key, r.entry.key)
		}
	}
	l.roots = once
	for i, n := range l.entries {
		if n == nil || l.tags[i] != "" || n.child || n.named || n.subject != "" {
			continue
		}
		n.named = true
		l.note(catalog.Warning, "untagged", l.document, "%s has no tag", n.digest())
		l.roots = append(l.roots, root{version: untagged(n.digest()), entry: n, owns: []*node{n}, place: i})
	}
	l.refer(referrers)
	slices.SortFunc(l.roots, byVersion)
}

func byVersion(a, b root) int { return strings.Compare(a.version, b.version) }

// refer gives referrers to the roots that lead to their subjects, and so those of
// a referrer to the same roots. What is left has lost its subject, and stands for
// itself.
func (l *layout) refer(referrers []int) {
	if len(referrers) == 0 {
		return
	}
	waiting := map[string][]int{} // entries, by the digest of their subject
	for _, i := range referrers {
		s := subjectOf(l.tags[i], l.entries[i])
		waiting[s] = append(waiting[s], i)
		if tag := l.tags[i]; tag != "" && !l.index.convert {
			l.note(catalog.Warning, "fallback-tag", l.document,
				"the tag %s stands for a list of referrers: some servers "+
					"refuse a repository that has such a tag", tag)
		}
	}
	owners := map[*node][]int{} // roots, of each subject
	taken := map[int]bool{}
	var todo []*node
	own := func(root int, from *node) {
		l.each(func(n *node) {
			if _, is := waiting[n.key]; is {
				owners[n] = append(owners[n], root)
				todo = append(todo, n)
			}
		}, from)
	}
	for i := range l.roots {
		own(i, l.roots[i].entry)
	}
	for len(todo) > 0 {
		subject := todo[0]
		todo = todo[1:]
		for _, i := range waiting[subject.key] {
			taken[i] = true
			for _, at := range owners[subject] {
				if r := &l.roots[at]; !slices.Contains(r.owns, l.entries[i]) {
					r.owns = append(r.owns, l.entries[i])
					own(at, l.entries[i])
				}
			}
		}
	}
	for _, i := range referrers {
		if n := l.entries[i]; !taken[i] {
			version := cmp.Or(l.tags[i], untagged(n.digest()))
			l.note(catalog.Warning, "dangling-referrer", l.document, "%s refers to %s, which is not here", version,
				subjectOf(l.tags[i], n))
			l.roots = append(l.roots, root{version: version, entry: n, owns: []*node{n}, place: i, lost: true})
		}
	}
}
