package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Imported is what an Import did.
type Imported struct {
	Images    int      // that the tree names and clients list
	Skipped   int      // that it names and clients skip
	Files     int      // that came into staging, indexes apart
	Bytes     int64    // of these
	Replaced  []string // paths that no index names any more, and files with other bytes before; sorted
	Unchanged bool     // staging had it all
	Report    *Report  // warnings
}

// Import merges a tree that others made into staging: what both have counts as
// the tree has it, and what only staging has stays. The tree is only read.
//
// First, without a lock: the tree's indexes are copied to a private directory
// and read there; every file that they name, and every other one that a promote
// would publish, is copied there too, unless staging is known to have the same
// bytes under its path, and checked against the indexes. An error of severity
// error is returned in a *FindingsError, and nothing has changed. Then, under the
// staging lock, as for Add: content, directories, catalogs, index.
func (s *Stage) Import(ctx context.Context, dir string) (*Imported, error) {
	if err := s.foreign(dir); err != nil {
		return nil, err
	}
	d, err := s.Receive(ctx, "stage import")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	d.cache = tree.OpenCache(s.Hashes) // it is asked what staging has
	im := &importer{s: s, d: d, out: &Imported{}, report: &Report{}, cache: d.cache,
		indexes: filepath.Join(d.up.path(), indexesDir), files: filepath.Join(d.up.path(), filesDir)}
	for _, dir := range []string{im.indexes, im.files} {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if im.src, err = tree.OpenSource(dir); err != nil {
		return nil, err
	}
	defer im.src.Close()
	if im.dst, err = os.OpenRoot(s.Dir); err != nil {
		return nil, err
	}
	defer im.dst.Close()
	if err := im.fetch(ctx); err != nil {
		return nil, err
	}
	theirs, err := os.OpenRoot(im.indexes)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	edit, err := s.Format.Merge(ctx, tree.Contents(theirs))
	if err != nil {
		return nil, err
	}
	d.hold(filesDir, im.came...)
	did, err := d.Commit(ctx, func(ctx context.Context, ours catalog.Source) (*catalog.Change, error) {
		return im.merge(ctx, ours, edit)
	})
	if err != nil {
		return nil, err
	}
	return im.imported(did), nil
}

// foreign refuses staging itself, what lies in it, and what it lies in.
func (s *Stage) foreign(dir string) error {
	theirs, err := filepath.EvalSymlinks(dir)
	if err == nil {
		theirs, err = filepath.Abs(theirs)
	}
	if err != nil {
		return err
	}
	if fi, err := os.Stat(theirs); err != nil {
		return err
	} else if !fi.IsDir() {
		return usage("", "%s: is not a directory", dir)
	}
	ours, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		return err
	}
	// By identity and not by name: a bind mount has two names.
	for _, pair := range [][2]string{{theirs, ours}, {ours, theirs}} {
		top, err := os.Stat(pair[1])
		if err != nil {
			return err
		}
		for d := pair[0]; ; d = filepath.Dir(d) {
			if fi, err := os.Stat(d); err == nil && os.SameFile(fi, top) {
				return usage("give a tree that lies elsewhere", "%s: is staging, or lies in it, or it in that", dir)
			}
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return nil
}

// The folders of an import's private directory.
const (
	indexesDir = "indexes"
	filesDir   = "files"
)

// importer is one Import at work.
type importer struct {
	s       *Stage
	d       *Delivery
	out     *Imported
	report  *Report
	src     *tree.Source
	dst     *os.Root
	cache   *tree.Cache
	indexes string         // copies of the tree's indexes
	files   string         // copies of its other files
	format  catalog.Format // as it is in that tree

	cat   *catalog.Catalog
	named names
	docs  []tree.Row            // in indexes
	near  []companion.Companion // of the documents, in indexes; those that fit them
	came  []tree.Row            // in files
	same  map[string]tree.Stat  // files of staging with the same bytes, in this state
}

// fetch copies and checks. It changes nothing but the private directory.
func (im *importer) fetch(ctx context.Context) error {
	entries, err := tree.Walk(ctx, im.src.Dir)
	if err != nil {
		return err
	}
	batch, err := durable.NewBatch(im.d.up.path())
	if err != nil {
		return err
	}
	defer batch.Close()
	var rest []tree.Entry
	var ops []tree.Op
	walked := entries
	linked := links(entries, im.s.Format)
	entries = linked.apply(entries, im.s.Links)
	g := newGate(im.s.Format, entries, nil, im.src.Root(), im.report)
	g.linked, g.links = linked, im.s.Links
	for _, e := range entries {
		switch {
		case im.s.Format.Class(e.Path) != catalog.Index:
			rest = append(rest, e)
		case g.admit(e):
			ops = append(ops, im.document(e))
		}
	}
	if im.docs, err = im.clone(ctx, im.indexes, ops, batch); err != nil {
		return err
	}
	// Those that the index names, wherever they lie.
	if im.format, err = Within(im.indexes, im.s.Format); err != nil {
		return err
	}
	g.format, ops = im.format, ops[:0]
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool {
		is := im.format.Class(e.Path) == catalog.Index
		if is && g.admit(e) {
			ops = append(ops, im.document(e))
		}
		return is
	})
	more, err := im.clone(ctx, im.indexes, ops, batch)
	if err != nil {
		return err
	}
	im.docs = append(im.docs, more...)
	if rest, err = im.beside(ctx, entries, rest, g, batch); err != nil {
		return err
	}
	if im.cat, err = ReadCatalog(ctx, im.indexes, im.s.Format); err != nil {
		return err
	}
	im.report.Findings = append(im.report.Findings, im.cat.Findings...)
	im.named = named(im.cat)
	claims := map[string]string{}
	for _, i := range im.cat.Items {
		claims[i.Path] = i.SHA256
	}
	g.named = im.named
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool { return !g.admit(e) })
	g.vain(rest, im.documents())
	rest = im.asLinks(walked, rest)
	rows, err := im.recognize(ctx, rest, claims)
	if err != nil {
		return err
	}
	ops = ops[:0]
	for _, e := range rest {
		if _, ok := rows[e.Path]; ok {
			continue
		}
		op := tree.Op{Path: e.Path, Name: e.Name, From: im.src, How: tree.Copy, Stat: e.Stat,
			Mode: 0o644 | e.Stat.Mode.Perm()&0o111}
		if im.named.has(e.Path) {
			op.Mode = 0o444
		}
		if e.Kind == tree.Symlink {
			op.How = tree.Relink
		}
		ops = append(ops, op)
	}
	if im.came, err = im.clone(ctx, im.files, ops, batch); err != nil {
		return err
	}
	for i := range im.came {
		r := &im.came[i]
		if r.Role != catalog.Link {
			r.Role = im.named.role(r.Path)
		}
		rows[r.Path] = *r
	}
	if err := im.check(ctx, rows); err != nil {
		return err
	}
	return batch.Flush()
}

// asLinks lets the links that are followed come as links: of the files below one
// the index names most under their own paths only, and the next promote would
// leave out copies of them. Where the index, or a document, names something by
// way of a link, or staging has a folder, there come files.
func (im *importer) asLinks(walked, rest []tree.Entry) []tree.Entry {
	if im.s.Links != FollowLinks {
		return rest
	}
	through := map[string]bool{} // what something is named through
	add := func(p string) {
		for ; p != "" && !through[p]; p = parent(p) {
			through[p] = true
		}
	}
	for _, i := range im.cat.Items {
		add(i.Path)
	}
	for p := range im.documents() {
		add(p)
	}
	texts := map[string]string{}
	for _, e := range walked {
		if class := im.format.Class(e.Path); e.Kind != tree.Symlink || through[e.Path] || class == catalog.Whole ||
			class == catalog.InProgress {
			continue
		}
		fi, err := im.dst.Lstat(e.Path)
		if (errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode()&fs.ModeSymlink != 0) &&
			unlessMissing(realDirs(im.dst, e.Path)) == nil {
			texts[e.Path] = e.Target
		}
	}
	if len(texts) == 0 {
		return rest
	}
	used := map[string]bool{}
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool {
		for p := e.Path; e.Name != "" && p != ""; p = parent(p) {
			if _, ok := texts[p]; ok {
				used[p] = true
				return true
			}
		}
		return false
	})
	for _, p := range slices.Sorted(maps.Keys(used)) {
		rest = append(rest, tree.Entry{Path: p, Kind: tree.Symlink, Target: texts[p]})
	}
	slices.SortFunc(rest, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	return rest
}

// documents are the paths of the tree's documents.
func (im *importer) documents() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, r := range im.docs {
			if !yield(r.Path) {
				return
			}
		}
	}
}

// document copies one document to the private directory.
func (im *importer) document(e tree.Entry) tree.Op {
	return tree.Op{Path: e.Path, Name: e.Name, From: im.src, How: tree.Copy, Stat: e.Stat, Mode: 0o644}
}

// clone copies files of the tree to dir; those that cannot be read become findings.
func (im *importer) clone(ctx context.Context, dir string, ops []tree.Op, batch *durable.Batch) ([]tree.Row, error) {
	var bytes int64
	for _, op := range ops {
		bytes += op.Stat.Size
	}
	cloner := tree.Cloner{Dst: dir, DirMode: 0o700, Batch: batch, Progress: im.s.progress("import", bytes)}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	var rows []tree.Row
	for i, d := range done {
		op := ops[i]
		if d.Err != nil {
			im.report.unread(im.src.Root(), cmp.Or(op.Name, op.Path), op.Stat, dir == im.indexes ||
				im.named.has(op.Path), d.Err)
			continue
		}
		row := tree.Row{Path: op.Path, Size: d.Size, SHA256: d.SHA256, Role: catalog.Mutable}
		if op.How == tree.Relink {
			row.Role = catalog.Link
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// merge is the Edit of an import: what the format makes of both trees, the
// documents that nobody makes anew, and companions. It refuses what the tree has
// where staging has something else.
func (im *importer) merge(ctx context.Context, ours catalog.Source, edit catalog.Edit) (*catalog.Change, error) {
	for p, st := range im.same {
		if fi, err := im.dst.Lstat(p); err != nil || !tree.StatOf(fi).Same(st, true) {
			return nil, fmt.Errorf("%s: %w; nothing was imported: try again", join(im.s.Dir, p), tree.ErrChanged)
		}
	}
	change, err := edit(ctx, ours)
	if err != nil {
		return nil, below(im.s.Dir, err) // theirs were read before
	}
	// What is said of a product is said once, of what staging will have of it.
	im.report.Findings = slices.DeleteFunc(im.report.Findings, func(x catalog.Finding) bool {
		return slices.ContainsFunc(change.Findings, func(y catalog.Finding) bool {
			return x == y || x.Product != "" && x.Product == y.Product && x.Code == y.Code && x.Severity == y.Severity
		})
	})
	im.report.Findings = append(im.report.Findings, change.Findings...)
	if err := im.report.failed(); err != nil {
		return nil, err
	}
	im.out.Replaced = change.Replaced
	other := im.others(change)
	if change.Documents, err = im.withCompanions(change.Documents); err != nil {
		return nil, err
	}
	for _, r := range slices.Concat(im.came, other) {
		fi, err := im.dst.Lstat(r.Path)
		switch {
		case err == nil && fi.IsDir():
			im.report.fail("path-conflict", r.Path, "is a file, and staging has a folder there")
		case err == nil:
			im.out.Replaced = append(im.out.Replaced, r.Path)
		}
		if err := realDirs(im.dst, r.Path); unlessMissing(err) != nil {
			im.report.fail("path-conflict", r.Path, "staging has no folder to put it in, but a file or a link: %s", err)
		}
	}
	im.d.hold(indexesDir, other...)
	return change, im.report.failed()
}

// others are the documents that nobody makes anew and staging does not have:
// those of streams that hold no images.
func (im *importer) others(change *catalog.Change) (other []tree.Row) {
	taken := map[string]bool{}
	for _, d := range change.Documents {
		taken[d.Path] = true
	}
	for _, p := range change.United {
		taken[p] = true
	}
	for _, r := range im.docs {
		if _, err := im.dst.Lstat(r.Path); !taken[r.Path] && errors.Is(err, fs.ErrNotExist) {
			other = append(other, r)
		}
	}
	return other
}

// imported is the answer.
func (im *importer) imported(did *Delivered) *Imported {
	out := im.out
	for _, i := range im.cat.Images {
		if i.Skipped == "" {
			out.Images++
		} else {
			out.Skipped++
		}
	}
	for _, r := range did.Placed {
		out.Files++
		out.Bytes += r.Size
	}
	slices.Sort(out.Replaced)
	out.Replaced = slices.Compact(out.Replaced)
	out.Unchanged = len(did.Placed)+len(did.Documents) == 0
	out.Report = im.report
	return out
}

// realDirs returns an error when a folder on the way to a path is a link.
func realDirs(root *os.Root, p string) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		fi, err := root.Lstat(p[:i])
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return &fs.PathError{Op: "open", Path: p[:i], Err: errors.New("is a link")}
		}
	}
	return nil
}
